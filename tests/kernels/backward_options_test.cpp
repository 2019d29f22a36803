// SPDX-License-Identifier: MIT
// What a backward adds to, and the memory it works in.
#include <foldnorm/kernels/backward_options.hpp>

#include <cmath>
#include <cstdint>
#include <utility>

#include "catch.hpp"
#include "laws/inputs.hpp"
#include "laws/norms.hpp"
#include "laws/reference.hpp"
#include "laws/tiers.hpp"

namespace {

using namespace laws;
using foldnorm::BackwardOptions;
using foldnorm::NormWorkspace;

// Fewer and more columns than a slice of dgamma's sums has (256); one slice, and several.
struct SummedShape {
  Index n, m;
};
constexpr SummedShape summed_shapes[] = {{1, 5}, {7, 40}, {64, 256}, {33, 257}, {20, 700}, {300, 3}};

template <class Norm>
struct SummedCase {
  using Scalar = typename Norm::Scalar;
  SummedShape shape;
  Matrix<Scalar> x = normal<Scalar>(shape.n, shape.m, 901, 1), dy = normal<Scalar>(shape.n, shape.m, 902);
  Vector<Scalar> gamma = normal<Scalar>(shape.n, 1, 903, 1, 0.3);
  NormStatistics<Scalar> statistics;

  explicit SummedCase(SummedShape s, Accuracy accuracy = Accuracy::fast) : shape(s) {
    Matrix<Scalar> y(s.n, s.m);
    Norm::forward(x, gamma, none, foldnorm::Compute<Scalar>(1e-5), y, statistics, accuracy);
  }
  // Into what `result` holds.
  void run(Gradients<Scalar>& result, BackwardOptions const& options) const {
    Norm::backward(dy, x, gamma, statistics, result.dx, result.dgamma, result.dbeta, options);
  }
  Gradients<Scalar> filled(unsigned seed) const {
    return {normal<Scalar>(shape.n, shape.m, seed), normal<Scalar>(shape.n, 1, seed + 1),
            normal<Scalar>(shape.n, 1, seed + 2)};
  }
  Gradients<Scalar> zeros() const {
    return {Matrix<Scalar>::Zero(shape.n, shape.m), Vector<Scalar>::Zero(shape.n), Vector<Scalar>::Zero(shape.n)};
  }
};

template <class Scalar>
bool same(Gradients<Scalar> const& a, Gradients<Scalar> const& b) {
  return same_bits(a.dx, b.dx) && same_bits(a.dgamma, b.dgamma) && same_bits(a.dbeta, b.dbeta);
}

// sum is before + added, where either what was added or the sum may not have been rounded.
template <class M>
bool is_sum(M const& sum, M const& before, M const& added) {
  using Scalar = typename M::Scalar;
  for (Index k = 0; k < sum.size(); ++k) {
    Wide const exact = Wide(before(k)) + Wide(added(k));
    if (!(std::abs(Wide(sum(k)) - exact) <= unit_roundoff<Scalar> * (std::abs(exact) + std::abs(Wide(added(k))))))
      return false;
  }
  return true;
}

}  // namespace

