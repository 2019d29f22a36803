// SPDX-License-Identifier: MIT
// foldnorm/graph/fold_norms.hpp -- carries out a fold report: the graph and its parameters together, or not at all.
//
//   every layer_norm that folds       -> rms_norm with the same gamma, beta, eps and groups
//   every gamma and beta that move    -> W diag(gamma), W beta + b in each reader (fold/affine.hpp), gone from the norm
//   every parameter to center         -> P p, on the report's intervals (fold/centering.hpp)
//   linear and the scale behind it    -> one linear, with a bias added where the centered shift needs one
//   a node to be centered             -> a center, "NODE.centered", behind it, which its readers read
//   an untied table                   -> centered; its heads read an unchanged copy, "TABLE.untied"
//   a corrected head                  -> itself + "TABLE.means" ("TABLE.ones" x), with the table centered
//
// In this order where they meet in one weight: W' = P diag(s) (W diag(gamma)), b' = P (s .* (W beta + b) + t).
#pragma once

#include <foldnorm/core/errors.hpp>
#include <foldnorm/fold/affine.hpp>
#include <foldnorm/fold/centering.hpp>
#include <foldnorm/graph/fold_report.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/head_correction.hpp>
#include <foldnorm/graph/model_edits.hpp>
#include <foldnorm/graph/parameters.hpp>
#include <foldnorm/graph/rules.hpp>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

struct FoldedModel {
  Graph graph;
  Parameters parameters;
};

namespace detail {

// Decides nothing: every choice is in the report.
class Folding {
 public:
  Folding(Graph const& graph, FoldReport const& report, Parameters const& parameters)
      : graph_(graph), report_(report), edits_(graph, parameters) {
    for (Centering const& centering : report.centerings) centerings_.emplace(centering.parameter, &centering);
    check_report();
    for (std::string const& table : report.untied) untie(table);
    correct_heads();
    for (AffineVerdict const& affine : report.affines) {
      if (affine.moves()) move_affine(affine);
    }
    for (Composition const& pair : report.compositions) compose(pair);
    for (Centering const& centering : report.centerings) {
      if (!composed_.contains(centering.parameter)) center(centering.parameter, centering.parts);
    }
    finish_added_biases();
    for_each_insertion([&](Insertion const& insertion) { edits_.insert_center(insertion.node); });
    for (Verdict const& norm : report.norms) {
      if (norm.folds()) edits_.replace(norm.norm, Operator::rms_norm);
    }
  }

  FoldedModel take() && {
    Graph folded = edits_.changed_graph();
    for (std::string const& name : taken_) {
      if (!folded.find_parameter(name)) edits_.parameters().erase(name);
    }
    return {std::move(folded), std::move(edits_.parameters())};
  }

 private:
  static void require_report(bool holds, std::string const& what) {
    if (!holds) detail::raise<std::invalid_argument>("fold_norms: the report is not one of this graph: " + what);
  }
  bool is_node(NodeId id) const { return id.index >= 0 && static_cast<std::size_t>(id.index) < graph_.nodes().size(); }
  bool is_layer(NodeId id) const {
    return is_node(id) && (graph_.node(id).op == Operator::linear || graph_.node(id).op == Operator::conv);
  }

