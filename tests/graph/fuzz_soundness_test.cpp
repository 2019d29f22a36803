// SPDX-License-Identifier: MIT
// tests/graph/fuzz_soundness_test.cpp -- random graphs: a fold never changes what a graph computes, and what a report
// says holds.
//
// `test_fuzz "[.long]"` runs FOLDNORM_FUZZ_GRAPHS graphs (default 500000) from seed FOLDNORM_FUZZ_SEED on.
#include <algorithm>
#include <array>
#include <set>
#include <sstream>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "graph/fuzz_support.hpp"

namespace {

using namespace fuzz;
using foldnorm::find_foldable_norms;
using foldnorm::fold_norms;
using foldnorm::FoldMode;
using foldnorm::FoldOptions;
using foldnorm::Reason;
using foldnorm::TiedTables;

struct Tally {
  long graphs = 0, graphs_with_folds = 0, nodes = 0, norms = 0, folds = 0, centerings = 0, partial = 0,
       compositions = 0;
  long untied = 0, corrected = 0, folds_in_training = 0, folds_by_values = 0, ill_conditioned = 0, pruned = 0,
       idle_pruned = 0, malformed_in_another_order = 0, more_later = 0, affines = 0, moves = 0;
  std::array<long, 12> reasons{};
};

std::string printed(Tally const& t) {
  std::ostringstream out;
  out << t.graphs << " graphs (" << t.graphs_with_folds << " with folds), " << t.nodes << " nodes, " << t.norms
      << " norms, " << t.folds << " folds, " << t.centerings << " centerings (" << t.partial << " of parts), "
      << t.compositions << " compositions; untying: " << t.untied << " tables; correcting: " << t.corrected
      << " heads; folds in training " << t.folds_in_training << ", with special values " << t.folds_by_values << "; "
      << t.pruned << " centerings dropped (" << t.idle_pruned << " of parameters that reach no norm's input); "
      << t.ill_conditioned << " comparisons left to rounding; " << t.malformed_in_another_order
      << " malformed in another order; " << t.more_later << " folds after which a second finds more; " << t.moves
      << " of " << t.affines << " gammas and betas moved; kept for";
  for (std::size_t r = 0; r < t.reasons.size(); ++r) {
    out << ' ' << to_string(static_cast<Reason>(r)) << ' ' << t.reasons[r];
  }
  return out.str();
}

// What does not depend on names or order.
struct Findings {
  std::set<std::string> folds, kept, moves;
  std::set<std::tuple<std::string, Index, Index>> centerings;
  std::set<std::pair<std::string, std::string>> compositions;
  std::set<std::string> untied;
  bool operator==(Findings const&) const = default;
};

template <class NodeName, class ParameterName>
Findings findings(Graph const& graph, FoldReport const& report, NodeName node_name, ParameterName parameter_name) {
  Findings result;
  for (auto const& norm : report.norms) (norm.folds() ? result.folds : result.kept).insert(node_name(norm.name));
  for (auto const& centering : report.centerings) {
    for (auto const& part : centering.parts) {
      result.centerings.insert({parameter_name(centering.parameter), part.begin, part.end});
    }
  }
  for (auto const& pair : report.compositions) {
    result.compositions.insert({node_name(graph.node(pair.linear).name), node_name(graph.node(pair.scale).name)});
  }
  for (auto const& affine : report.affines) {
    if (affine.moves()) result.moves.insert(node_name(affine.name));
  }
  for (auto const& table : report.untied) result.untied.insert(parameter_name(table));
  return result;
}

// The same graph with new names, its statements in another order that the inputs allow. Nothing if the graph room takes
// that order for malformed: a table that is also a bias, read as a head before it is known to be a table.
std::optional<Graph> renamed_and_reordered(Graph const& graph, Random& random) {
  Statements left = statements_of(graph), result;
  std::set<std::string> defined;
  while (!left.empty()) {
    std::vector<std::size_t> ready;
    for (std::size_t n = 0; n < left.size(); ++n) {
      bool const is_ready = std::all_of(left[n].inputs.begin(), left[n].inputs.end(),
                                        [&](std::string const& input) { return defined.contains(input); });
      if (is_ready) ready.push_back(n);
    }
    std::size_t const next = random.pick(ready);
    defined.insert(left[next].name);
    result.push_back(left[next]);
    left.erase(left.begin() + static_cast<std::ptrdiff_t>(next));
  }
  for (Statement& statement : result) {
    statement.name = "x" + statement.name;
    for (std::string& input : statement.inputs) input = "x" + input;
    for (auto& parameter : statement.parameters) parameter.second = "y" + parameter.second;
  }
  return try_build(result);
}

std::vector<bool> above(Graph const& graph, NodeId node) {
  std::vector<bool> result(graph.nodes().size(), false);
  result[at(node)] = true;
  for (std::size_t n = result.size(); n-- > 0;) {
    for (NodeId const input : graph.nodes()[n].inputs) result[at(input)] = result[at(input)] || result[n];
  }
  return result;
}

// Is the node to blame one that the reason can be about, and does it lie where the reason says?
std::string wrong_blame(Graph const& graph, foldnorm::Verdict const& norm, FoldOptions const& options) {
  auto const& refusal = *norm.refusal;
  if (graph.find_node(refusal.blame_name) != refusal.blame) return "blames a node that is not there";
  Node const& node = graph.node(refusal.blame);
  auto const is = [&](std::initializer_list<Operator> ops) {
    return std::find(ops.begin(), ops.end(), node.op) != ops.end();
  };
  bool const affine =
      node.op == Operator::layer_norm && (node.parameter(Key::gamma).present() || node.parameter(Key::beta).present());
  std::vector<bool> const reaches_norm = above(graph, norm.norm);
  bool const is_above = reaches_norm[at(refusal.blame)] && refusal.blame != norm.norm;
  std::vector<bool> const above_blame = above(graph, refusal.blame);
  bool shares_source = false;  // something both the norm and the blamed node hang on
  for (std::size_t n = 0; n < above_blame.size(); ++n)
    shares_source = shares_source || (above_blame[n] && reaches_norm[n]);
  bool right = false;
  switch (refusal.reason) {
    case Reason::input:
      right = is_above && is({Operator::input, Operator::ids});
      break;
    case Reason::nonlinear:
      right = is_above && !affine &&
              is({Operator::relu, Operator::gelu, Operator::silu, Operator::tanh, Operator::sigmoid, Operator::softmax,
                  Operator::multiply, Operator::max_tokens, Operator::attention, Operator::layer_norm,
                  Operator::rms_norm, Operator::center});
      break;
    case Reason::norm_affine:
      right = is_above && affine;
      break;
    case Reason::scale:
      right = is_above && is({Operator::scale_channels, Operator::batch_norm});
      break;
    case Reason::grouped:
      right = is_above && node.op == Operator::conv && node.count(Key::groups) > 1;
      break;
    case Reason::feature_mix:
      right = shares_source && is({Operator::concat_features, Operator::slice_features, Operator::merge_tokens});
      break;
    case Reason::read_unforgiven:
      right = shares_source && !is({Operator::output, Operator::input, Operator::ids, Operator::embedding});
      break;
    case Reason::output:
      right = shares_source && (node.op == Operator::output || count_reads(graph)[at(refusal.blame)] == 0);
      break;
    case Reason::tied:
      for (auto const& parameter : node.parameters) right = right || parameter.present();
      break;
    case Reason::dropout:
      right = is_above && node.op == Operator::dropout && options.mode == FoldMode::training;
      break;
    case Reason::unknown:
      break;
    case Reason::left_alone:
      right = options.leave_alone.contains(norm.norm) && refusal.blame == norm.norm;
      break;
  }
  return right ? "" : "keep " + norm.name + ' ' + std::string(to_string(refusal.reason)) + ' ' + refusal.blame_name;
}

// Likewise of a gamma and beta that stay: the blamed node is where the reason says, and really is in the way.
std::string wrong_affine(Graph const& graph, foldnorm::AffineVerdict const& affine) {
  auto const& refusal = *affine.refusal;
  if (graph.find_node(refusal.blame_name) != refusal.blame) return "blames a node that is not there";
  Node const& node = graph.node(refusal.blame);
  bool const is_below = above(graph, refusal.blame)[at(affine.norm)];
  bool const is_linear = node.op == Operator::linear || node.op == Operator::conv;
  bool right = false;
  switch (refusal.reason) {
    case Reason::read_unforgiven:
      right = is_below && refusal.blame != affine.norm && node.op != Operator::output &&
              (!is_linear || (affine.shifts && node.op == Operator::conv && node.count(Key::kernel) > 1));
      break;
    case Reason::output:
      right = is_below && (node.op == Operator::output || count_reads(graph)[at(refusal.blame)] == 0);
      break;
    case Reason::tied:
      for (auto const id : node.parameters) right = right || (id.present() && graph.parameter(id).uses.size() > 1);
      break;
    default:
      break;
  }
  return right ? ""
               : "keep_affine " + affine.name + ' ' + std::string(to_string(refusal.reason)) + ' ' + refusal.blame_name;
}

// The parameters that a report lets a fold change or take away.
std::set<std::string> named(Graph const& graph, FoldReport const& report) {
  std::set<std::string> result;
  for (auto const& centering : report.centerings) result.insert(centering.parameter);
  auto const add = [&](NodeId id) {
    for (auto const parameter : graph.node(id).parameters) {
      if (parameter.present()) result.insert(graph.parameter(parameter).name);
    }
  };
  for (auto const& affine : report.affines) {
    if (!affine.moves()) continue;
    add(affine.norm);
    for (NodeId const reader : affine.readers) add(reader);
  }
  return result;
}

// Drops one interval of one class of parameters from the report. Something must then break: an output, or the zero mean
// of a norm that folded.
std::string useless_centering(Graph const& graph, FoldReport const& report, Parameters const& parameters, Index tokens,
                              std::uint64_t seed, Random& random, Tally& tally) {
  auto const classes = centered_together(graph, report);
  auto const chosen = random.pick(report.centerings);
  auto const part = random.pick(chosen.parts);
  FoldReport less = report;
  for (auto& centering : less.centerings) {
    if (classes.at(chosen.parameter).contains(centering.parameter)) std::erase(centering.parts, part);
  }
  if (report.compositions.empty()) std::erase_if(less.centerings, [](auto const& c) { return c.parts.empty(); });
  ++tally.pruned;
  for (std::uint64_t k = 0; k < 3; ++k) {
    Parameters const generic = k == 0 ? parameters : foldnorm::random_parameters(graph, tokens, seed + k);
    Difference found;
    judge(graph, less, generic, tokens, false, seed + k, &found);
    if (!(found.worst() <= tolerance)) return "";
  }
  // A value coincidence (the layer reads zeros, or its value is multiplied away) unless the parameter still counts.
  FoldedModel const folded = fold_norms(graph, report, parameters);
  NamedValues const inputs = foldnorm::random_inputs(graph, tokens, seed);
  auto const before = foldnorm::evaluate_nodes(folded.graph, folded.parameters, inputs);
  bool counts = false;
  for (std::string const& name : classes.at(chosen.parameter)) {
    if (!folded.parameters.contains(name) || !folded.graph.find_parameter(name)) continue;
    Parameters moved = folded.parameters;
    auto rows = moved.get<double>(name).middleRows(part.begin, part.end - part.begin);
    rows = (rows.array() * 1.5 + 0.5).matrix().eval();
    auto const after = foldnorm::evaluate_nodes(folded.graph, moved, inputs);
    for (Node const& norm : folded.graph.nodes()) {
      bool const folds = norm.op == Operator::rms_norm && graph.node(*graph.find_node(norm.name)).op != norm.op;
      if (!folds) continue;
      double const mean = largest_group_mean(after[at(norm.inputs[0])], norm.count(Key::groups));
      counts = counts || mean > 1e-9;
    }
  }
  if (!counts) {
    ++tally.idle_pruned;
    return "";
  }
  return "nothing breaks without " + chosen.parameter + ' ' + std::to_string(part.begin) + ':' +
         std::to_string(part.end);
}

FoldReport find_again(Graph const& original, FoldedModel const& folded, FoldOptions options) {
  if (options.parameters) options.parameters = &folded.parameters;
  for (NodeId const norm : std::exchange(options.leave_alone, {})) {
    options.leave_alone.insert(*folded.graph.find_node(original.node(norm).name));
  }
  return find_foldable_norms(folded.graph, options);
}
// Once untied, a head has a weight of its own, which can be centered. Once moved, a gamma no longer stands in the way
// of whoever else uses it, as a bias say.
bool may_find_more(Graph const& graph, FoldReport const& report) {
  auto const is_affine = [](foldnorm::ParameterUse const& use) {
    return use.role == Key::gamma || use.role == Key::beta;
  };
  auto const is_mixed = [&](foldnorm::ParameterDescription const& parameter) {
    auto const count = std::count_if(parameter.uses.begin(), parameter.uses.end(), is_affine);
    return count != 0 && static_cast<std::size_t>(count) != parameter.uses.size();
  };
  return !report.untied.empty() ||
         (!report.affines.empty() && std::any_of(graph.parameters().begin(), graph.parameters().end(), is_mixed));
}
bool moves_affine(FoldReport const& report) {
  return std::any_of(report.affines.begin(), report.affines.end(), [](auto const& affine) { return affine.moves(); });
}
bool changes_something(FoldReport const& report) {
  return report.folds() != 0 || moves_affine(report) || !report.centerings.empty() || !report.untied.empty() ||
         !report.compositions.empty();
}

// Everything that must hold of one report and its fold; empty if it does.
std::string wrong_fold(Graph const& graph, FoldReport const& report, FoldOptions const& options,
                       Parameters const& parameters, Index tokens, std::uint64_t seed, Tally& tally) {
  FoldedModel const folded = fold_norms(graph, report, parameters);
  if (count_layer_norms(folded.graph) + report.folds() != count_layer_norms(graph)) return "count of layer_norms";
  for (std::uint64_t k = 0; k < 2; ++k) {
    Difference found;
    switch (judge(graph, report, parameters, tokens, options.mode == FoldMode::training, seed + k, &found)) {
      case Outcome::equal:
        break;
      case Outcome::ill_conditioned:
        ++tally.ill_conditioned;
        break;
      case Outcome::different:
        return "difference " + std::to_string(found.value) + " mean " + std::to_string(found.mean) + " at " +
               found.where;
    }
  }
  // Parameters that are not named keep their bits.
  std::set<std::string> const may_change = named(graph, report);
  for (auto const& parameter : graph.parameters()) {
    if (!may_change.contains(parameter.name) &&
        folded.parameters.as<double>(parameter.name) != parameters.as<double>(parameter.name)) {
      return "changed " + parameter.name;
    }
  }
  // Twice equals once; where that is not promised, a few more folds come to an end and are as sound.
  FoldedModel last = folded;
  FoldReport next = find_again(graph, last, options);
  if (changes_something(next)) {
    ++tally.more_later;
    if (!may_find_more(graph, report)) return "a second fold finds more:\n" + text(next);
    for (std::size_t round = 0; changes_something(next); ++round) {
      if (round > 4 + report.untied.size()) return "folds without end";
      last = fold_norms(last.graph, next, last.parameters);
      next = find_again(graph, last, options);
    }
    if (options.mode == FoldMode::inference) {  // a norm that folded first is an rms_norm like any other by now
      Difference found;
      NamedValues const inputs = foldnorm::random_inputs(graph, tokens, seed);
      compare(graph, parameters, last.graph, last.parameters, inputs, &found);
      bool const is_equal = found.value <= std::max(tolerance, 1000 * rounding_scale(graph, parameters, inputs));
      if (!is_equal) return "later folds are unsound";
    }
  }
  for (auto const& norm : report.norms) {
    if (norm.folds()) continue;
    if (std::string const blame = wrong_blame(graph, norm, options); !blame.empty()) return "blame: " + blame;
  }
  for (auto const& affine : report.affines) {
    Node const& norm = folded.graph.node(*folded.graph.find_node(affine.name));
    bool const is_bare = !norm.parameter(Key::gamma).present() && !norm.parameter(Key::beta).present();
    if (is_bare != affine.moves()) return "bare: " + affine.name;
    if (affine.moves()) continue;
    if (std::string const blame = wrong_affine(graph, affine); !blame.empty()) return "blame: " + blame;
  }
  return "";
}

std::string wrong_graph(Sample const& sample, std::uint64_t seed, Tally& tally) {
  Graph const& graph = sample.graph;
  Random random(seed ^ 0x9e3779b97f4a7c15);
  Parameters const parameters = foldnorm::random_parameters(graph, sample.tokens, seed);
  std::string wrong;
  auto const check = [&](char const* mode, FoldOptions const& options, Parameters const& values) {
    FoldReport report = find_foldable_norms(graph, options);
    if (wrong.empty()) wrong = wrong_fold(graph, report, options, values, sample.tokens, seed, tally);
    if (!wrong.empty() && wrong.find(" [") == std::string::npos) wrong += std::string(" [") + mode + "]";
    return report;
  };
  FoldReport const report = check("inference", {}, parameters);
  FoldReport const training = check("training", {FoldMode::training, TiedTables::refuse, nullptr}, parameters);
  bool const has_head = std::any_of(graph.nodes().begin(), graph.nodes().end(), [&](Node const& node) {
    return node.op == Operator::linear && graph.parameter(node.parameter(Key::weight)).is_table;
  });
  if (has_head) {
    FoldOptions const untie{FoldMode::inference, TiedTables::untie, nullptr};
    tally.untied += static_cast<long>(check("untie", untie, parameters).untied.size());
    FoldOptions correct = untie;
    correct.tied = TiedTables::correct;
    tally.corrected += static_cast<long>(check("correct", correct, parameters).corrected.size());
  }
  if (seed % 8 == 1) {
    FoldOptions some;
    for (auto const& norm : report.norms) {
      if (norm.folds() && random.chance(0.5)) some.leave_alone.insert(norm.norm);
    }
    FoldReport const fewer = check("leave_alone", some, parameters);
    if (wrong.empty() && fewer.folds() + some.leave_alone.size() != report.folds()) wrong = "leave_alone: other folds";
  }
  Parameters special = parameters;
  make_special(graph, special, random);
  TiedTables const tied = random.chance(0.3) ? TiedTables::untie : TiedTables::refuse;
  FoldReport const known = check("values", {FoldMode::inference, tied, &special}, special);
  if (seed % 8 == 0) {
    FoldReport moved = check("affine", {FoldMode::inference, tied, nullptr, true}, parameters);
    for (auto const& affine : moved.affines) {
      ++tally.affines;
      tally.moves += affine.moves();
    }
    moved.affines.clear();
    if (wrong.empty() && moved != find_foldable_norms(graph, {FoldMode::inference, tied, nullptr})) {
      return "affine changes other verdicts";
    }
    check("affine by values", {FoldMode::inference, tied, &special, true}, special);
  }
  tally.folds_by_values += static_cast<long>(known.folds());
  if (!wrong.empty()) return wrong;

  if (find_foldable_norms(graph, {FoldMode::training, TiedTables::refuse, &special}) != training) {
    return "values count in training";
  }
  if (find_foldable_norms(graph, {FoldMode::inference, TiedTables::refuse, &special}).folds() < report.folds()) {
    return "values forbid a fold";
  }
  std::optional<Graph> const reordered = renamed_and_reordered(graph, random);
  Graph const& other = reordered ? *reordered : graph;
  auto const new_name = [](char prefix) { return [prefix](std::string const& name) { return prefix + name; }; };
  auto const same_name = [](std::string const& name) { return name; };
  tally.malformed_in_another_order += !reordered;
  for (TiedTables const t : {TiedTables::refuse, TiedTables::untie}) {
    if (!reordered) break;
    FoldOptions const options{FoldMode::inference, t, nullptr, true};
    if (findings(graph, find_foldable_norms(graph, options), new_name('x'), new_name('y')) !=
        findings(other, find_foldable_norms(other, options), same_name, same_name)) {
      return "names or order matter:\n" + text(other) + text(find_foldable_norms(other, options));
    }
  }
  std::istringstream in(text(graph));
  if (!(foldnorm::read_graph(in, "fuzz") == graph)) return "text round trip";
  if (!report.centerings.empty() && random.chance(0.5)) {
    wrong = useless_centering(graph, report, parameters, sample.tokens, seed, random, tally);
  }

  ++tally.graphs;
  tally.graphs_with_folds += report.folds() > 0;
  tally.nodes += static_cast<long>(graph.nodes().size());
  tally.norms += static_cast<long>(report.norms.size());
  tally.folds += static_cast<long>(report.folds());
  tally.folds_in_training += static_cast<long>(training.folds());
  tally.compositions += static_cast<long>(report.compositions.size());
  for (auto const& centering : report.centerings) {
    ++tally.centerings;
    tally.partial += centering.parts != std::vector{foldnorm::Interval{0, centering.rows}};
  }
  for (auto const& norm : report.norms) {
    if (!norm.folds()) ++tally.reasons[static_cast<std::size_t>(norm.refusal->reason)];
  }
  return wrong;
}

std::string wrong_graph_or_throw(Sample const& sample, std::uint64_t seed, Tally& tally) {
  try {
    return wrong_graph(sample, seed, tally);
  } catch (std::exception const& error) {
    return std::string("throws: ") + error.what();
  }
}

// The failure's first word: what a shrunk graph must still show.
std::string kind(std::string const& wrong) {
  return wrong.substr(0, wrong.find_first_of(" :\n")) +
         (wrong.find("[values]") == std::string::npos ? "" : " by value");
}

long check_graphs(std::uint64_t first_seed, long graphs, Tally& tally, std::ostream& failures) {
  long failed = 0;
  std::map<std::string, long> shown;
  for (long k = 0; k < graphs; ++k) {
    std::uint64_t const seed = first_seed + static_cast<std::uint64_t>(k);
    Sample const sample = random_graph(seed);
    std::string const wrong = wrong_graph_or_throw(sample, seed, tally);
    if (wrong.empty()) continue;
    ++failed;
    if (shown[kind(wrong)]++ > 1) continue;
    Graph const small = shrink(sample.graph, [&](Graph const& graph) {
      Tally ignored;
      return kind(wrong_graph_or_throw({graph, sample.tokens}, seed, ignored)) == kind(wrong);
    });
    Tally ignored;
    failures << "seed " << seed << ": " << wrong << "\nshrunk, " << sample.tokens
             << " tokens: " << wrong_graph_or_throw({small, sample.tokens}, seed, ignored) << '\n'
             << small << find_foldable_norms(small) << '\n';
  }
  for (auto const& [what, count] : shown) failures << what << ": " << count << " graphs\n";
  return failed;
}

}  // namespace

TEST_CASE("random graphs: no fold changes what a graph computes, in any mode, and every report keeps its promises") {
  Tally tally;
  std::ostringstream failures;
  long const failed = check_graphs(1, 20000, tally, failures);
  WARN(printed(tally));
  INFO(failures.str());
  CHECK(failed == 0);
  // The generator must keep producing graphs that are worth the check.
  CHECK(tally.folds > tally.norms / 5);
  CHECK(tally.partial > 1000);
  CHECK(tally.compositions > 500);
  CHECK(tally.untied > 100);
  CHECK(tally.corrected > 100);
  CHECK(tally.moves > 1000);
}

TEST_CASE("random graphs: a long run finds no unsound fold", "[.long]") {
  Tally tally;
  std::ostringstream failures;
  long const failed = check_graphs(static_cast<std::uint64_t>(environment("FOLDNORM_FUZZ_SEED", 1000000)),
                                   environment("FOLDNORM_FUZZ_GRAPHS", 500000), tally, failures);
  WARN(printed(tally));
  INFO(failures.str());
  CHECK(failed == 0);
}
