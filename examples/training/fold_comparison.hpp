// SPDX-License-Identifier: MIT
// training/fold_comparison.hpp -- what a fold did to a trained model, on every test image: the numbers of the table.
#pragma once

#include <foldnorm/graph/certificate.hpp>
#include <foldnorm/graph/evaluate.hpp>

#include "../matrix_difference.hpp"
#include "fold_model.hpp"
#include "forward_timing.hpp"
#include "loss.hpp"
#include "trainer.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace foldnorm::training {

struct FoldComparison {
  Index norms = 0, folds = 0;
  double accuracy_before = 0, accuracy_after = 0;
  Index images = 0;
  Index changed = 0;  // predictions that differ and are no ties
  Index ties = 0;     // predictions that differ where the two logits lie closer together than `rounding`
  double largest_logit = 0;
  double logit_difference = 0;   // largest |after - before|
  double rounding = 0;           // largest |float forward - the graph in double| of the unfolded model
  double double_difference = 0;  // of the two graphs folded and run in double, relative to an image's largest logit
  ForwardTiming timing;

  // A float forward rounds at 1e-7 in each of some ten layers in a row, and norms and softmax may amplify that; past
  // 1e-4 of the logits, graph and forward code are not the same network.
  bool graph_is_the_model() const { return rounding <= 1e-4 * largest_logit; }

  // In double the two graphs agree to rounding. In float both models round independently, each by up to `rounding` on
  // the images where that was measured; twice their sum allows for the images where it was not.
  bool fold_is_exact() const { return double_difference <= 1e-12 && logit_difference <= 4 * rounding && changed == 0; }
};

namespace detail {

// Counts the predictions that changed, apart those that were ties.
inline void compare_predictions(Matrix<float> const& before, Matrix<float> const& after, FoldComparison& comparison) {
  std::vector<Index> const old_class = predictions(before);
  std::vector<Index> const new_class = predictions(after);
  for (std::size_t i = 0; i < old_class.size(); ++i) {
    if (old_class[i] == new_class[i]) continue;
    Index const j = static_cast<Index>(i);
    double const gap = static_cast<double>(before(old_class[i], j) - before(new_class[i], j));
    (gap < comparison.rounding ? comparison.ties : comparison.changed) += 1;
  }
}

}  // namespace detail

// Folds `model` as the report says and runs both over all images, and the first `reference_images` of them through the
// layer graphs in double.
template <class Model>
FoldComparison compare_fold(Model const& model, FoldReport const& report, ImageSet const& images,
                            Index reference_images) {
  Graph const graph = model.describe();
  Model const after =
      with_fold(model, report, fold_norms(graph, report, to_parameters<typename Model::Scalar>(model.parameters)));
  // In double from end to end: weights that are folded in float are rounded to float, which moves logits by some 1e-8.
  Parameters const exact_parameters = to_parameters<double>(model.parameters);
  FoldedModel const exact_fold = fold_norms(graph, report, exact_parameters);
  Matrix<float> const logits = logits_of(model, images);
  Matrix<float> const folded_logits = logits_of(after, images);

  FoldComparison c;
  c.norms = static_cast<Index>(report.norms.size());
  c.folds = static_cast<Index>(report.folds());
  c.accuracy_before = accuracy(logits, images.labels);
  c.accuracy_after = accuracy(folded_logits, images.labels);
  c.images = images.size();
  c.largest_logit = logits.cwiseAbs().maxCoeff();
  c.logit_difference = matrix_difference(logits.cast<double>(), folded_logits.cast<double>());
  Index const references = std::min(reference_images, images.size());
  Matrix<double> exact(image_classes, references);
  Vector<double> graph_differences(references);
  for (Index image = 0; image < references; ++image) {
    Matrix<float> pixels;
    gather_images(images, std::vector{image}, pixels);
    NamedValues const input{{graph.nodes().front().name, as_input(model, pixels).template cast<double>()}};
    exact.col(image) = evaluate(graph, exact_parameters, input).begin()->second;
    graph_differences(image) = certify(graph, exact_parameters, exact_fold, input).largest_difference();
  }
  c.rounding = matrix_difference(logits.leftCols(references).cast<double>(), exact);
  c.double_difference = graph_differences.maxCoeff<Eigen::PropagateNaN>();
  detail::compare_predictions(logits, folded_logits, c);
  c.timing = time_forward(model, after, images, 64, 201, 0.002);  // shorter than a time slice of the scheduler
  return c;
}

}  // namespace foldnorm::training
