// SPDX-License-Identifier: MIT
// foldnorm/onnx/rewrite.hpp -- carries out a fold report on the ONNX model that it was made of.
//
// Decides nothing: values come from fold_norms, and where the layer graph's folded layer differs from what it was, the
// model's nodes change. Everything else keeps every field; no opset is raised. Weights are read, folded and stored part
// by part.
#pragma once

#include <foldnorm/graph/fold_norms.hpp>
#include <foldnorm/graph/fold_parts.hpp>
#include <foldnorm/graph/fold_report.hpp>
#include <foldnorm/onnx/detail/model_editor.hpp>
#include <foldnorm/onnx/detail/norm_nodes.hpp>
#include <foldnorm/onnx/external_writer.hpp>
#include <foldnorm/onnx/infer_shapes.hpp>
#include <foldnorm/onnx/network.hpp>
#include <foldnorm/onnx/network_weights.hpp>

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
  // None of them is owned. `data` may be null.
  OnnxRewrite(OnnxFile const& file, OnnxNetwork const& network, OnnxTarget target, ExternalWriter* data)
      : file_(file),
        index_(file),
        shapes_(file, index_),
        network_(network),
        data_(data),
        editor_(file, index_),
        norms_(index_, shapes_, editor_, target) {}

  ::onnx::ModelProto carry_out(FoldReport const& report) && {
    constexpr double most_numbers = 1 << 24;  // in memory at once, unless one layer has more
    NetworkWeights const weights(file_, index_, network_);
    for (FoldPart const& part : fold_parts(network_.graph, report, most_numbers)) {
      Parameters before;
      for (std::string const& name : part.parameters) before.set(name, weights.read(name));
      change_layers(part.report, before, fold_norms(network_.graph, part.report, before));
    }
    change_norms(report);
    if (report.placement) {
      for (InsertionSet const& set : report.placement->sets) {
        for (Insertion const& insertion : set.insertions) insert_center(insertion.node);
      }
    }
    return std::move(editor_).take();
  }

 private:
  // The same node of the folded graph; it keeps its name.
  static Node const& folded_node(FoldedModel const& folded, std::string const& name) {
    return folded.graph.node(*folded.graph.find_node(name));
  }
  // A node's parameter in a role, before or after the fold; empty if it has none.
  static std::string parameter_of(Graph const& graph, Node const& node, Key role) {
    ParameterId const id = node.parameter(role);
    return id.present() ? graph.parameter(id).name : std::string();
  }

  // What a part changes in values and layers; other layers are in its folded graph what they were.
  void change_layers(FoldReport const& part, Parameters const& before, FoldedModel const& folded) {
    for (auto const& [name, value] : before) {
      OnnxParameter const& source = network_.sources.at(name);
      if (source.tensor.empty() || !folded.parameters.contains(name)) continue;
      ParameterValue const& now = folded.parameters.at(name);
      if (!same_bits(now, value)) store_tensor(editor_.tensor(source.tensor), source.layout, now, data_);
    }
    for (Composition const& pair : part.compositions) drop_scale(pair);
    for (auto const& [id, layer] : network_.layers) change_layer(id, layer, folded);
    for (CorrectedHead const& head : part.corrected) correct(head, folded);
  }

  // A new constant; where the model keeps tensors outside, a large one goes there, too.
  std::string add_constant(std::string const& base, ::onnx::TensorProto tensor) {
    constexpr std::size_t small = 1024;
    if (data_ && editor_.has_initializers() && tensor.raw_data().size() >= small) data_->move_out(tensor);
    return editor_.add_constant(base, std::move(tensor));
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

  void change_layer(NodeId id, OnnxLayer const& layer, FoldedModel const& folded) {
    Node const& before = network_.graph.node(id);
    if (before.op == Operator::embedding) return;
    bool const is_corrected =
        !folded.graph.find_node(before.name) ||
        folded_node(folded, before.name).op != before.op;  // a head that is now a sum keeps its weight
    if (is_corrected) return;
    Node const& after = folded_node(folded, before.name);
    std::string const weight = parameter_of(network_.graph, before, Key::weight);
    if (parameter_of(folded.graph, after, Key::weight) != weight) use_copy(layer, weight, after, folded);
    std::string const bias = parameter_of(folded.graph, after, Key::bias);
    if (!bias.empty() && parameter_of(network_.graph, before, Key::bias).empty()) {
      add_bias(layer, folded.parameters.at(bias), after.features);
    }
  }

  // A head of an untied table: its own copy, out x in, which may be changed.
  void use_copy(OnnxLayer const& layer, std::string const& table, Node const& after, FoldedModel const& folded) {
    ParameterValue const& value = folded.parameters.at(parameter_of(folded.graph, after, Key::weight));
    ::onnx::NodeProto& node = editor_.node(layer.node);
    Index const out = after.features, in = network_.sources.at(table).layout.rows;
    // As the head reads it: Gemm with transB takes [out, in], all others [in, out].
    bool const out_is_first = node.op_type() == "Gemm" && integer_attribute(node, "transB", 0) != 0;
    OnnxLayout const layout =
        out_is_first ? OnnxLayout{.rows = out, .inner = in} : OnnxLayout{.rows = out, .outer = in};
    std::vector<std::int64_t> const shape = out_is_first ? std::vector{out, in} : std::vector{in, out};
    std::string const base = network_.sources.at(table).tensor + ".untied";
    node.set_input(layer.weight_input, add_constant(base, make_tensor("", shape, layout, value)));
  }

  void add_bias(OnnxLayer const& layer, ParameterValue const& bias, Index features) {
    ::onnx::NodeProto& node = editor_.node(layer.node);
    std::string const base = node.output(0) + ".bias";
    std::string const name = add_constant(base, make_tensor("", {features}, {.rows = features}, bias));
    if (node.op_type() != "MatMul") {
      while (node.input_size() <= layer.bias_input) node.add_input("");
      node.set_input(layer.bias_input, name);
      return;
    }
    std::string const output = node.output(0);
    node.set_output(0, editor_.fresh_value(output + ".product"));
    editor_.put_behind(layer.node, ModelEditor::make_node("Add", {node.output(0), name}, output));
  }

  // A beta that is zero throughout goes with the mean.
  void change_norms(FoldReport const& report) {
    std::map<NodeId, NormChange> changes;
    for (Verdict const& norm : report.norms) {
      if (norm.folds()) changes[norm.norm] = {true, false, has_zero_beta(norm.norm)};
    }
    for (AffineVerdict const& affine : report.affines) {
      if (!affine.moves()) continue;
      Node const& node = network_.graph.node(affine.norm);
      changes[affine.norm].loses_gamma = node.parameter(Key::gamma).present();
      changes[affine.norm].loses_beta = node.parameter(Key::beta).present();
    }
    for (auto const& [id, change] : changes) {
      norms_.change(network_.norms.at(id), network_.origin(id).axis, network_.graph.node(id).features, change);
    }
  }
  bool has_zero_beta(NodeId norm) const {
    std::string const beta = parameter_of(network_.graph, network_.graph.node(norm), Key::beta);
    return !beta.empty() && network_.parameters.as<double>(beta).isZero(0);
  }

  // The head's value gets another name, and its sum with what the table has lost the head's.
  void correct(CorrectedHead const& corrected, FoldedModel const& folded) {
    OnnxLayer const& layer = network_.layers.at(corrected.head);
    Node const& sum = folded_node(folded, corrected.name);
    Node const& means = folded.graph.node(sum.inputs[1]);
    Node const& sums = folded.graph.node(means.inputs[0]);
    std::string const z = editor_.node(layer.node).input(0);
    int const last = last_of(layer);
    std::string const output = editor_.node(last).output(0);
    auto const multiply = [&](std::string const& x, Node const& linear, Index in, char const* part) {
      ParameterValue const& weight = folded.parameters.at(parameter_of(folded.graph, linear, Key::weight));
      std::string const name = editor_.fresh_value(output + part);
      std::string const constant = add_constant(
          name + ".weight", make_tensor("", {in, linear.features}, {.rows = linear.features, .outer = in}, weight));
      editor_.put_before(layer.node, ModelEditor::make_node("MatMul", {x, constant}, name));
      return name;
    };
    std::string const shift = multiply(multiply(z, sums, folded.graph.node(sums.inputs[0]).features, ".sums"), means,
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

  OnnxFile const& file_;
  OnnxIndex const index_;
  OnnxShapes const shapes_;
  OnnxNetwork const& network_;
  ExternalWriter* data_;
  ModelEditor editor_;
  NormNodes norms_;
};

}  // namespace detail

// The folded model. Tensors that were outside and change go to `data`, if given, else they come into the model; large
// ones that are new go there as well. In memory are the model, and the weights of one layer (or of several, up to 64
// MiB of floats) twice. Precondition: the network is to_graph's of this file, the report is one of that network.
// Throws onnx_error as read_tensor does, std::invalid_argument as fold_norms does, and what the writer throws.
inline ::onnx::ModelProto rewrite_model(OnnxFile const& file, OnnxNetwork const& network, FoldReport const& report,
                                        OnnxTarget target = OnnxTarget::onnx, ExternalWriter* data = nullptr) {
  return detail::OnnxRewrite(file, network, target, data).carry_out(report);
}

}  // namespace foldnorm::inline FOLDNORM_ABI
