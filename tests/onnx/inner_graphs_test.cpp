// SPDX-License-Identifier: MIT
// tests/onnx/inner_graphs_test.cpp -- norms in and around the branches of an If and the bodies of a Loop or Scan.
#include <foldnorm/onnx/fold_model.hpp>

#include "catch.hpp"
#include "graph/matchers.hpp"
#include "onnx/fold_checks.hpp"
#include "onnx/onnx_testing.hpp"

#include <string>
#include <utility>
#include <vector>

using namespace foldnorm;
using namespace foldnorm::testing;
using foldnorm::testing::Contains;

TEST_CASE("branches of an If count as part of the graph") {
  // A stream of two layers, of which a condition chooses one, or its place in a branch.
  auto const model = [](auto then_branch, auto else_branch, bool is_read_apart) {
    ModelBuilder b;
    b.input("flag", {}, ::onnx::TensorProto::BOOL);
    std::string const x = b.input("x", {-1, -2, 8});
    std::string const h = b.linear(x, 8, 8);
    auto& node = b.add("If", {"flag"}, {"chosen"});
    b.set_graph(node, "then_branch", [&] { return then_branch(b, h); });
    b.set_graph(node, "else_branch", [&] { return else_branch(b, h); });
    b.add("Relu", {b.layer_norm("chosen", 8)}, {b.output("y")});
    if (is_read_apart)
      b.add("MatMul", {b.node("Relu", {x}), h.empty() ? h : b.model.graph().initializer(0).name()}, {b.output("z")});
    return b.model;
  };
  auto const passed = [](ModelBuilder& b, std::string const& h) { return b.node("Identity", {h}); };
  auto const layer = [](ModelBuilder& b, std::string const& h) {
    return b.linear(b.node("Relu", {b.layer_norm(h, 8)}), 8, 8);
  };
  auto const activation = [](ModelBuilder& b, std::string const& h) { return b.node("Relu", {b.written_out(h, 8)}); };
  auto const check = [](::onnx::ModelProto const& made, char const* report) {
    for (double const flag : {0.0, 1.0}) {
      TestTensors inputs = operator_inputs();
      inputs["flag"] = TestTensor(TestTensor::Shape{});
      inputs["flag"].values[0] = flag;
      check_folds(made, inputs, report);
    }
  };
  check(model(passed, passed, false), "folded 1 of 1\n");
  check(model(passed, layer, false), "folded 2 of 2\n");
  check(model(layer, layer, false), "folded 3 of 3\n");
  check(model(activation, layer, false), ": nonlinear: Relu ");
  check(model(passed, passed, true), ": tied: ");

  SECTION("a weight that is read in a branch and outside is shared") {
    ModelBuilder b;
    b.input("flag", {}, ::onnx::TensorProto::BOOL);
    std::string const x = b.input("x", {-1, -2, 8}), w = b.weight("w", {8, 8});
    std::string const h = b.node("MatMul", {x, w});
    auto& node = b.add("If", {"flag"}, {"chosen"});
    b.set_graph(node, "then_branch", [&] { return b.node("MatMul", {b.node("Relu", {x}), w}); });
    b.set_graph(node, "else_branch", [&] { return b.linear(x, 8, 8); });
    b.add("Relu", {b.layer_norm(h, 8)}, {b.output("y")});
    b.output("chosen");
    check(b.model, ": tied: MatMul ");
  }
}

namespace {

// x, and what two runs of the body make of it, one behind the other.
template <class Body>
std::string looped(ModelBuilder& b, std::string const& x, std::string const& name, Body body) {
  std::string const result = name + ".result";
  auto& node = b.add("Loop", {b.integers(name + ".count", {2}), "", x}, {result});
  node.set_name(name);
  b.set_graph(node, "body", [&] {
    for (auto const& [input, type] : {std::pair(".iteration", ::onnx::TensorProto::INT64),
                                      {".condition", ::onnx::TensorProto::BOOL},
                                      {".state", ::onnx::TensorProto::DOUBLE}}) {
      auto& described = *b.model.mutable_graph()->add_input();
      described.set_name(name + input);
      auto& tensor = *described.mutable_type()->mutable_tensor_type();
      tensor.set_elem_type(type);
      if (type != ::onnx::TensorProto::DOUBLE) tensor.mutable_shape();  // a scalar, which ONNX Runtime asks for
    }
    b.model.mutable_graph()->add_output()->set_name(b.node("Identity", {name + ".condition"}));
    return body(name + ".state");
  });
  return result;
}

std::string layer(ModelBuilder& b, std::string const& x) {
  return b.linear(b.node("Relu", {b.written_out(b.linear(x, 8, 8), 8)}), 8, 8);
}

}  // namespace

