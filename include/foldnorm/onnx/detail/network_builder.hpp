// SPDX-License-Identifier: MIT
// foldnorm/onnx/detail/network_builder.hpp -- what the rules for ONNX operators build a layer graph with.
//
// A value of the model has one feature axis, the one that what makes it works on, or several where a Reshape has cut it
// (into heads); a reader that works on another axis reads a view, which is opaque and therefore blocks. What is static,
// the same whatever the activations are, is no node. A constant is a parameter where a rule takes it as one; each other
// use of it counts against changing it.
#pragma once

#include <foldnorm/onnx/detail/constant_layouts.hpp>
#include <foldnorm/onnx/detail/parameter_tensors.hpp>
#include <foldnorm/onnx/infer_shapes.hpp>
#include <foldnorm/onnx/network.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace foldnorm::detail {

// One of the axes that features lie along.
struct FeatureAxis {
  std::int64_t axis = 0;  // from the end
  Index length = 0;
};

struct OnnxValue {
  NodeId node;
  std::int64_t axis = 0;          // from the end; 0: not known, or cut
  std::vector<FeatureAxis> axes;  // the one, or those that the features are cut into: neighbours lie along the last
  bool is_known() const { return !axes.empty(); }
};

class NetworkBuilder {
 public:
  explicit NetworkBuilder(OnnxFile const& model_file)
      : file(model_file),
        index(file),
        constants(file, index),
        shapes(file, index),
        tensors(index),
        opset(standard_opset(model_file.model())) {}

  OnnxFile const& file;
  OnnxIndex const index;
  OnnxConstants const constants;
  OnnxShapes const shapes;
  ParameterTensors tensors;
  std::int64_t const opset;
  OnnxNetwork network;

  Graph& graph() { return network.graph; }
  Index features(OnnxValue const& value) const { return network.graph.node(value.node).features; }

  // A legal and free name for what stands for this node of the model.
  std::string fresh_name(int n, std::string const& suffix = "") {
    auto const& node = index.node(n);
    return fresh_name(!node.name().empty() || node.output_size() == 0 ? node.name() : node.output(0), suffix);
  }
  std::string fresh_name(std::string const& original, std::string const& suffix = "") {
    std::string const base = legal_word(original) + suffix;
    std::string name = base;
    while (!names_.insert(name).second) name = base + "_" + std::to_string(++used_[base]);
    return name;
  }

  // The node is what the model calls `value`; its features are along this axis (0: it is not known which).
  void define(std::string const& value, NodeId node, std::int64_t axis, int n) {
    std::vector<FeatureAxis> axes;
    if (axis != 0) axes.push_back({axis, graph().node(node).features});
    values_[value] = {node, axis, std::move(axes)};
    remember(node, {n, value, axis});
  }
  void define_output(int n, NodeId node, std::int64_t axis) { define(index.node(n).output(0), node, axis, n); }
  // ... are along these.
  void define(std::string const& value, NodeId node, std::vector<FeatureAxis> axes, int n) {
    std::int64_t const axis = axes.size() == 1 ? axes[0].axis : 0;
    values_[value] = {node, axis, std::move(axes)};
    remember(node, {n, value, axis});
  }
  void define_output(int n, NodeId node, std::vector<FeatureAxis> axes) {
    define(index.node(n).output(0), node, std::move(axes), n);
  }
  void remember(NodeId node, OnnxOrigin origin) {
    network.origins.resize(std::max(network.origins.size(), static_cast<std::size_t>(node.index) + 1));
    network.origins[static_cast<std::size_t>(node.index)] = std::move(origin);
  }

  bool is_static(std::string const& value) const { return shapes.of(value).is_static; }
  // A value that is no static one; empty for that.
  std::optional<OnnxValue> value(std::string const& name) const {
    auto const found = values_.find(name);
    return found == values_.end() ? std::nullopt : std::optional(found->second);
  }

