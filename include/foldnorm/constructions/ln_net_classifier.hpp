// SPDX-License-Identifier: MIT
// foldnorm/constructions/ln_net_classifier.hpp -- any labels of any distinct samples, learnt without training: a chain
// of linear layers and LayerNorms of width 3 for two classes, of width 3 ceil(log2 K) for K.
//
//   LnNetClassifier<double> const fit = ln_net_classifier(samples, labels);
//   if (fit.certified) std::vector<int> same_labels = fit.predict(samples);
//
// That width 3 and O(m) LayerNorms suffice for m samples is a theorem of Ni, Guo, Jia & Huang 2024, arXiv:2406.01255.
// The construction is derived for this library: project the samples on a line; fold the line, one LayerNorm a fold, so
// that one run of equal labels after the other lands on its neighbour but one; cut the last three runs by a chord.
// runs - 2 <= m - 2 LayerNorms, and some more where precision asks for it. docs/ln_net.md has figures and limits.
#pragma once

#include <foldnorm/constructions/detail/class_codes.hpp>
#include <foldnorm/constructions/detail/directions.hpp>
#include <foldnorm/constructions/detail/fold_chain.hpp>
#include <foldnorm/constructions/detail/parallel_chains.hpp>
#include <foldnorm/constructions/ln_net_failure.hpp>
#include <foldnorm/core/accuracy.hpp>
#include <foldnorm/core/check.hpp>
#include <foldnorm/core/types.hpp>
#include <foldnorm/layers/sequential.hpp>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

struct LnNetOptions {
  double eps = 0;          // of the norms
  double kappa = 0x1p20;   // with eps > 0 it scales every linear layer but the last, so that eps is small: 1e4 to 1e10
  Index directions = 64;   // drawn, >= 1; samples of one feature have but one
  int attempts = 24;       // at each bit, >= 1
  std::uint64_t seed = 1;  // of the directions
  // Of the norms. fast saves a few percent and does for double; float can do hundreds of samples less with it.
  Accuracy accuracy = Accuracy::accurate;
};

// One bit of the classes: a chain of width 3.
struct LnNetChain {
  Index runs = 0;         // of samples with the same bit, along the direction taken
  Index layer_norms = 0;  // without padding
  Index stretches = 0;    // of these
  Index compressions = 0;
  int attempts = 0;
};

template <real_scalar Scalar>
struct LnNetClassifier {
  Sequential<Scalar> network;  // n features to one logit a class; without layers unless certified
  std::vector<int> labels;     // ascending, of the logits
  bool certified = false;      // the network was run on the samples, as one batch, and gave every one its label
  double margin = 0;           // of that run: half the least lead of a right logit; for two classes least |readout|
  std::vector<LnNetChain> chains;
  LnNetFailure failure = LnNetFailure::nothing;
  std::optional<std::pair<Index, Index>> equal_samples;  // the two of equal_samples_differ

  Index layer_norms() const { return static_cast<Index>(network.layers().size() / 2); }

  // The label of the largest logit of every column of x (n x any number). Throws std::invalid_argument if this is not
  // certified.
  std::vector<int> predict(ConstMatrixRef<Scalar> const& x) const {
    if (!certified) detail::throw_invalid("LnNetClassifier::predict", ": there is no certified network");
    Matrix<Scalar> const logits = network.forward(x);
    std::vector<int> result;
    for (Index j = 0; j < logits.cols(); ++j) {
      Index k = 0;
      logits.col(j).maxCoeff(&k);
      result.push_back(labels[static_cast<std::size_t>(k)]);
    }
    return result;
  }
};

namespace detail {

// Widths and scores to try in turn. The first suffices nearly always; wide corners are kinder to Accuracy::fast.
inline PlannerOptions planner_options(std::size_t attempt) {
  constexpr std::array<double, 4> floors{1e-10, 1e-8, 1e-6, 1e-12};
  constexpr std::array<double, 3> scores{.2, .4, .1};
  return {floors[attempt / scores.size() % floors.size()], scores[attempt % scores.size()]};
}
inline constexpr std::size_t planner_grid = 12;

// The attempts at one bit, in order: all widths and scores with the best direction, then with the next.
template <real_scalar Scalar>
class BitAttempts {
 public:
  BitAttempts(Bits bits, ConstMatrixRef<Scalar> const& samples, std::vector<Projection> const& projections)
      : bits_(std::move(bits)), lines_(rank_projections<Scalar>(samples, bits_, projections)) {}

  // The next chain that can be built, or nothing, and why.
  std::optional<FoldChain<Scalar>> next(FoldChainBuilder<Scalar>& builder, int most, LnNetFailure& failure) {
    if (lines_.empty()) failure = LnNetFailure::directions_too_coarse;
    while (tried_ < static_cast<std::size_t>(most) && tried_ < planner_grid * lines_.size()) {
      std::size_t const attempt = tried_++;
      std::optional<FoldChain<Scalar>> chain =
          builder.build(bits_, lines_[attempt / planner_grid], planner_options(attempt));
      if (chain) return chain;
      failure = builder.failure();
    }
    return std::nullopt;
  }
  int tried() const { return static_cast<int>(tried_); }

