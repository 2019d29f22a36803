// SPDX-License-Identifier: MIT
// tests/fold/centering_test.cpp -- LN(W x + b) = RMS(P W x + P b) for every storage of W, and the exact contract.
#include <foldnorm/fold/centering.hpp>
#include <foldnorm/kernels/layer_norm.hpp>
#include <foldnorm/kernels/rms_norm.hpp>

#include "catch.hpp"
#include "laws/instances.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

using namespace foldnorm;

namespace {

using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// LN and RMS differ by the roundings of two products of at most 1e2 terms and of the centering, each of them
// u = 1.1e-16 relative to values of unit size: 1e4 u (foldable_layer_norm.md, section 10).
constexpr double law_tolerance = 1e-12;

struct Random {
  std::mt19937_64 bits;
  explicit Random(std::uint64_t seed) : bits(seed) {}
  double operator()() { return static_cast<double>(bits() >> 11) * 0x1p-52 - 1; }  // [-1, 1)
  Matrix<double> matrix(Index rows, Index columns) {
    return Matrix<double>::NullaryExpr(rows, columns, [&] { return (*this)(); });
  }
  std::vector<double> values(Index count) {
    std::vector<double> result(static_cast<std::size_t>(count));
    for (double& value : result) value = (*this)();
    return result;
  }
};

struct Norm {
  Vector<double> gamma, beta;
  double eps = 1e-5;
  Norm(Index features, Random& random)
      : gamma((1 + 0.3 * random.matrix(features, 1).array()).matrix()), beta(random.matrix(features, 1)) {}

  Matrix<double> layer(Matrix<double> const& x) const {
    Matrix<double> y(x.rows(), x.cols());
    layer_norm(x, gamma, beta, eps, y);
    return y;
  }
  Matrix<double> rms(Matrix<double> const& x) const {
    Matrix<double> y(x.rows(), x.cols());
    rms_norm(x, gamma, beta, eps, y);
    return y;
  }
};

double distance(Matrix<double> const& a, Matrix<double> const& b) {
  return a.size() == 0 ? 0 : (a - b).cwiseAbs().maxCoeff() / std::max(1.0, a.cwiseAbs().maxCoeff());
}

// The law, and the danger: before the fold RMS is another function, after it the same.
void check_law(Matrix<double> const& before, Matrix<double> const& after, Norm const& norm) {
  CHECK(distance(norm.layer(before), norm.rms(after)) <= law_tolerance);
  CHECK(distance(norm.layer(before), norm.rms(before)) > 1e-3);
}

// A convolution over a line of tokens, zeros outside, written out tap by tap. kernel[out][in][tap].
Matrix<double> convolve(std::vector<double> const& kernel, Vector<double> const& bias, Matrix<double> const& x,
                        Index out, Index taps) {
  Index const in = x.rows();
  Matrix<double> y(out, x.cols());
  for (Index j = 0; j < x.cols(); ++j) {
    for (Index o = 0; o < out; ++o) {
      double sum = bias(o);
      for (Index c = 0; c < in; ++c) {
        for (Index t = 0; t < taps; ++t) {
          Index const source = j + t - taps / 2;
          if (source >= 0 && source < x.cols()) {
            sum += kernel[static_cast<std::size_t>((o * in + c) * taps + t)] * x(c, source);
          }
        }
      }
      y(o, j) = sum;
    }
  }
  return y;
}

// A transposed convolution of stride 2: every input token spreads over `taps` output tokens. kernel[in][out][tap].
Matrix<double> spread(std::vector<double> const& kernel, Vector<double> const& bias, Matrix<double> const& x, Index out,
                      Index taps) {
  Index const stride = 2;
  Matrix<double> y = bias.replicate(1, (x.cols() - 1) * stride + taps);
  for (Index j = 0; j < x.cols(); ++j) {
    for (Index c = 0; c < x.rows(); ++c) {
      for (Index o = 0; o < out; ++o) {
        for (Index t = 0; t < taps; ++t) {
          y(o, j * stride + t) += kernel[static_cast<std::size_t>((c * out + o) * taps + t)] * x(c, j);
        }
      }
    }
  }
  return y;
}

template <class Scalar>
bool same_bits(Matrix<Scalar> const& a, Matrix<Scalar> const& b) {
  return a.rows() == b.rows() && a.cols() == b.cols() &&
         std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(Scalar)) == 0;
}

