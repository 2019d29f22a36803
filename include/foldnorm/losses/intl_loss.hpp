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
#include <foldnorm/core/types.hpp>
#include <foldnorm/losses/alignment_loss.hpp>
#include <foldnorm/losses/trace_loss.hpp>
#include <foldnorm/whitening/iter_norm.hpp>

#include <cmath>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace foldnorm {

// The weight of the trace loss for a global batch size (whitened samples), or an embedding size (whitened features):
// .01 (log2(batch) - 3). It is 0 at 8 and negative below, where the caller must choose: throws std::invalid_argument.
inline double trace_weight(Index batch) {
  if (batch <= 8) {
    throw std::invalid_argument("trace_weight: batch is " + std::to_string(batch) +
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
  double alignment = 0;              // mean over pairs
  std::vector<double> trace_losses;  // of each view with one, in their order
  double trace_floor = 0;            // the least each of them can be
  WhiteningStatus status = WhiteningStatus::ok;
};

namespace detail {

// A view, whitened, and the gradient that collects at its output.
template <real_scalar Scalar>
class WhitenedView {
 public:
  WhitenedView(ConstMatrixRef<Scalar> const& z, IntlOptions const& options)
      : of_samples_(options.variables == WhitenedVariables::samples),
        x_(of_samples_ ? Matrix<Scalar>(z.transpose()) : Matrix<Scalar>(z)),
        norm_(x_.rows(), {.covariance = {.degrees_of_freedom_taken = 1, .eps = 0}},
              {.iterations = options.iterations, .engine = options.engine}),
        whitened_(Matrix<Scalar>::Zero(x_.rows(), x_.cols())),
        status_(norm_.forward(x_, whitened_, cache_).status),
        y_(oriented(whitened_)),
        dy_(Matrix<Scalar>::Zero(z.rows(), z.cols())) {}

  WhiteningStatus status() const { return status_; }
  Matrix<Scalar> const& y() const { return y_; }  // features x samples, as its gradient
  Matrix<Scalar>& dy() { return dy_; }
  double floor(int iterations) const { return trace_loss_floor(x_.rows(), iterations); }

  double add_trace_loss(double weight) {
    Matrix<Scalar> gradient(whitened_.rows(), whitened_.cols());
    double const loss = trace_loss<Scalar>(whitened_, gradient);
    dy_ += static_cast<Scalar>(weight) * oriented(gradient);
    return loss;
  }
  void backward(MatrixRef<Scalar> dz) {
    Matrix<Scalar> dx(x_.rows(), x_.cols());
    norm_.backward(oriented(dy_), cache_, dx, none, none);
    dz = oriented(dx);
  }

 private:
  Matrix<Scalar> oriented(Matrix<Scalar> const& a) const { return of_samples_ ? Matrix<Scalar>(a.transpose()) : a; }

  bool of_samples_;
  Matrix<Scalar> x_;
  IterNorm<Scalar> norm_;
  typename IterNorm<Scalar>::Cache cache_;
  Matrix<Scalar> whitened_;
  WhiteningStatus status_;
  Matrix<Scalar> y_, dy_;
};

template <real_scalar Scalar>
void check_views(std::span<Matrix<Scalar> const> views, std::span<Matrix<Scalar>> dviews, std::size_t least,
                 IntlOptions const& options, char const* function) {
  auto const fail = [&](std::string const& what) { throw std::invalid_argument(std::string(function) + ": " + what); };
  if (views.size() < least) fail(std::to_string(views.size()) + " views, expected at least " + std::to_string(least));
  if (dviews.size() != views.size()) {
    fail(std::to_string(dviews.size()) + " dviews for " + std::to_string(views.size()) + " views");
  }
  for (auto const& view : views) check_same_shape(views[0], view, {function, "first view, other view"});
  if (!std::isfinite(options.trace_weight)) fail("trace_weight is not finite");
}

template <real_scalar Scalar>
std::vector<WhitenedView<Scalar>> whiten_views(std::span<Matrix<Scalar> const> views, IntlOptions const& options,
                                               IntlValue& result) {
  std::vector<WhitenedView<Scalar>> whitened;
  whitened.reserve(views.size());
  for (auto const& view : views) {
    whitened.emplace_back(view, options);
    result.status = std::max(result.status, whitened.back().status());
  }
  result.trace_floor = whitened[0].floor(options.iterations);
  if (!wrote_output(result.status)) result.value = std::numeric_limits<double>::quiet_NaN();
  return whitened;
}

template <real_scalar Scalar>
void views_backward(std::vector<WhitenedView<Scalar>>& views, std::span<Matrix<Scalar>> dviews) {
  for (std::size_t i = 0; i < views.size(); ++i) {
    dviews[i].resize(views[i].y().rows(), views[i].y().cols());
    views[i].backward(dviews[i]);
  }
}

}  // namespace detail

// The loss of at least two views (features x samples, all of one shape) and its gradients by them (resized). View 0 is
// the one that the others are aligned with. Allocates. Constant views are degenerate: whitened to 0, gradient 0.
template <real_scalar Scalar>
IntlValue intl_loss(std::span<Matrix<Scalar> const> views, std::span<Matrix<Scalar>> dviews,
                    IntlOptions const& options) {
  detail::check_views(views, dviews, 2, options, "intl_loss");
  IntlValue result;
  auto whitened = detail::whiten_views(views, options, result);
  if (!wrote_output(result.status)) return result;
  double const share = 1 / static_cast<double>(views.size() - 1);
  double traces = 0;
  for (std::size_t i = 0; i < whitened.size(); ++i) {
    // n - 1 terms hold TL(Y_0), one each of the others.
    double const weight = options.trace_weight * (i == 0 ? 1 : share);
    result.trace_losses.push_back(whitened[i].add_trace_loss(weight));
    traces += weight * result.trace_losses[i];
    if (i == 0) continue;
    result.alignment +=
        share * alignment_loss<Scalar>(whitened[i].y(), whitened[0].y(), share, whitened[i].dy(), whitened[0].dy());
  }
  result.value = result.alignment + traces;
  detail::views_backward(whitened, dviews);
  return result;
}

// The loss of at least one view against a target of the same shape, such as the embedding by an encoder that follows by
// a moving average: the target is whitened, but has neither trace loss nor gradient.
template <real_scalar Scalar>
IntlValue intl_loss_to_target(Matrix<Scalar> const& target, std::span<Matrix<Scalar> const> views,
                              std::span<Matrix<Scalar>> dviews, IntlOptions const& options) {
  detail::check_views(views, dviews, 1, options, "intl_loss_to_target");
  check_same_shape(target, views[0], "intl_loss_to_target: target, first view");
  IntlValue result;
  auto whitened = detail::whiten_views(views, options, result);
  detail::WhitenedView<Scalar> followed(target, options);
  result.status = std::max(result.status, followed.status());
  if (!wrote_output(result.status)) {
    result.value = std::numeric_limits<double>::quiet_NaN();
    return result;
  }
  double const share = 1 / static_cast<double>(views.size());
  double traces = 0;
  for (auto& view : whitened) {
    result.trace_losses.push_back(view.add_trace_loss(options.trace_weight * share));
    traces += options.trace_weight * share * result.trace_losses.back();
    result.alignment += share * alignment_loss<Scalar>(view.y(), followed.y(), share, view.dy(), followed.dy());
  }
  result.value = result.alignment + traces;
  detail::views_backward(whitened, dviews);
  return result;
}

}  // namespace foldnorm
