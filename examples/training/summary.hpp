// SPDX-License-Identifier: MIT
// training/summary.hpp -- the figures of several seeds as a table shows them: mean, least and most.
#pragma once

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <string>
#include <vector>

namespace foldnorm::training {

struct Summary {
  double mean = 0, least = 0, most = 0;
};

// Precondition: values is not empty.
inline Summary summarize(std::vector<double> const& values) {
  auto const [least, most] = std::minmax_element(values.begin(), values.end());
  return {std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size()), *least, *most};
}

// Of shares, in percent: "88.12 (87.95 to 88.30)".
inline std::string percent_text(Summary const& shares) {
  char text[64];
  std::snprintf(text, sizeof text, "%.2f (%.2f to %.2f)", 100 * shares.mean, 100 * shares.least, 100 * shares.most);
  return text;
}

inline std::string short_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

}  // namespace foldnorm::training
