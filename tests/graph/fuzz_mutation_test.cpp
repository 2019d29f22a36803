// SPDX-License-Identifier: MIT
// tests/graph/fuzz_mutation_test.cpp -- planted mistakes: an analysis that overlooked one thing would not pass the
// soundness check.
//
// The library has no hooks for this. The analysis sees a graph in which the thing is not there (or its report, or the
// folded graph, is falsified), and what it says is carried out on the true graph.
#include <algorithm>
#include <functional>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "graph/fuzz_support.hpp"

namespace {

using namespace fuzz;
using foldnorm::find_foldable_norms;
using foldnorm::FoldMode;
using foldnorm::FoldOptions;
using foldnorm::TiedTables;

// Follows a parameter's name where one use was given a name of its own.
std::string const own_name = "-in-";

// A report about a graph with the same names, as one about `graph`: what `graph` does not have is left out.
FoldReport carried_over(FoldReport const& report, Graph const& from, Graph const& graph) {
  FoldReport result;
  std::set<std::string> centered;
  for (auto verdict : report.norms) {
    auto const id = graph.find_node(verdict.name);
    if (!id || graph.node(*id).op != Operator::layer_norm) continue;
    verdict.norm = *id;
    result.norms.push_back(std::move(verdict));
  }
  for (auto centering : report.centerings) {
    centering.parameter = centering.parameter.substr(0, centering.parameter.find(own_name));
    auto const id = graph.find_parameter(centering.parameter);
    if (!id || graph.parameter(*id).rows != centering.rows || !centered.insert(centering.parameter).second) continue;
    result.centerings.push_back(std::move(centering));
  }
  for (auto const& pair : report.compositions) {
    auto const linear = graph.find_node(from.node(pair.linear).name);
    auto const scale = graph.find_node(from.node(pair.scale).name);
    if (linear && scale && graph.node(*scale).inputs == std::vector{*linear})
      result.compositions.push_back({*linear, *scale});
  }
  return result;
}

// A wrong fold is wrong by the size of the activations: far above the tolerance, so that rounding need not be weighed.
bool is_wrong(Difference const& d) { return !(d.worst() <= 1e-6); }

struct Mutant {
  std::string name;
  std::function<bool(Sample const&, std::uint64_t)> is_caught;  // unsound on this graph?
};

FoldOptions const plain{};

bool is_unsound(Sample const& sample, FoldReport const& report, std::uint64_t seed, bool training = false) {
  Difference found;
  Parameters const parameters = foldnorm::random_parameters(sample.graph, sample.tokens, seed);
  try {
    judge(sample.graph, report, parameters, sample.tokens, training, seed, &found);
  } catch (std::invalid_argument const&) {
    return true;  // composed away a scale that is used elsewhere
  }
  return is_wrong(found);
}

// The analysis sees statements that `falsify` changed.
Mutant overlooking(std::string name, std::function<void(Statements&, Graph const&)> falsify,
                   FoldOptions options = plain) {
  return {std::move(name), [=](Sample const& sample, std::uint64_t seed) {
            Statements statements = statements_of(sample.graph);
            falsify(statements, sample.graph);
            auto const seen = try_build(statements);
            if (!seen) return false;
            FoldReport const report = carried_over(find_foldable_norms(*seen, options), *seen, sample.graph);
            bool const training = options.mode == FoldMode::training;
            if (report == find_foldable_norms(sample.graph, options)) return false;
            return is_unsound(sample, report, seed, training);
          }};
}

Mutant overlooking_each(std::string name, std::function<void(Statement&)> falsify) {
  return overlooking(std::move(name), [=](Statements& statements, Graph const&) {
    for (Statement& statement : statements) falsify(statement);
  });
}

Mutant taking(std::string name, std::vector<Operator> ops, Operator instead) {
  return overlooking_each(std::move(name), [=](Statement& statement) {
    if (std::find(ops.begin(), ops.end(), statement.op) == ops.end()) return;
    statement.op = instead;
    statement.numbers.clear();
    statement.parameters.clear();
  });
}

// The right report, changed.
Mutant misreporting(std::string name, std::function<void(FoldReport&, Graph const&)> falsify,
                    FoldOptions options = plain) {
  return {std::move(name), [=](Sample const& sample, std::uint64_t seed) {
            FoldReport const right = find_foldable_norms(sample.graph, options);
            FoldReport report = right;
            falsify(report, sample.graph);
            return report != right && is_unsound(sample, report, seed);
          }};
}

// The right report, carried out wrongly.
Mutant rewriting(std::string name, std::function<void(Statement&)> falsify) {
  return {std::move(name), [=](Sample const& sample, std::uint64_t seed) {
            Parameters const parameters = foldnorm::random_parameters(sample.graph, sample.tokens, seed);
            FoldReport const report = find_foldable_norms(sample.graph);
            FoldedModel const folded = foldnorm::fold_norms(sample.graph, report, parameters);
            Statements statements = statements_of(folded.graph);
            for (auto const& norm : report.norms) {
              for (Statement& statement : statements) {
                if (norm.folds() && statement.name == norm.name) falsify(statement);
              }
            }
            auto const wrong = try_build(statements);
            if (!wrong || *wrong == folded.graph) return false;
            NamedValues const inputs = foldnorm::random_inputs(sample.graph, sample.tokens, seed);
            Difference found;
            compare(sample.graph, parameters, *wrong, folded.parameters, inputs, &found);
            return is_wrong(found);
          }};
}

bool has_role(Graph const& graph, std::string const& parameter, Key role) {
  auto const& uses = graph.parameter(*graph.find_parameter(parameter)).uses;
  return std::any_of(uses.begin(), uses.end(), [&](auto const& use) { return use.role == role; });
}

// Reads that are forgiven for certain: through a center.
void read_through_centers(Statements& statements, std::function<bool(Statement const&, std::size_t)> which) {
  Statements result;
  for (Statement statement : statements) {
    for (std::size_t i = 0; i < statement.inputs.size(); ++i) {
      if (statement.op == Operator::embedding || !which(statement, i)) continue;
      std::string const forgiving = statement.name + ".forgiving" + std::to_string(i);
      result.push_back({Operator::center, forgiving, {statement.inputs[i]}, {}, {}});
      statement.inputs[i] = forgiving;
    }
    result.push_back(std::move(statement));
  }
  statements = std::move(result);
}

std::vector<Mutant> mutants() {
  std::vector<Mutant> all;
  all.push_back(misreporting("biases are not centered", [](FoldReport& report, Graph const& graph) {
    std::erase_if(report.centerings, [&](auto const& c) {
      return has_role(graph, c.parameter, Key::bias) && !has_role(graph, c.parameter, Key::weight);
    });
  }));
  all.push_back(misreporting("tables are not centered", [](FoldReport& report, Graph const& graph) {
    std::erase_if(report.centerings, [&](auto const& c) { return has_role(graph, c.parameter, Key::table); });
  }));
  all.push_back(misreporting("added parameters are not centered", [](FoldReport& report, Graph const& graph) {
    std::erase_if(report.centerings, [&](auto const& c) {
      return has_role(graph, c.parameter, Key::value) && report.compositions.empty();
    });
  }));
  all.push_back(misreporting("a group's parts are centered as one", [](FoldReport& report, Graph const&) {
    for (auto& centering : report.centerings) centering.parts = {{0, centering.rows}};
  }));
  all.push_back(misreporting("scales are centered but not composed",
                             [](FoldReport& report, Graph const&) { report.compositions.clear(); }));
  all.push_back(overlooking("tied parameters are taken apart", [](Statements& statements, Graph const&) {
    for (Statement& statement : statements) {
      for (auto& parameter : statement.parameters) parameter.second += own_name + statement.name;
    }
  }));
  all.push_back(
      overlooking("a head does not count as a use of its table", [](Statements& statements, Graph const& graph) {
        for (Statement& statement : statements) {
          if (statement.op != Operator::linear) continue;
          std::string& weight = statement.parameters[Key::weight];
          if (graph.parameter(*graph.find_parameter(weight)).is_table) weight += own_name + statement.name;
        }
      }));
  all.push_back(
      {"an untied head reads the centered table", [](Sample const& sample, std::uint64_t seed) {
         FoldReport report = find_foldable_norms(sample.graph, {FoldMode::inference, TiedTables::untie, nullptr});
         bool const unties = !report.untied.empty();
         report.untied.clear();
         return unties && is_unsound(sample, report, seed);
       }});
  all.push_back(taking("activations let shifts through",
                       {Operator::relu, Operator::gelu, Operator::silu, Operator::tanh, Operator::sigmoid},
                       Operator::identity));
  all.push_back(taking("a softmax has zero mean", {Operator::softmax}, Operator::center));
  all.push_back(taking("products are sums", {Operator::multiply}, Operator::add));
  all.push_back(taking("the maximum over tokens is a mean", {Operator::max_tokens}, Operator::mean_tokens));
  all.push_back(taking("scales do not matter", {Operator::scale_channels, Operator::batch_norm}, Operator::identity));
  all.push_back(taking("an rms_norm forgives a shift", {Operator::rms_norm}, Operator::layer_norm));
  all.push_back(overlooking("only what lies above a norm counts", [](Statements& statements, Graph const&) {
    std::vector<std::string> above;
    for (std::size_t n = statements.size(); n-- > 0;) {
      bool const counts = statements[n].op == Operator::layer_norm ||
                          std::find(above.begin(), above.end(), statements[n].name) != above.end();
      if (counts) above.insert(above.end(), statements[n].inputs.begin(), statements[n].inputs.end());
    }
    read_through_centers(statements, [&](Statement const& statement, std::size_t) {
      return statement.op != Operator::layer_norm &&
             std::find(above.begin(), above.end(), statement.name) == above.end();
    });
  }));
  all.push_back(overlooking("producers forgive a shift of what they read", [](Statements& statements, Graph const&) {
    read_through_centers(statements, [](Statement const& statement, std::size_t) {
      return statement.op == Operator::linear || statement.op == Operator::conv;
    });
  }));
  all.push_back(overlooking("queries and keys forgive a shift", [](Statements& statements, Graph const&) {
    read_through_centers(statements, [](Statement const& statement, std::size_t i) {
      return statement.op == Operator::attention && i < 2;
    });
  }));
  all.push_back(overlooking("an output does not observe", [](Statements& statements, Graph const&) {
    read_through_centers(statements,
                         [](Statement const& statement, std::size_t) { return statement.op == Operator::output; });
  }));
  all.push_back(overlooking("what nobody reads is not observed", [](Statements& statements, Graph const& graph) {
    std::vector<int> const reads = count_reads(graph);
    for (std::size_t n = statements.size(); n-- > 0;) {
      if (reads[n] == 0 && statements[n].op != Operator::output && statements[n].op != Operator::layer_norm) {
        statements.erase(statements.begin() + static_cast<std::ptrdiff_t>(n));
      }
    }
  }));
  all.push_back(
      overlooking_each("attention has one head", [](Statement& statement) { statement.numbers.erase(Key::heads); }));
  all.push_back(overlooking_each("a convolution has no groups", [](Statement& statement) {
    if (statement.op == Operator::conv) statement.numbers.erase(Key::groups);
  }));
  all.push_back(overlooking_each("a norm has no groups", [](Statement& statement) {
    if (statement.op == Operator::layer_norm) statement.numbers.erase(Key::groups);
  }));
  all.push_back(overlooking_each("gamma and beta keep zero mean", [](Statement& statement) {
    if (statement.op == Operator::layer_norm || statement.op == Operator::rms_norm) statement.parameters.clear();
  }));
  all.push_back(
      overlooking_each("beta keeps zero mean", [](Statement& statement) { statement.parameters.erase(Key::beta); }));
  all.push_back(
      overlooking("the cuts of a concat or merge are harmless", [](Statements& statements, Graph const& graph) {
        for (Statement& statement : statements) {
          if (statement.op != Operator::layer_norm) continue;
          Node const& input = graph.node(*graph.find_node(statement.inputs[0]));
          if (input.op == Operator::merge_tokens) statement.numbers[Key::groups] = input.number(Key::ratio);
          if (input.op != Operator::concat_features) continue;
          if (input.features % static_cast<Index>(input.inputs.size()) == 0) {
            statement.numbers[Key::groups] = static_cast<double>(input.inputs.size());
          }
        }
      }));
  all.push_back(overlooking_each("slices start at 0", [](Statement& statement) {
    if (statement.op == Operator::slice_features) statement.numbers[Key::start] = 0;
  }));
  all.push_back({"dropout is the identity in training", [](Sample const& sample, std::uint64_t seed) {
                   return is_unsound(sample, find_foldable_norms(sample.graph), seed, true);
                 }});
  all.push_back({"special values stay in training", [](Sample const& sample, std::uint64_t seed) {
                   Random random(seed);
                   Parameters special = foldnorm::random_parameters(sample.graph, sample.tokens, seed);
                   make_special(sample.graph, special, random);
                   FoldReport const report =
                       find_foldable_norms(sample.graph, {FoldMode::inference, TiedTables::refuse, &special});
                   return is_unsound(sample, report, seed);  // after an update that made them generic
                 }});
  all.push_back(rewriting("eps is the default", [](Statement& statement) { statement.numbers.erase(Key::eps); }));
  all.push_back(rewriting("beta is dropped", [](Statement& statement) { statement.parameters.erase(Key::beta); }));
  all.push_back(rewriting("gamma is dropped", [](Statement& statement) { statement.parameters.erase(Key::gamma); }));
  all.push_back(rewriting("groups are dropped", [](Statement& statement) { statement.numbers.erase(Key::groups); }));
  return all;
}

}  // namespace

TEST_CASE("random graphs: every planted mistake is caught by the soundness check") {
  constexpr std::uint64_t graphs = 1500;
  std::ostringstream counts;
  for (Mutant const& mutant : mutants()) {
    long caught = 0;
    for (std::uint64_t seed = 1; seed <= graphs; ++seed) caught += mutant.is_caught(random_graph(seed), seed);
    counts << "\n  " << caught << "  " << mutant.name;
    INFO(mutant.name);
    CHECK(caught > 0);
  }
  WARN("unsound on so many of " << graphs << " graphs:" << counts.str());
}

TEST_CASE("random graphs: the same check finds nothing wrong where nothing was planted") {
  for (std::uint64_t seed = 1; seed <= 1500; ++seed) {
    Sample const sample = random_graph(seed);
    CAPTURE(seed);
    REQUIRE_FALSE(is_unsound(sample, find_foldable_norms(sample.graph), seed));
    FoldOptions const training{FoldMode::training, TiedTables::refuse, nullptr};
    REQUIRE_FALSE(is_unsound(sample, find_foldable_norms(sample.graph, training), seed, true));
  }
}