template <class Scalar>
constexpr double roundoff() {
  if constexpr (std::is_same_v<Scalar, Eigen::half>) return 0x1p-11;
  if constexpr (std::is_same_v<Scalar, Eigen::bfloat16>) return 0x1p-8;
  if constexpr (std::is_same_v<Scalar, float>) return 0x1p-24;
  return 0x1p-53;
}

// |sum| of a column and its largest entry, in long double: exact enough for every type here.
template <class Column>
std::pair<long double, long double> sum_and_largest(Column const& column) {
  long double sum = 0, largest = 0;
  for (Index i = 0; i < column.size(); ++i) {
    auto const value = static_cast<long double>(static_cast<double>(column(i)));
    sum += value;
    largest = std::max(largest, std::abs(value));
  }
  return {std::abs(sum), largest};
}

}  // namespace

TEST_CASE("fold_centering: law for a linear layer, stored out x in or in x out, in either storage order") {
  Random random(1);
  Matrix<double> const w = random.matrix(7, 5), x = random.matrix(5, 9);
  Vector<double> const b = random.matrix(7, 1);
  Norm const norm(7, random);
  Matrix<double> const before = (w * x).colwise() + b;

  Matrix<double> plain = w;
  Vector<double> bias = b;
  fold_centering(plain, bias);
  check_law(before, (plain * x).colwise() + bias, norm);

  RowMajor row_major = w;
  bias = b;
  fold_centering(row_major, bias);
  CHECK(row_major == plain);
  CHECK(bias == Vector<double>(b.array() - b(0)).eval().array().matrix() -
                    Vector<double>::Constant(7, (b.array() - b(0)).mean()));

  Matrix<double> transposed = w.transpose();  // GPT-2's "Conv1D"
  bias = b;
  fold_centering(in_by_out(transposed), bias);
  CHECK(transposed == plain.transpose());
  RowMajor transposed_row_major = w.transpose();
  bias = b;
  fold_centering(in_by_out(transposed_row_major), bias);
  CHECK(transposed_row_major == plain.transpose());
}

TEST_CASE("fold_centering: law for a layer without a bias") {
  Random random(2);
  Matrix<double> w = random.matrix(7, 5);
  Matrix<double> const x = random.matrix(5, 9), before = w * x;
  fold_centering(w);
  check_law(before, w * x, Norm(7, random));
}

TEST_CASE("fold_centering: centers a block of a matrix in place and touches nothing around it") {
  Random random(3);
  Matrix<double> const original = random.matrix(9, 8);
  Matrix<double> big = original, expected = original.block(2, 1, 5, 4);
  fold_centering(expected);
  fold_centering(big.block(2, 1, 5, 4));
  CHECK(big.block(2, 1, 5, 4) == expected);
  big.block(2, 1, 5, 4) = original.block(2, 1, 5, 4);
  CHECK(big == original);
  // Every other row and column.
  using Strided = Eigen::Map<Matrix<double>, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;
  Strided strided(big.data(), 4, 3, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>(18, 2));
  Matrix<double> every_other = strided;
  fold_centering(every_other);
  fold_centering(strided);
  CHECK(Matrix<double>(strided) == every_other);
  for (Index i = 0; i < 9; ++i) {
    for (Index j = 0; j < 8; ++j) {
      bool const inside = i % 2 == 0 && i < 8 && j % 2 == 0 && j < 6;
      if (!inside) CHECK(big(i, j) == original(i, j));
    }
  }
}

TEST_CASE("fold_centering: a bias may lie as a row or stand as a column") {
  Random random(4);
  Matrix<double> const w = random.matrix(6, 3);
  Vector<double> const b = random.matrix(6, 1);
  Matrix<double> w1 = w, w2 = w, w3 = w;
  Vector<double> column = b;
  Eigen::RowVectorXd row = b.transpose();
  Matrix<double> holder = Matrix<double>::Ones(3, 6);
  holder.row(1) = b.transpose();
  fold_centering(w1, column);
  fold_centering(w2, row);
  fold_centering(w3, holder.row(1));
  CHECK(row == column.transpose());
  CHECK(holder.row(1) == column.transpose());
  CHECK(holder.row(0) == Matrix<double>::Ones(1, 6));
  CHECK(column != b);
}

