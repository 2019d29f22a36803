// SPDX-License-Identifier: MIT
// foldnorm/onnx/rewrite.hpp -- carries out a fold report on the ONNX model that it was made of.
//
// Decides nothing: values come from fold_norms, and where the layer graph's folded node differs from what it was, the
// model's nodes change. Everything else keeps every field; no opset is raised.
#pragma once

#include <foldnorm/graph/fold_norms.hpp>
#include <foldnorm/graph/fold_report.hpp>
#include <foldnorm/onnx/detail/model_editor.hpp>
#include <foldnorm/onnx/detail/norm_nodes.hpp>
#include <foldnorm/onnx/infer_shapes.hpp>
#include <foldnorm/onnx/network.hpp>

#include <cstdint>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

namespace detail {

// By bits: a NaN that nobody touched is no change.
inline bool same_bits(ParameterValue const& a, ParameterValue const& b) {
  return a.index() == b.index() && std::visit(
                                       [&]<class M>(M const& m) {
                                         M const& other = std::get<M>(b);
                                         if (m.rows() != other.rows() || m.cols() != other.cols()) return false;
                                         auto const bytes =
                                             static_cast<std::size_t>(m.size()) * sizeof(typename M::Scalar);
                                         return bytes == 0 || std::memcmp(m.data(), other.data(), bytes) == 0;
                                       },
                                       a);
}

class OnnxRewrite {
 public:
  OnnxRewrite(OnnxFile const& file, OnnxNetwork const& network, FoldReport const& report, FoldedModel const& folded,
              OnnxTarget target)
      : index_(file),
        shapes_(file, index_),
        network_(network),
        report_(report),
        folded_(folded),
        editor_(file, index_),
        norms_(index_, shapes_, editor_, target) {}

  ::onnx::ModelProto take() && {
    store_parameters();
    for (Composition const& pair : report_.compositions) drop_scale(pair);
    for (auto const& [id, layer] : network_.layers) change_layer(id, layer);
    for (auto const& [id, norm] : network_.norms) change_norm(id, norm);
    for (CorrectedHead const& head : report_.corrected) correct(head);
    if (report_.placement) {
      for (InsertionSet const& set : report_.placement->sets) {
        for (Insertion const& insertion : set.insertions) insert_center(insertion.node);
      }
    }
    return std::move(editor_).take();
  }

 private:
  // The same node of the folded graph; it keeps its name.
  Node const& folded_node(std::string const& name) const { return folded_.graph.node(*folded_.graph.find_node(name)); }
  // A node's parameter in a role, before or after the fold; empty if it has none.
  static std::string parameter_of(Graph const& graph, Node const& node, Key role) {
    ParameterId const id = node.parameter(role);
    return id.present() ? graph.parameter(id).name : std::string();
  }

  void store_parameters() {
    for (auto const& [name, source] : network_.sources) {
      if (source.tensor.empty() || !folded_.parameters.contains(name)) continue;
      ParameterValue const& now = folded_.parameters.at(name);
      if (!same_bits(now, network_.parameters.at(name)))
        store_tensor(editor_.tensor(source.tensor), source.layout, now);
    }
  }

  static int last_of(OnnxLayer const& layer) {
    return layer.bias_node == OnnxIndex::nobody ? layer.node : layer.bias_node;
  }

  // What is in front of the scale takes its name.
  void drop_scale(Composition const& pair) {
    OnnxOrigin const& scale = network_.origin(pair.scale);
    std::string* const output = editor_.node(last_of(network_.layers.at(pair.linear))).mutable_output(0);
    editor_.redirect(*output, scale.value);
    *output = scale.value;
    editor_.remove(scale.node);
  }

  void change_layer(NodeId id, OnnxLayer const& layer) {
    Node const& before = network_.graph.node(id);
    if (before.op == Operator::embedding) return;
    bool const is_corrected = !folded_.graph.find_node(before.name) ||
                              folded_node(before.name).op != before.op;  // a head that is now a sum keeps its weight
    if (is_corrected) return;
    Node const& after = folded_node(before.name);
    std::string const weight = parameter_of(network_.graph, before, Key::weight);
    if (parameter_of(folded_.graph, after, Key::weight) != weight) use_copy(layer, weight, after);
    std::string const bias = parameter_of(folded_.graph, after, Key::bias);
    if (!bias.empty() && parameter_of(network_.graph, before, Key::bias).empty()) add_bias(layer, bias, after.features);
  }

