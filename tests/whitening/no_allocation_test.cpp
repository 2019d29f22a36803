// SPDX-License-Identifier: MIT
// A second forward and backward of a shape allocates nothing, as far as the library goes. Eigen's products pack their
// operands into buffers, on the stack below EIGEN_STACK_ALLOCATION_LIMIT (128 KiB unless defined), else on the heap:
// here they may all be on the stack.
#define EIGEN_STACK_ALLOCATION_LIMIT 4194304  // 4 MiB
#include "laws/allocations.hpp"

#include <foldnorm/losses/intl_loss.hpp>
#include <foldnorm/whitening/iter_norm.hpp>

#include "catch.hpp"

#include <array>

namespace {

using namespace foldnorm;
using laws::allocations_of;

}  // namespace

TEST_CASE("allocations are seen: a matrix's") {
  Matrix<float> m;
  CHECK(allocations_of([&] { m.resize(10, 10); }) > 0);
  CHECK(m.data() != nullptr);  // a compiler may do without memory that nobody sees
}

TEST_CASE("whitening: steady state allocates nothing") {
  using Scalar = double;  // float is the same code, and half a minute more to compile
  for (auto const engine : {IterNormEngine::newton, IterNormEngine::coupled, IterNormEngine::spectral}) {
    for (Index const group_size : {0, 24}) {
      for (auto const& [d, m] : {std::pair<Index, Index>{16, 50}, {64, 1024}, {130, 300}}) {
        IterNorm<Scalar> const layer(d, {.group_size = group_size}, {5, engine});
        typename IterNorm<Scalar>::Cache cache;
        Matrix<Scalar> const x = Matrix<Scalar>::Random(d, m);
        Matrix<Scalar> y(d, m), dx(d, m);
        Vector<Scalar> dgamma(d), dbeta(d);
        auto const step = [&] {
          layer.forward(x, y, cache);
          layer.backward(x, cache, dx, dgamma, dbeta);
        };
        step();
        INFO("engine " << static_cast<int>(engine) << ", " << d << " x " << m << ", group size " << group_size);
        // Eigen's tridiagonalization makes a vector for itself, and a block of reflectors from 48 features on.
        std::size_t const of_eigen = engine == IterNormEngine::spectral ? 2 * cache.groups.size() : 0;
        CHECK(allocations_of(step) <= of_eigen);
      }
    }
  }
}

TEST_CASE("INTL with a workspace: steady state allocates nothing") {
  for (auto const variables : {WhitenedVariables::samples, WhitenedVariables::features}) {
    std::array<Matrix<double>, 2> const views = {Matrix<double>::Random(70, 40), Matrix<double>::Random(70, 40)};
    std::array<Matrix<double>, 2> dviews;
    IntlOptions const options{.trace_weight = .05, .variables = variables, .engine = IterNormEngine::coupled};
    IntlWorkspace<double> workspace;
    auto const step = [&] { intl_loss<double>(views, dviews, options, workspace); };
    auto const step_to_target = [&] { intl_loss_to_target<double>(views[0], views, dviews, options, workspace); };
    step();
    CHECK(allocations_of(step) == 0);
    step_to_target();
    CHECK(allocations_of(step_to_target) == 0);
  }
}