TEST_CASE("fold_centering: law for a convolution with padding, border tokens included") {
  for (Index taps : {1, 3, 5}) {
    Random random(5);
    Index const in = 4, out = 6;
    std::vector<double> kernel = random.values(out * in * taps);
    Vector<double> bias = random.matrix(out, 1);
    Matrix<double> const x = random.matrix(in, 7), before = convolve(kernel, bias, x, out, taps);
    fold_centering(convolution_kernel(kernel.data(), out, in, taps), bias);
    check_law(before, convolve(kernel, bias, x, out, taps), Norm(out, random));
  }
}

TEST_CASE("fold_centering: law for a transposed convolution") {
  Random random(6);
  Index const in = 4, out = 6, taps = 3;
  std::vector<double> kernel = random.values(in * out * taps);
  Vector<double> bias = random.matrix(out, 1);
  Matrix<double> const x = random.matrix(in, 7), before = spread(kernel, bias, x, out, taps);
  fold_centering(transposed_convolution_kernel(kernel.data(), in, out, taps), bias);
  check_law(before, spread(kernel, bias, x, out, taps), Norm(out, random));
}

TEST_CASE("fold_centering: law for an embedding with positions; a zero padding vector stays zero") {
  Random random(7);
  Matrix<double> table = random.matrix(6, 10), positions = random.matrix(6, 4);
  table.col(0).setZero();
  std::array<Index, 4> const ids{3, 0, 9, 3};
  auto const stream = [&] {
    Matrix<double> y = positions;
    for (Index j = 0; j < 4; ++j) y.col(j) += table.col(ids[static_cast<std::size_t>(j)]);
    return y;
  };
  Matrix<double> const before = stream();
  RowMajor by_word = table.transpose();  // vocabulary x features, as most frameworks store it
  fold_centering(table);
  fold_centering(positions);
  fold_centering(in_by_out(by_word));
  check_law(before, stream(), Norm(6, random));
  CHECK(table.col(0).isZero(0));
  CHECK(by_word.transpose() == table);
}

TEST_CASE("fold_centering: law for a mixture of experts, whose gates weigh every token") {
  Random random(8);
  std::array<Matrix<double>, 3> experts;
  std::array<Vector<double>, 3> biases;
  for (std::size_t e = 0; e < 3; ++e) {
    experts[e] = random.matrix(6, 5);
    biases[e] = random.matrix(6, 1);
  }
  Matrix<double> const x = random.matrix(5, 8), gates = random.matrix(3, 8);
  auto const mixed = [&] {
    Matrix<double> y = Matrix<double>::Zero(6, 8);
    for (std::size_t e = 0; e < 3; ++e) {
      Matrix<double> const out = (experts[e] * x).colwise() + biases[e];
      y += out * gates.row(static_cast<Index>(e)).transpose().asDiagonal();
    }
    return y;
  };
  Matrix<double> const before = mixed();
  for (std::size_t e = 0; e < 3; ++e) fold_centering(experts[e], biases[e]);
  check_law(before, mixed(), Norm(6, random));
}

TEST_CASE("fold_centering: law for LoRA, W + B A with W and B centered") {
  Random random(9);
  Matrix<double> w = random.matrix(6, 5), up = random.matrix(6, 2);
  Matrix<double> const down = random.matrix(2, 5), x = random.matrix(5, 8), before = (w + up * down) * x;
  fold_centering(w);
  fold_centering(up);
  check_law(before, (w + up * down) * x, Norm(6, random));
}

TEST_CASE("fold_centering: law for single-head attention without an output projection") {
  Random random(10);
  Matrix<double> values = random.matrix(6, 5);
  Vector<double> bias = random.matrix(6, 1);
  Matrix<double> const x = random.matrix(5, 8);
  Matrix<double> mixing = random.matrix(8, 8).array().exp();  // positive, columns sum to one
  mixing.array().rowwise() /= mixing.colwise().sum().array().eval();
  auto const attended = [&] { return Matrix<double>(((values * x).colwise() + bias) * mixing); };
  Matrix<double> const before = attended();
  fold_centering(values, bias);
  check_law(before, attended(), Norm(6, random));
}

