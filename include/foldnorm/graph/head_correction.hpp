// SPDX-License-Identifier: MIT
// foldnorm/graph/head_correction.hpp -- what a head adds to its logits once the table that it shares is centered.
//
//   <E_v, z> = <E'_v, z> + sum_k mean_k(E_v) sum_{j in part k} z_j      E'_v = E_v minus its mean on each part
//
// Foldable LayerNorm (arXiv:2605.14521); derived, case f (3) of docs/folding.md, "Tied heads".
#pragma once

#include <foldnorm/core/rounding.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/fold/interval.hpp>

#include <cstddef>
#include <vector>

namespace foldnorm::detail {

// Two weights, out x in: sums = ones z, correction = means sums.
template <class Scalar>
struct HeadCorrection {
  Matrix<Scalar> ones;   // parts x features
  Matrix<Scalar> means;  // vocabulary x parts
};

// Of a table before it is centered, features x vocabulary. Means are taken in double and rounded once. Precondition
// (ours): the parts lie in its rows.
template <class Scalar>
HeadCorrection<Scalar> head_correction(Matrix<Scalar> const& table, std::vector<Interval> const& parts) {
  auto const count = static_cast<Index>(parts.size());
  HeadCorrection<Scalar> result{Matrix<Scalar>::Zero(count, table.rows()), Matrix<Scalar>(table.cols(), count)};
  for (Index k = 0; k < count; ++k) {
    auto const [begin, end] = parts[static_cast<std::size_t>(k)];
    result.ones.row(k).segment(begin, end - begin).setOnes();
    Vector<double> const means = table.middleRows(begin, end - begin).template cast<double>().colwise().mean();
    result.means.col(k) = means.unaryExpr([](double mean) { return round_once<Scalar>(mean); });
  }
  return result;
}

}  // namespace foldnorm::detail
