// SPDX-License-Identifier: MIT
// foldnorm/losses/intl_loss.hpp -- self-supervised loss: views of the same samples, whitened by IterNorm, shall agree,
// and the trace loss keeps the whitening from being partial in vain.
//
//   L = 1/(n-1) sum_{i>=1} [ align(Y_i, Y_0) + w (TL(Y_i) + TL(Y_0)) ]    n views, no gradient is stopped
//   L = 1/n     sum_i      [ align(Y_i, Y_target) + w TL(Y_i) ]           against a target: no gradient, no trace loss
//
// Views Z are features x samples. Y = IterNorm(Z) decorrelates either the features of a batch (the usual whitening) or,
// which is the paper's default, the samples: IterNorm(Z^T)^T. eps = 0, nu = columns - 1, no gain, no running
// statistics. Weng et al. 2024, arXiv:2305.16789; weights and settings as in the authors' public code
// (github.com/winci-ai/INTL).
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/errors.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/losses/alignment_loss.hpp>
#include <foldnorm/losses/trace_loss.hpp>
#include <foldnorm/whitening/iter_norm.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

// The weight of the trace loss for a global batch size (whitened samples), or an embedding size (whitened features):
// .01 (log2(batch) - 3). It is 0 at 8 and negative below, where the caller must choose: throws std::invalid_argument.
inline double trace_weight(Index batch) {
  if (batch <= 8) {
    detail::raise<std::invalid_argument>("trace_weight: batch is " + std::to_string(batch) +
                                         ", expected > 8: the rule gives no positive weight");
  }
  return .01 * (std::log2(static_cast<double>(batch)) - 3);
}

enum class WhitenedVariables { samples, features };

struct IntlOptions {
  double trace_weight;  // required: see trace_weight()
  WhitenedVariables variables = WhitenedVariables::samples;
  int iterations = 4;
  IterNormEngine engine = IterNormEngine::automatic;
};

// If the status says that IterNorm wrote nothing (a NaN or inf in a view), the value is NaN and gradients are
// untouched.
struct IntlValue {
  double value = 0;
  double alignment = 0;    // mean over pairs
  double trace_loss = 0;   // mean over the views that have one
  double trace_floor = 0;  // the least that each of them can be
  WhiteningStatus status = WhiteningStatus::ok;
};

namespace detail {

// A view, whitened, and the gradient that collects at its output. Used again for the same shape it allocates nothing.
template <real_scalar Scalar>
class WhitenedView {
 public:
  WhiteningStatus whiten(ConstMatrixRef<Scalar> const& z, IntlOptions const& options) {
    of_samples_ = options.variables == WhitenedVariables::samples;
    if (of_samples_) {
      x_ = z.transpose();
    } else {
      x_ = z;
    }
    IterNormMethod const method{.iterations = options.iterations, .engine = options.engine};
    if (!norm_ || norm_->features() != x_.rows() || norm_->method() != method) {
      norm_.emplace(x_.rows(), WhiteningOptions{.covariance = {.degrees_of_freedom_taken = 1, .eps = 0}}, method);
    }
    whitened_.resize(x_.rows(), x_.cols());
    WhiteningStatus const status = norm_->forward(x_, whitened_, cache_).status;
    dy_.setZero(z.rows(), z.cols());
    if (wrote_output(status) && of_samples_) y_ = whitened_.transpose();
    return status;
  }

  Matrix<Scalar> const& y() const { return of_samples_ ? y_ : whitened_; }  // features x samples, as its gradient
  Matrix<Scalar>& dy() { return dy_; }
  double floor(int iterations) const { return trace_loss_floor(x_.rows(), iterations); }

  double add_trace_loss(double weight) {
    gradient_.resize(whitened_.rows(), whitened_.cols());
    double const loss = trace_loss<Scalar>(whitened_, gradient_);
    if (of_samples_) {
      dy_ += static_cast<Scalar>(weight) * gradient_.transpose();
    } else {
      dy_ += static_cast<Scalar>(weight) * gradient_;
    }
    return loss;
  }
  void backward(Matrix<Scalar>& dz) {
    dz.resize(dy_.rows(), dy_.cols());
    if (!of_samples_) {
      norm_->backward(dy_, cache_, dz, none, none);
      return;
    }
    gradient_ = dy_.transpose();
    norm_->backward(gradient_, cache_, x_, none, none);  // x is not needed any more
    dz = x_.transpose();
  }

