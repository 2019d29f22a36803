// SPDX-License-Identifier: MIT
// foldnorm/fold/centering.hpp -- move the centering of a LayerNorm into the weights that feed it, once.
//
//   P (W x + b) = (P W) x + P b,   P = I - 1 1^T / m        so   LayerNorm(W x + b) = RMSNorm(P W x + P b)
//
// with the same gamma, beta and eps. P W subtracts from every column of W (one input's contribution to all m outputs)
// its mean: the column-centered constraint (CCC). Foldable LayerNorm, arXiv:2605.14521; docs/folding.md says when
// nobody else can tell the difference, which is the caller's to know here.
//
// Common to all functions below: arithmetic in double, stored in the weight's type. A fibre (column) whose sum is
// already within m * u * max|entry| of zero (u: the type's unit roundoff) keeps its bits, and every fibre ends there,
// so a second call changes nothing. One output is legal: it becomes 0. Nothing is written if the call throws
// std::invalid_argument: a NaN, an infinity or an entry beyond a quarter of the type's range (its centered value might
// not fit), a bias of another size than the outputs, parts that are not ascending disjoint intervals of the outputs.
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/errors.hpp>
#include <foldnorm/core/rounding.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/fold/float_fibres.hpp>
#include <foldnorm/fold/interval.hpp>
#include <foldnorm/fold/weight_layout.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