  // The value with its features along this axis, so many: itself, a view of it, or of what is static a source.
  NodeId along(std::string const& name, std::int64_t axis, Index count, int reader) {
    auto const found = value(name);
    if (found && found->axis == axis && features(*found) == count) return found->node;
    return view_of(name, axis, count, reader);
  }
  // ... never itself: what reads it reads something else, too, or less.
  NodeId view_of(std::string const& name, std::int64_t axis, Index count, int reader) {
    auto const found = value(name);
    auto const [view, is_new] = views_.try_emplace({name, axis, count});
    if (is_new) {
      std::vector<NodeId> inputs;
      if (found) inputs.push_back(found->node);
      view->second = graph().opaque(fresh_name(name, ".view"), std::move(inputs), count);
      remember(view->second, {found ? network.origin(found->node).node : reader, "", axis});
    }
    return view->second;
  }
  NodeId along(std::string const& name, OnnxValue const& other, int reader) {
    return along(name, other.axis, features(other), reader);
  }
  // ... to be read in a way that sees every change.
  NodeId observed(std::string const& name, int reader) {
    auto const found = value(name);
    return found ? found->node : along(name, -1, 1, reader);
  }

  // What a node reads beside its operands: who makes it is seen, whatever becomes of the node's value.
  void watch(std::string const& name, int n, std::string const& suffix) {
    if (auto const found = value(name)) {
      remember(graph().opaque(fresh_name(n, suffix), {found->node}, 1), {n, "", 0});
    }
  }
  // The node that is this value, which node n scales: behind one that keeps n from becoming part of what makes the
  // value, if n has to stay, or that is in another graph, outside of a branch.
  NodeId from_scope_of(int n, std::string const& name, NodeId x, bool stays = false) {
    int const maker = index.producer(name);
    bool const crosses = maker != OnnxIndex::nobody && !index.are_together(maker, n);
    if (!crosses && !stays) return x;
    NodeId const passed = graph().identity(fresh_name(n, ".outside"), x);
    remember(passed, {n, "", 0});
    return passed;
  }
  // What node n makes of x: tokens mixed with weights that the features of a head share, and that need not sum to one.
  // The weights may be made of other values, here by those nodes.
  NodeId mixed(int n, NodeId x, std::vector<NodeId> seen, Index heads = 1) {
    NodeId const weights = graph().opaque(fresh_name(n, ".weights"), std::move(seen), heads);
    remember(weights, {n, "", 0});
    return graph().attention(fresh_name(n), weights, weights, x, heads);
  }
  // What node n makes of x by a weight that can be centered, and no more: the node has no place for a bias, or its
  // numbers are not those of a linear layer's. So nothing is moved into it, from in front or from behind.
  NodeId sealed_linear(int n, NodeId x, Index out, Index in, std::string const& weight) {
    NodeId const read = graph().opaque(fresh_name(n, ".operand"), {x}, in);
    NodeId const product = graph().linear(fresh_name(n, ".product"), read, out, weight);
    for (NodeId const part : {read, product}) remember(part, {n, "", 0});
    return graph().identity(fresh_name(n), product);
  }

  // Takes this use of a constant as that of a parameter: its name. Precondition: it fits.
  std::string use(OnnxConstant const& constant, OnnxLayout const& layout, ParameterKind kind) {
    std::string& parameter = tensors.take_use(constant, layout, kind);
    if (parameter.empty()) {
      parameter = fresh_name(constant.name);
      network.sources.emplace(parameter, OnnxParameter{constant.name, layout});
    }
    return parameter;
  }
  // A constant as a source of tokens, its features along its last axis; none if it cannot be one.
  std::optional<OnnxValue> as_source(std::string const& name, int reader) {
    auto const found = tensors.constant(name);
    if (!found || found->is_transposed || found->tensor->dims_size() == 0) return std::nullopt;
    auto const layout = tokens_along(*found, -1, found->tensor->dims(found->tensor->dims_size() - 1));
    if (!layout || !tensors.fits(*found, *layout, ParameterKind::table)) return std::nullopt;
    tensors.make_table(*found);
    std::string const parameter = use(*found, *layout, ParameterKind::table);
    NodeId const ids = graph().ids(fresh_name(name, ".ids"), layout->outer);
    NodeId const source = graph().embedding(fresh_name(name, ".source"), ids, layout->rows, parameter);
    remember(source, {reader, "", -1});
    return OnnxValue{source, -1, {{-1, layout->rows}}};
  }
  // A parameter that is computed: it is in no file.
  std::string add_computed(std::string const& name, Vector<double> const& values) {
    std::string const parameter = fresh_name(name);
    network.parameters.set(parameter, values);
    network.sources.emplace(parameter, OnnxParameter{});
    return parameter;
  }

