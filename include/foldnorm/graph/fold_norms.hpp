// SPDX-License-Identifier: MIT
// foldnorm/graph/fold_norms.hpp -- carries out a fold report: the graph and its parameters together, or not at all.
//
//   every layer_norm that folds       -> rms_norm with the same gamma, beta, eps and groups
//   every parameter to center         -> P p, on the report's intervals (fold/centering.hpp)
//   linear and the scale behind it    -> one linear, with a bias added where the centered shift needs one
//   an untied table                   -> centered; its heads read an unchanged copy, "TABLE.untied"
#pragma once

#include <foldnorm/fold/centering.hpp>
#include <foldnorm/graph/fold_report.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/parameters.hpp>

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace foldnorm {

struct FoldedModel {
  Graph graph;
  Parameters parameters;
};

namespace detail {

// Decides nothing: every choice is in the report. Works on copies, so that a throw leaves the caller's model as it was.
class Folding {
 public:
  Folding(Graph const& graph, FoldReport const& report, Parameters const& parameters)
      : graph_(graph), report_(report), original_(parameters), parameters_(parameters) {
    for (Centering const& centering : report.centerings) centerings_.emplace(centering.parameter, &centering);
    check_report();
    for (Composition const& pair : report.compositions) compose(pair);
    for (std::string const& table : report.untied) untie(table);
    for (Centering const& centering : report.centerings) {
      if (!composed_.contains(centering.parameter)) center(centering);
    }
    for (Verdict const& norm : report.norms) {
      if (norm.folds()) changes_[norm.norm].op = Operator::rms_norm;
    }
    rebuild();
  }

  FoldedModel take() && { return {std::move(folded_), std::move(parameters_)}; }

 private:
  struct Change {
    std::optional<Operator> op;
    std::map<Key, std::string> parameters;  // new names, by role
    std::optional<NodeId> dropped_for;      // readers are to read that node instead
  };

  static void require_report(bool holds, std::string const& what) {
    if (!holds) throw std::invalid_argument("fold_norms: the report is not one of this graph: " + what);
  }

  void check_report() const {
    for (Verdict const& norm : report_.norms) {
      auto const node = graph_.find_node(norm.name);
      require_report(node == norm.norm && graph_.node(*node).op == Operator::layer_norm, "norm " + norm.name);
    }
    for (Centering const& centering : report_.centerings) {
      auto const parameter = graph_.find_parameter(centering.parameter);
      require_report(parameter && graph_.parameter(*parameter).rows == centering.rows,
                     "parameter " + centering.parameter);
      value(centering.parameter);
    }
    for (Composition const& pair : report_.compositions) {
      bool const exist = pair.linear.index >= 0 && pair.linear < pair.scale &&
                         static_cast<std::size_t>(pair.scale.index) < graph_.nodes().size();
      require_report(exist && graph_.node(pair.scale).inputs == std::vector{pair.linear}, "a composition");
      Operator const layer = graph_.node(pair.linear).op, scale = graph_.node(pair.scale).op;
      require_report((layer == Operator::linear || layer == Operator::conv) &&
                         (scale == Operator::scale_channels || scale == Operator::batch_norm),
                     "a composition");
    }
    for (std::string const& table : report_.untied) {
      require_report(graph_.find_parameter(table).has_value(), "table " + table);
      value(table);
    }
  }

  // A parameter's value, of the size that the graph says.
  ParameterValue const& value(std::string const& name) const {
    ParameterValue const& found = original_.at(name);
    ParameterDescription const& expected = graph_.parameter(*graph_.find_parameter(name));
    std::visit(
        [&](auto const& m) {
          if (m.rows() == expected.rows && (expected.per_token || m.cols() == expected.columns)) return;
          throw shape_error("fold_norms: parameter " + name + ": " + shape_text(m.rows(), m.cols()) + ", expected " +
                            shape_text(expected.rows, expected.columns));
        },
        found);
    return found;
  }
  std::string const& name_of(NodeId node, Key role) const {
    static std::string const absent;
    ParameterId const id = graph_.node(node).parameter(role);
    return id.present() ? graph_.parameter(id).name : absent;
  }

  // Says which parameter an error is about.
  template <class Action>
  static void about(std::string const& parameter, Action action) {
    try {
      action();
    } catch (std::invalid_argument const& error) {
      throw std::invalid_argument("fold_norms: parameter " + parameter + ": " + error.what());
    }
  }

  std::string fresh_name(std::string name) const {
    while (graph_.find_parameter(name) || parameters_.contains(name)) name += '_';
    return name;
  }

  void center(Centering const& centering) {
    about(centering.parameter, [&] {
      std::visit([&](auto& m) { fold_centering(out_by_in(m), std::span(centering.parts)); },
                 parameters_.at(centering.parameter));
    });
  }

  void compose(Composition const& pair) {
    std::string const& weight = name_of(pair.linear, Key::weight);
    std::string const& bias = name_of(pair.linear, Key::bias);
    bool const shifts = graph_.node(pair.scale).op == Operator::batch_norm;
    std::string const& scale = name_of(pair.scale, shifts ? Key::scale : Key::value);
    auto const found = centerings_.find(weight);
    require_report(found != centerings_.end(), "a composition without a centering");
    std::vector<Interval> const& parts = found->second->parts;
    value(scale);
    about(weight, [&] {
      std::visit(
          [&]<class M>(M& w) {
            ParameterValue b = bias.empty() ? ParameterValue(M(M::Zero(w.rows(), 1))) : value(bias);
            Vector<double> const shift =
                shifts ? Vector<double>(original_.as<double>(name_of(pair.scale, Key::shift)).col(0))
                       : Vector<double>();
            bool const is_zero = std::visit(
                [&](auto& bias_values) {
                  fold_scale_and_centering(out_by_in(w), bias_values, original_.as<double>(scale).col(0), shift,
                                           std::span(parts));
                  return bias_values.isZero(0);
                },
                b);
            if (bias.empty() && is_zero) return;
            std::string const target = bias.empty() ? fresh_name(graph_.node(pair.linear).name + ".bias") : bias;
            if (bias.empty()) changes_[pair.linear].parameters[Key::bias] = target;
            parameters_.set(target, std::move(b));
          },
          parameters_.at(weight));
    });
    composed_.insert({weight, bias, scale});
    parameters_.erase(scale);
    if (shifts) {
      std::string const& shift = name_of(pair.scale, Key::shift);
      composed_.insert(shift);
      parameters_.erase(shift);
    }
    changes_[pair.scale].dropped_for = pair.linear;
  }

  void untie(std::string const& table) {
    std::string const copy = fresh_name(table + ".untied");
    // A table is features x vocabulary; a linear that is no embedding's reads its weight as out x in.
    std::visit([&](auto const& m) { parameters_.set(copy, m.transpose()); }, value(table));
    for (ParameterUse const& use : graph_.parameter(*graph_.find_parameter(table)).uses) {
      bool const is_head = graph_.node(use.node).op == Operator::linear;  // a convolution's weight is no head
      if (use.role == Key::weight && is_head) changes_[use.node].parameters[Key::weight] = copy;
    }
  }

  void rebuild() {
    std::vector<NodeId> now(graph_.nodes().size());
    for (std::size_t n = 0; n < now.size(); ++n) {
      Node const& node = graph_.nodes()[n];
      auto const found = changes_.find(NodeId{static_cast<std::int32_t>(n)});
      Change const change = found == changes_.end() ? Change{} : found->second;
      if (change.dropped_for) {
        now[n] = now[static_cast<std::size_t>(change.dropped_for->index)];
        continue;
      }
      std::vector<NodeId> inputs;
      for (NodeId const input : node.inputs) inputs.push_back(now[static_cast<std::size_t>(input.index)]);
      now[n] = folded_.append(change.op.value_or(node.op), node.name, std::move(inputs), keys(node, change));
    }
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
  FoldReport const& report_;
  Parameters const& original_;
  Parameters parameters_;
  Graph folded_;
  std::map<NodeId, Change> changes_;
  std::map<std::string_view, Centering const*> centerings_;  // of the report, by parameter
  std::set<std::string> composed_;                           // parameters that compose() has dealt with
};

}  // namespace detail

// Returns the folded graph with its parameters; the arguments are not changed. Parameters that the report does not name
// keep their bits, and need not be there. A composed scale's parameters are gone. Precondition: the report is one of
// this very graph, for what it decided is not decided again. Throws std::invalid_argument if it names what the graph
// has not, or a parameter that it names is missing, of the wrong size, or holds a NaN or infinity.
inline FoldedModel fold_norms(Graph const& graph, FoldReport const& report, Parameters const& parameters) {
  return detail::Folding(graph, report, parameters).take();
}

}  // namespace foldnorm
