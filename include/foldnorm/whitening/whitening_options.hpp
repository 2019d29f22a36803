// SPDX-License-Identifier: MIT
// foldnorm/whitening/whitening_options.hpp -- what a whitening layer is told, and what it reports.
#pragma once

#include <foldnorm/core/types.hpp>
#include <foldnorm/kernels/covariance.hpp>

namespace foldnorm::inline FOLDNORM_ABI {

// What is averaged over batches for inference. Averaging W is biased (the mean of inverse roots is not the inverse root
// of the mean); the references do it. `covariance` averages Sigma0 and whitens by that.
enum class RunningStatistics { whitener, covariance };

struct WhiteningOptions {
  CovarianceOptions covariance = {};
  Index group_size = 0;  // features whitened together, contiguous; the last group may be smaller. 0: all of them
  RunningStatistics running = RunningStatistics::whitener;
  double momentum = .1;  // running <- momentum * new + (1 - momentum) * running
};

// Ordered by severity.
enum class WhiteningStatus {
  ok,
  stopped_early,          // an iteration gave its last good iterate, after fewer steps than asked for
  ambiguous,              // pca: eigenvalues coincide, so that W is one of many and its gradient is not defined
  degenerate,             // a covariance of 0 (equal samples, or none, and eps = 0): output beta, dx = 0
  not_positive_definite,  // no inverse root or factor to rounding: nothing was written
  not_finite,             // NaN or inf in x, or squares beyond the range of double: nothing was written
};

constexpr bool wrote_output(WhiteningStatus status) { return status < WhiteningStatus::not_positive_definite; }

constexpr char const* name(WhiteningStatus status) {
  switch (status) {
    case WhiteningStatus::ok:
      return "ok";
    case WhiteningStatus::stopped_early:
      return "stopped early";
    case WhiteningStatus::ambiguous:
      return "ambiguous";
    case WhiteningStatus::degenerate:
      return "degenerate";
    case WhiteningStatus::not_positive_definite:
      return "not positive definite";
    case WhiteningStatus::not_finite:
      return "not finite";
  }
  return "";
}

// Of a group, or the worst of each over the groups of a layer. The residual ||I - W Sigma W^T||_F / sqrt(d) says how
// far from white the output is: by design for few steps of IterNorm or another power than 1/2.
struct WhiteningReport {
  WhiteningStatus status = WhiteningStatus::ok;
  double residual = 0;
};

}  // namespace foldnorm::inline FOLDNORM_ABI