namespace detail {

template <class Scalar>
constexpr double unit_roundoff() {
  using S = std::remove_const_t<Scalar>;
  if constexpr (std::is_same_v<S, Eigen::half>) {
    return 0x1p-11;
  } else if constexpr (std::is_same_v<S, Eigen::bfloat16>) {
    return 0x1p-8;
  } else {
    return static_cast<double>(std::numeric_limits<S>::epsilon()) / 2;
  }
}

// Two-word (Neumaier) sum: a column with a large common offset must not lose the digits that decide its mean.
inline double accurate_sum(std::span<double const> values) {
  double sum = 0;
  double lost = 0;
  for (double const value : values) {
    double const next = sum + value;
    lost += std::abs(sum) >= std::abs(value) ? (sum - next) + value : (value - next) + sum;
    sum = next;
  }
  return sum + lost;
}

inline double largest_magnitude(std::span<double const> values) {
  double largest = 0;
  for (double const value : values) largest = std::max(largest, std::abs(value));
  return largest;
}

// |sum| <= m * tolerance * max|value|, false for NaN.
inline bool is_balanced(std::span<double const> values, double tolerance) {
  double const bound = static_cast<double>(values.size()) * tolerance * largest_magnitude(values);
  return std::abs(accurate_sum(values)) <= bound;
}

template <class Scalar>
void round_to(std::span<double> values) {
  for (double& value : values) value = static_cast<double>(round_once<Scalar>(value));
}

// Subtracts the mean and rounds to Scalar, until what is stored is balanced. One round does for narrow types; double
// weights take a second where the mean's own rounding shows. The first entry goes first, so that equal entries become
// exact zeros.
template <class Scalar>
void center_part(std::span<double> values) {
  constexpr int most_rounds = 4;  // each leaves about u of the last one's imbalance; two have been enough
  for (int round = 0; round < most_rounds && !is_balanced(values, unit_roundoff<Scalar>()); ++round) {
    double const first = round == 0 ? values[0] : 0.0;  // again, and its rounding would spoil what it mends
    for (double& value : values) value -= first;
    double const mean = accurate_sum(values) / static_cast<double>(values.size());
    for (double& value : values) value -= mean;
    round_to<Scalar>(values);
  }
}

template <class Scalar>
double foldable_limit(Index outputs) {
  using S = std::remove_const_t<Scalar>;
  double const quarter = static_cast<double>(std::numeric_limits<S>::max()) / 4;
  return std::is_same_v<S, double> ? quarter / static_cast<double>(outputs) : quarter;  // sums have to fit, too
}

template <class Scalar>
std::span<Scalar> end_to_end(WeightLayout<Scalar> const& weight, Index fibre) {
  return {weight.fibre(fibre), static_cast<std::size_t>(weight.outputs)};
}

template <class Scalar>
void check_foldable_values(WeightLayout<Scalar> const& weight, double factor, char const* what,
                           double most = std::numeric_limits<double>::infinity()) {
  double const limit = std::min(most, foldable_limit<Scalar>(weight.outputs));
  for (Index f = 0; f < weight.fibres(); ++f) {
    if constexpr (std::is_same_v<Scalar, float>) {
      bool const is_plain = weight.output_stride == 1 && factor == 1 && limit == foldable_limit<float>(weight.outputs);
      if (is_plain && are_within(end_to_end(weight, f), static_cast<float>(limit))) continue;
    }
    for (Index i = 0; i < weight.outputs; ++i) {
      double const value = static_cast<double>(weight.fibre(f)[i * weight.output_stride]);
      if (!(std::abs(value) * factor <= limit)) {
        detail::raise<std::invalid_argument>(
            std::string(what) + " holds " + std::to_string(value) + " at output " + std::to_string(i) + " of column " +
            std::to_string(f) + ": only finite weights within a quarter of the type's range can be centered");
      }
    }
  }
}

inline void check_parts(std::span<Interval const> parts, Index outputs) {
  Index end = 0;
  for (Interval const& part : parts) {
    if (part.begin < end || part.end <= part.begin || part.end > outputs) {
      detail::raise<std::invalid_argument>("fold_centering: part " + std::to_string(part.begin) + ":" +
                                           std::to_string(part.end) +
                                           " is empty, out of order or outside of 0:" + std::to_string(outputs));
    }
    end = part.end;
  }
}

template <class Value>
std::span<Value> part_of(std::span<Value> fibre, Interval const& part) {
  return fibre.subspan(static_cast<std::size_t>(part.begin), static_cast<std::size_t>(part.end - part.begin));
}

// fibre <- (I - Q) (factors .* fibre + shifts), Q the mean over each part. Empty factors are ones, empty shifts zeros.
template <class Scalar>
void center_fibres(WeightLayout<Scalar> const& weight, std::span<double const> factors, std::span<double const> shifts,
                   std::span<Interval const> parts) {
  if constexpr (std::is_same_v<Scalar, float>) {
    if (weight.output_stride == 1 && factors.empty() && shifts.empty()) {
      for (Index f = 0; f < weight.fibres(); ++f) {
        for (Interval const& part : parts) {
          std::span<float> const values = part_of(end_to_end(weight, f), part);
          center_floats(values, measure_floats<false>(values));
        }
      }
      return;
    }
  }
  std::vector<double> fibre(static_cast<std::size_t>(weight.outputs));
  for (Index f = 0; f < weight.fibres(); ++f) {
    Scalar* const stored = weight.fibre(f);
    for (std::size_t i = 0; i < fibre.size(); ++i) {
      double const value = static_cast<double>(stored[static_cast<Index>(i) * weight.output_stride]);
      fibre[i] = (factors.empty() ? value : factors[i] * value) + (shifts.empty() ? 0.0 : shifts[i]);
    }
    for (Interval const& part : parts) center_part<Scalar>(part_of(std::span(fibre), part));
    for (std::size_t i = 0; i < fibre.size(); ++i) {
      stored[static_cast<Index>(i) * weight.output_stride] = round_once<Scalar>(fibre[i]);
    }
  }
}

// Checks all values, and then centers them. Of floats that lie end to end the check takes the sums, too: a large weight
// then comes from memory twice, and is as fast as that.
template <class Scalar>
void check_and_center(WeightLayout<Scalar> const& weight, std::span<Interval const> parts) {
  if constexpr (std::is_same_v<Scalar, float>) {
    if (weight.output_stride == 1 && parts.size() == 1 && parts[0] == Interval{0, weight.outputs}) {
      auto const limit = static_cast<float>(foldable_limit<float>(weight.outputs));
      std::vector<FloatSum> sums(static_cast<std::size_t>(weight.fibres()));
      bool fit = true;
      for (std::size_t f = 0; f < sums.size(); ++f) {
        sums[f] = measure_floats<false>(end_to_end(weight, static_cast<Index>(f)));
        fit = fit && sums[f].largest <= limit;
      }
      for (std::size_t f = 0; fit && f < sums.size(); ++f) {
        center_floats(end_to_end(weight, static_cast<Index>(f)), sums[f]);
      }
      if (fit) return;
    }
  }
  check_foldable_values(weight, 1, "fold_centering: weight");
  center_fibres(weight, {}, {}, parts);
}

inline std::span<double const> span_of(ConstVectorRef<double> const& values) {
  return {values.data(), static_cast<std::size_t>(values.size())};
}

// The shift goes into what it is added to, and has to fit there.
template <class Scalar>
void check_scale_and_centering(WeightLayout<Scalar> const& weight, ConstVectorRef<double> const& scale,
                               ConstVectorRef<double> const& shift, std::span<Interval const> parts, char const* what) {
  check_size(scale.size(), weight.outputs, "fold_scale_and_centering: scale");
  if (shift.size() != 0) check_size(shift.size(), weight.outputs, "fold_scale_and_centering: shift");
  check_parts(parts, weight.outputs);
  check_foldable_values(out_by_in(scale), 1, "fold_scale_and_centering: scale");
  check_foldable_values(out_by_in(shift), 1, "fold_scale_and_centering: shift", foldable_limit<Scalar>(weight.outputs));
  check_foldable_values(weight, std::max(1.0, largest_magnitude(span_of(scale))), what);
}

}  // namespace detail