TEST_CASE("fold_scale_and_centering: law for LayerScale and for a batch norm at inference") {
  Random random(11);
  Matrix<double> const w = random.matrix(6, 5), x = random.matrix(5, 8);
  Vector<double> const b = random.matrix(6, 1), s = random.matrix(6, 1), t = random.matrix(6, 1);
  Norm const norm(6, random);
  std::array<Interval, 1> const all{{{0, 6}}};
  for (bool const shifted : {false, true}) {
    Matrix<double> before = s.asDiagonal() * ((w * x).colwise() + b);
    if (shifted) before.colwise() += t;
    Matrix<double> folded = w;
    Vector<double> bias = b;
    fold_scale_and_centering(out_by_in(folded), bias, s, shifted ? t : Vector<double>(), all);
    check_law(before, (folded * x).colwise() + bias, norm);
  }
}

TEST_CASE("fold_scale_and_centering: outside of the parts it scales and shifts only") {
  Random random(12);
  Matrix<double> const w = random.matrix(6, 5);
  Vector<double> const b = random.matrix(6, 1), s = random.matrix(6, 1), t = random.matrix(6, 1);
  Matrix<double> folded = w;
  Vector<double> bias = b;
  std::array<Interval, 1> const part{{{1, 4}}};
  fold_scale_and_centering(out_by_in(folded), bias, s, t, part);
  for (Index i : {0, 4, 5}) {
    CHECK(folded.row(i) == s(i) * w.row(i));
    CHECK(bias(i) == s(i) * b(i) + t(i));
  }
  CHECK(folded.middleRows(1, 3).colwise().sum().cwiseAbs().maxCoeff() < 1e-15 * 3);
}

TEST_CASE("fold_centering: one output becomes zero, and its norm gives beta either way") {
  Random random(13);
  Matrix<double> w = random.matrix(1, 5), x = random.matrix(5, 4);
  Vector<double> b = random.matrix(1, 1);
  Norm const norm(1, random);
  Matrix<double> const before = norm.layer((w * x).colwise() + b);
  fold_centering(w, b);
  CHECK(w.isZero(0));
  CHECK(b.isZero(0));
  Matrix<double> const after = norm.rms((w * x).colwise() + b);
  CHECK(before == after);
  CHECK(after == norm.beta.replicate(1, 4));
}

TEST_CASE("fold_centering: equal entries become exact zeros, whatever they are") {
  for (double const value : {1.0 / 3, 3.14159, 1e30, -7e-300, 1e300}) {
    for (Index m : {2, 3, 7, 768}) {
      Matrix<double> w = Matrix<double>::Constant(m, 2, value);
      fold_centering(w);
      CHECK(w.isZero(0));
    }
  }
  Matrix<float> f = Matrix<float>::Constant(7, 1, 0.1F);
  fold_centering(f);
  CHECK(f.isZero(0));
}

TEST_CASE("fold_centering: law for weights with a common offset that dwarfs them, which LN loses digits on") {
  Random random(14);
  for (double const offset : {1e3, 1e6, 1e9}) {
    CAPTURE(offset);
    Matrix<double> w = (random.matrix(8, 5).array() + offset).matrix();
    Matrix<double> const small = w.array() - offset;  // exact enough: the offset is a whole number
    Matrix<double> const x = random.matrix(5, 9);
    Norm const norm(8, random);
    fold_centering(w);
    // The reference has the offset taken out before it was ever added.
    Matrix<double> const reference = norm.layer(small * x);
    CHECK(distance(norm.rms(w * x), reference) <= law_tolerance);
  }
}

TEST_CASE("fold_centering: parts are centered each by itself, other outputs keep their bits") {
  Random random(15);
  Matrix<double> const w = random.matrix(8, 5);
  Vector<double> const b = random.matrix(8, 1);
  Matrix<double> parts = w, first = w.middleRows(1, 3), second = w.middleRows(4, 2);
  Vector<double> bias = b;
  std::array<Interval, 2> const intervals{{{1, 4}, {4, 6}}};
  fold_centering(out_by_in(parts), bias, intervals);
  fold_centering(first);
  fold_centering(second);
  CHECK(parts.middleRows(1, 3) == first);
  CHECK(parts.middleRows(4, 2) == second);
  for (Index i : {0, 6, 7}) {
    CHECK(parts.row(i) == w.row(i));
    CHECK(bias(i) == b(i));
  }
  CHECK(std::abs(bias.segment(1, 3).sum()) < 1e-15);
  Matrix<double> nothing = w;
  fold_centering(out_by_in(nothing), std::span<Interval const>{});
  CHECK(same_bits(nothing, w));
}

