// SPDX-License-Identifier: MIT
// tests/fuzz/norm_case.hpp -- shapes, memory and values of a norm's call, from a fuzzer's bytes.
#pragma once

#include <foldnorm/core/types.hpp>

#include <fuzzer/FuzzedDataProvider.h>

#include <array>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "fuzz/fuzzing.hpp"

namespace fuzz {

using foldnorm::Compute;
using foldnorm::Index;
using foldnorm::Matrix;
using foldnorm::Vector;

// A matrix inside a larger piece of memory: at any offset, its columns any distance apart. What lies around it is
// marked, and must stay.
template <class T>
class Within {
 public:
  using View = Eigen::Map<Matrix<T>, 0, Eigen::OuterStride<>>;

  Within(Matrix<T> const& contents, FuzzedDataProvider& bytes)
      : rows_(contents.rows()),
        columns_(contents.cols()),
        offset_(bytes.ConsumeIntegralInRange<Index>(0, 17)),
        stride_(rows_ + bytes.ConsumeIntegralInRange<Index>(rows_ == 0 ? 1 : 0, 19)),
        memory_(static_cast<std::size_t>(offset_ + stride_ * columns_ + 3), T(mark)) {
    view() = contents;
  }
  View view() { return View(memory_.data() + offset_, rows_, columns_, Eigen::OuterStride<>(stride_)); }

  // The contents, after a look at what lies around them.
  Matrix<T> result() {
    for (std::size_t k = 0; k < memory_.size(); ++k) {
      Index const place = static_cast<Index>(k) - offset_;
      bool const inside = place >= 0 && place < stride_ * columns_ && place % stride_ < rows_;
      promise(inside || memory_[k] == T(mark), "memory outside of a result was written");
    }
    return view();
  }

 private:
  static constexpr float mark = -7.25F;
  Index rows_, columns_, offset_, stride_;
  std::vector<T> memory_;
};

template <class T>
T from_bits(FuzzedDataProvider& bytes) {
  std::array<char, sizeof(T)> raw{};
  bytes.ConsumeData(raw.data(), raw.size());
  return std::bit_cast<T>(raw);
}

// A column of some kind: ordinary, with a mean, of any size, constant, or with a mean beyond its deviation; then some
// values bit by bit: NaN, infinity, subnormals, the largest.
template <class T>
void fill(Eigen::Ref<Vector<T>> column, FuzzedDataProvider& bytes) {
  std::mt19937 engine(bytes.ConsumeIntegral<std::uint16_t>());
  std::normal_distribution<double> draw(0, 1);
  int const most = std::same_as<T, double> ? 300 : std::same_as<T, float> ? 37 : 4;  // largest power of ten, or nearly
  auto const size = [&] { return std::pow(10.0, bytes.ConsumeIntegralInRange(-most, most)); };
  double scale = 1, mean = 0;
  switch (bytes.ConsumeIntegralInRange(0, 4)) {
    case 0:
      break;
    case 1:
      mean = 0.5 * bytes.ConsumeIntegral<std::int16_t>();
      break;
    case 2:
      scale = size();
      break;
    case 3:
      scale = 0;
      mean = size();
      break;
    default:
      mean = size();
      scale = mean * std::exp2(-bytes.ConsumeIntegralInRange(0, 30));
  }
  for (T& value : column) value = static_cast<T>(mean + scale * draw(engine));
  for (int k = bytes.ConsumeIntegralInRange(0, 3); k > 0 && column.size() > 0; --k) {
    column[bytes.ConsumeIntegralInRange<Index>(0, column.size() - 1)] = from_bits<T>(bytes);
  }
}

template <class T>
Matrix<T> filled(Index rows, Index columns, FuzzedDataProvider& bytes) {
  Matrix<T> x(rows, columns);
  for (Index j = 0; j < columns; ++j) fill<T>(x.col(j), bytes);
  return x;
}

// Either sign, sizes from this one to four times it: where gains differ by more, the fast mode's bound relative to the
// whole sample says nothing of the smaller ones.
template <class T>
Vector<T> moderate(Index n, unsigned seed, double smallest_size) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<double> draw(smallest_size, 4 * smallest_size);
  return Vector<T>::NullaryExpr(n, [&](Index) { return static_cast<T>((engine() % 2 == 0 ? 1 : -1) * draw(engine)); });
}

template <class T>
Compute<T> some_eps(FuzzedDataProvider& bytes) {
  if (bytes.ConsumeBool()) return static_cast<Compute<T>>(bytes.ConsumeBool() ? 1e-5 : 0);
  auto const eps = std::abs(from_bits<Compute<T>>(bytes));
  return std::isfinite(eps) ? eps : 1;
}

// All of a norm's call but its memory. A plain norm has one group.
template <class T>
struct NormCase {
  Index norm_size, groups, samples;
  foldnorm::Accuracy accuracy;
  Compute<T> eps;
  Vector<T> gamma, beta;  // beta: of some size, or 0
  Matrix<T> x, dy;

  NormCase(bool grouped, FuzzedDataProvider& bytes)
      : norm_size(bytes.ConsumeIntegralInRange<Index>(0, bytes.ConsumeBool() ? 40 : 200)),
        groups(grouped ? bytes.ConsumeIntegralInRange<Index>(0, 6) : 1),
        samples(bytes.ConsumeIntegralInRange<Index>(0, 18)),
        accuracy(bytes.ConsumeBool() ? foldnorm::Accuracy::fast : foldnorm::Accuracy::accurate),
        eps(some_eps<T>(bytes)) {
    if (grouped) norm_size += 1;
    unsigned const seed = bytes.ConsumeIntegral<std::uint16_t>();
    Index const n = norm_size * groups;
    gamma = moderate<T>(n, seed, 0.5);
    beta = bytes.ConsumeBool() ? moderate<T>(n, seed + 1, 0.125) : Vector<T>(Vector<T>::Zero(n));
    dy.resize(n, samples);
    for (Index j = 0; j < samples; ++j) dy.col(j) = moderate<T>(n, seed + 2 + static_cast<unsigned>(j), 0.25);
    x = filled<T>(n, samples, bytes);
  }

  // One column for each group of each sample.
  Matrix<T> by_groups(Matrix<T> const& values) const {
    return norm_size == 0 ? Matrix<T>(0, samples) : Matrix<T>(values.reshaped(norm_size, groups * samples));
  }
};

}  // namespace fuzz
