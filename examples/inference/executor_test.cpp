// SPDX-License-Identifier: MIT
// inference/executor_test.cpp -- the executor computes what the graph means, and takes no memory while it runs.
#include "inference/executor.hpp"
#include "architectures/catalogue.hpp"

#include "catch.hpp"

#include <foldnorm/graph/evaluate.hpp>
#include <foldnorm/graph/find_foldable_norms.hpp>
#include <foldnorm/graph/fold_norms.hpp>
#include <foldnorm/graph/random_values.hpp>

#include <algorithm>
#include <string>

using namespace foldnorm;
using inference::Executor;

namespace {

// Some hundred layers of sums of some ten products in float; a wrong value is wrong by its size.
constexpr double executor_tolerance = 1e-5;

void set_executor_inputs(Executor& executor, NamedValues const& inputs) {
  for (Node const& node : executor.graph().nodes()) {
    if (node.op == Operator::input) executor.input(node.name) = inputs.at(node.name).cast<float>();
    if (node.op == Operator::ids) {
      std::ranges::transform(inputs.at(node.name).reshaped(), executor.ids(node.name).begin(),
                             [](double id) { return static_cast<Index>(id); });
    }
  }
}

double executor_error(Executor const& executor, NamedValues const& expected) {
  double largest = 0;
  for (auto const& [name, value] : expected) {
    double const difference = (executor.output(name).cast<double>() - value).cwiseAbs().maxCoeff();
    largest = std::max(largest, difference / value.cwiseAbs().maxCoeff());
  }
  return largest;
}

}  // namespace

TEST_CASE("Executor: the catalogue's networks, original and folded, as evaluate has them") {
  std::size_t run = 0;
  for (architectures::Architecture const& architecture : architectures::catalogue()) {
    CAPTURE(architecture.name);
    Index const tokens = architectures::narrow_tokens;
    Graph const graph = architecture.build(architectures::Scale::narrow);
    Parameters const parameters = random_parameters(graph, tokens, 1);
    NamedValues const inputs = random_inputs(graph, tokens, 2);
    NamedValues const expected = evaluate(graph, parameters, inputs);
    FoldOptions options;
    if (architecture.tied) options.tied = TiedTables::untie;
    options.insert_centering = PlacementCosts{};
    FoldedModel const folded = fold_norms(graph, find_foldable_norms(graph, options), parameters);
    try {
      Executor original(graph, parameters, tokens), after(folded.graph, folded.parameters, tokens);
      for (Executor* const executor : {&original, &after}) {
        set_executor_inputs(*executor, inputs);
        executor->run();
        CHECK(executor_error(*executor, expected) <= executor_tolerance);
        executor->run(3);  // a second run in the same memory, and norms that are repeated
        CHECK(executor_error(*executor, expected) <= executor_tolerance);
      }
      ++run;
    } catch (graph_error const& error) {
      CHECK(std::string(error.what()).find("the executor has no such operation") != std::string::npos);
    }
  }
  CHECK(run == 19);
}

TEST_CASE("Executor: values share memory where their lives do not meet") {
  Graph graph;
  NodeId x = graph.input("x", 32);
  for (int i = 0; i < 100; ++i) x = graph.linear("l" + std::to_string(i), x, 32, "w" + std::to_string(i));
  graph.output("y", x);
  // The input stays; of the others two are alive at a time.
  CHECK(Executor(graph, random_parameters(graph, 4, 1), 4).memory() == 3 * 32 * 4);
}

TEST_CASE("Executor: a sum reads its operands before it writes over one") {
  Graph graph;
  NodeId const x = graph.input("x", 16);
  NodeId const a = graph.linear("a", x, 16, "A"), b = graph.linear("b", x, 16, "B");
  NodeId const sum = graph.add("sum", {a, b, a});
  NodeId const c = graph.linear("c", x, 16, "C"), d = graph.linear("d", x, 16, "D"), e = graph.linear("e", x, 16, "E");
  graph.output("y", graph.add("all", {c, graph.identity("same", sum), d, e}));
  Parameters const parameters = random_parameters(graph, 3, 1);
  NamedValues const inputs = random_inputs(graph, 3, 2);
  Executor executor(graph, parameters, 3);
  set_executor_inputs(executor, inputs);
  executor.run();
  CHECK(executor_error(executor, evaluate(graph, parameters, inputs)) <= executor_tolerance);
}

TEST_CASE("Executor: refuses names that are not there, and operators that it does not know") {
  Graph graph;
  NodeId const x = graph.input("x", 4);
  graph.output("y", x);
  Executor executor(graph, {}, 2);
  CHECK_THROWS_AS(executor.input("y"), std::invalid_argument);
  CHECK_THROWS_AS(executor.ids("x"), std::invalid_argument);
  CHECK_THROWS_AS(executor.output("x"), std::invalid_argument);
  graph.output("z", graph.tanh("t", x));
  CHECK_THROWS_WITH(Executor(graph, {}, 2), "tanh t: the executor has no such operation");
}
