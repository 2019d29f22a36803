// SPDX-License-Identifier: MIT
// bench/peers/eigen_views.hpp -- a problem's buffers as Eigen arrays.
#pragma once

#include "../views.hpp"

#include <Eigen/Core>

namespace bench {

template <class S>
using Column = Eigen::Array<S, Eigen::Dynamic, 1>;
using Row = Eigen::Array<float, 1, Eigen::Dynamic>;

template <class S>
using Table = Eigen::Map<Eigen::Array<S, Eigen::Dynamic, Eigen::Dynamic>>;
template <class S>
using Views = ViewsOf<S, Table<S>, Eigen::Map<Column<S>>>;

// Groups of features are neighbours in memory: each is a column of this.
using Groups = Eigen::Map<Eigen::Array<float, group_size, Eigen::Dynamic>>;
inline Groups groups(Table<float> const& matrix) {
  return Groups(const_cast<float*>(matrix.data()), group_size, matrix.size() / group_size);
}

}  // namespace bench
