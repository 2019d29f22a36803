// SPDX-License-Identifier: MIT
// training/view_losses.hpp -- what self_supervised compares: INTL, and the losses it is made of or stands against.
#pragma once

#include <foldnorm/losses/alignment_loss.hpp>
#include <foldnorm/losses/intl_loss.hpp>
#include <foldnorm/whitening/zca.hpp>

#include "view_trainer.hpp"

#include <array>
#include <span>
#include <stdexcept>
#include <string>

namespace foldnorm::training {

using Views = std::span<Matrix<float> const>;
using ViewGradients = std::span<Matrix<float>>;

struct Intl {
  IntlOptions options;
  IntlWorkspace<float> workspace = {};

  ViewLoss operator()(Views views, ViewGradients dviews) {
    IntlValue const loss = intl_loss<float>(views, dviews, options, workspace);
    if (!wrote_output(loss.status)) throw std::runtime_error(std::string("intl_loss: ") + name(loss.status));
    return {loss.value, loss.alignment, loss.trace_loss - loss.trace_floor};
  }
};

// Views of one image shall agree, and nothing else.
struct AlignmentAlone {
  ViewLoss operator()(Views views, ViewGradients dviews) const {
    for (std::size_t i = 0; i < views.size(); ++i) dviews[i].setZero(views[i].rows(), views[i].cols());
    double const loss = alignment_loss<float>(views[0], views[1], 1, dviews[0], dviews[1]);
    return {loss, loss, 0};
  }
};

// Features whitened over the batch, all the way, in double: in float small eigenvalues leave nothing of the gradient.
class WhitenedAlignment {
 public:
  WhitenedAlignment(Index features, double relative_eps)
      : norm_(features,
              {.covariance = {
                   .degrees_of_freedom_taken = 1, .eps = relative_eps, .regularization = Regularization::relative}}) {}

  ViewLoss operator()(Views views, ViewGradients dviews) {
    std::array<Matrix<double>, 2> y, dy;
    for (std::size_t i = 0; i < 2; ++i) {
      Matrix<double> const z = views[i].cast<double>();
      y[i].resize(z.rows(), z.cols());
      dy[i].setZero(z.rows(), z.cols());
      WhiteningReport const report = norm_.forward(z, y[i], caches_[i]);
      if (!wrote_output(report.status)) throw std::runtime_error(std::string("whitening: ") + name(report.status));
    }
    double const loss = alignment_loss<double>(y[0], y[1], 1, dy[0], dy[1]);
    for (std::size_t i = 0; i < 2; ++i) {
      Matrix<double> dz(y[i].rows(), y[i].cols());
      norm_.backward(dy[i], caches_[i], dz, none, none);
      dviews[i] = dz.cast<float>();
    }
    return {loss, loss, 0};
  }

 private:
  Zca<double> norm_;
  std::array<Zca<double>::Cache, 2> caches_;
};

}  // namespace foldnorm::training
