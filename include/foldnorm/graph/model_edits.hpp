// SPDX-License-Identifier: MIT
// foldnorm/graph/model_edits.hpp -- changes to a graph and its parameters, collected first and carried out together.
//
// A graph only grows, so that changing one means writing it anew. Works on copies: a throw leaves the caller's model as
// it was.
#pragma once

#include <foldnorm/core/check.hpp>
#include <foldnorm/core/errors.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/parameters.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace foldnorm::detail {

class ModelEdits {
 public:
  // Neither argument is owned.
  ModelEdits(Graph const& graph, Parameters const& parameters)
      : graph_(graph), original_(parameters), parameters_(parameters) {}

  Graph const& graph() const { return graph_; }

  // A parameter's value before any change, of the size that the graph says.
  ParameterValue const& original(std::string const& name) const {
    ParameterValue const& found = original_.at(name);
    ParameterDescription const& expected = graph_.parameter(*graph_.find_parameter(name));
    std::visit(
        [&](auto const& m) {
          if (m.rows() == expected.rows && (expected.per_token || m.cols() == expected.columns)) return;
          detail::raise<shape_error>("fold_norms: parameter " + name + ": " + shape_text(m.rows(), m.cols()) +
                                     ", expected " + shape_text(expected.rows, expected.columns));
        },
        found);
    return found;
  }
  // ... of a vector, in double; empty where the name is.
  Vector<double> original_vector(std::string const& name) const {
    if (name.empty()) return {};
    original(name);  // of the right size
    return original_.as<double>(name).col(0);
  }

  // The values as changed so far, those of new parameters among them.
  Parameters& parameters() { return parameters_; }

  // A node's parameter in a role, as changed so far; an empty name where it has none.
  std::string name_of(NodeId node, Key role) const {
    if (auto const change = changes_.find(node); change != changes_.end()) {
      auto const renamed = change->second.parameters.find(role);
      if (renamed != change->second.parameters.end()) return renamed->second;
    }
    ParameterId const id = graph_.node(node).parameter(role);
    return id.present() ? graph_.parameter(id).name : std::string();
  }
  std::string fresh_name(std::string name) const {
    while (graph_.find_parameter(name) || parameters_.contains(name)) name += '_';
    return name;
  }

  // The bias of a linear or conv, as changed so far; one of zeros, "NODE.bias", is added where it has none.
  std::string bias_of(NodeId layer) {
    std::string bias = name_of(layer, Key::bias);
    if (!bias.empty()) return bias;
    bias = fresh_name(graph_.node(layer).name + ".bias");
    std::visit([&]<class M>(M const& weight) { parameters_.set(bias, M(M::Zero(weight.rows(), 1))); },
               parameters_.at(name_of(layer, Key::weight)));
    rename(layer, Key::bias, bias);
    added_biases_.push_back({layer, bias});
    return bias;
  }
  struct AddedBias {
    NodeId layer;
    std::string name;
  };
  std::vector<AddedBias> const& added_biases() const { return added_biases_; }

  // An empty name takes the parameter away from the node.
  void rename(NodeId node, Key role, std::string name) { changes_[node].parameters[role] = std::move(name); }
  void replace(NodeId node, Operator op) { changes_[node].op = op; }
  // The node goes, and what read it reads `instead`, which comes before it.
  void drop(NodeId node, NodeId instead) { changes_[node].dropped_for = instead; }
  // A center, "NODE.centered", comes behind the node, and what read the node reads it.
  void insert_center(NodeId node) { changes_[node].is_centered = true; }
  // A head becomes the sum, under its name, of itself, "HEAD.tied", and of means (ones x), which is "HEAD.correction"
  // of "HEAD.sums". The names are those of two weights.
  void correct_head(NodeId head, std::string ones, std::string means) {
    changes_[head].correction = {std::move(ones), std::move(means)};
  }

  // Says what an error is about.
  template <class Action>
  static void about(std::string const& what, Action action) {
    translate_errors<std::invalid_argument>(action, [&](std::invalid_argument const& error) {
      raise<std::invalid_argument>("fold_norms: " + what + ": " + error.what());
    });
  }

  Graph changed_graph() const {
    Graph changed;
    std::vector<NodeId> now(graph_.nodes().size());
    for (std::size_t n = 0; n < now.size(); ++n) {
      Node const& node = graph_.nodes()[n];
      auto const found = changes_.find(NodeId{static_cast<std::int32_t>(n)});
      Change const change = found == changes_.end() ? Change{} : found->second;
      if (change.dropped_for) {
        now[n] = now[static_cast<std::size_t>(change.dropped_for->index)];
      } else {
        std::vector<NodeId> inputs;
        for (NodeId const input : node.inputs) inputs.push_back(now[static_cast<std::size_t>(input.index)]);
        bool const is_corrected = change.correction.has_value();
        std::string const name = is_corrected ? fresh_node_name(changed, node.name + ".tied") : node.name;
        now[n] = changed.append(change.op.value_or(node.op), name, std::move(inputs), keys(node, change));
        if (is_corrected) now[n] = append_correction(changed, node, now[n], *change.correction);
      }
      if (change.is_centered) now[n] = changed.center(fresh_node_name(changed, node.name + ".centered"), now[n]);
    }
    return changed;
  }

 private:
  struct Correction {
    std::string ones, means;
  };
  struct Change {
    std::optional<Operator> op;
    std::map<Key, std::string> parameters;  // new names, by role
    std::optional<NodeId> dropped_for;      // readers are to read that node instead
    bool is_centered = false;               // readers are to read its value centered
    std::optional<Correction> correction;
  };

  // Neither of this graph nor of the new one.
  std::string fresh_node_name(Graph const& changed, std::string name) const {
    while (graph_.find_node(name) || changed.find_node(name)) name += '_';
    return name;
  }

  NodeId append_correction(Graph& changed, Node const& head, NodeId tied, Correction const& correction) const {
    NodeId const x = changed.node(tied).inputs[0];
    Index const parts = std::visit([](auto const& m) { return m.rows(); }, parameters_.at(correction.ones));
    NodeId const sums = changed.linear(fresh_node_name(changed, head.name + ".sums"), x, parts, correction.ones);
    NodeId const shift =
        changed.linear(fresh_node_name(changed, head.name + ".correction"), sums, head.features, correction.means);
    return changed.add(head.name, {tied, shift});
  }

  KeyValues keys(Node const& node, Change const& change) const {
    KeyValues result;
    OperatorRow const& r = row(node.op);
    for (std::size_t i = 0; i < r.key_count; ++i) {
      auto const& [key, required, otherwise] = r.keys[i];
      if (row(key).kind != KeyKind::parameter) {
        if (required || node.number(key) != otherwise) result.numbers.emplace_back(key, node.number(key));
        continue;
      }
      auto const renamed = change.parameters.find(key);
      if (renamed != change.parameters.end()) {
        result.parameters.emplace_back(key, renamed->second);
      } else if (node.parameter(key).present()) {
        result.parameters.emplace_back(key, graph_.parameter(node.parameter(key)).name);
      }
    }
    return result;
  }

  Graph const& graph_;
  Parameters const& original_;
  Parameters parameters_;
  std::map<NodeId, Change> changes_;
  std::vector<AddedBias> added_biases_;
};

}  // namespace foldnorm::detail
