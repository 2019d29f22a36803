// SPDX-License-Identifier: MIT
// foldnorm/constructions/detail/fold_chain.hpp -- one attempt at one bit: fold the line until three runs are left.
//
//   runs - 2 LayerNorms (one for three runs or fewer) if nothing has to be stretched or compressed
//
// The loop is closed: every step is planned from what the layers so far have made of the samples in their own scalar,
// never from what they should have made.
#pragma once

#include <foldnorm/constructions/detail/chord.hpp>
#include <foldnorm/constructions/detail/fold_planner.hpp>
#include <foldnorm/constructions/detail/runs.hpp>
#include <foldnorm/constructions/detail/soft_fold.hpp>
#include <foldnorm/constructions/ln_net_failure.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/layers/layer_norm.hpp>
#include <foldnorm/layers/linear.hpp>

#include <cstddef>
#include <optional>
#include <vector>

namespace foldnorm::detail {

struct ChainNorm {
  NormOptions options;
  double kappa = 1;
};

template <real_scalar Scalar>
struct FoldChain {
  std::vector<Linear<Scalar>> linears;  // each before a LayerNorm of three features
  Readout readout;
  Index runs = 0, stretches = 0, compressions = 0;
};

// Keeps its memory from attempt to attempt.
template <real_scalar Scalar>
class FoldChainBuilder {
 public:
  // The samples (n x m, finite, some) must outlive the builder.
  FoldChainBuilder(ConstMatrixRef<Scalar> const& samples, ChainNorm const& norm)
      : samples_(samples), norm_layer_(3, norm.options), kappa_(norm.kappa) {}

  // The chain that is positive on samples of bit 1 and negative on the others, or nothing, and failure() says why.
  std::optional<FoldChain<Scalar>> build(Bits const& bits, Projection const& line, PlannerOptions const& options) {
    FoldChain<Scalar> chain;
    x_ = (line.weight.transpose() * samples_.template cast<double>()).transpose().array() + line.shift;
    if (!runs_.form(x_, bits)) return failed(LnNetFailure::samples_merged);
    chain.runs = static_cast<Index>(runs_.size());
    std::size_t const most_layers = 3 * runs_.size() + 50;
    auto const unit = static_cast<double>(Eigen::NumTraits<Scalar>::epsilon());
    SoftFold previous;
    while (runs_.size() > 3) {
      if (chain.linears.size() >= most_layers) return failed(LnNetFailure::too_many_layers);
      std::optional<PlannedStep> const step = plan_step(runs_, options);
      if (!step) return failed(LnNetFailure::no_step_left);
      if (!apply(step->map, line, previous, chain)) return failed(LnNetFailure::corner_lost);
      previous = step->map;
      runs_.carry_slack(step->map, unit);
      if (step->kind == StepKind::fold) runs_.merge(step->end);
      chain.stretches += step->kind == StepKind::stretch;
      chain.compressions += step->kind == StepKind::compress;
      if (!runs_.update(x_, bits)) return failed(LnNetFailure::samples_merged);
    }
    // T = S / C is what the map with slope 1 and no bend gives at width 1.
    SoftFold const last = last_map(runs_);
    runs_.carry_slack({1 / last.w, 0, last.c, last.w}, unit);
    if (!apply(last, line, previous, chain)) return failed(LnNetFailure::corner_lost);
    if (!read_line(y_, {1, 0, 0, 1}, x_)) return failed(LnNetFailure::corner_lost);
    if (!runs_.update(x_, bits) || runs_.size() > 3) return failed(LnNetFailure::samples_merged);
    chain.readout = chord(runs_, bits);
    return chain;
  }

  LnNetFailure failure() const { return failure_; }

 private:
  // Appends the linear layer of a map, runs it and its norm on all samples, and reads their points from the output.
  bool apply(SoftFold const& map, Projection const& line, SoftFold const& previous, FoldChain<Scalar>& chain) {
    bool const is_first = chain.linears.empty();
    chain.linears.push_back(is_first ? first_layer<Scalar>(line, map, kappa_)
                                     : next_layer<Scalar>(previous, map, kappa_));
    h_.resize(3, samples_.cols());
    if (is_first) {
      chain.linears.back().forward(samples_, h_);
    } else {
      chain.linears.back().forward(y_, h_);
    }
    y_.resize(3, samples_.cols());
    norm_layer_.forward(h_, y_);
    return read_line(y_, map, x_);
  }

  std::nullopt_t failed(LnNetFailure failure) {
    failure_ = failure;
    return std::nullopt;
  }

  ConstMatrixRef<Scalar> samples_;
  LayerNorm<Scalar> norm_layer_;
  double kappa_;
  LnNetFailure failure_ = LnNetFailure::nothing;
  Matrix<Scalar> h_, y_;
  Vector<double> x_;
  Runs runs_;
};

}  // namespace foldnorm::detail