  template <class Action>
  void for_each_insertion(Action action) const {
    if (!report_.placement) return;
    for (InsertionSet const& set : report_.placement->sets) std::ranges::for_each(set.insertions, action);
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
      edits_.original(centering.parameter);
    }
    for (Composition const& pair : report_.compositions) {
      bool const exist = is_layer(pair.linear) && is_node(pair.scale) && pair.linear < pair.scale;
      require_report(exist && graph_.node(pair.scale).inputs == std::vector{pair.linear}, "a composition");
      Operator const scale = graph_.node(pair.scale).op;
      require_report(scale == Operator::scale_channels || scale == Operator::batch_norm, "a composition");
    }
    for (std::string const& table : report_.untied) {
      require_report(graph_.find_parameter(table).has_value(), "table " + table);
      edits_.original(table);
    }
    for_each_insertion([&](Insertion const& insertion) {
      auto const node = graph_.find_node(insertion.name);
      require_report(
          node == insertion.node && graph_.node(*node).features > 0 && graph_.node(*node).op != Operator::output,
          "insertion " + insertion.name);
    });
    for (CorrectedHead const& head : report_.corrected) {
      auto const table = graph_.find_parameter(head.table);
      bool const is_head = table && graph_.find_node(head.name) == head.head && is_layer(head.head) &&
                           graph_.node(head.head).op == Operator::linear &&
                           graph_.node(head.head).parameter(Key::weight) == *table && graph_.parameter(*table).is_table;
      bool const is_untied = std::ranges::count(report_.untied, head.table) > 0;
      auto const centering = centerings_.find(head.table);
      require_report(is_head && !is_untied && centering != centerings_.end(), "head " + head.name);
      bool const fit = std::ranges::all_of(centering->second->parts, [&](Interval const& part) {
        return 0 <= part.begin && part.begin < part.end && part.end <= centering->second->rows;
      });
      require_report(fit, "parts of " + head.table);
    }
    for (AffineVerdict const& affine : report_.affines) {
      auto const node = graph_.find_node(affine.name);
      require_report(node == affine.norm &&
                         (graph_.node(*node).op == Operator::layer_norm || graph_.node(*node).op == Operator::rms_norm),
                     "affine " + affine.name);
      for (NodeId const reader : affine.readers) {
        require_report(is_layer(reader) && affine.norm < reader, "a reader of " + affine.name);
        bool const fits = graph_.node(graph_.node(reader).inputs[0]).features == graph_.node(*node).features;
        require_report(fits && !(affine.shifts && kernel_of(graph_.node(reader)) > 1), "a reader of " + affine.name);
      }
    }
  }

  void untie(std::string const& table) {
    std::string const copy = edits_.fresh_name(table + ".untied");
    // A table is features x vocabulary; a linear that is no embedding's reads its weight as out x in.
    std::visit([&](auto const& m) { edits_.parameters().set(copy, m.transpose()); }, edits_.original(table));
    for (ParameterUse const& use : graph_.parameter(*graph_.find_parameter(table)).uses) {
      bool const is_head = graph_.node(use.node).op == Operator::linear;  // a convolution's weight is no head
      if (use.role == Key::weight && is_head) edits_.rename(use.node, Key::weight, copy);
    }
  }

  void correct_heads() {
    std::map<std::string, std::pair<std::string, std::string>> known;  // ones and means, by table
    for (CorrectedHead const& head : report_.corrected) {
      auto const [found, is_new] = known.try_emplace(head.table);
      auto& [ones, means] = found->second;
      if (is_new) {
        ones = edits_.fresh_name(head.table + ".ones");
        means = edits_.fresh_name(head.table + ".means");
        ParameterValue const& table = edits_.original(head.table);
        HeadCorrection const correction = head_correction(table, centerings_.at(head.table)->parts);
        edits_.parameters().set_like(ones, table, correction.ones);
        edits_.parameters().set_like(means, table, correction.means);
      }
      edits_.correct_head(head.head, ones, means);
    }
  }

  // Every weight and bias once, however many readers share it; the biases first, which need W as it was.
  void move_affine(AffineVerdict const& affine) {
    Vector<double> const gamma = edits_.original_vector(edits_.name_of(affine.norm, Key::gamma));
    Vector<double> const beta = edits_.original_vector(affine.shifts ? edits_.name_of(affine.norm, Key::beta) : "");
    std::set<std::string> done;
    for (NodeId const reader : affine.readers) check_sizes(reader);
    for (NodeId const reader : affine.readers) {
      if (!affine.shifts || !done.insert(edits_.bias_of(reader)).second) continue;
      // Not fold_affine on both at once, which is compiled for every pair of types.
      with_layout(affine, reader, [&](auto const& weight) {
        AffineReader const values(weight, Vector<double>(), beta, groups_of(graph_.node(reader)));
        std::string const bias = edits_.bias_of(reader);
        edits_.parameters().assign(bias, edits_.parameters().as<double>(bias) + values.shifts(beta));
      });
    }
    for (NodeId const reader : affine.readers) {
      if (!done.insert(edits_.name_of(reader, Key::weight)).second) continue;
      with_layout(affine, reader,
                  [&](auto const& weight) { fold_affine(weight, gamma, groups_of(graph_.node(reader))); });
    }
    for (Key const role : {Key::gamma, Key::beta}) {
      taken_.insert(edits_.name_of(affine.norm, role));
      edits_.rename(affine.norm, role, "");
    }
  }
  void check_sizes(NodeId layer) const {
    for (ParameterId const parameter : graph_.node(layer).parameters) {
      if (parameter.present()) edits_.original(graph_.parameter(parameter).name);
    }
  }
  // A linear's weight, or a convolution's with its taps side by side as fold_affine wants them: column t (in / groups)
  // + c holds tap t of input c.
  template <class Action>
  void with_layout(AffineVerdict const& affine, NodeId layer, Action action) {
    std::string const name = edits_.name_of(layer, Key::weight);
    Index const kernel = kernel_of(graph_.node(layer));
    ModelEdits::about("norm " + affine.name + ", parameter " + name, [&] {
      std::visit(
          [&]<class M>(M& m) {
            Index const inputs = m.cols() / kernel;
            action(WeightLayout<typename M::Scalar>{.data = m.data(),
                                                    .outputs = m.rows(),
                                                    .outer = inputs,
                                                    .outer_stride = m.rows(),
                                                    .inner = kernel,
                                                    .inner_stride = inputs * m.rows(),
                                                    .taps = kernel});
          },
          edits_.parameters().at(name));
    });
  }

