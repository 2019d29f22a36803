// SPDX-License-Identifier: MIT
// foldnorm/constructions/nonlinearity.hpp -- how far a map is from linear at a point: the energy of its Hessian; and
// how many labellings LayerNorm's nonlinearity is good for.
//
//   H(f; x)    = sum_i || Hessian of f_i at x ||_F^2
//   H(LN; x)   = 3 (d - 2) / (d sigma^4)
//   H(LN-G; x) = sum_j 3 (k - 2) / (k sigma_j^4)       g groups of k = d / g, sigma_j^2 the variance within group j
//   H(LN-G) / H(LN) >= g (d - 2 g) / (d - 2)           equal where all groups have one mean and one variance
//
// That groups amplify the nonlinearity is a claim of Ni et al. 2024, arXiv:2406.01255; the closed forms, their
// bound and the VC bound below are derived for this library. (The unit vector n = v / |v| in q dimensions has second
// derivatives -(delta_ij n_k + delta_ik n_j + delta_jk n_i - 3 n_i n_j n_k) / |v|^2, of squared norm 3 (q - 1) /
// |v|^4.)
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/errors.hpp>
#include <foldnorm/core/types.hpp>

#include <stdexcept>
#include <string>

namespace foldnorm::inline FOLDNORM_ABI {

namespace detail {

inline void check_groups(Index groups, Index features, char const* function) {
  if (groups < 1 || features % groups != 0) {
    detail::raise<std::invalid_argument>(std::string(function) + ": groups is " + std::to_string(groups) +
                                         ", expected a divisor of the " + std::to_string(features) + " features");
  }
}

}  // namespace detail

// H at one sample x of d features of a LayerNorm without eps, gamma and beta in `groups` groups, which must divide d
// (else std::invalid_argument). Groups of two features are steps and groups of one are constant: 0, almost everywhere.
// Groups of three or more that are constant have infinite H.
inline double hessian_energy(ConstVectorRef<double> const& x, Index groups = 1) {
  detail::check_groups(groups, x.size(), "hessian_energy");
  Index const size = x.size() / groups;
  if (size <= 2) return 0;
  double energy = 0;
  for (Index begin = 0; begin < x.size(); begin += size) {
    Vector<double> const group = x.segment(begin, size).array() - x(begin);  // 0 if constant; a mean would round
    double const variance = (group.array() - group.mean()).square().mean();
    energy += 3 * static_cast<double>(size - 2) / (static_cast<double>(size) * variance * variance);
  }
  return energy;
}

// The least H(LN-G) / H(LN) over all samples of d >= 3 features (else std::invalid_argument); 1 for one group, 0 for
// groups of two features, largest at four.
inline double hessian_ratio_bound(Index features, Index groups) {
  detail::check_groups(groups, features, "hessian_ratio_bound");
  if (features < 3) detail::throw_invalid({"hessian_ratio_bound", "features"}, ": expected 3 or more");
  Index const over_two = features / groups - 2;  // of each group
  if (over_two < 0) return 0;
  auto const count = static_cast<double>(groups);
  return count * (count * static_cast<double>(over_two)) / static_cast<double>(features - 2);
}

// H of any map by second differences: f takes a sample (Vector<double>) and returns one. step > 0 is absolute; errors
// are of the order of step^2 and of u |f| / step^2 in each second derivative, so 1e-3 of x's scale is a good start.
// Costs 2 d^2 + 1 calls.
template <class Map>
double hessian_energy_by_differences(Map const& f, Vector<double> x, double step) {
  if (!(step > 0)) detail::throw_invalid({"hessian_energy_by_differences", "step"}, ": expected a number > 0");
  Vector<double> const at_x = f(x);
  auto const moved = [&](Index i, double by_i, Index j, double by_j) -> Vector<double> {
    Vector<double> there = x;
    there(i) += by_i;
    there(j) += by_j;
    return f(there);
  };
  double energy = 0;
  for (Index i = 0; i < x.size(); ++i) {
    Vector<double> const twice = moved(i, step, i, 0) - 2 * at_x + moved(i, -step, i, 0);
    energy += (twice / (step * step)).squaredNorm();
    for (Index j = 0; j < i; ++j) {
      Vector<double> const mixed =
          moved(i, step, j, step) - moved(i, step, j, -step) - moved(i, -step, j, step) + moved(i, -step, j, -step);
      energy += 2 * (mixed / (4 * step * step)).squaredNorm();
    }
  }
  return energy;
}

// A lower bound on the VC dimension of width-3 networks of `layer_norms` >= 1 LayerNorms: any m >= 3 points whose
// projections differ can be given any two-class labels with m - 2 of them. Derived for this library; it is not a
// constant of the paper, which states O(m) layers.
inline Index ln_net_vc_bound(Index layer_norms) {
  if (layer_norms < 1) detail::throw_invalid({"ln_net_vc_bound", "layer_norms"}, ": expected 1 or more");
  return layer_norms + 2;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
