// SPDX-License-Identifier: MIT
// foldnorm/onnx/write_model.hpp -- a layer graph and its parameters as an ONNX model, in float.
//
//   ids          integers [tokens]               other values       float [tokens, features]
//   names        those of nodes and parameters   operators          operator_forms.hpp
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/files/atomic_file.hpp>
#include <foldnorm/graph/fold_report.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/parameters.hpp>
#include <foldnorm/graph/token_counts.hpp>
#include <foldnorm/onnx/external_writer.hpp>
#include <foldnorm/onnx/model_builder.hpp>
#include <foldnorm/onnx/model_file.hpp>
#include <foldnorm/onnx/operator_forms.hpp>

#include <onnx/onnx_pb.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

// The norms that a fold made RMSNorms, for OnnxOptions::zero_mean.
inline std::set<std::string, std::less<>> folded_norms(FoldReport const& report) {
  std::set<std::string, std::less<>> names;
  for (Verdict const& norm : report.norms) {
    if (norm.folds()) names.insert(norm.name);
  }
  return names;
}

namespace detail {

// `tokens`: by node; empty where they are not fixed.
inline void check_parameter_for_onnx(Graph const& graph, ParameterDescription const& parameter,
                                     Parameters const& values, std::vector<Index> const& tokens) {
  for (ParameterUse const& use : parameter.uses) {
    Node const& node = graph.node(use.node);
    require(values.contains(parameter.name), node, "there is no parameter " + parameter.name);
    auto const [rows, columns] = std::visit([](auto const& matrix) { return std::pair(matrix.rows(), matrix.cols()); },
                                            values.at(parameter.name));
    Index expected = parameter.columns;
    if (parameter.per_token) expected = tokens.empty() ? columns : tokens[static_cast<std::size_t>(use.node.index)];
    require(rows == parameter.rows && columns == expected, node,
            parameter.name + " is " + shape_text(rows, columns) + ", expected " + shape_text(parameter.rows, expected));
  }
}

}  // namespace detail

// The model, complete in memory: initializers hold their bytes. Parameters are rounded to float. Throws graph_error
// that names the node if an operator has no form in ONNX (opaque), a parameter is missing or of the wrong size, or
// tokens do not fit.
inline onnx::ModelProto onnx_model(Graph const& graph, Parameters const& parameters, OnnxOptions const& options = {}) {
  std::vector<Index> tokens;
  if (options.tokens > 0) tokens = token_counts(graph, options.tokens);
  for (ParameterDescription const& parameter : graph.parameters()) {
    detail::check_parameter_for_onnx(graph, parameter, parameters, tokens);
  }
  detail::OnnxModelBuilder builder;
  detail::OnnxOperatorForms forms(graph, parameters, options, builder);
  for (std::size_t n = 0; n < graph.nodes().size(); ++n) {
    Node const& node = graph.nodes()[n];
    std::int64_t const count = tokens.empty() ? -1 : tokens[n];
    if (node.op == Operator::input) {
      builder.add_input(node.name, onnx::TensorProto::FLOAT, {count, node.features});
    } else if (node.op == Operator::ids) {
      builder.add_input(node.name, onnx::TensorProto::INT64, {count});
    } else {
      forms.add(node);
    }
    if (node.op == Operator::output) {
      builder.add_output(node.name, onnx::TensorProto::FLOAT, {count, node.features});
    }
  }
  return std::move(builder).take();
}

// Writes a model whose initializers hold their bytes, as onnx_model returns it. With `external_from`, initializers of
// at least so many bytes go to a file of their own, PATH.data, which the model names relative to itself. Both are there
// in full, or as they were. Throws std::runtime_error for a model of 2 GB or more, which the format needs external data
// for, and if writing fails.
inline void write_onnx_model(std::filesystem::path const& path, onnx::ModelProto model,
                             std::optional<std::size_t> external_from = {}) {
  ExternalWriter data(path);
  for (onnx::TensorProto& tensor : *model.mutable_graph()->mutable_initializer()) {
    std::size_t const bytes = tensor.raw_data().size();
    if (external_from && bytes >= *external_from && bytes > 0) data.move_out(tensor);
  }
  data.finish(model);
  AtomicFile file(path);
  write_onnx_model(file, model);
  file.close();
  data.close();
  data.commit();
  file.commit();
}

}  // namespace foldnorm::inline FOLDNORM_ABI
