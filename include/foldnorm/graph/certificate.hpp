// SPDX-License-Identifier: MIT
// foldnorm/graph/certificate.hpp -- runs a model and its fold side by side and says how far apart they are.
//
// Printed with <<:
//   difference OUTPUT ABSOLUTE RELATIVE
//   mean NORM VALUE
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/errors.hpp>
#include <foldnorm/graph/evaluate.hpp>
#include <foldnorm/graph/fold_norms.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/parameters.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <ostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

struct OutputDifference {
  std::string output;
  double absolute = 0;  // largest |folded - original|
  double relative = 0;  // that, over the largest |original| of this output (0 if both are 0)
};

struct NormMean {
  std::string norm;
  double mean = 0;  // largest |mean| of a token (and group) at the folded norm's input
};

struct Certificate {
  std::vector<OutputDifference> outputs;
  std::vector<NormMean> norms;  // those that were folded

  // The largest relative difference; NaN if any is.
  double largest_difference() const {
    double largest = 0;
    for (OutputDifference const& output : outputs) {
      if (std::isnan(output.relative)) return output.relative;
      largest = std::max(largest, output.relative);
    }
    return largest;
  }
};

namespace detail {

// The largest |coefficient|, 0 of none; NaN if one is (which lpNorm<Infinity> may lose).
template <class X>
double largest_coefficient(Eigen::DenseBase<X> const& x) {
  return x.size() == 0 ? 0 : static_cast<double>(x.derived().array().abs().template maxCoeff<Eigen::PropagateNaN>());
}

}  // namespace detail

// Both models in Scalar on the same inputs. In exact arithmetic every difference and mean is zero; in double they are
// rounding, some 1e-14 relative for a network of ordinary depth, in float some 1e-5. Throws as evaluate does, and
// std::invalid_argument if the two do not have the same outputs.
template <real_scalar Scalar = double>
Certificate certify(Graph const& original, Parameters const& parameters, FoldedModel const& folded,
                    NamedValues const& inputs) {
  ValuesByName<Scalar> const before = evaluate<Scalar>(original, parameters, inputs);
  std::vector<Matrix<Scalar>> const values = evaluate_nodes<Scalar>(folded.graph, folded.parameters, inputs);
  auto const value = [&](NodeId id) -> Matrix<Scalar> const& { return values[static_cast<std::size_t>(id.index)]; };
  Certificate certificate;
  for (Node const& node : folded.graph.nodes()) {
    if (node.op == Operator::output && !before.contains(node.name)) {
      detail::raise<std::invalid_argument>("certify: the original graph has no output " + node.name);
    }
  }
  for (auto const& [name, expected] : before) {
    auto const id = folded.graph.find_node(name);
    if (!id || folded.graph.node(*id).op != Operator::output) {
      detail::raise<std::invalid_argument>("certify: the folded graph has no output " + name);
    }
    check_same_shape(value(*id), expected, ("certify: output " + name + ", folded and original").c_str());
    double const absolute = detail::largest_coefficient(value(*id) - expected);
    double const size = detail::largest_coefficient(expected);
    certificate.outputs.push_back({name, absolute, absolute == 0 ? 0 : absolute / size});
  }
  for (Node const& norm : folded.graph.nodes()) {
    if (norm.op != Operator::rms_norm) continue;
    auto const id = original.find_node(norm.name);
    if (!id || original.node(*id).op != Operator::layer_norm) continue;
    Matrix<Scalar> const& x = value(norm.inputs[0]);
    Index const groups = norm.count(Key::groups);
    Matrix<Scalar> const means = x.reshaped(x.rows() / groups, x.cols() * groups).colwise().mean();
    certificate.norms.push_back({norm.name, detail::largest_coefficient(means)});
  }
  return certificate;
}

inline std::ostream& operator<<(std::ostream& out, Certificate const& certificate) {
  for (OutputDifference const& output : certificate.outputs) {
    out << "difference " << output.output << ' ' << output.absolute << ' ' << output.relative << '\n';
  }
  for (NormMean const& norm : certificate.norms) out << "mean " << norm.norm << ' ' << norm.mean << '\n';
  return out;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
