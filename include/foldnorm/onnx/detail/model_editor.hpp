// SPDX-License-Identifier: MIT
// foldnorm/onnx/detail/model_editor.hpp -- changes to an ONNX model, collected by node and put together at the end.
//
// Works on a copy. What no change touches keeps every field, unknown ones among them, and its place.
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/onnx/model_index.hpp>
#include <foldnorm/onnx/tensor_values.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace foldnorm::detail {

class ModelEditor {
 public:
  // Neither argument is owned.
  ModelEditor(OnnxFile const& file, OnnxIndex const& index)
      : index_(index), model_(file.model()), places_(static_cast<std::size_t>(index.size()) + 1) {
    collect_names(index.graph());
    find_nodes(*model_.mutable_graph(), index.graph());
    opset_ = standard_opset(model_);
    for (int n = 0; n < index.size(); ++n) {
      for (auto const& input : index.node(n).input()) read_before_.insert(input);
    }
  }

  std::int64_t opset() const { return opset_; }
  std::string fresh_value(std::string const& base) { return fresh(base, names_); }

  // A node of the model, to be changed in its place.
  ::onnx::NodeProto& node(int n) { return *nodes_[static_cast<std::size_t>(n)]; }
  void remove(int n) { place(n).is_removed = true; }
  // New nodes come right in front of node n, or right behind it (behind OnnxIndex::nobody: in front of all nodes).
  void put_before(int n, ::onnx::NodeProto node) { place(n).before.push_back(named(std::move(node))); }
  void put_behind(int n, ::onnx::NodeProto node) { place(n).behind.push_back(named(std::move(node))); }
  // All nodes of the model, and new ones in front of nodes, that read `value` read `instead`, and so do graphs in them.
  void redirect(std::string const& value, std::string const& instead) { redirected_[value] = instead; }

  static ::onnx::NodeProto make_node(std::string const& type, std::vector<std::string> const& inputs,
                                     std::string const& output) {
    ::onnx::NodeProto node;
    node.set_op_type(type);
    node.set_name(output);
    for (auto const& input : inputs) node.add_input(input);
    node.add_output(output);
    return node;
  }
  static void set_integer(::onnx::NodeProto& node, std::string const& name, std::int64_t value) {
    auto& attribute = *node.add_attribute();
    attribute.set_name(name);
    attribute.set_type(::onnx::AttributeProto::INT);
    attribute.set_i(value);
  }
  static void set_float(::onnx::NodeProto& node, std::string const& name, double value) {
    auto& attribute = *node.add_attribute();
    attribute.set_name(name);
    attribute.set_type(::onnx::AttributeProto::FLOAT);
    attribute.set_f(static_cast<float>(value));
  }
  // The mean along an axis that stays; axes are an attribute up to opset 17.
  ::onnx::NodeProto make_mean(std::string const& x, std::int64_t axis, std::string const& output) {
    ::onnx::NodeProto node = make_node("ReduceMean", {x}, output);
    if (opset_ >= 18) {
      ::onnx::TensorProto axes;
      axes.add_dims(1);
      axes.set_data_type(::onnx::TensorProto::INT64);
      axes.add_int64_data(axis);
      node.add_input(add_constant(output + ".axes", std::move(axes)));
    } else {
      auto& attribute = *node.add_attribute();
      attribute.set_name("axes");
      attribute.set_type(::onnx::AttributeProto::INTS);
      attribute.add_ints(axis);
    }
    set_integer(node, "keepdims", 1);
    return node;
  }

  // Are there initializers that are no inputs?
  bool has_initializers() const { return model_.ir_version() >= 4; }

  // A new constant, by a name like this: an initializer, or where those had to be inputs a Constant node.
  std::string add_constant(std::string const& base, ::onnx::TensorProto tensor) {
    std::string const name = fresh_value(base);
    tensor.set_name(name);
    if (has_initializers()) {
      *model_.mutable_graph()->add_initializer() = std::move(tensor);
      return name;
    }
    ::onnx::NodeProto node = make_node("Constant", {}, name);
    auto& attribute = *node.add_attribute();
    attribute.set_name("value");
    attribute.set_type(::onnx::AttributeProto::TENSOR);
    *attribute.mutable_t() = std::move(tensor);
    put_behind(OnnxIndex::nobody, std::move(node));
    return name;
  }

  // The tensor of a constant of the model. Precondition (ours): there is one.
  ::onnx::TensorProto& tensor(std::string const& name) {
    if (int const n = index_.producer(name); n != OnnxIndex::nobody) {
      for (auto& attribute : *node(n).mutable_attribute()) {
        if (attribute.name() == "value") return *attribute.mutable_t();
      }
    }
    for (EditedGraph const& edited : graphs_) {
      for (auto& tensor : *edited.graph->mutable_initializer()) {
        if (tensor.name() == name) return tensor;
      }
    }
    detail::raise<std::logic_error>("no constant " + name);
  }

  ::onnx::ModelProto take() && {
    for (auto edited = graphs_.rbegin(); edited != graphs_.rend(); ++edited) put_together(*edited);  // inner ones first
    drop_unread();
    return std::move(model_);
  }

 private:
  struct Place {
    std::vector<::onnx::NodeProto> before, behind;
    bool is_removed = false;
  };
  static std::string fresh(std::string const& base, std::unordered_set<std::string>& taken) {
    std::string name = base;
    for (int k = 2; !taken.insert(name).second; ++k) name = base + "_" + std::to_string(k);
    return name;
  }
  // ONNX Runtime refuses two nodes of one name.
  ::onnx::NodeProto named(::onnx::NodeProto node) {
    node.set_name(fresh(node.name(), node_names_));
    return node;
  }

