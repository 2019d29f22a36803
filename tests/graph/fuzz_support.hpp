// SPDX-License-Identifier: MIT
// tests/graph/fuzz_support.hpp -- what the fuzz tests share: graphs as editable statements, a model against its fold,
// training semantics as a rewrite, and a shrinker.
#pragma once

#include <foldnorm/fold/centering.hpp>
#include <foldnorm/graph/evaluate.hpp>
#include <foldnorm/graph/find_foldable_norms.hpp>
#include <foldnorm/graph/fold_norms.hpp>
#include <foldnorm/graph/graph.hpp>
#include <foldnorm/graph/random_values.hpp>
#include <foldnorm/graph/text.hpp>
#include <foldnorm/graph/token_counts.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "graph/instances.hpp"
#include "graph/random_graph.hpp"

namespace fuzz {

using foldnorm::FoldedModel;
using foldnorm::FoldReport;
using foldnorm::Matrix;
using foldnorm::NamedValues;
using foldnorm::Node;
using foldnorm::Parameters;

inline std::size_t at(NodeId id) { return static_cast<std::size_t>(id.index); }

// What the long runs take from outside: FOLDNORM_FUZZ_GRAPHS, FOLDNORM_FUZZ_SEED.
inline long environment(char const* name, long otherwise) {
  char const* const value = std::getenv(name);
  return value ? std::atol(value) : otherwise;
}

// --- graphs that can be edited ---------------------------------------------------------------------------------------

struct Statement {
  Operator op = Operator::identity;
  std::string name;
  std::vector<std::string> inputs;
  std::map<Key, double> numbers;
  std::map<Key, std::string> parameters;
};
using Statements = std::vector<Statement>;

inline Statements statements_of(Graph const& graph) {
  Statements result;
  for (Node const& node : graph.nodes()) {
    Statement statement{node.op, node.name, {}, {}, {}};
    for (NodeId const input : node.inputs) statement.inputs.push_back(graph.node(input).name);
    auto const& row = foldnorm::row(node.op);
    for (std::size_t i = 0; i < row.key_count; ++i) {
      Key const key = row.keys[i].key;
      if (foldnorm::row(key).kind == foldnorm::KeyKind::parameter) {
        if (node.parameter(key).present()) statement.parameters[key] = graph.parameter(node.parameter(key)).name;
      } else if (row.keys[i].required || node.number(key) != row.keys[i].otherwise) {
        statement.numbers[key] = node.number(key);
      }
    }
    result.push_back(std::move(statement));
  }
  return result;
}

// Throws graph_error where the statements are no graph.
inline Graph build(Statements const& statements) {
  Graph graph;
  for (Statement const& statement : statements) {
    std::vector<NodeId> inputs;
    for (std::string const& input : statement.inputs) {
      auto const id = graph.find_node(input);
      if (!id) throw foldnorm::graph_error("no node " + input);
      inputs.push_back(*id);
    }
    KeyValues keys;
    for (auto const& number : statement.numbers) keys.numbers.emplace_back(number);
    for (auto const& parameter : statement.parameters) keys.parameters.emplace_back(parameter);
    graph.append(statement.op, statement.name, std::move(inputs), keys);
  }
  return graph;
}
inline std::optional<Graph> try_build(Statements const& statements) {
  try {
    return build(statements);
  } catch (foldnorm::graph_error const&) {
    return std::nullopt;
  }
}

inline std::string text(Graph const& graph) {
  std::ostringstream out;
  out << graph;
  return out.str();
}
inline std::string text(FoldReport const& report) {
  std::ostringstream out;
  out << report;
  return out.str();
}

inline std::vector<int> count_reads(Graph const& graph) {
  std::vector<int> reads(graph.nodes().size(), 0);
  for (Node const& node : graph.nodes()) {
    for (NodeId const input : node.inputs) ++reads[at(input)];
  }
  return reads;
}

inline std::size_t count_layer_norms(Graph const& graph) {
  return static_cast<std::size_t>(std::count_if(graph.nodes().begin(), graph.nodes().end(),
                                                [](Node const& n) { return n.op == Operator::layer_norm; }));
}

// --- training
// ----------------------------------------------------------------------------------------------------------

// What training does, written in operators of evaluation: a dropout multiplies by a mask "NODE.mask", element by
// element, a drop_path by one with equal rows (one factor a token).
inline Graph with_masks(Graph const& graph) {
  Statements masked;
  for (Statement& statement : statements_of(graph)) {
    bool const drops = statement.op == Operator::dropout || statement.op == Operator::drop_path;
    if (drops && !(statement.numbers.contains(Key::p) && statement.numbers[Key::p] == 0)) {
      double const features = static_cast<double>(graph.node(*graph.find_node(statement.name)).features);
      masked.push_back({Operator::input, statement.name + ".mask", {}, {{Key::features, features}}, {}});
      statement = {Operator::multiply, statement.name, {statement.inputs[0], statement.name + ".mask"}, {}, {}};
    }
    masked.push_back(std::move(statement));
  }
  return build(masked);
}
inline NamedValues masks(Graph const& graph, Index tokens, Random& random) {
  std::vector<Index> const counts = foldnorm::token_counts(graph, tokens);
  NamedValues values;
  for (std::size_t n = 0; n < counts.size(); ++n) {
    Node const& node = graph.nodes()[n];
    if (node.op != Operator::dropout && node.op != Operator::drop_path) continue;
    Matrix<double> mask(node.features, counts[n]);
    auto const draw = [&] { return random.chance(0.4) ? 0.0 : 1.6; };
    for (Index t = 0; t < mask.cols(); ++t) {
      double const common = draw();
      for (Index f = 0; f < mask.rows(); ++f) mask(f, t) = node.op == Operator::dropout ? draw() : common;
    }
    values.emplace(node.name + ".mask", std::move(mask));
  }
  return values;
}

// --- a model against its fold
// --------------------------------------------------------------------------------------------

struct Model {
  Graph graph;
  Parameters parameters;
};

// The largest |difference| of what is observed (outputs, and values nobody reads), relative to the larger of 1 and the
// value, and the largest |mean| of a group at the input of a norm that folded.
struct Difference {
  double value = 0;
  double mean = 0;
  std::string where;
  double worst() const { return std::isnan(value) || std::isnan(mean) ? std::nan("") : std::max(value, mean); }
};

inline double largest(Matrix<double> const& x) {
  double result = 0;
  for (double const entry : x.reshaped()) result = std::abs(entry) <= result ? result : std::abs(entry);
  return result;
}

inline double largest_group_mean(Matrix<double> const& x, Index groups) {
  return largest(x.reshaped(x.rows() / groups, x.cols() * groups).colwise().mean());
}

inline Difference difference(Graph const& graph, std::vector<Matrix<double>> const& before, Graph const& folded,
                             std::vector<Matrix<double>> const& after) {
  Difference result;
  std::vector<int> const reads = count_reads(graph);
  for (std::size_t n = 0; n < before.size(); ++n) {
    Node const& node = graph.nodes()[n];
    if (reads[n] > 0 || node.op == Operator::ids) continue;
    double const here =
        largest(after[at(*folded.find_node(node.name))] - before[n]) / std::max(1.0, largest(before[n]));
    if (!(here <= result.value)) {
      result.value = here;
      result.where = node.name;
    }
  }
  for (Node const& norm : folded.nodes()) {
    if (norm.op != Operator::rms_norm) continue;
    auto const id = graph.find_node(norm.name);
    if (graph.node(*id).op != Operator::layer_norm) continue;
    double const mean = largest_group_mean(after[at(norm.inputs[0])], norm.count(Key::groups));
    if (!(mean <= result.mean)) {
      result.mean = mean;
      result.where += " mean " + norm.name;
    }
  }
  return result;
}

inline double const tolerance = 1e-10;

// How far observed values (and folded norms' inputs) move if every number is off by some 1e-15 of itself: a norm over a
// group without spread magnifies rounding by up to 1/sqrt(eps), and norms stack.
inline double rounding_scale(Graph const& graph, Parameters const& parameters, NamedValues const& inputs) {
  auto const base = foldnorm::evaluate_nodes(graph, parameters, inputs);
  double scale = 0;
  for (std::uint64_t probe = 0; probe < 3; ++probe) {
    Random random(probe);
    auto const shake = [&](Matrix<double> x) {
      return Matrix<double>(
          x.unaryExpr([&](double v) { return v * (1 + 1e-15 * static_cast<double>(random.between(-4, 4))); }));
    };
    Parameters moved;
    for (auto const& [name, value] : parameters) {
      moved.set(name, std::visit([](auto const& m) { return Matrix<double>(m.template cast<double>()); }, value));
      moved.set(name, shake(moved.get<double>(name)));
    }
    NamedValues moved_inputs = inputs;
    for (Node const& node : graph.nodes()) {
      if (node.op == Operator::input) moved_inputs[node.name] = shake(inputs.at(node.name));
    }
    auto const other = foldnorm::evaluate_nodes(graph, moved, moved_inputs);
    for (std::size_t n = 0; n < base.size(); ++n) {
      scale = std::max(scale, largest(other[n] - base[n]) / std::max(1.0, largest(base[n])));
    }
  }
  return scale;
}

enum class Outcome { equal, different, ill_conditioned };

// Is the folded model the same function (and are its norms' inputs centered), as far as rounding lets one tell?
inline Outcome compare(Graph const& graph, Parameters const& parameters, Graph const& folded,
                       Parameters const& folded_parameters, NamedValues const& inputs, Difference* found = nullptr) {
  Difference const d = difference(graph, foldnorm::evaluate_nodes(graph, parameters, inputs), folded,
                                  foldnorm::evaluate_nodes(folded, folded_parameters, inputs));
  if (found) *found = d;
  if (d.worst() <= tolerance) return Outcome::equal;
  double const scale = rounding_scale(graph, parameters, inputs);
  if (d.worst() <= 1000 * scale) return Outcome::ill_conditioned;
  return Outcome::different;
}

// A fold of these parameters that changes what the graph computes; in the training mode dropouts and drop_paths drop.
inline Outcome judge(Graph const& graph, FoldReport const& report, Parameters const& parameters, Index tokens,
                     bool training, std::uint64_t seed, Difference* found = nullptr) {
  FoldedModel const folded = foldnorm::fold_norms(graph, report, parameters);
  NamedValues inputs = foldnorm::random_inputs(graph, tokens, seed);
  if (!training) return compare(graph, parameters, folded.graph, folded.parameters, inputs, found);
  Random random(seed);
  inputs.merge(masks(graph, tokens, random));
  return compare(with_masks(graph), parameters, with_masks(folded.graph), folded.parameters, inputs, found);
}

// --- parameters with special values
// ------------------------------------------------------------------------------------

// Makes some gains uniform, some shifts sum to zero, some producers centered: facts that only values show.
inline void make_special(Graph const& graph, Parameters& parameters, Random& random) {
  for (Node const& node : graph.nodes()) {
    Index const groups = node.op == Operator::layer_norm || node.op == Operator::rms_norm ? node.count(Key::groups) : 1;
    Index const blocks = random.chance(0.7) ? groups : 1;
    Index const length = std::max<Index>(node.features, 1) / blocks;
    double const share = random.pick(std::vector<double>{0, 0.5, 0.95});
    auto const& row = foldnorm::row(node.op);
    for (std::size_t i = 0; i < row.key_count; ++i) {
      Key const role = row.keys[i].key;
      if (foldnorm::row(role).kind != foldnorm::KeyKind::parameter || !node.parameter(role).present()) continue;
      if (!random.chance(share)) continue;
      Matrix<double>& value = parameters.get<double>(graph.parameter(node.parameter(role)).name);
      for (Index b = 0; b < blocks; ++b) {
        auto part = value.middleRows(b * length, std::min(length, value.rows() - b * length));
        if (role == Key::gamma || role == Key::scale || node.op == Operator::scale_channels) {
          double const common = part(0, 0);
          part.setConstant(common);
        } else if (!(node.op == Operator::linear && graph.parameter(node.parameter(role)).is_table)) {
          foldnorm::fold_centering(part);
        }
      }
    }
  }
}

// --- classes of parameters
// -----------------------------------------------------------------------------------------------

// Parameters that are centered together, found independently of the library: those of one producer, and of the scale
// composed into it.
inline std::map<std::string, std::set<std::string>> centered_together(Graph const& graph, FoldReport const& report) {
  std::map<std::string, std::set<std::string>> classes;  // every parameter's whole class
  for (auto const& parameter : graph.parameters()) classes[parameter.name] = {parameter.name};
  auto const join = [&](std::string const& a, std::string const& b) {
    std::set<std::string> both = classes[a];
    both.insert(classes[b].begin(), classes[b].end());
    for (std::string const& member : both) classes[member] = both;
  };
  auto const names = [&](Node const& node) {
    std::vector<std::string> result;
    for (auto const id : node.parameters) {
      if (id.present()) result.push_back(graph.parameter(id).name);
    }
    return result;
  };
  for (Node const& node : graph.nodes()) {
    if (node.op != Operator::linear && node.op != Operator::conv) continue;
    auto const own = names(node);
    if (node.op == Operator::linear && graph.parameter(node.parameter(Key::weight)).is_table) continue;
    for (std::string const& name : own) join(own[0], name);
  }
  for (auto const& pair : report.compositions) {
    for (std::string const& name : names(graph.node(pair.scale))) join(names(graph.node(pair.linear))[0], name);
  }
  return classes;
}

// --- shrinking
// -----------------------------------------------------------------------------------------------------------

// Removes what it can, statement by statement, as long as `fails` holds of the graph. `fails` may throw: then no.
inline Graph shrink(Graph graph, std::function<bool(Graph const&)> const& fails) {
  auto const accept = [&](Statements const& candidate) {
    auto const smaller = try_build(candidate);
    bool const has_output =
        std::any_of(candidate.begin(), candidate.end(), [](Statement const& s) { return s.op == Operator::output; });
    if (!smaller || !has_output) return false;
    try {
      if (!fails(*smaller)) return false;
    } catch (std::exception const&) {
      return false;
    }
    graph = *smaller;
    return true;
  };
  auto const without = [](Statements const& from, std::size_t n, std::optional<std::string> const& instead) {
    Statements result;
    for (std::size_t k = 0; k < from.size(); ++k) {
      if (k == n) continue;
      Statement statement = from[k];
      for (std::string& input : statement.inputs) {
        if (input == from[n].name && instead) input = *instead;
      }
      result.push_back(std::move(statement));
    }
    return result;
  };
  bool progress = true;
  for (int round = 0; progress && round < 20; ++round) {
    progress = false;
    for (std::size_t n = graph.nodes().size(); n-- > 0;) {
      if (n >= graph.nodes().size()) continue;
      Statements const now = statements_of(graph);
      bool accepted = accept(without(now, n, std::nullopt));
      for (std::size_t k = 0; k < n && !accepted; ++k) accepted = accept(without(now, n, now[k].name));
      for (std::size_t i = 0; i < now[n].inputs.size() && !accepted; ++i) {
        Statements fewer = now;
        fewer[n].inputs.erase(fewer[n].inputs.begin() + static_cast<std::ptrdiff_t>(i));
        accepted = accept(fewer);
      }
      auto const simpler = [&](auto change) {
        Statements changed = now;
        change(changed[n]);
        accepted = accepted || accept(changed);
      };
      for (auto const& [key, value] : now[n].numbers) {
        bool const optional = key == Key::groups || key == Key::heads || key == Key::kernel || key == Key::eps;
        if (optional) simpler([k = key](Statement& s) { s.numbers.erase(k); });
        if (key == Key::out && value > 1) simpler([](Statement& s) { s.numbers[Key::out] -= 1; });
        if (key == Key::features && value > 1) simpler([](Statement& s) { s.numbers[Key::features] -= 1; });
      }
      for (auto const& parameter : now[n].parameters) {
        simpler([&](Statement& s) { s.parameters.erase(parameter.first); });
        std::string const fresh = "q" + std::to_string(n) + "." + std::string(foldnorm::row(parameter.first).word);
        if (parameter.second != fresh) simpler([&](Statement& s) { s.parameters[parameter.first] = fresh; });
      }
      bool const simple = now[n].op == Operator::input || now[n].op == Operator::relu || now[n].op == Operator::output;
      if (!simple) simpler([](Statement& s) { s.op = Operator::relu, s.numbers.clear(), s.parameters.clear(); });
      if (!simple) {
        simpler([f = graph.node(NodeId{static_cast<std::int32_t>(n)}).features](Statement& s) {
          s = {Operator::input, s.name, {}, {{Key::features, static_cast<double>(f)}}, {}};
        });
      }
      progress = progress || accepted;
    }
  }
  return graph;
}

}  // namespace fuzz
