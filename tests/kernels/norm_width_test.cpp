// SPDX-License-Identifier: MIT
// Every width from 1 to 300, so every tail of a pack and every path: accurate, and the same bits on any memory.
#include <algorithm>
#include <string>
#include <vector>

#include "catch.hpp"
#include "laws/inputs.hpp"
#include "laws/norms.hpp"
#include "laws/reference.hpp"
#include "laws/tiers.hpp"

namespace {

using namespace laws;

constexpr Index widest = 300;
// Columns off every boundary, in memory that shows what was written beside them.
template <class Scalar>
class Strided {
 public:
  Strided(Matrix<Scalar> const& values, Index offset)
      : rows_(values.rows()),
        columns_(values.cols()),
        offset_(offset),
        stride_(rows_ + 3 + offset % 5),
        memory_(static_cast<std::size_t>(offset + stride_ * columns_ + 40), sentinel()) {
    view() = values;
  }
  auto view() {
    return Eigen::Map<Matrix<Scalar>, Eigen::Unaligned, Eigen::OuterStride<>>(memory_.data() + offset_, rows_, columns_,
                                                                              Eigen::OuterStride<>(stride_));
  }
  Matrix<Scalar> values() { return view(); }
  bool padding_untouched() {
    view().setConstant(sentinel());
    return std::count(memory_.begin(), memory_.end(), sentinel()) == std::ptrdiff_t(memory_.size());
  }

 private:
  static Scalar sentinel() { return Scalar(-12352); }  // a value of every storage type
  Index rows_, columns_, offset_, stride_;
  std::vector<Scalar> memory_;
};

template <class Norm>
struct WidthCase {
  using Scalar = typename Norm::Scalar;
  Index n;
  unsigned seed = unsigned(1000 + n);
  Matrix<Scalar> x = normal<Scalar>(n, uneven_samples, seed, 5), dy = normal<Scalar>(n, uneven_samples, seed + 1);
  Vector<Scalar> gamma = normal<Scalar>(n, 1, seed + 2, 1, 0.2);
  // A shift near 0 would ask for E_y where only nrm can be promised.
  Vector<Scalar> beta = (normal<float>(n, 1, seed + 3).array().sign() * 0.125f).matrix().template cast<Scalar>();
  foldnorm::Compute<Scalar> eps = foldnorm::Compute<Scalar>(1e-5);
  std::string text() const { return "n " + std::to_string(n) + ", seed " + std::to_string(seed); }
};

}  // namespace

TEMPLATE_TEST_CASE("norms: every width from 1 to 300 is within the tiers", "", FOLDNORM_ALL_STORED_NORMS) {
  for (Index n = 1; n <= widest; ++n) {
    WidthCase<TestType> const c{n};
    INFO(c.text());
    for (auto [accuracy, tier] : tiers) {
      auto const y = TestType::forward(c.x, c.gamma, c.beta, c.eps, accuracy);
      CHECK(forward_errors(y, c.x, c.gamma, c.beta, c.eps, TestType::subtracts_mean).y <= tier);
      auto const ours = gradients<TestType>(c.dy, c.x, c.gamma, c.eps, accuracy);
      BackwardErrors const errors = backward_errors(ours, c.dy, c.x, c.gamma, c.eps, TestType::subtracts_mean);
      CHECK(errors.dx <= tier);
      CHECK(errors.dgamma <= tier);
      CHECK(errors.dbeta <= tier);
    }
  }
}

TEMPLATE_TEST_CASE("norms: at every width, in place and on strided memory off every boundary are the same bits", "",
                   FOLDNORM_ALL_STORED_NORMS) {
  using Scalar = typename TestType::Scalar;
  for (Index n = 1; n <= widest; ++n) {
    WidthCase<TestType> const c{n};
    INFO(c.text());
    Matrix<Scalar> y(n, uneven_samples), in_place = c.x;
    NormStatistics<Scalar> statistics;
    TestType::forward(c.x, c.gamma, c.beta, c.eps, y);
    TestType::forward(in_place, c.gamma, c.beta, c.eps, in_place, statistics);
    CHECK(same_bits(in_place, y));
    Strided<Scalar> x(c.x, 1 + n % 7), out(c.x, n % 11), over(c.x, 3 + n % 5);
    TestType::forward(x.view(), c.gamma, c.beta, c.eps, out.view());
    CHECK(same_bits(out.values(), y));
    CHECK(out.padding_untouched());
    TestType::forward(over.view(), c.gamma, c.beta, c.eps, over.view());
    CHECK(same_bits(over.values(), y));
    CHECK(over.padding_untouched());

    Matrix<Scalar> dx(n, uneven_samples), over_dy = c.dy, over_x = c.x;
    Vector<Scalar> dgamma(n), dbeta(n), same_dgamma(n), same_dbeta(n);
    TestType::backward(c.dy, c.x, c.gamma, statistics, dx, dgamma, dbeta);
    auto const agrees = [&](auto const& dy, auto const& features, auto&& to) {
      TestType::backward(dy, features, c.gamma, statistics, to, same_dgamma, same_dbeta);
      return same_bits(to, dx) && same_bits(same_dgamma, dgamma) && same_bits(same_dbeta, dbeta);
    };
    CHECK(agrees(over_dy, c.x, over_dy));
    CHECK(agrees(c.dy, over_x, over_x));
    Strided<Scalar> dy(c.dy, 2 + n % 7);
    CHECK(agrees(dy.view(), x.view(), out.view()));
    CHECK(out.padding_untouched());
    CHECK(agrees(dy.view(), x.view(), dy.view()));
    CHECK(dy.padding_untouched());
  }
}