  // Nodes that another one stands for.
  bool is_taken(int n) const { return taken_.contains(n); }
  void take(int n) { taken_.insert(n); }

  // The one node that reads what n makes, if it is of this type and combines it with a constant vector: a bias, a
  // gamma.
  struct Follower {
    int node = OnnxIndex::nobody;
    OnnxConstant constant;
    OnnxLayout layout;
  };
  std::optional<Follower> follower(int n, std::string_view type, std::int64_t axis, Index count) const {
    std::string const& value = index.node(n).output(0);
    if (index.uses(value) != 1 || index.is_output(value)) return std::nullopt;
    int const reader = index.readers(value)[0];
    auto const& node = index.node(reader);
    bool const is_of_type = node.op_type() == type && index.is_standard(node) && node.input_size() == 2;
    if (!is_of_type || is_taken(reader) || !index.are_together(n, reader)) return std::nullopt;
    auto const found = tensors.constant(node.input(node.input(0) == value ? 1 : 0));
    if (!found) return std::nullopt;
    auto const layout = vector_along(*found, axis, count);
    if (!layout || !tensors.fits(*found, *layout, ParameterKind::vector)) return std::nullopt;
    return Follower{reader, *found, *layout};
  }

  // Does the value get more axes where it meets this constant? Then the operator cannot go.
  bool adds_axes(OnnxConstant const& constant, std::string const& name) const {
    auto const rank = shapes.of(name).rank();
    auto const constant_rank = static_cast<std::size_t>(constant.tensor->dims_size());
    return constant_rank > 1 && (!rank || constant_rank > *rank);
  }

  // An operator that is not known, or not in this form: it sees every change of what it reads, and promises nothing.
  void add_opaque(int n) {
    auto const& node = index.node(n);
    std::vector<std::string> read(node.input().begin(), node.input().end());
    auto const inside = index.inner_graphs(n);
    auto const& captured = index.captured(n);
    if (inside.empty()) read.insert(read.end(), captured.begin(), captured.end());
    for (auto const* const inner : inside) {
      for (auto const& output : inner->output()) read.push_back(output.name());
    }
    std::vector<NodeId> const inputs = made(read);
    NodeId all{};
    for (auto const& output : node.output()) {
      if (output.empty()) continue;
      NodeId const first = all;
      NodeId const value = first.index < 0 ? define_opaque(output, fresh_name(n), inputs, n)
                                           : define_opaque(output, fresh_name(output), {first}, n);
      if (first.index < 0) all = value;
    }
    if (all.index < 0 && !inputs.empty()) remember(graph().opaque(fresh_name(n), inputs, 1), {n, "", 0});
  }
  // Those of the values that are no static ones.
  std::vector<NodeId> made(std::vector<std::string> const& names) const {
    std::vector<NodeId> result;
    for (auto const& name : names) {
      if (auto const found = value(name)) result.push_back(found->node);
    }
    return result;
  }
  // A value of node n that is made of others in a way that nothing is known of.
  NodeId define_opaque(std::string const& name, std::string const& node_name, std::vector<NodeId> inputs, int n) {
    auto const& dims = shapes.of(name).dims;
    bool const is_known = dims && !dims->empty() && dims->back().is_known() && dims->back().number() > 0 &&
                          dims->back().number() <= largest_count;
    Index const count = is_known ? static_cast<Index>(dims->back().number()) : 1;
    NodeId const result = graph().opaque(node_name, std::move(inputs), count);
    define(name, result, is_known ? -1 : 0, n);
    return result;
  }

  void refuse(int n, std::string reason) { network.refused.push_back({n, std::move(reason)}); }

 private:
  std::unordered_set<std::string> names_;
  std::unordered_map<std::string, int> used_;
  std::unordered_map<std::string, OnnxValue> values_;
  std::map<std::tuple<std::string, std::int64_t, Index>, NodeId> views_;
  std::unordered_set<int> taken_;
};

}  // namespace foldnorm::detail