// Contract 17 of the numerics: for every type, any matrix.
TEMPLATE_TEST_CASE("fold_centering: contract 17, balanced columns keep their bits, all end balanced, twice is once", "",
                   float, double, Eigen::half, Eigen::bfloat16) {
  using Scalar = TestType;
  using Weights = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;
  constexpr double u = roundoff<Scalar>();
  Index refused_rounds = 0;
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    Random random(seed);
    Index const m = 1 + static_cast<Index>(random.bits() % (seed % 7 == 0 ? 900 : 40));
    // Plain, with offsets up to 1e4 times the spread, of mixed sizes, nearly balanced, and sparse.
    constexpr bool narrow_range = std::is_same_v<Scalar, Eigen::half>;  // 30 * 2^8 is within a quarter of 65504
    double const offset = seed % 3 == 0 ? std::pow(10.0, (narrow_range ? 1.4 : 4) * random()) : 0;
    double const size = narrow_range ? 1 : std::pow(2.0, 10 * random());
    Matrix<double> wide = (random.matrix(m, 6).array() + offset) * size;
    if (seed % 5 == 0) wide = wide.unaryExpr([&](double v) { return v * std::pow(2.0, 8 * random()); }).eval();
    if (seed % 11 == 0) wide = wide.unaryExpr([&](double v) { return random() < 0.7 ? 0.0 : v; }).eval();
    wide.col(0).array() -= wide.col(0).mean();  // some columns are balanced already
    Weights w = wide.template cast<Scalar>();
    Weights const before = w;
    fold_centering(w);
    bool holds = true;
    for (Index j = 0; j < w.cols(); ++j) {
      auto const [old_sum, old_largest] = sum_and_largest(before.col(j));
      auto const [sum, largest] = sum_and_largest(w.col(j));
      auto const bound = static_cast<long double>(m) * static_cast<long double>(u);
      holds = holds && sum <= bound * largest;
      if (old_sum <= bound * old_largest * (1 - 1e-10L)) holds = holds && w.col(j) == before.col(j);
      if (old_sum > bound * old_largest * (1 + 1e-10L)) ++refused_rounds;
    }
    Weights const once = w;
    fold_centering(w);
    holds = holds && w == once && is_centered(w);
    CAPTURE(seed, m, offset);
    CHECK(holds);
  }
  CHECK(refused_rounds > 1000);  // most columns did have to change
}

TEMPLATE_TEST_CASE("fold_centering: centering is to the nearest stored number, not merely balanced", "", float,
                   Eigen::half, Eigen::bfloat16) {
  using Scalar = TestType;
  Random random(21);
  Matrix<double> const wide = random.matrix(50, 6);
  Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic> w = wide.cast<Scalar>();
  Matrix<double> const stored = w.template cast<double>();
  fold_centering(w);
  Matrix<double> const exact = stored.rowwise() - stored.colwise().mean();
  for (Index j = 0; j < 6; ++j) {
    for (Index i = 0; i < 50; ++i) {
      // Half an ulp of the storage type is at most u |value|; the double mean adds nothing visible.
      double const error = std::abs(static_cast<double>(w(i, j)) - exact(i, j));
      CHECK(error <= roundoff<Scalar>() * std::abs(exact(i, j)) * (1 + 1e-3) + 1e-7 * roundoff<Scalar>());
    }
  }
}

TEMPLATE_TEST_CASE("fold_centering: what is left of |mean| / RMS is of the storage type's order", "", float, double,
                   Eigen::half, Eigen::bfloat16) {
  using Scalar = TestType;
  Random random(22);
  Index const m = 768;
  Matrix<double> const wide = random.matrix(m, m) / std::sqrt(static_cast<double>(m));
  Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic> w = wide.cast<Scalar>();
  Matrix<double> const x = random.matrix(m, 16);
  auto const ratio = [&] {  // |mean| / RMS, the root mean square over the tokens
    Matrix<double> const y = w.template cast<double>() * x;
    return std::sqrt(y.colwise().mean().squaredNorm() / y.cwiseAbs2().mean() / static_cast<double>(y.cols()));
  };
  double const before = ratio();
  fold_centering(w);
  double const after = ratio();
  CAPTURE(before, after);
  CHECK(before > 2e-2);  // about 1 / sqrt(768)
  // Entries on one lattice, shifted by one mean, round alike: a column's mean is left at up to u max|w|. Over the
  // inputs these add up like the entries themselves, whose root mean square is max / sqrt(3): sqrt(3) u at most.
  CHECK(after < 2 * roundoff<Scalar>());
  if (!std::is_same_v<Scalar, double>) CHECK(after > 0);
}