  void compose(Composition const& pair) {
    std::string const weight = edits_.name_of(pair.linear, Key::weight);
    bool const shifts = graph_.node(pair.scale).op == Operator::batch_norm;
    std::string const scale = edits_.name_of(pair.scale, shifts ? Key::scale : Key::value);
    std::string const shift = shifts ? edits_.name_of(pair.scale, Key::shift) : std::string();
    auto const found = centerings_.find(weight);
    require_report(found != centerings_.end(), "a composition without a centering");
    std::string const bias = edits_.bias_of(pair.linear);
    Vector<double> const factors = edits_.original_vector(scale), shift_values = edits_.original_vector(shift);
    ModelEdits::about("parameter " + weight, [&] {
      auto const fold = [&](std::string const& parameter, Vector<double> const& added) {
        std::visit(
            [&](auto& m) { fold_scale_and_centering(out_by_in(m), factors, added, std::span(found->second->parts)); },
            edits_.parameters().at(parameter));
      };
      fold(weight, {});
      fold(bias, shift_values);
    });
    composed_.insert({weight, bias, scale, shift});
    taken_.insert({scale, shift});
    edits_.drop(pair.scale, pair.linear);
  }

  void center(std::string const& parameter, std::vector<Interval> const& parts) {
    ModelEdits::about("parameter " + parameter, [&] {
      std::visit([&](auto& m) { fold_centering(out_by_in(m), std::span(parts)); }, edits_.parameters().at(parameter));
    });
  }

  // A new bias is centered as its weight is, and stays only where it is needed.
  void finish_added_biases() {
    for (ModelEdits::AddedBias const& added : edits_.added_biases()) {
      auto const centering = centerings_.find(edits_.name_of(added.layer, Key::weight));
      if (centering != centerings_.end() && !composed_.contains(added.name)) {
        center(added.name, centering->second->parts);
      }
      if (!edits_.parameters().as<double>(added.name).isZero(0)) continue;
      edits_.rename(added.layer, Key::bias, "");
      edits_.parameters().erase(added.name);
    }
  }

  Graph const& graph_;
  FoldReport const& report_;
  ModelEdits edits_;
  std::map<std::string, Centering const*, std::less<>> centerings_;  // of the report, by parameter
  std::set<std::string> composed_;                                   // parameters that compose() has dealt with
  std::set<std::string> taken_;  // that some node has lost: gone, unless another node has them
};

}  // namespace detail

// Returns the folded graph with its parameters; the arguments are not changed. Parameters that the report does not name
// keep their bits, and need not be there; it names those of a reader that takes gamma and beta, too. Parameters of a
// composed scale, and gammas and betas that moved, are gone unless another node uses them. A linear without a bias gets
// one, "NODE.bias", where the values need it. Precondition: the report is one of this very graph, for what it decided
// is not decided again. Throws std::invalid_argument if it names what the graph has not, or a parameter that it names
// is missing, of the wrong size, or holds a NaN or infinity.
inline FoldedModel fold_norms(Graph const& graph, FoldReport const& report, Parameters const& parameters) {
  return detail::Folding(graph, report, parameters).take();
}

}  // namespace foldnorm::inline FOLDNORM_ABI
