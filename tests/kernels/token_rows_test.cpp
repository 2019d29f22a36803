// SPDX-License-Identifier: MIT
// Norms on pointers: row-major tensors are this library's columns, in the same bytes.
#include <foldnorm/kernels/token_rows.hpp>

#include <array>
#include <span>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "catch.hpp"
#include "laws/inputs.hpp"
#include "laws/norms.hpp"

namespace {

using namespace laws;
using foldnorm::TokenRows;

constexpr Index tokens = 7, features = 19;

template <class Norm>
void on_rows(TokenRows<float const> x, float const* gamma, float const* beta, TokenRows<float> y, Accuracy accuracy) {
  if constexpr (Norm::subtracts_mean) {
    foldnorm::layer_norm_rows(x, gamma, beta, 1e-5f, y, accuracy);
  } else {
    foldnorm::rms_norm_rows(x, gamma, beta, 1e-5f, y, accuracy);
  }
}

}  // namespace

TEST_CASE("TokenRows: a row-major tensor is seen as features x tokens, in the same memory") {
  std::vector<float> tensor(tokens * features);
  for (std::size_t i = 0; i < tensor.size(); ++i) tensor[i] = float(i);
  TokenRows<float> const rows(tensor.data(), tokens, features);
  CHECK(rows.tokens() == tokens);
  CHECK(rows.features() == features);
  CHECK(rows.view().rows() == features);
  CHECK(rows.view().cols() == tokens);
  CHECK(rows.view().data() == tensor.data());
  for (Index t = 0; t < tokens; ++t) {
    for (Index f = 0; f < features; ++f) CHECK(rows.view()(f, t) == tensor[std::size_t(t * features + f)]);
  }
  rows.view()(2, 3) = -1;
  CHECK(tensor[3 * features + 2] == -1);
}

TEST_CASE("TokenRows: a stride skips what lies between rows, a span gives the number of rows") {
  std::vector<double> tensor(40);
  for (std::size_t i = 0; i < tensor.size(); ++i) tensor[i] = double(i);
  TokenRows<double const> const strided(tensor.data(), 4, 7, 10);
  CHECK(strided.view()(6, 3) == 36);
  TokenRows<double const> const whole(std::span<double const>(tensor), 8);
  CHECK(whole.tokens() == 5);
  CHECK(whole.view()(7, 4) == 39);
  CHECK(TokenRows<double const>(std::span<double const>(), 8).tokens() == 0);
  static_assert(std::is_same_v<TokenRows<double const>::Scalar, double>);
}

TEST_CASE("TokenRows: sizes that make no tensor throw") {
  std::array<float, 12> memory{};
  auto const make = [&](Index t, Index f, Index stride) { TokenRows<float>(memory.data(), t, f, stride); };
  CHECK_THROWS_AS(make(-1, 3, 3), std::invalid_argument);
  CHECK_THROWS_AS(make(2, -3, 3), std::invalid_argument);
  CHECK_THROWS_WITH(make(2, 4, 3), Catch::Contains("2, 4, 3"));
  CHECK_THROWS_AS(make(2, 4, -4), std::invalid_argument);
  CHECK_NOTHROW(make(1, 4, 0));  // one row has no next
  CHECK_NOTHROW(make(0, 4, 4));
  CHECK_NOTHROW(make(2, 0, 0));
  CHECK_THROWS_WITH(TokenRows<float>(std::span<float>(memory), 5), Catch::Contains("12") && Catch::Contains("5"));
  CHECK_THROWS_AS(TokenRows<float>(std::span<float>(memory), 0), std::invalid_argument);
  CHECK_THROWS_AS(TokenRows<float>(std::span<float>(memory), -3), std::invalid_argument);
}

TEMPLATE_TEST_CASE("norms of rows: with and without gamma and beta, the bits of the call on matrices", "",
                   LayerNormOf<float>, RMSNormOf<float>) {
  Matrix<float> const x = normal<float>(features, tokens, 1201, 2);
  Vector<float> const gamma = normal<float>(features, 1, 1202), beta = normal<float>(features, 1, 1203);
  for (Accuracy accuracy : {Accuracy::fast, Accuracy::accurate}) {
    Matrix<float> y(features, tokens);
    auto const run = [&](float const* gain, float const* shift) {
      on_rows<TestType>({x.data(), tokens, features}, gain, shift, {y.data(), tokens, features}, accuracy);
      return y;
    };
    CHECK(same_bits(run(gamma.data(), beta.data()), TestType::forward(x, gamma, beta, 1e-5f, accuracy)));
    CHECK(same_bits(run(gamma.data(), nullptr), TestType::forward(x, gamma, none, 1e-5f, accuracy)));
    CHECK(same_bits(run(nullptr, beta.data()), TestType::forward(x, none, beta, 1e-5f, accuracy)));
    CHECK(same_bits(run(nullptr, nullptr), TestType::forward(x, none, none, 1e-5f, accuracy)));
  }
}

TEMPLATE_TEST_CASE("norms of rows: strided and in place; other shapes throw", "", LayerNormOf<float>,
                   RMSNormOf<float>) {
  Matrix<float> const x = normal<float>(features, tokens, 1204, 2);
  Vector<float> const gamma = normal<float>(features, 1, 1205), beta = normal<float>(features, 1, 1206);
  Matrix<float> const expected = TestType::forward(x, gamma, beta, 1e-5f);
  Matrix<float> memory = Matrix<float>::Constant(features + 3, tokens, 42);
  memory.topRows(features) = x;
  TokenRows<float> const rows(memory.data(), tokens, features, features + 3);
  TokenRows<float const> const same_rows(memory.data(), tokens, features, features + 3);
  on_rows<TestType>(same_rows, gamma.data(), beta.data(), rows, Accuracy::fast);
  CHECK(same_bits(Matrix<float>(memory.topRows(features)), expected));
  CHECK((memory.bottomRows(3).array() == 42).all());
  TokenRows<float> const fewer(memory.data(), tokens - 1, features, features + 3);
  CHECK_THROWS_AS(on_rows<TestType>(same_rows, gamma.data(), beta.data(), fewer, Accuracy::fast),
                  foldnorm::shape_error);
}