 private:
  bool of_samples_ = true;
  std::optional<IterNorm<Scalar>> norm_;
  typename IterNorm<Scalar>::Cache cache_;
  Matrix<Scalar> x_, whitened_, gradient_;  // variables x columns
  Matrix<Scalar> y_, dy_;                   // features x samples
};

template <real_scalar Scalar>
void check_views(std::span<Matrix<Scalar> const> views, std::span<Matrix<Scalar>> dviews, std::size_t least,
                 IntlOptions const& options, char const* function) {
  auto const fail = [&](std::string const& what) {
    detail::raise<std::invalid_argument>(std::string(function) + ": " + what);
  };
  if (views.size() < least) fail(std::to_string(views.size()) + " views, expected at least " + std::to_string(least));
  if (dviews.size() != views.size()) {
    fail(std::to_string(dviews.size()) + " dviews for " + std::to_string(views.size()) + " views");
  }
  for (auto const& view : views) check_same_shape(views[0], view, {function, "first view, other view"});
  if (!std::isfinite(options.trace_weight)) fail("trace_weight is not finite");
}

}  // namespace detail

// The memory of intl_loss: a call that is given one allocates nothing for a shape and options that it has seen (but
// for Eigen's decomposition, where IterNorm's engine is the spectral one). Not for two calls at a time.
template <real_scalar Scalar>
struct IntlWorkspace {
  std::vector<detail::WhitenedView<Scalar>> views;
};

namespace detail {

// All views by all, or by the target, which comes last and has neither trace loss nor gradient.
template <real_scalar Scalar>
IntlValue intl_loss_of_views(std::span<Matrix<Scalar> const> views, Matrix<Scalar> const* target,
                             std::span<Matrix<Scalar>> dviews, IntlOptions const& options,
                             std::vector<WhitenedView<Scalar>>& whitened) {
  IntlValue result;
  std::size_t const n = views.size();
  whitened.resize(target ? n + 1 : n);
  for (std::size_t i = 0; i < whitened.size(); ++i) {
    result.status = std::max(result.status, whitened[i].whiten(i < n ? views[i] : *target, options));
  }
  result.trace_floor = whitened[0].floor(options.iterations);
  if (!wrote_output(result.status)) {
    result.value = std::numeric_limits<double>::quiet_NaN();
    return result;
  }
  WhitenedView<Scalar>& anchor = target ? whitened[n] : whitened[0];
  double const share = 1 / static_cast<double>(target ? n : n - 1);
  double traces = 0;
  for (std::size_t i = 0; i < n; ++i) {
    bool const is_anchor = &whitened[i] == &anchor;
    // n - 1 terms hold the anchor's trace loss, one each of the others.
    double const weight = options.trace_weight * (is_anchor ? 1 : share);
    double const trace = whitened[i].add_trace_loss(weight);
    result.trace_loss += trace / static_cast<double>(n);
    traces += weight * trace;
    if (is_anchor) continue;
    result.alignment +=
        share * alignment_loss<Scalar>(whitened[i].y(), anchor.y(), share, whitened[i].dy(), anchor.dy());
  }
  result.value = result.alignment + traces;
  for (std::size_t i = 0; i < n; ++i) whitened[i].backward(dviews[i]);
  return result;
}

}  // namespace detail

// The loss of at least two views (features x samples, all of one shape) and its gradients by them (resized). View 0 is
// the one that the others are aligned with. Constant views are degenerate: whitened to 0, gradient 0.
template <real_scalar Scalar>
IntlValue intl_loss(std::span<Matrix<Scalar> const> views, std::span<Matrix<Scalar>> dviews, IntlOptions const& options,
                    IntlWorkspace<Scalar>& workspace) {
  detail::check_views(views, dviews, 2, options, "intl_loss");
  return detail::intl_loss_of_views<Scalar>(views, nullptr, dviews, options, workspace.views);
}
template <real_scalar Scalar>
IntlValue intl_loss(std::span<Matrix<Scalar> const> views, std::span<Matrix<Scalar>> dviews,
                    IntlOptions const& options) {
  IntlWorkspace<Scalar> workspace;
  return intl_loss(views, dviews, options, workspace);
}

// The loss of at least one view against a target of the same shape, such as the embedding by an encoder that follows by
// a moving average: the target is whitened, but has neither trace loss nor gradient.
template <real_scalar Scalar>
IntlValue intl_loss_to_target(Matrix<Scalar> const& target, std::span<Matrix<Scalar> const> views,
                              std::span<Matrix<Scalar>> dviews, IntlOptions const& options,
                              IntlWorkspace<Scalar>& workspace) {
  detail::check_views(views, dviews, 1, options, "intl_loss_to_target");
  check_same_shape(target, views[0], "intl_loss_to_target: target, first view");
  return detail::intl_loss_of_views<Scalar>(views, &target, dviews, options, workspace.views);
}
template <real_scalar Scalar>
IntlValue intl_loss_to_target(Matrix<Scalar> const& target, std::span<Matrix<Scalar> const> views,
                              std::span<Matrix<Scalar>> dviews, IntlOptions const& options) {
  IntlWorkspace<Scalar> workspace;
  return intl_loss_to_target(target, views, dviews, options, workspace);
}

}  // namespace foldnorm::inline FOLDNORM_ABI