TEST_CASE("fold_centering: the column sum is taken in more than double where the offset needs it") {
  // 1e17 has an ulp of 16: a plain sum of this column rounds each small entry by up to 8.
  Vector<double> w(7);
  w << 1e17, 100, 107, 93, -1e17, 300, 1000;
  fold_centering(w);
  auto const [sum, largest] = sum_and_largest(w);
  CHECK(sum <= 7 * 0x1p-53L * largest);
  // The mean 1600 / 7 is gone from the small entries, up to the rounding of the large ones.
  CHECK(std::abs(w(1) - (100 - 1600.0 / 7)) <= 32);
  CHECK(std::abs(w(6) - (1000 - 1600.0 / 7)) <= 32);
}

TEMPLATE_TEST_CASE("fold_centering: refuses NaN, infinity and numbers too large, and writes nothing", "", float, double,
                   Eigen::half, Eigen::bfloat16) {
  using Scalar = TestType;
  using Weights = Matrix<Scalar>;
  double const most = static_cast<double>(std::numeric_limits<Scalar>::max());
  for (double const bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
                           -std::numeric_limits<double>::infinity(), most, -most}) {
    for (bool const in_bias : {false, true}) {
      CAPTURE(bad, in_bias);
      Random random(31);
      Weights w = random.matrix(4, 3).cast<Scalar>(), b = random.matrix(4, 1).cast<Scalar>();
      (in_bias ? b : w)(3, in_bias ? 0 : 2) = static_cast<Scalar>(bad);
      Weights const w0 = w, b0 = b;
      CHECK_THROWS_AS(fold_centering(w, b), std::invalid_argument);
      if (!in_bias) CHECK_THROWS_AS(fold_centering(w), std::invalid_argument);
      CHECK(same_bits(w, w0));
      CHECK(same_bits(b, b0));
    }
  }
}

TEST_CASE("fold_centering: messages say which argument, where and what") {
  Matrix<double> w = Matrix<double>::Ones(4, 3);
  w(2, 1) = std::nan("");
  CHECK_THROWS_WITH(fold_centering(w), Catch::Matchers::Matches(".*weight.*nan.*output 2.*column 1.*"));
  Matrix<double> ones = Matrix<double>::Ones(4, 3);
  Vector<double> b = Vector<double>::Ones(5);
  CHECK_THROWS_WITH(fold_centering(ones, b), Catch::Matchers::Matches(".*bias.*5.*4.*"));
}

TEST_CASE("fold_centering: a bias of another size is refused, also one that would fit turned") {
  Random random(32);
  Matrix<double> w = random.matrix(4, 3);
  Matrix<double> const w0 = w;
  Vector<double> b5 = random.matrix(5, 1), b3 = random.matrix(3, 1);
  Eigen::RowVectorXd r3 = random.matrix(1, 3);
  Matrix<double> b42 = random.matrix(4, 2), b24 = random.matrix(2, 4);
  CHECK_THROWS_AS(fold_centering(w, b5), shape_error);
  CHECK_THROWS_AS(fold_centering(w, b3), shape_error);
  CHECK_THROWS_AS(fold_centering(w, r3), shape_error);
  CHECK_THROWS_AS(fold_centering(w, b42), shape_error);
  CHECK_THROWS_AS(fold_centering(w, b24), shape_error);
  CHECK(same_bits(w, w0));
}

