// SPDX-License-Identifier: MIT
// bench/views.hpp -- a problem's buffers as maps of some kind of matrix and vector.
#pragma once

#include "problem.hpp"

namespace bench {

template <class S, class Matrix, class Vector>
struct ViewsOf {
  explicit ViewsOf(Problem const& p)
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

}  // namespace bench