// The column-centered constraint: is every fibre's |mean| at most tolerance * its largest |entry|? False where there is
// a NaN or infinity. The default tolerance is the weight type's unit roundoff, what a fold leaves (but for fibres of
// subnormal entries alone, whose steps are coarser).
template <class Scalar>
bool is_centered(WeightLayout<Scalar> const& weight, double tolerance = detail::unit_roundoff<Scalar>()) {
  std::vector<double> fibre(static_cast<std::size_t>(weight.outputs));
  for (Index f = 0; f < weight.fibres(); ++f) {
    for (std::size_t i = 0; i < fibre.size(); ++i) {
      fibre[i] = static_cast<double>(weight.fibre(f)[static_cast<Index>(i) * weight.output_stride]);
    }
    if (!detail::is_balanced(fibre, tolerance)) return false;
  }
  return true;
}
template <weight_matrix W>
bool is_centered(W const& weight, double tolerance = detail::unit_roundoff<typename W::Scalar>()) {
  return is_centered(out_by_in(weight), tolerance);
}

// Centers the output of a layer without a bias: y = W x.
template <class Scalar>
void fold_centering(WeightLayout<Scalar> const& weight) {
  Interval const all{0, weight.outputs};
  if (weight.outputs > 0) detail::check_and_center(weight, std::span(&all, 1));
}

// ... of only these parts of the outputs, each by itself: for norms that work on groups of features.
template <class Scalar>
void fold_centering(WeightLayout<Scalar> const& weight, std::span<Interval const> parts) {
  detail::check_parts(parts, weight.outputs);
  detail::check_and_center(weight, parts);
}

// Centers the output of y = W x + b on these parts. `bias` is a vector of the outputs, a row or a column.
template <class Scalar, writable_matrix B>
void fold_centering(WeightLayout<Scalar> const& weight, B&& bias, std::span<Interval const> parts) {
  auto const bias_fibre = detail::bias_layout(bias, weight.outputs, "fold_centering");
  detail::check_parts(parts, weight.outputs);
  detail::check_foldable_values(weight, 1, "fold_centering: weight");
  detail::check_foldable_values(bias_fibre, 1, "fold_centering: bias");
  detail::center_fibres(weight, {}, {}, parts);
  detail::center_fibres(bias_fibre, {}, {}, parts);
}
template <class Scalar, writable_matrix B>
void fold_centering(WeightLayout<Scalar> const& weight, B&& bias) {
  Interval const all{0, weight.outputs};
  fold_centering(weight, bias, weight.outputs > 0 ? std::span(&all, 1) : std::span<Interval const>{});
}

// y = W x (+ b), W out x in in either storage order; or any vector of outputs that is added to a stream (a bias, a
// positional or class token), or a features x vocabulary table. A row vector is refused at compile time: as a 1 x in
// weight it would become 0, which nobody means. Say out_by_in or in_by_out.
template <foldable_matrix W>
void fold_centering(W&& weight) {
  fold_centering(out_by_in(weight));
}
template <foldable_matrix W, writable_matrix B>
void fold_centering(W&& weight, B&& bias) {
  fold_centering(out_by_in(weight), bias);
}
template <foldable_matrix W, writable_matrix B>
void fold_centering(W&& weight, B&& bias, std::span<Interval const> parts) {
  fold_centering(out_by_in(weight), bias, parts);
}

// Linear or convolution, then y_i * scale_i + shift_i (LayerScale, a BatchNorm at inference), as one centered layer:
//   W' = P diag(scale) W,   b' = P (scale .* b + shift),
// after which the scale and shift are to be dropped. Empty `shift` means none. Further errors: scale or shift of
// another size than the outputs, or not finite.
template <class Scalar, writable_matrix B>
void fold_scale_and_centering(WeightLayout<Scalar> const& weight, B&& bias, ConstVectorRef<double> const& scale,
                              ConstVectorRef<double> const& shift, std::span<Interval const> parts) {
  auto const bias_fibre = detail::bias_layout(bias, weight.outputs, "fold_scale_and_centering");
  detail::check_scale_and_centering(weight, scale, Vector<double>(), parts, "fold_scale_and_centering: weight");
  detail::check_scale_and_centering(bias_fibre, scale, shift, parts, "fold_scale_and_centering: bias");
  detail::center_fibres(weight, detail::span_of(scale), {}, parts);
  detail::center_fibres(bias_fibre, detail::span_of(scale), detail::span_of(shift), parts);
}

// One of the two by itself: a weight takes no shift, a bias is a weight of one column.
template <class Scalar>
void fold_scale_and_centering(WeightLayout<Scalar> const& weight, ConstVectorRef<double> const& scale,
                              ConstVectorRef<double> const& shift, std::span<Interval const> parts) {
  detail::check_scale_and_centering(weight, scale, shift, parts, "fold_scale_and_centering: weight");
  detail::center_fibres(weight, detail::span_of(scale), detail::span_of(shift), parts);
}

}  // namespace foldnorm::inline FOLDNORM_ABI