TEST_CASE("the body of a Loop counts as part of the graph") {
  ModelBuilder b;
  std::string const x = b.input("x", {-1, -2, 8}), w = b.weight("w", {8, 8});
  std::string const h = b.node("MatMul", {x, w});
  char const* report = "";
  SECTION("a norm in it folds where all that it needs is inside") {
    b.add("Relu", {looped(b, x, "loop", [&](auto const& state) { return layer(b, state); })}, {b.output("y")});
    report = "folded 1 of 1\n";
  }
  SECTION("or outside, and its layer is read nowhere else") {
    std::string const y = looped(b, x, "loop", [&](auto const& state) {
      return b.node("Add", {state, b.linear(b.node("Relu", {b.layer_norm(h, 8)}), 8, 8)});
    });
    b.add("Relu", {y}, {b.output("y")});
    report = "folded 1 of 1\n";
  }
  SECTION("what runs before is not known") {
    std::string const y =
        looped(b, h, "loop", [&](auto const& state) { return b.linear(b.layer_norm(state, 8), 8, 8); });
    b.add("Relu", {b.layer_norm(y, 8)}, {b.output("y")});
    report = "keep LayerNormalization 'LayerNormalization4': unknown: Loop 'loop'";
  }
  SECTION("the next run sees every change") {
    std::string const y = looped(b, x, "loop", [&](auto const& state) {
      std::string const next = b.linear(state, 8, 8);
      b.add("Relu", {b.layer_norm(next, 8)}, {"unread"});
      return next;
    });
    b.add("Relu", {y}, {b.output("y")});
    report = ": read_unforgiven: Loop 'loop'";
  }
  SECTION("what reads the state, too, has a shift in it") {
    std::string const y = looped(b, x, "loop", [&](auto const& state) { return b.node("Add", {state, h}); });
    b.add("Relu", {b.layer_norm(h, 8)}, {b.output("y")});
    b.add("Relu", {y}, {b.output("z")});
    report = ": read_unforgiven: Add ";
  }
  SECTION("a weight that is read inside and outside is shared") {
    std::string const y = looped(b, x, "loop", [&](auto const& state) { return b.node("MatMul", {state, w}); });
    b.add("Relu", {b.layer_norm(h, 8)}, {b.output("y")});
    b.add("Relu", {y}, {b.output("z")});
    report = ": tied: MatMul ";
  }
  SECTION("a loop in a loop") {
    std::string const y = looped(b, x, "outer", [&](auto const& outer) {
      return looped(b, outer, "inner", [&](auto const& inner) { return layer(b, inner); });
    });
    b.add("Relu", {y}, {b.output("y")});
    report = "folded 1 of 1\n";
  }
  SECTION("a loop whose names are not the model's only ones is read as one node") {
    std::string const y = looped(b, x, "loop", [&](auto const& state) {
      b.add("Identity", {state}, {"twice"});
      return b.node("Add", {"twice", h});
    });
    std::string const z = looped(b, x, "other", [&](auto const& state) {
      b.add("Identity", {state}, {"twice"});
      return b.node("MatMul", {"twice", b.weight("v", {8, 8})});
    });
    b.add("Relu", {b.layer_norm(h, 8)}, {b.output("y")});
    b.add("Add", {y, z}, {b.output("z")});
    report = ": read_unforgiven: Loop 'loop'";
  }
  check_folds(b.model, operator_inputs(), report);
}

TEST_CASE("nothing is inserted behind the inputs of a body") {
  ModelBuilder b;
  std::string const x = b.input("x", {-1, -2, 8});
  std::string const y = looped(b, x, "loop", [&](auto const& state) {
    std::string const a = b.node("Relu", {b.layer_norm(state, 8)}), c = b.node("Relu", {b.layer_norm(state, 8)});
    return b.node("Add", {a, c});
  });
  b.add("Relu", {y}, {b.output("y")});
  OnnxFoldOptions options;
  options.insert_centering = true;
  CHECK_THAT(FoldedTestModel(b.model, options).report(), Contains("folded 0 of 2\n"));
  check_folds(b.model, operator_inputs(), "folded 0 of 2\n");
}

TEST_CASE("a center is inserted in a body, behind what is made there") {
  ModelBuilder b;
  std::string const x = b.input("x", {-1, -2, 8});
  std::string const y = looped(b, x, "loop", [&](auto const& state) {
    std::string const h = b.node("Relu", {b.linear(state, 8, 8)});
    return b.node("Add", {b.node("Relu", {b.layer_norm(h, 8)}), b.node("Tanh", {b.layer_norm(h, 8)})});
  });
  b.add("Relu", {y}, {b.output("y")});
  OnnxFoldOptions options;
  options.insert_centering = true;
  CHECK_THAT(FoldedTestModel(b.model, options).report(), Contains("folded 2 of 2\n"));
  check_folds(b.model, operator_inputs(), "folded 0 of 2\n");
}

TEST_CASE("the body of a Scan counts as part of the graph") {
  ModelBuilder b;
  std::string const x = b.input("x", {2, 4, 8});
  auto& node = b.add("Scan", {b.constant("start", {4, 8}, std::vector<double>(32, 0.5)), x}, {"last", "each"});
  ModelBuilder::set(node, "num_scan_inputs", 1);
  b.set_graph(node, "body", [&] {
    for (char const* input : {"state", "slice"}) b.model.mutable_graph()->add_input()->set_name(input);
    std::string const next = b.node("Add", {"state", layer(b, "slice")});
    b.model.mutable_graph()->add_output()->set_name(next);
    return b.node("Tanh", {next});
  });
  b.add("Relu", {"last"}, {b.output("y")});
  b.add("Relu", {b.layer_norm("each", 8)}, {b.output("z")});
  check_folds(b.model, operator_inputs(), "folded 1 of 2\n");
}
