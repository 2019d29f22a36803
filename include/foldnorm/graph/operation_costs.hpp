// SPDX-License-Identifier: MIT
// foldnorm/graph/operation_costs.hpp -- what the operations of a forward pass cost on one machine, as a small table.
//
// measure_costs.hpp fills it; a caller may also write or change the numbers. Printed with <<, it is one line per
// operation and number of features, in nanoseconds.
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/core/types.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <ostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

// What costs are kept of. "Bare" norms have neither gamma nor beta.
enum class CostKind : std::uint8_t {
  layer_norm,
  bare_layer_norm,
  rms_norm,
  bare_rms_norm,
  center,
  pass,    // an operation that only moves memory: a sum, a bias, relu, a scale, a copy
  smooth,  // an activation with an exponential or tanh in it
  product  // of a square weight with the tokens; its unit is one multiplication
};
inline constexpr std::size_t cost_kinds = 8;

constexpr std::string_view to_string(CostKind kind) {
  constexpr std::array<std::string_view, cost_kinds> words{
      "layer_norm", "bare_layer_norm", "rms_norm", "bare_rms_norm", "center", "pass", "smooth", "product"};
  return words[static_cast<std::size_t>(kind)];
}

class OperationCosts {
 public:
  // The numbers of features and tokens at which costs are known, ascending. Throws std::invalid_argument where they are
  // empty, not positive or not ascending. All costs are 0 at first.
  OperationCosts(std::vector<Index> features, std::vector<Index> tokens)
      : features_(std::move(features)), tokens_(std::move(tokens)) {
    check_axis(features_, "features");
    check_axis(tokens_, "tokens");
    Index const rows = static_cast<Index>(features_.size()), columns = static_cast<Index>(tokens_.size());
    for (auto& table : seconds_) table = Matrix<double>::Zero(rows, columns);
  }

  // What the program that runs the graph takes for a node beside the operation itself. 0 at first; for tiny batches in
  // narrow networks it counts.
  double seconds_per_node = 0;

  std::vector<Index> const& features() const { return features_; }
  std::vector<Index> const& tokens() const { return tokens_; }

  // Seconds per value (per multiplication in a product): features().size() x tokens().size(), to read or to change.
  Matrix<double> const& table(CostKind kind) const { return seconds_[static_cast<std::size_t>(kind)]; }
  Matrix<double>& table(CostKind kind) { return seconds_[static_cast<std::size_t>(kind)]; }

  // Between the table's points linear in the logarithms of both numbers; outside, as at the nearest point.
  double seconds_per_value(CostKind kind, double features, double tokens) const {
    Place const f = place(features_, features), t = place(tokens_, tokens);
    Matrix<double> const& cost = table(kind);
    auto const along_tokens = [&](Index row) {
      return (1 - t.part) * cost(row, t.lower) + t.part * cost(row, t.upper);
    };
    return (1 - f.part) * along_tokens(f.lower) + f.part * along_tokens(f.upper);
  }

 private:
  struct Place {
    Index lower, upper;
    double part;  // of the way from lower to upper
  };

  static void check_axis(std::vector<Index> const& axis, char const* name) {
    bool const ascending = std::ranges::adjacent_find(axis, std::ranges::greater_equal{}) == axis.end();
    if (axis.empty() || axis.front() < 1 || !ascending) {
      detail::raise<std::invalid_argument>(std::string("OperationCosts: ") + name +
                                           ": expected ascending positive numbers");
    }
  }

  static Place place(std::vector<Index> const& axis, double value) {
    auto const above = std::ranges::find_if(axis, [&](Index point) { return static_cast<double>(point) >= value; });
    Index const last = static_cast<Index>(axis.size()) - 1;
    if (above == axis.begin()) return {0, 0, 0};
    if (above == axis.end()) return {last, last, 0};
    auto const lower = static_cast<double>(*(above - 1)), upper = static_cast<double>(*above);
    Index const at = above - axis.begin();
    return {at - 1, at, std::log(value / lower) / std::log(upper / lower)};
  }

  std::vector<Index> features_, tokens_;
  std::array<Matrix<double>, cost_kinds> seconds_;
};

inline std::ostream& operator<<(std::ostream& out, OperationCosts const& costs) {
  out << "# nanoseconds per 1000 values (of a product: multiplications); tokens";
  for (Index const tokens : costs.tokens()) out << ' ' << tokens;
  out << "\n# and " << costs.seconds_per_node * 1e9 << " nanoseconds a node\n";
  for (std::size_t kind = 0; kind < cost_kinds; ++kind) {
    Matrix<double> const& table = costs.table(static_cast<CostKind>(kind));
    for (Index row = 0; row < table.rows(); ++row) {
      out << to_string(static_cast<CostKind>(kind)) << ' ' << costs.features()[static_cast<std::size_t>(row)];
      for (Index column = 0; column < table.cols(); ++column) {
        // Three digits are more than a measurement gives.
        double const nanoseconds = table(row, column) * 1e12;
        out << ' ' << (nanoseconds < 100 ? std::round(nanoseconds * 10) / 10 : std::round(nanoseconds));
      }
      out << '\n';
    }
  }
  return out;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
