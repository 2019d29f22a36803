// SPDX-License-Identifier: MIT
// bench/peers/eigen_views.hpp -- a problem's buffers as Eigen arrays.
#pragma once

#include "../problem.hpp"

#include <Eigen/Core>

namespace bench {

template <class S>
using Column = Eigen::Array<S, Eigen::Dynamic, 1>;
using Row = Eigen::Array<float, 1, Eigen::Dynamic>;

template <class S>
struct Views {
  using Matrix = Eigen::Map<Eigen::Array<S, Eigen::Dynamic, Eigen::Dynamic>>;
  using Vector = Eigen::Map<Column<S>>;

  explicit Views(Problem const& p)
      : x(p.x.as<S>(), p.n, p.m),
        r(p.r.as<S>(), p.n, p.m),
        dy(p.dy.as<S>(), p.n, p.m),
        s(p.s.as<S>(), p.n, p.m),
        y(p.y.as<S>(), p.n, p.m),
        dx(p.dx.as<S>(), p.n, p.m),
        gamma(p.gamma.as<S>(), p.n),
        beta(p.beta.as<S>(), p.n),
        dgamma(p.dgamma.as<S>(), p.n),
        dbeta(p.dbeta.as<S>(), p.n) {}

  Matrix x, r, dy, s, y, dx;
  Vector gamma, beta, dgamma, dbeta;
};

// Groups of features are neighbours in memory: each is a column of this.
using Groups = Eigen::Map<Eigen::Array<float, group_size, Eigen::Dynamic>>;
inline Groups groups(Views<float>::Matrix const& matrix) {
  return Groups(const_cast<float*>(matrix.data()), group_size, matrix.size() / group_size);
}

}  // namespace bench
