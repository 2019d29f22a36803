// SPDX-License-Identifier: MIT
// foldnorm/graph/head_correction.hpp -- what a head adds to its logits once the table that it shares is centered.
//
//   <E_v, z> = <E'_v, z> + sum_k mean_k(E_v) sum_{j in part k} z_j      E'_v = E_v minus its mean on each part
//
// Foldable LayerNorm (arXiv:2605.14521); derived, case f (3) of docs/folding.md, "Tied heads".
#pragma once

#include <foldnorm/core/types.hpp>
#include <foldnorm/fold/interval.hpp>
#include <foldnorm/graph/parameters.hpp>

#include <cstddef>
#include <variant>
#include <vector>

namespace foldnorm::detail {

// Two weights, out x in: sums = ones z, correction = means sums.
struct HeadCorrection {
  Matrix<double> ones;   // parts x features
  Matrix<double> means;  // vocabulary x parts
};

// Of a table before it is centered, features x vocabulary. Precondition (ours): the parts lie in its rows. (Sums by
// hand: Eigen's, over four types, would take every file that folds a second longer to compile.)
inline HeadCorrection head_correction(ParameterValue const& table, std::vector<Interval> const& parts) {
  return std::visit(
      [&](auto const& values) {
        auto const count = static_cast<Index>(parts.size());
        HeadCorrection result{Matrix<double>::Zero(count, values.rows()), Matrix<double>::Zero(values.cols(), count)};
        for (Index k = 0; k < count; ++k) {
          auto const [begin, end] = parts[static_cast<std::size_t>(k)];
          for (Index i = begin; i < end; ++i) result.ones(k, i) = 1;
          for (Index j = 0; j < values.cols(); ++j) {
            double sum = 0;
            for (Index i = begin; i < end; ++i) sum += static_cast<double>(values(i, j));
            result.means(j, k) = sum / static_cast<double>(end - begin);
          }
        }
        return result;
      },
      table);
}

}  // namespace foldnorm::detail