TEMPLATE_TEST_CASE("norm backward: adds to dx, or to dgamma and dbeta, or to all, as asked", "", FOLDNORM_ALL_NORMS) {
  for (SummedShape shape : summed_shapes) {
    for (Accuracy accuracy : both_modes) {
      INFO(shape.n << "x" << shape.m << ", accurate " << (accuracy == Accuracy::accurate));
      SummedCase<TestType> const c(shape, accuracy);
      auto plain = c.filled(910);
      c.run(plain, {accuracy});  // overwrites
      auto const before = c.filled(920);
      for (bool to_dx : {false, true}) {
        for (bool to_parameters : {false, true}) {
          INFO("to dx " << to_dx << ", to parameters " << to_parameters);
          auto ours = before;
          c.run(ours, {accuracy, to_dx, to_parameters});
          CHECK((to_dx ? is_sum(ours.dx, before.dx, plain.dx) : same_bits(ours.dx, plain.dx)));
          if (to_parameters) {
            CHECK(is_sum(ours.dgamma, before.dgamma, plain.dgamma));
            CHECK(is_sum(ours.dbeta, before.dbeta, plain.dbeta));
          } else {
            CHECK(same_bits(ours.dgamma, plain.dgamma));
            CHECK(same_bits(ours.dbeta, plain.dbeta));
          }
          auto from_zero = c.zeros();
          c.run(from_zero, {accuracy, to_dx, to_parameters});
          CHECK(same_values(from_zero.dx, plain.dx));
          CHECK(same_values(from_zero.dgamma, plain.dgamma));
          CHECK(same_values(from_zero.dbeta, plain.dbeta));
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("norm backward: adding to dx works in place of dy and of x", "", FOLDNORM_ALL_NORMS) {
  for (SummedShape shape : summed_shapes) {
    for (Accuracy accuracy : both_modes) {
      INFO(shape.n << "x" << shape.m << ", accurate " << (accuracy == Accuracy::accurate));
      SummedCase<TestType> c(shape, accuracy);
      auto plain = c.filled(930);
      c.run(plain, {accuracy});
      auto over_dy = c.dy, over_x = c.x;
      TestType::backward(over_dy, c.x, c.gamma, c.statistics, over_dy, none, none, BackwardOptions{accuracy, true});
      TestType::backward(c.dy, over_x, c.gamma, c.statistics, over_x, none, none, BackwardOptions{accuracy, true});
      CHECK(is_sum(over_dy, c.dy, plain.dx));
      CHECK(is_sum(over_x, c.x, plain.dx));
    }
  }
}

TEMPLATE_TEST_CASE("norm backward: a batch in two calls that add is the batch in one, within rounding", "",
                   FOLDNORM_ALL_NORMS) {
  using Scalar = typename TestType::Scalar;
  SummedCase<TestType> const whole({48, 200});
  auto all = whole.zeros(), halves = whole.zeros();
  whole.run(all, {});
  for (Index begin : {0, 120}) {
    Index const m = begin == 0 ? 120 : 80;
    NormStatistics<Scalar> statistics;
    Matrix<Scalar> const x = whole.x.middleCols(begin, m), dy = whole.dy.middleCols(begin, m);
    Matrix<Scalar> y(48, m), dx(48, m);
    TestType::forward(x, whole.gamma, none, Scalar(1e-5), y, statistics);
    TestType::backward(dy, x, whole.gamma, statistics, dx, halves.dgamma, halves.dbeta,
                       BackwardOptions{.add_to_parameters = true});
    CHECK(same_bits(dx, Matrix<Scalar>(all.dx.middleCols(begin, m))));
  }
  BackwardErrors const errors = backward_errors(Gradients<Scalar>{all.dx, halves.dgamma, halves.dbeta}, whole.dy,
                                                whole.x, whole.gamma, Scalar(1e-5), TestType::subtracts_mean);
  CHECK(errors.dgamma <= 64);  // tier 2
  CHECK(errors.dbeta <= 64);
}

TEMPLATE_TEST_CASE("norm backward: no samples add nothing", "", FOLDNORM_ALL_NORMS) {
  for (Accuracy accuracy : both_modes) {
    SummedCase<TestType> const c({5, 0});
    auto const before = c.filled(940);
    auto ours = before;
    c.run(ours, {accuracy, false, true});
    CHECK(same(ours, before));
    c.run(ours, {accuracy, false, false});
    CHECK(same(ours, c.zeros()));
  }
}

TEMPLATE_TEST_CASE("norm backward: a workspace of any past changes no bit", "", FOLDNORM_ALL_NORMS) {
  NormWorkspace workspace;
  for (int round = 0; round < 2; ++round) {
    for (SummedShape shape : summed_shapes) {
      for (Accuracy accuracy : both_modes) {
        INFO(shape.n << "x" << shape.m << ", round " << round);
        SummedCase<TestType> const c(shape, accuracy);
        auto without = c.filled(950), with = c.filled(960);
        c.run(without, {accuracy});
        c.run(with, {accuracy, false, false, &workspace});
        CHECK(same(with, without));
        // What is left in it is not read: NaN in every byte.
        double* const memory = workspace.reserve<double>(1);
        *memory = not_a_number<double>;
        c.run(with, {accuracy, false, false, &workspace});
        CHECK(same(with, without));
      }
    }
  }
}

TEST_CASE("NormWorkspace: grows to what is asked, holds every type, and does not move when less is asked") {
  NormWorkspace workspace;
  float* const first = workspace.reserve<float>(1000);
  for (int i = 0; i < 1000; ++i) first[i] = float(i);
  CHECK(first[999] == 999);
  CHECK(static_cast<void*>(workspace.reserve<double>(500)) == static_cast<void*>(first));
  CHECK(static_cast<void*>(workspace.reserve<float>(0)) == static_cast<void*>(first));
  double* const more = workspace.reserve<double>(5000);
  more[4999] = 1;
  CHECK(reinterpret_cast<std::uintptr_t>(more) % alignof(double) == 0);
}