  Place& place(int n) { return places_[static_cast<std::size_t>(n + 1)]; }

  // The index's graphs and nodes, in its order, in our copy.
  struct EditedGraph {
    ::onnx::GraphProto* graph = nullptr;
    std::vector<int> nodes;
  };
  void find_nodes(::onnx::GraphProto& graph, ::onnx::GraphProto const& original) {
    std::size_t const here = graphs_.size();
    graphs_.push_back({&graph, {}});
    for (int i = 0; i < graph.node_size(); ++i) {
      ::onnx::NodeProto& node = *graph.mutable_node(i);
      for (int k = 0; k < node.attribute_size(); ++k) {
        auto const& attribute = original.node(i).attribute(k);
        if (attribute.has_g() && is_branch(attribute.g()))
          find_nodes(*node.mutable_attribute(k)->mutable_g(), attribute.g());
      }
      graphs_[here].nodes.push_back(static_cast<int>(nodes_.size()));
      nodes_.push_back(&node);
    }
  }
  bool is_branch(::onnx::GraphProto const& graph) const {
    return std::ranges::find(index_.graphs(), &graph) != index_.graphs().end();
  }

  void put_together(EditedGraph const& edited) {
    auto& nodes = *edited.graph->mutable_node();
    google::protobuf::RepeatedPtrField<::onnx::NodeProto> changed;
    auto const move_in = [&](std::vector<::onnx::NodeProto>& from, bool follows) {
      for (auto& node : from) {
        if (follows) follow(node);
        *changed.Add() = std::move(node);
      }
    };
    bool const is_main = edited.graph == graphs_.front().graph;
    if (is_main) move_in(place(OnnxIndex::nobody).behind, false);
    for (int const n : edited.nodes) {
      move_in(place(n).before, true);
      if (!place(n).is_removed) {
        follow(node(n));
        changed.Add()->Swap(&node(n));
      }
      move_in(place(n).behind, false);
    }
    nodes.Swap(&changed);
    if (is_main) return;
    for (auto& output : *edited.graph->mutable_output()) follow(*output.mutable_name());
  }
  void follow(std::string& value) const {
    auto const found = redirected_.find(value);
    if (found != redirected_.end()) value = found->second;
  }
  // Branches are put together by themselves.
  void follow(::onnx::NodeProto& node) const {
    for (auto& input : *node.mutable_input()) follow(input);
    auto const follow_in = [&](::onnx::GraphProto& graph) {
      bool const is_own = std::ranges::any_of(graphs_, [&](auto const& edited) { return edited.graph == &graph; });
      if (is_own) return;
      for (auto& inner : *graph.mutable_node()) follow(inner);
      for (auto& output : *graph.mutable_output()) follow(*output.mutable_name());
    };
    for (auto& attribute : *node.mutable_attribute()) {
      if (attribute.has_g()) follow_in(*attribute.mutable_g());
      for (auto& graph : *attribute.mutable_graphs()) follow_in(graph);
    }
  }

  void collect_names(::onnx::GraphProto const& graph) {
    for (auto const& input : graph.input()) names_.insert(input.name());
    for (auto const& tensor : graph.initializer()) names_.insert(tensor.name());
    for (auto const& tensor : graph.sparse_initializer()) names_.insert(tensor.values().name());
    for (auto const& node : graph.node()) {
      node_names_.insert(node.name());
      names_.insert(node.output().begin(), node.output().end());
      for (auto const& attribute : node.attribute()) {
        if (attribute.has_g()) collect_names(attribute.g());
        for (auto const& inner : attribute.graphs()) collect_names(inner);
      }
    }
  }

  // Constants and descriptions of values that nobody reads any more go, if somebody did.
  void drop_unread() {
    auto& graph = *model_.mutable_graph();
    std::unordered_set<std::string> read, made;
    for (EditedGraph const& edited : graphs_) {
      for (auto const& node : edited.graph->node()) {
        read.insert(node.input().begin(), node.input().end());
        made.insert(node.output().begin(), node.output().end());
      }
    }
    for (int n = 0; n < index_.size(); ++n) {
      auto const& captured = index_.captured(n);
      read.insert(captured.begin(), captured.end());
    }
    auto const is_freed = [&](std::string const& name) {
      return read_before_.contains(name) && !read.contains(name) && !index_.is_output(name);
    };
    auto const drop = [](auto& list, auto is_dropped) {
      list.erase(std::remove_if(list.begin(), list.end(), is_dropped), list.end());
    };
    drop(*graph.mutable_initializer(), [&](auto const& tensor) { return is_freed(tensor.name()); });
    drop(*graph.mutable_input(),
         [&](auto const& input) { return is_freed(input.name()) && index_.constant(input.name()); });
    drop(*graph.mutable_node(), [&](auto const& node) {
      return node.op_type() == "Constant" && node.output_size() == 1 && is_freed(node.output(0));
    });
    for (EditedGraph const& edited : graphs_) {
      drop(*edited.graph->mutable_value_info(), [&](auto const& info) {
        return index_.producer(info.name()) != OnnxIndex::nobody && !made.contains(info.name());
      });
    }
  }

  OnnxIndex const& index_;
  ::onnx::ModelProto model_;
  std::vector<EditedGraph> graphs_;
  std::vector<::onnx::NodeProto*> nodes_;
  std::vector<Place> places_;  // by node, one further
  std::int64_t opset_ = 1;
  std::unordered_set<std::string> names_, node_names_, read_before_;
  std::unordered_map<std::string, std::string> redirected_;
};

}  // namespace foldnorm::detail
