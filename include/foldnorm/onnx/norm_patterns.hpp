// SPDX-License-Identifier: MIT
// foldnorm/onnx/norm_patterns.hpp -- LayerNorm and RMSNorm written out in operators, recognised by their structure.
//
//   mean = ReduceMean(x)      deviation = Sub(x, mean)
//   variance = ReduceMean(deviation^2)   or   ReduceMean(x^2) - mean^2, also as Max(0, .)
//   y = Div(deviation, s)     or   Mul(deviation, 1 / s)     s = Sqrt(Add(variance, epsilon))
//
// Squares are Pow(., 2) or Mul(., .); roots Sqrt or Pow(., 0.5); 1 / s is Reciprocal(s), Div(1, s) or Pow(., -0.5).
// Without mean and deviation it is an RMSNorm. Gamma and beta come behind, and are not part of it.
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/onnx/constants.hpp>
#include <foldnorm/onnx/model_index.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

struct NormPattern {
  std::string input;
  bool subtracts_mean = false;
  std::int64_t axis = 0;  // as ReduceMean says; may be negative
  double epsilon = 0;
  std::string centered;     // the value that is divided: of a LayerNorm, its deviation
  std::string mean_square;  // what epsilon is added to, where it is the mean of a square; of E[x^2] - mean^2, E[x^2]
  std::string variance;     // what epsilon is added to
  std::vector<int> nodes;   // all of it, ascending; the last makes the normalized value
  bool is_private = true;   // nothing in it is read from elsewhere
};

class NormPatterns {
 public:
  NormPatterns(OnnxFile const& file, OnnxIndex const& index)
      : name_(file.name()), index_(index), constants_(file, index) {}

  // The norm whose last node this is. Throws onnx_error where everything fits but epsilon, which is negative or not
  // finite.
  std::optional<NormPattern> match(int last) const {
    auto const& node = index_.node(last);
    if (!index_.is_standard(node) || node.input_size() != 2) return std::nullopt;
    if (node.op_type() == "Div") return match(last, node.input(0), node.input(1), false);
    if (node.op_type() != "Mul") return std::nullopt;
    auto found = match(last, node.input(0), node.input(1), true);
    return found ? found : match(last, node.input(1), node.input(0), true);
  }

 private:
  // Follows one candidate back, and remembers the nodes it has gone by.
  struct Walk {
    std::vector<int> nodes;
  };

  std::optional<NormPattern> match(int last, std::string const& centered, std::string deviation_scale,
                                   bool is_inverse) const {
    Walk walk{{last}};
    auto const sum = under_root(deviation_scale, is_inverse, walk);
    if (!sum) return std::nullopt;
    auto const* const add = maker(*sum, "Add", walk);
    if (!add) return std::nullopt;
    for (int i = 0; i < 2; ++i) {
      auto const epsilon = constants_.scalar(add->input(i));
      if (!epsilon) continue;
      NormPattern norm;
      norm.epsilon = *epsilon;
      norm.centered = centered;
      norm.variance = add->input(1 - i);
      if (!match_variance(norm, walk)) return std::nullopt;
      if (!(std::isfinite(*epsilon) && *epsilon >= 0)) {
        detail::raise<onnx_error>(name_ + ": " + node_text(*add) + ": epsilon " + std::to_string(*epsilon) +
                                  ", expected a finite number >= 0");
      }
      finish(norm, walk);
      return norm;
    }
    return std::nullopt;
  }

  // `value` is sqrt(v), or 1 / sqrt(v) where `is_inverse`: v.
  std::optional<std::string> under_root(std::string value, bool is_inverse, Walk& walk) const {
    if (is_inverse) {
      if (auto const* const pow =
              maker(value, "Pow", walk, [&](auto const& node) { return constants_.scalar(node.input(1)) == -0.5; })) {
        return pow->input(0);
      }
      auto const* inverse = maker(value, "Reciprocal", walk);
      if (inverse) {
        value = inverse->input(0);
      } else {
        inverse = maker(value, "Div", walk, [&](auto const& node) { return constants_.scalar(node.input(0)) == 1.0; });
        if (!inverse) return std::nullopt;
        value = inverse->input(1);
      }
    }
    if (auto const* const root = maker(value, "Sqrt", walk)) return root->input(0);
    auto const* const pow =
        maker(value, "Pow", walk, [&](auto const& node) { return constants_.scalar(node.input(1)) == 0.5; });
    return pow ? std::optional(pow->input(0)) : std::nullopt;
  }