  // A head of an untied table: its own copy, out x in, which may be changed.
  void use_copy(OnnxLayer const& layer, std::string const& table, Node const& after) {
    ParameterValue const& value = folded_.parameters.at(parameter_of(folded_.graph, after, Key::weight));
    ::onnx::NodeProto& node = editor_.node(layer.node);
    Index const out = after.features, in = network_.sources.at(table).layout.rows;
    // As the head reads it: Gemm with transB takes [out, in], all others [in, out].
    bool const out_is_first = node.op_type() == "Gemm" && integer_attribute(node, "transB", 0) != 0;
    OnnxLayout const layout =
        out_is_first ? OnnxLayout{.rows = out, .inner = in} : OnnxLayout{.rows = out, .outer = in};
    std::vector<std::int64_t> const shape = out_is_first ? std::vector{out, in} : std::vector{in, out};
    std::string const base = network_.sources.at(table).tensor + ".untied";
    node.set_input(layer.weight_input, editor_.add_constant(base, make_tensor("", shape, layout, value)));
  }

  void add_bias(OnnxLayer const& layer, std::string const& bias, Index features) {
    ::onnx::NodeProto& node = editor_.node(layer.node);
    std::string const base = node.output(0) + ".bias";
    std::string const name =
        editor_.add_constant(base, make_tensor("", {features}, {.rows = features}, folded_.parameters.at(bias)));
    if (node.op_type() != "MatMul") {
      while (node.input_size() <= layer.bias_input) node.add_input("");
      node.set_input(layer.bias_input, name);
      return;
    }
    std::string const output = node.output(0);
    node.set_output(0, editor_.fresh_value(output + ".product"));
    editor_.put_behind(layer.node, ModelEditor::make_node("Add", {node.output(0), name}, output));
  }

  void change_norm(NodeId id, OnnxNorm const& norm) {
    Node const& before = network_.graph.node(id);
    Node const& after = folded_node(before.name);
    auto const loses = [&](Key role) { return before.parameter(role).present() && !after.parameter(role).present(); };
    NormChange const change{before.op != after.op, loses(Key::gamma), loses(Key::beta)};
    if (change.loses_mean || change.loses_gamma || change.loses_beta) {
      norms_.change(norm, network_.origin(id).axis, before.features, change);
    }
  }

  // The head's value gets another name, and its sum with what the table has lost the head's.
  void correct(CorrectedHead const& corrected) {
    OnnxLayer const& layer = network_.layers.at(corrected.head);
    Node const& sum = folded_node(corrected.name);
    Node const& means = folded_.graph.node(sum.inputs[1]);
    Node const& sums = folded_.graph.node(means.inputs[0]);
    std::string const z = editor_.node(layer.node).input(0);
    int const last = last_of(layer);
    std::string const output = editor_.node(last).output(0);
    auto const multiply = [&](std::string const& x, Node const& linear, Index in, char const* part) {
      ParameterValue const& weight = folded_.parameters.at(parameter_of(folded_.graph, linear, Key::weight));
      std::string const name = editor_.fresh_value(output + part);
      std::string const constant = editor_.add_constant(
          name + ".weight", make_tensor("", {in, linear.features}, {.rows = linear.features, .outer = in}, weight));
      editor_.put_before(layer.node, ModelEditor::make_node("MatMul", {x, constant}, name));
      return name;
    };
    std::string const shift = multiply(multiply(z, sums, folded_.graph.node(sums.inputs[0]).features, ".sums"), means,
                                       sums.features, ".correction");
    std::string const tied = editor_.fresh_value(output + ".tied");
    editor_.node(last).set_output(0, tied);
    editor_.put_behind(last, ModelEditor::make_node("Add", {tied, shift}, output));
  }

  void insert_center(NodeId id) {
    OnnxOrigin const& origin = network_.origin(id);
    std::string const mean = editor_.fresh_value(origin.value + ".mean");
    std::string const centered = editor_.fresh_value(origin.value + ".centered");
    int const behind = index_.producer(origin.value);
    editor_.put_behind(behind, editor_.make_mean(origin.value, origin.axis, mean));
    editor_.put_behind(behind, ModelEditor::make_node("Sub", {origin.value, mean}, centered));
    editor_.redirect(origin.value, centered);
  }

  OnnxIndex const index_;
  OnnxShapes const shapes_;
  OnnxNetwork const& network_;
  FoldReport const& report_;
  FoldedModel const& folded_;
  ModelEditor editor_;
  NormNodes norms_;
};

}  // namespace detail

// The folded model. Preconditions: the network is to_graph's of this file, the report and the folded model are of that
// network with its parameters. A tensor that was outside and changes comes into the model.
inline ::onnx::ModelProto rewrite_model(OnnxFile const& file, OnnxNetwork const& network, FoldReport const& report,
                                        FoldedModel const& folded, OnnxTarget target = OnnxTarget::onnx) {
  return detail::OnnxRewrite(file, network, report, folded, target).take();
}

}  // namespace foldnorm::inline FOLDNORM_ABI
