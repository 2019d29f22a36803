// SPDX-License-Identifier: MIT
// foldnorm/foldnorm.hpp -- everything but the constructions, and the map of the house. Each header may include those
// above it, never below.
//
//   layer_norm = (gain, shift) after rms_normalize after center
//
// `center` is linear, so it can move out of the run and into the weights, once; what is left is rms_norm.
#pragma once

// core: scalars and views, argument checks, the accuracy a caller can name
#include <foldnorm/core/accuracy.hpp>
#include <foldnorm/core/check.hpp>
#include <foldnorm/core/types.hpp>
// kernels: matrix -> kernel -> matrix, and the gradients back
#include <foldnorm/kernels/activation.hpp>
#include <foldnorm/kernels/add_norm.hpp>
#include <foldnorm/kernels/center.hpp>
#include <foldnorm/kernels/layer_norm.hpp>
#include <foldnorm/kernels/parallel_layer_norm.hpp>
#include <foldnorm/kernels/pq_norm.hpp>
#include <foldnorm/kernels/rms_norm.hpp>
#include <foldnorm/kernels/token_rows.hpp>
// kernels: of a batch: its covariance, and functions of that
#include <foldnorm/kernels/affine_map.hpp>
#include <foldnorm/kernels/covariance.hpp>
#include <foldnorm/kernels/inverse_square_root.hpp>
#include <foldnorm/kernels/spectral_function.hpp>
// layers: kernels with parameters of their own, and chains of them
#include <foldnorm/layers/activation.hpp>
#include <foldnorm/layers/centered.hpp>
#include <foldnorm/layers/centered_network.hpp>
#include <foldnorm/layers/convolution.hpp>
#include <foldnorm/layers/embedding.hpp>
#include <foldnorm/layers/layer_norm.hpp>
#include <foldnorm/layers/linear.hpp>
#include <foldnorm/layers/parallel_layer_norm.hpp>
#include <foldnorm/layers/pq_norm.hpp>
#include <foldnorm/layers/rms_norm.hpp>
#include <foldnorm/layers/sequential.hpp>
// whitening: center, then a matrix in the place of a scalar
#include <foldnorm/whitening/cholesky.hpp>
#include <foldnorm/whitening/iter_norm.hpp>
#include <foldnorm/whitening/pca.hpp>
#include <foldnorm/whitening/spectral_transformation.hpp>
#include <foldnorm/whitening/zca.hpp>
// losses: of whitened views
#include <foldnorm/losses/alignment_loss.hpp>
#include <foldnorm/losses/intl_loss.hpp>
#include <foldnorm/losses/trace_loss.hpp>
// constructions (a theorem in, a network of layers out) are not included here: they build networks of double, which
// compiles the kernels and some decompositions, 15 s in every file. Include foldnorm/constructions/NAME.hpp.
// fold: weights in, weights out
#include <foldnorm/fold/affine.hpp>
#include <foldnorm/fold/centering.hpp>
#include <foldnorm/fold/weight_layout.hpp>
// graph: describe by hand, read and write, draw, run slowly
#include <foldnorm/graph/describe.hpp>
#include <foldnorm/graph/dot.hpp>
#include <foldnorm/graph/evaluate.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/parameters.hpp>
#include <foldnorm/graph/random_values.hpp>
#include <foldnorm/graph/text.hpp>
// graph: which norms fold, what that should bring, the rewrite, and the proof by running both. (measure_costs.hpp, the
// table for estimate_gain, compiles kernels: include it by itself.)
#include <foldnorm/graph/certificate.hpp>
#include <foldnorm/graph/estimate_gain.hpp>
#include <foldnorm/graph/find_foldable_norms.hpp>
#include <foldnorm/graph/fold_norms.hpp>