TEST_CASE("fold_centering: parts that are empty, out of order, overlapping or outside are refused") {
  Random random(33);
  Matrix<double> w = random.matrix(6, 2);
  Matrix<double> const w0 = w;
  std::vector<std::vector<Interval>> const table{{{2, 2}}, {{3, 2}},         {{-1, 2}},
                                                 {{0, 7}}, {{2, 4}, {0, 2}}, {{0, 3}, {2, 4}}};
  for (auto const& parts : table) {
    CAPTURE(parts[0].begin, parts[0].end);
    CHECK_THROWS_AS(fold_centering(out_by_in(w), std::span(parts)), std::invalid_argument);
    Vector<double> b = Vector<double>::Ones(6);
    CHECK_THROWS_AS(fold_centering(out_by_in(w), b, std::span(parts)), std::invalid_argument);
    CHECK(same_bits(w, w0));
  }
}

TEST_CASE("fold_scale_and_centering: refuses scales and shifts of another size or not finite, and writes nothing") {
  Random random(34);
  Matrix<double> w = random.matrix(4, 3);
  Vector<double> b = random.matrix(4, 1);
  Matrix<double> const w0 = w;
  Vector<double> const b0 = b, good = Vector<double>::Ones(4), five = Vector<double>::Ones(5), none_given;
  Vector<double> nan = good, infinite = good, huge = good;
  nan(1) = std::nan("");
  infinite(2) = std::numeric_limits<double>::infinity();
  huge(0) = 1e308;
  std::array<Interval, 1> const all{{{0, 4}}};
  auto const refuses = [&](Vector<double> const& s, Vector<double> const& t) {
    CHECK_THROWS_AS(fold_scale_and_centering(out_by_in(w), b, s, t, all), std::invalid_argument);
  };
  refuses(five, none_given);
  refuses(none_given, none_given);
  refuses(good, five);
  for (auto const* bad : {&nan, &infinite, &huge}) {
    refuses(*bad, none_given);
    refuses(good, *bad);
  }
  CHECK(same_bits(w, w0));
  CHECK(b == b0);
}

TEST_CASE("fold_scale_and_centering: a product that does not fit the storage type is refused") {
  Matrix<float> w = Matrix<float>::Constant(2, 1, 1e30F);
  Vector<float> b = Vector<float>::Zero(2);
  Matrix<float> const w0 = w;
  std::array<Interval, 1> const all{{{0, 2}}};
  CHECK_THROWS_AS(fold_scale_and_centering(out_by_in(w), b, Vector<double>{{1e10, -1e10}}, Vector<double>(), all),
                  std::invalid_argument);
  CHECK(same_bits(w, w0));
}

TEST_CASE("fold_scale_and_centering: a shift that does not fit the bias's storage type is refused") {
  Matrix<float> w = Matrix<float>::Ones(2, 1);
  Vector<float> b = Vector<float>::Zero(2);
  std::array<Interval, 1> const all{{{0, 2}}};
  CHECK_THROWS_AS(
      fold_scale_and_centering(out_by_in(w), b, Vector<double>{{1.0, 1.0}}, Vector<double>{{1e300, -1e300}}, all),
      std::invalid_argument);
  CHECK(b.isZero(0));
}

TEST_CASE("fold_centering: nothing to center is no error") {
  Matrix<double> none_out(0, 3), none_in(3, 0);
  CHECK_NOTHROW(fold_centering(none_out));
  Vector<double> bias = Vector<double>{{1.0, 2.0, 3.0}};
  fold_centering(none_in, bias);
  CHECK(bias == Vector<double>{{-1.0, 0.0, 1.0}});
  CHECK(is_centered(none_out));
  CHECK(is_centered(none_in));
}

TEST_CASE("fold_centering: the largest numbers that are let through stay finite") {
  double const most = std::numeric_limits<double>::max() / 16;
  Vector<double> w(4);
  w << most, -most, -most, -most;
  fold_centering(w);
  CHECK(w.allFinite());
  CHECK(is_centered(w));
  Vector<float> f(4);
  float const quarter = std::numeric_limits<float>::max() / 4;
  f << quarter, -quarter, -quarter, -quarter;
  fold_centering(f);
  CHECK(f.allFinite());
  CHECK(is_centered(f));
}