  bool match_variance(NormPattern& norm, Walk& walk) const {
    std::string variance = norm.variance;
    if (auto const* const max = maker(variance, "Max", walk, [&](auto const& node) {
          return node.input_size() == 2 &&
                 (constants_.scalar(node.input(0)) == 0.0 || constants_.scalar(node.input(1)) == 0.0);
        })) {
      variance = constants_.scalar(max->input(0)) == 0.0 ? max->input(1) : max->input(0);
    }
    if (auto const* const difference = maker(variance, "Sub", walk)) {  // E[x^2] - mean^2
      auto const mean_of_square = mean(difference->input(0), walk);
      auto const squared_mean = square(difference->input(1), walk);
      if (!mean_of_square || !squared_mean) return false;
      auto const x = square(mean_of_square->first, walk);
      auto const of_mean = mean(*squared_mean, walk);
      if (!x || !of_mean || of_mean->first != *x || of_mean->second != mean_of_square->second) return false;
      norm.mean_square = difference->input(0);
      norm.axis = of_mean->second;
      return *x == deviates_from(norm, walk);
    }
    auto const mean_of_square = mean(variance, walk);
    if (!mean_of_square) return false;
    auto const squared = square(mean_of_square->first, walk);
    if (!squared) return false;
    norm.mean_square = variance;
    norm.axis = mean_of_square->second;
    if (*squared == norm.centered && !maker(norm.centered, "Sub", walk, [&](auto const& node) {
          Walk aside;
          auto const of = mean(node.input(1), aside);
          return of && of->first == node.input(0) && of->second == norm.axis;
        })) {  // of x itself
      norm.input = norm.centered;
      return true;
    }
    std::string const x = deviates_from(norm, walk);
    if (x.empty()) return false;
    if (*squared == norm.centered) return true;
    NormPattern other = norm;  // exporters may compute the deviation twice
    other.centered = *squared;
    return deviates_from(other, walk) == x;
  }

  // norm.centered is x - mean(x) along the norm's axis: x, which becomes the norm's input. Else empty.
  std::string deviates_from(NormPattern& norm, Walk& walk) const {
    auto const* const sub = maker(norm.centered, "Sub", walk);
    if (!sub) return {};
    auto const of = mean(sub->input(1), walk);
    if (!of || of->first != sub->input(0) || of->second != norm.axis) return {};
    norm.input = sub->input(0);
    norm.subtracts_mean = true;
    return norm.input;
  }

  // `value` is ReduceMean(x) along one axis, which stays: x and the axis.
  std::optional<std::pair<std::string, std::int64_t>> mean(std::string const& value, Walk& walk) const {
    std::optional<std::int64_t> axis;
    auto const* const node = maker(value, "ReduceMean", walk, [&](auto const& reduce) {
      auto const axes = constants_.attribute_or_input(reduce, "axes", 1).values;
      if (!axes || axes->size() != 1 || integer_attribute(reduce, "keepdims", 1) != 1) return false;
      axis = axes->front();
      return true;
    });
    if (!node) return std::nullopt;
    return std::pair(node->input(0), *axis);
  }
  std::optional<std::string> square(std::string const& value, Walk& walk) const {
    if (auto const* const mul =
            maker(value, "Mul", walk, [](auto const& node) { return node.input(0) == node.input(1); })) {
      return mul->input(0);
    }
    auto const* const pow =
        maker(value, "Pow", walk, [&](auto const& node) { return constants_.scalar(node.input(1)) == 2.0; });
    return pow ? std::optional(pow->input(0)) : std::nullopt;
  }

  // The node of this type that makes a value, if `fits`; then it is part of the walk.
  template <class Fits>
  ::onnx::NodeProto const* maker(std::string const& value, char const* type, Walk& walk, Fits fits) const {
    int const n = index_.producer(value);
    if (n == OnnxIndex::nobody) return nullptr;
    auto const& node = index_.node(n);
    int const fewest =
        node.op_type() == "Sqrt" || node.op_type() == "Reciprocal" || node.op_type() == "ReduceMean" ? 1 : 2;
    if (node.op_type() != type || !index_.is_standard(node) || node.input_size() < fewest || !fits(node)) {
      return nullptr;
    }
    walk.nodes.push_back(n);
    return &node;
  }
  ::onnx::NodeProto const* maker(std::string const& value, char const* type, Walk& walk) const {
    return maker(value, type, walk, [](auto const&) { return true; });
  }

  void finish(NormPattern& norm, Walk& walk) const {
    std::ranges::sort(walk.nodes);
    walk.nodes.erase(std::unique(walk.nodes.begin(), walk.nodes.end()), walk.nodes.end());
    norm.nodes = std::move(walk.nodes);
    for (int const n : norm.nodes) {
      if (n == norm.nodes.back()) continue;
      std::string const& value = index_.node(n).output(0);
      auto const readers = index_.readers(value);
      norm.is_private = norm.is_private && !index_.is_output(value) && std::ranges::all_of(readers, [&](int reader) {
                          return std::ranges::binary_search(norm.nodes, reader);
                        });
    }
  }

  std::string name_;
  OnnxIndex const& index_;
  OnnxConstants constants_;
};

}  // namespace foldnorm::inline FOLDNORM_ABI