 private:
  Bits bits_;
  std::vector<Projection> lines_;
  std::size_t tried_ = 0;
};

// Of a run on all samples: the margin, and the bits in which some sample was decoded wrongly (0: none).
struct Certificate {
  double margin = std::numeric_limits<double>::infinity();
  std::size_t wrong_bits = 0;
};

template <real_scalar Scalar>
Certificate certify(Sequential<Scalar> const& network, ConstMatrixRef<Scalar> const& samples, Classes const& classes) {
  Matrix<Scalar> const logits = network.forward(samples);
  Certificate certificate;
  for (Index j = 0; j < logits.cols(); ++j) {
    std::size_t const right = classes.of_sample[static_cast<std::size_t>(j)];
    auto const right_logit = static_cast<double>(logits(static_cast<Index>(right), j));
    for (std::size_t k = 0; k < classes.labels.size(); ++k) {
      if (k == right) continue;
      double const lead = (right_logit - static_cast<double>(logits(static_cast<Index>(k), j))) / 2;
      if (!(lead > 0)) certificate.wrong_bits |= k ^ right;
      certificate.margin = std::min(certificate.margin, lead);
    }
  }
  return certificate;
}

inline void check_ln_net_options(LnNetOptions const& options) {
  check_epsilon(options.eps, "ln_net_classifier");
  if (!(std::isfinite(options.kappa) && options.kappa > 0))
    throw_invalid({"ln_net_classifier", "options.kappa"}, ": expected a finite number > 0");
  if (options.directions < 1) throw_invalid({"ln_net_classifier", "options.directions"}, ": expected 1 or more");
  if (options.attempts < 1) throw_invalid({"ln_net_classifier", "options.attempts"}, ": expected 1 or more");
}

}  // namespace detail

// samples: n x m, one label (any int) a column. The network computes in Scalar, into which the samples are rounded
// first; eps and kappa are the caller's. Any number of classes: one logit each and the largest decides, for two as for
// ten, so that training code and predict() need no special case. Throws shape_error for a wrong number of labels,
// std::invalid_argument for no samples, no features, values that are not finite in Scalar, or bad options. What cannot
// be done (equal samples with different labels; more runs than the scalar has precision for, some 400 in float) comes
// back as certified == false with the failure of the last attempt, and without a network. Needs
// O(layers * m) time, and memory of a few vectors of m besides the network.
template <real_scalar Scalar = double>
LnNetClassifier<Scalar> ln_net_classifier(ConstMatrixRef<double> const& samples, std::vector<int> const& labels,
                                          LnNetOptions const& options = {}) {
  detail::check_ln_net_options(options);
  check_size(static_cast<Index>(labels.size()), samples.cols(), "ln_net_classifier: labels");
  if (samples.size() == 0) detail::throw_invalid({"ln_net_classifier", "samples"}, " are empty");
  Matrix<Scalar> const x = samples.template cast<Scalar>();
  if (!x.allFinite()) detail::throw_invalid({"ln_net_classifier", "samples"}, " are not finite");

  detail::Classes const classes = detail::classes_of(labels);
  LnNetClassifier<Scalar> result;
  result.labels = classes.labels;
  result.equal_samples = detail::equal_samples_differ<Scalar>(x, classes);
  if (result.equal_samples) {
    result.failure = LnNetFailure::equal_samples_differ;
    return result;
  }
  detail::ChainNorm const norm{{.eps = options.eps, .affine = false, .accuracy = options.accuracy},
                               options.eps > 0 ? options.kappa : 1};
  detail::FoldChainBuilder<Scalar> builder(x, norm);
  std::vector<detail::Projection> const lines = detail::random_projections<Scalar>(x, options.directions, options.seed);
  std::vector<detail::BitAttempts<Scalar>> attempts;
  for (std::size_t b = 0; b < classes.bits(); ++b) attempts.emplace_back(detail::bits_of(classes, b), x, lines);

  std::vector<detail::FoldChain<Scalar>> chains(classes.bits());
  result.chains.resize(classes.bits());
  std::size_t to_build = ~std::size_t{0};  // bits whose chain is missing, or was wrong in the last network
  LnNetFailure failure = LnNetFailure::nothing;
  while (true) {
    for (std::size_t b = 0; b < chains.size(); ++b) {
      if (!detail::code_bit(to_build, b)) continue;
      std::optional<detail::FoldChain<Scalar>> chain = attempts[b].next(builder, options.attempts, failure);
      result.chains[b].attempts = attempts[b].tried();
      if (!chain) {
        result.failure = failure;
        return result;
      }
      chains[b] = std::move(*chain);
      result.chains[b] = {chains[b].runs, static_cast<Index>(chains[b].linears.size()), chains[b].stretches,
                          chains[b].compressions, attempts[b].tried()};
    }
    Sequential<Scalar> network = detail::parallel_network(chains, classes.labels.size(), norm);
    detail::Certificate const certificate = detail::certify<Scalar>(network, x, classes);
    if (certificate.wrong_bits == 0) {
      result.network = std::move(network);
      result.margin = certificate.margin;
      result.certified = true;
      return result;
    }
    to_build = certificate.wrong_bits;
    failure = LnNetFailure::sample_misclassified;
  }
}

}  // namespace foldnorm::inline FOLDNORM_ABI