TEMPLATE_TEST_CASE("fold_centering: subnormal weights are safe, and twice is once", "", float, double, Eigen::half,
                   Eigen::bfloat16) {
  using Scalar = TestType;
  auto const tiny = static_cast<double>(std::numeric_limits<Scalar>::denorm_min());
  for (std::vector<int> const& steps : {std::vector{1, 0, 0}, {1, 0}, {3, 1, 2, 7, 7}, {1, 1, 1, 0}}) {
    Vector<Scalar> w(static_cast<Index>(steps.size()));
    double sum = 0;
    for (std::size_t i = 0; i < steps.size(); ++i) {
      w(static_cast<Index>(i)) = static_cast<Scalar>(steps[i] * tiny);
      sum += steps[i] * tiny;
    }
    fold_centering(w);
    Vector<Scalar> const once = w;
    fold_centering(w);
    CHECK(w == once);
    // Each entry ends within one step of its centered value: that is the lattice.
    for (std::size_t i = 0; i < steps.size(); ++i) {
      double const exact = steps[i] * 1.0 - sum / tiny / static_cast<double>(steps.size());
      CHECK(std::abs(static_cast<double>(w(static_cast<Index>(i))) / tiny - exact) <= 1);
    }
  }
}

TEST_CASE("is_centered: asks for |mean| within tolerance times the largest entry") {
  Vector<double> w(4);
  w << 1, -1, 2, -2 + 8e-3;  // mean 2e-3, largest 2
  CHECK_FALSE(is_centered(w));
  CHECK(is_centered(w, 1.001e-3));
  CHECK_FALSE(is_centered(w, 0.999e-3));
  w(3) = -2;
  CHECK(is_centered(w));
  CHECK(is_centered(w, 0));
  w(0) = std::nan("");
  CHECK_FALSE(is_centered(w, 1e9));
  w(0) = std::numeric_limits<double>::infinity();
  CHECK_FALSE(is_centered(w));
  Matrix<double> two = Matrix<double>::Zero(4, 2);
  CHECK(is_centered(two));
  two(3, 1) = 1e-300;  // one column is enough
  CHECK_FALSE(is_centered(two));
}

TEST_CASE("is_centered: says which axis, and reads const weights") {
  Matrix<double> const w{{1.0, 2.0}, {-1.0, -2.0}};
  CHECK(is_centered(w));
  CHECK_FALSE(is_centered(in_by_out(w)));
  CHECK(is_centered(in_by_out(Matrix<double>(w.transpose()))));
}

namespace {

template <class... Arguments>
concept can_fold = requires(Arguments&&... arguments) {
  fold_centering(std::forward<Arguments>(arguments)...);
};

}  // namespace

TEST_CASE("fold_centering: what nobody means does not compile") {
  STATIC_REQUIRE(can_fold<Matrix<double>&>);
  STATIC_REQUIRE(can_fold<Vector<double>&>);
  STATIC_REQUIRE(can_fold<Matrix<float>&, Vector<float>&>);
  STATIC_REQUIRE(can_fold<Matrix<float>&, Eigen::RowVectorXf&>);
  STATIC_REQUIRE_FALSE(can_fold<Eigen::RowVectorXd&>);  // would become 0 as a 1 x in weight
  STATIC_REQUIRE_FALSE(can_fold<Eigen::RowVectorXd&, Vector<double>&>);
  STATIC_REQUIRE_FALSE(can_fold<decltype(Matrix<double>() + Matrix<double>())>);  // the result would be lost
  STATIC_REQUIRE_FALSE(can_fold<Eigen::MatrixXi&>);                               // quantised
  STATIC_REQUIRE_FALSE(can_fold<Eigen::MatrixXcd&>);
}

TEST_CASE("fold_centering: parts of a plain matrix are those of its layout; a constant matrix does not compile") {
  Eigen::MatrixXd w = Eigen::MatrixXd::Random(6, 3);
  Eigen::VectorXd b = Eigen::VectorXd::Random(6);
  Eigen::MatrixXd w_expected = w;
  Eigen::VectorXd b_expected = b;
  std::vector<Interval> const parts{{0, 2}, {3, 6}};
  fold_centering(w, b, std::span<Interval const>(parts));
  fold_centering(out_by_in(w_expected), b_expected, std::span<Interval const>(parts));
  CHECK(w == w_expected);
  CHECK(b == b_expected);
  CHECK(is_centered(w.topRows(2)));
  CHECK_FALSE(is_centered(w.middleRows(2, 1)));
  auto const folds = [](auto& weight, auto& bias) {
    return requires { fold_centering(weight, bias); };
  };
  Eigen::MatrixXd const constant = w;
  CHECK(folds(w, b));
  CHECK_FALSE(folds(constant, b));
}
