// SPDX-License-Identifier: MIT
// tests/onnx/fold_model_test.cpp -- models of every pattern and operator, folded and run before and after.
#include <foldnorm/onnx/fold_model.hpp>

#include "catch.hpp"
#include "graph/matchers.hpp"
#include "onnx/onnx_testing.hpp"

#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

using namespace foldnorm;
using namespace foldnorm::testing;
using foldnorm::testing::Contains;

namespace {

// Some 1e2 terms in each sum and 1e1 operators, of relative error 1.1e-16 each; a norm of few features makes errors
// larger where its deviation is small beside what it reads, here up to 1e2 times.
constexpr double onnx_fold_tolerance = 1e-11;

TestTensors tokens(std::int64_t features, std::int64_t count = 5) {
  return {{"x", random_tensor({2, count, features}, 7)}};
}

OnnxFoldOptions for_onnxruntime() {
  OnnxFoldOptions options;
  options.target = OnnxTarget::onnxruntime;
  return options;
}

int count_nodes(::onnx::ModelProto const& model, std::string const& type) {
  int count = 0;
  for (auto const& node : model.graph().node()) count += node.op_type() == type;
  return count;
}

// x -> linear -> norm -> relu -> linear, the norm made by `norm`.
template <class Norm>
::onnx::ModelProto small_model(std::int64_t opset, Norm norm) {
  ModelBuilder b(opset);
  std::string const h = b.linear(b.input("x", {-1, -2, 6}), 6, 8);
  std::string const y = b.linear(b.node("Relu", {norm(b, h)}), 8, 3);
  b.add("Identity", {y}, {"y"});
  b.output("y");
  return b.model;
}

// The ways to write a LayerNorm out.
using Writing = std::string (*)(ModelBuilder&, std::string const&);
std::string divided(ModelBuilder& b, std::string const& x) { return b.written_out(x, 8); }
std::string multiplied(ModelBuilder& b, std::string const& x) {
  std::string const d = b.node("Sub", {x, b.mean(x)});
  std::string const v = b.node("Add", {b.scalar(1e-5), b.mean(b.node("Mul", {d, d}))});
  std::string const r = b.node("Reciprocal", {b.node("Sqrt", {v})});
  return b.node("Mul", {b.weight("gamma", {8}), b.node("Mul", {r, d})});
}
std::string twice_deviated(ModelBuilder& b, std::string const& x) {
  std::string const d = b.node("Sub", {x, b.mean(x)}), e = b.node("Sub", {x, b.mean(x)});
  std::string const v = b.node("Add", {b.mean(b.node("Pow", {e, b.scalar(2)})), b.scalar(1e-5)});
  return b.node("Div", {d, b.node("Pow", {v, b.scalar(0.5)})});
}
std::string jax(ModelBuilder& b, std::string const& x) {
  std::string const m = b.mean(x), s = b.mean(b.node("Mul", {x, x}));
  std::string const v = b.node("Max", {b.scalar(0), b.node("Sub", {s, b.node("Mul", {m, m})})});
  std::string const r = b.node("Pow", {b.node("Add", {v, b.scalar(1e-5)}), b.scalar(-0.5)});
  std::string const y = b.node("Mul", {b.node("Sub", {x, m}), r});
  return b.node("Add", {b.node("Mul", {y, b.weight("gamma", {8})}), b.weight("beta", {8})});
}

}  // namespace

TEST_CASE("a LayerNorm written out folds, however it is written, in every opset") {
  for (std::int64_t const opset : {9, 13, 17, 18}) {
    for (Writing const writing : {divided, multiplied, twice_deviated, jax}) {
      for (auto const& options : {OnnxFoldOptions{}, for_onnxruntime()}) {
        FoldedTestModel const model(small_model(opset, writing), options);
        CAPTURE(opset, model.report());
        CHECK_THAT(model.report(), Contains("folded 1 of 1\n"));
        CHECK(count_nodes(model.folded.model, "ReduceMean") == (options.target == OnnxTarget::onnx ? 1 : 0));
        CHECK(count_nodes(model.folded.model, "Sub") == 0);
        CHECK(model.error(tokens(6)) < onnx_fold_tolerance);
        CHECK(model.folded.model.opset_import(0).version() == opset);
      }
    }
  }
}

TEST_CASE("a mean over another axis than the variance's makes no LayerNorm") {
  for (bool const deviates_twice : {false, true}) {
    auto const over_tokens = [&](ModelBuilder& b, std::string const& x) {
      std::string const d = b.node("Sub", {x, b.mean(x, 1)});
      std::string const e = deviates_twice ? b.node("Sub", {x, b.mean(x)}) : d;
      std::string const v = b.node("Add", {b.mean(b.node("Mul", {e, e})), b.scalar(1e-5)});
      return b.node("Div", {d, b.node("Sqrt", {v})});
    };
    FoldedTestModel const model(small_model(17, over_tokens));
    CAPTURE(deviates_twice);
    CHECK_THAT(model.report(), Contains("folded 0 of 0\n"));
    CHECK_FALSE(model.folded.changes());
  }
}

TEST_CASE("a fused LayerNorm becomes what its opset and its runtime have") {
  auto const fused = [](ModelBuilder& b, std::string const& x) { return b.layer_norm(x, 8); };
  for (std::int64_t const opset : {17, 18, 23}) {
    FoldedTestModel const model(small_model(opset, fused));
    CHECK_THAT(model.report(), Contains("folded 1 of 1\n"));
    CHECK(count_nodes(model.folded.model, "RMSNormalization") == (opset == 23 ? 1 : 0));
    CHECK(count_nodes(model.folded.model, "LayerNormalization") == 0);
    CHECK(model.error(tokens(6)) < onnx_fold_tolerance);
  }
  FoldedTestModel const model(small_model(17, fused), for_onnxruntime());
  CHECK(count_nodes(model.folded.model, "SimplifiedLayerNormalization") == 1);
  CHECK(model.error(tokens(6)) < onnx_fold_tolerance);
}

TEST_CASE("an epsilon that an operator's attribute, a float, cannot hold stays in a constant") {
  for (double const epsilon : {1e60, 1e-60}) {
    auto const divided_by = [&](ModelBuilder& b, std::string const& x) {
      std::string const d = b.node("Sub", {x, b.mean(x)});
      std::string const v = b.node("Add", {b.mean(b.node("Mul", {d, d})), b.scalar(epsilon)});
      return b.node("Div", {d, b.node("Sqrt", {v})});
    };
    FoldedTestModel const model(small_model(17, divided_by), for_onnxruntime());
    CAPTURE(epsilon, model.report());
    CHECK(model.folded.folds() == 1);
    CHECK(count_nodes(model.folded.model, "SimplifiedLayerNormalization") == 0);
    CHECK(model.error(tokens(6)) < onnx_fold_tolerance);
  }
}

TEST_CASE("gamma and beta of a norm go into the linear layers that read it") {
  for (bool const is_fused : {true, false}) {
    ModelBuilder b;
    std::string const h = b.linear(b.input("x", {-1, -2, 6}), 6, 8);
    std::string const n = is_fused ? b.layer_norm(h, 8) : b.written_out(h, 8);
    b.add("MatMul", {n, b.weight("w", {8, 3})}, {"y"});
    b.add("Gemm", {b.node("Reshape", {n, b.integers("shape", {-1, 8})}), b.weight("v", {8, 3})}, {"z"});
    b.output("y");
    b.output("z");
    OnnxFoldOptions options;
    options.affine = true;
    for (OnnxTarget const target : {OnnxTarget::onnx, OnnxTarget::onnxruntime}) {
      options.target = target;
      FoldedTestModel const model(b.model, options);
      CAPTURE(model.report());
      CHECK_THAT(model.report(), Contains("folded 1 of 1\n") && Contains("\naffine "));
      CHECK(model.error(tokens(6)) < onnx_fold_tolerance);
    }
  }
}

TEST_CASE("a table that is also a head's weight can be untied or corrected") {
  for (bool const by_gemm : {true, false}) {
    ModelBuilder b;
    b.input("ids", {-1}, ::onnx::TensorProto::INT64);
    std::string const table = b.weight("table", {11, 8});
    std::string const n = b.layer_norm(b.node("Gather", {table, "ids"}), 8);
    by_gemm ? b.add("Gemm", {n, table}, {"y"}) : b.add("MatMul", {n, b.node("Transpose", {table})}, {"y"});
    if (by_gemm) ModelBuilder::set(*b.model.mutable_graph()->mutable_node()->rbegin(), "transB", 1);
    b.output("y");
    TestTensor ids({4});
    ids.values = {3, 0, 10, 3};
    OnnxFoldOptions options;
    CHECK_THAT(FoldedTestModel(b.model, options).report(), Contains("folded 0 of 1\n") && Contains(": tied: "));
    for (TiedTables const tied : {TiedTables::untie, TiedTables::correct}) {
      for (bool const affine : {false, true}) {
        options.tied = tied;
        options.affine = affine;
        FoldedTestModel const model(b.model, options);
        CAPTURE(by_gemm, model.report());
        CHECK_THAT(model.report(), Contains("folded 1 of 1\n"));
        CHECK(model.error({{"ids", ids}}) < onnx_fold_tolerance);
      }
    }
  }
}

TEST_CASE("a stream that starts with an activation folds by an inserted center") {
  ModelBuilder b;
  std::string stream = b.node("Relu", {b.linear(b.input("x", {-1, -2, 6}), 6, 8)});
  for (int k = 0; k < 2; ++k) {
    stream = b.node("Add", {stream, b.linear(b.node("Relu", {b.layer_norm(stream, 8)}), 8, 8)});
  }
  b.add("Identity", {b.written_out(stream, 8)}, {"y"});
  b.output("y");
  CHECK_THAT(FoldedTestModel(b.model).report(), Contains("folded 0 of 3\n") && Contains(": nonlinear: Relu "));
  OnnxFoldOptions options;
  options.insert_centering = true;
  FoldedTestModel const model(b.model, options);
  CHECK_THAT(model.report(), Contains("folded 3 of 3\n") && Contains("insert behind "));
  CHECK(model.error(tokens(6)) < onnx_fold_tolerance);
}

TEST_CASE("convolutions fold along axis 1, with and without a scale behind them") {
  for (bool const has_scale : {false, true}) {
    for (std::vector<std::int64_t> const& taps : {std::vector<std::int64_t>{1, 1}, {3, 3}, {2, 2}}) {
      ModelBuilder b;
      std::vector<std::int64_t> shape{8, 3};
      shape.insert(shape.end(), taps.begin(), taps.end());
      std::string h = b.node("Conv", {b.input("x", {-1, 3, -2, -3}), b.weight("w", shape)});
      if (has_scale) {
        std::string const variance = b.constant("variance", {8}, {1, 2, 3, 4, 5, 6, 7, 8});
        h = b.node("BatchNormalization", {h, b.weight("s", {8}), b.weight("t", {8}), b.weight("m", {8}), variance});
      }
      std::string const rows = b.node("Reshape", {h, b.integers("shape", {0, 8, -1})});
      std::string const n = b.layer_norm(b.node("Transpose", {rows}, {}, {{"perm", {0, 2, 1}}}), 8);
      b.add("Relu", {n}, {"y"});
      b.output("y");
      FoldedTestModel const model(b.model);
      CAPTURE(has_scale, taps, model.report());
      CHECK_THAT(model.report(), Contains("folded 1 of 1\n"));
      CHECK(model.error({{"x", random_tensor({2, 3, 4, 5}, 3)}}) < onnx_fold_tolerance);
      CHECK(count_nodes(model.folded.model, "BatchNormalization") == 0);
    }
  }
}

TEST_CASE("a convolution's weight that something else reads stays, however many nodes there are") {
  for (int nodes = 0; nodes < 20; ++nodes) {  // among them a number after which the graph's memory moves
    ModelBuilder b;
    std::string h = b.input("x", {-1, 3, -2});
    for (int n = 0; n < nodes; ++n) h = b.node("Relu", {h});
    std::string const w = b.weight("w", {8, 3, 3});
    std::string const y = b.node("Transpose", {b.node("Conv", {h, w})}, {}, {{"perm", {0, 2, 1}}});
    b.add("Relu", {b.layer_norm(y, 8)}, {"y"});
    b.output("y");
    REQUIRE(FoldedTestModel(b.model).folded.folds() == 1);
    b.add("Sin", {w}, {"z"});
    b.output("z");
    CHECK(FoldedTestModel(b.model).folded.folds() == 0);
  }
}

TEST_CASE("folding what is folded changes nothing") {
  for (auto const target : {OnnxTarget::onnx, OnnxTarget::onnxruntime}) {
    OnnxFoldOptions options;
    options.target = target;
    auto const fused = [](ModelBuilder& b, std::string const& x) { return b.layer_norm(x, 8); };
    for (auto const& original : {small_model(17, fused), small_model(13, divided), small_model(13, jax)}) {
      FoldedTestModel const once(original, options);
      REQUIRE(once.folded.changes());
      CHECK_FALSE(FoldedTestModel(once.folded.model, options).folded.changes());
    }
  }
}

TEST_CASE("what is not rewritten stays, unknown fields and metadata among it") {
  ::onnx::ModelProto model = small_model(17, [](ModelBuilder& b, std::string const& x) { return b.layer_norm(x, 8); });
  auto& entry = *model.add_metadata_props();
  entry.set_key("author");
  entry.set_value("somebody");
  model.GetReflection()->MutableUnknownFields(&model)->AddVarint(4711, 42);
  auto& node = *model.mutable_graph()->mutable_node(0);
  node.set_doc_string("a product");
  node.GetReflection()->MutableUnknownFields(&node)->AddVarint(4712, 43);
  FoldedTestModel const folded(model);
  ::onnx::ModelProto const& now = folded.folded.model;
  CHECK(now.metadata_props(0).SerializeAsString() == entry.SerializeAsString());
  CHECK(now.GetReflection()->GetUnknownFields(now).field_count() == 1);
  CHECK(now.graph().node(0).SerializeAsString() == node.SerializeAsString());
  CHECK(now.graph().input(0).SerializeAsString() == model.graph().input(0).SerializeAsString());
}

TEST_CASE("what is read where no rule looks is not changed") {
  ModelBuilder b;
  b.input("flag", {}, ::onnx::TensorProto::BOOL);
  std::string const h = b.node("MatMul", {b.input("x", {-1, -2, 6}), b.weight("w", {6, 8})});
  b.add("Relu", {b.layer_norm(h, 8)}, {"y"});
  b.output("y");
  REQUIRE(FoldedTestModel(b.model).folded.folds() == 1);

  auto const with_loop = [&](std::string const& read) {  // its body reads it
    ModelBuilder other = b;
    auto& node = other.add("Loop", {"", "flag", "x"}, {"z"});
    other.set_graph(node, "body", [&] { return other.node("Identity", {read}); });
    other.output("z");
    return FoldedTestModel(other.model).report();
  };
  CHECK_THAT(with_loop("w"), Contains("folded 0 of 1\n") && Contains(": tied: "));
  CHECK_THAT(with_loop(h), Contains("folded 0 of 1\n") && Contains(": read_unforgiven: "));
  CHECK_THAT(with_loop("x"), Contains("folded 1 of 1\n"));

  ModelBuilder other = b;
  other.add("NoSuchOperator", {"w"}, {other.output("z")});
  CHECK_THAT(FoldedTestModel(other.model).report(), Contains("folded 0 of 1\n") && Contains(": tied: NoSuchOperator "));
  other = b;
  other.input("w", {6, 8});  // which a caller may now replace
  CHECK_THAT(FoldedTestModel(other.model).report(), Contains("folded 0 of 1\n"));
  other.model.set_ir_version(3);  // where all initializers are inputs
  CHECK_THAT(FoldedTestModel(other.model).report(), Contains("folded 1 of 1\n"));
  other = b;
  auto& function = *other.model.add_functions();  // the model's own
  function.set_name("LayerNormalization");
  CHECK_THAT(FoldedTestModel(other.model).report(), Contains("folded 0 of 0\n"));
}

TEST_CASE("norms that would become more operators are left alone, unless asked for") {
  auto const fused = [](ModelBuilder& b, std::string const& x) { return b.layer_norm(x, 8); };
  auto const without_beta = [](ModelBuilder& b, std::string const& x) {
    return b.node("LayerNormalization", {x, b.weight("gamma", {8})});
  };
  auto const zero_beta = [](ModelBuilder& b, std::string const& x) {
    return b.node("LayerNormalization",
                  {x, b.weight("gamma", {8}), b.constant("beta", {8}, std::vector<double>(8, 0.0))});
  };
  auto const folds = [&](auto norm, std::int64_t opset, OnnxTarget target) {
    OnnxFoldOptions options;
    options.target = target;
    FoldedTestModel const model(small_model(opset, norm), options, true);
    CAPTURE(model.report());
    bool const is_left = model.folded.folds() == 0;
    CHECK(model.folded.left_alone.size() == (is_left ? 1 : 0));
    CHECK(model.folded.changes() == !is_left);  // nothing is centered for it, either
    CHECK(model.error(tokens(6)) < onnx_fold_tolerance);
    CHECK(FoldedTestModel(small_model(opset, norm), options).folded.folds() == 1);
    return !is_left;
  };
  CHECK_FALSE(folds(fused, 17, OnnxTarget::onnx));  // would be written out
  CHECK_FALSE(folds(without_beta, 17, OnnxTarget::onnx));
  CHECK_FALSE(folds(fused, 23, OnnxTarget::onnx));
  CHECK(folds(without_beta, 23, OnnxTarget::onnx));
  CHECK(folds(zero_beta, 23, OnnxTarget::onnx));
  CHECK_FALSE(folds(fused, 17, OnnxTarget::onnxruntime));
  CHECK(folds(without_beta, 17, OnnxTarget::onnxruntime));
  CHECK(folds(zero_beta, 17, OnnxTarget::onnxruntime));
  CHECK(folds(multiplied, 17, OnnxTarget::onnx));     // has no beta, loses two operators
  CHECK_FALSE(folds(divided, 17, OnnxTarget::onnx));  // may be run as one operator
  CHECK_FALSE(folds(divided, 17, OnnxTarget::onnxruntime));
  CHECK(folds(multiplied, 17, OnnxTarget::onnxruntime));  // has no beta
  OnnxFoldOptions options;
  options.target = OnnxTarget::onnxruntime;
  FoldedTestModel const zero(small_model(17, zero_beta), options, true);
  CHECK(count_nodes(zero.folded.model, "Add") == count_nodes(zero.original(), "Add"));  // none for the beta
}

TEST_CASE("a norm whose beta moves into its readers folds; one that is left alone takes its centerings with it") {
  ModelBuilder b;
  std::string const first = b.layer_norm(b.linear(b.input("x", {-1, -2, 6}), 6, 8), 8);
  std::string const second = b.layer_norm(b.linear(b.node("Relu", {first}), 8, 8), 8);
  b.add("Identity", {b.linear(second, 8, 3)}, {b.output("y")});
  OnnxFoldOptions options;
  options.target = OnnxTarget::onnxruntime;
  FoldedTestModel const neither(b.model, options, true);
  CHECK_THAT(neither.report(),
             Contains("folded 0 of 2\n") && Contains("its beta would cost an operator") && !Contains("center "));
  options.affine = true;
  FoldedTestModel const one(b.model, options, true);
  CAPTURE(one.report());
  CHECK_THAT(one.report(),
             Contains("folded 1 of 2\n") && Contains("center linear7.weight") && !Contains("center linear1.weight"));
  CHECK(one.error(tokens(6)) < onnx_fold_tolerance);
  CHECK_FALSE(FoldedTestModel(one.folded.model, options, true).folded.changes());
  options.affine = false;
  CHECK(FoldedTestModel(b.model, options).folded.folds() == 2);
}

TEST_CASE("a beta that would give a layer a bias stays") {
  for (bool const is_fused : {true, false}) {
    ModelBuilder b;
    std::string const h = b.linear(b.input("x", {-1, -2, 6}), 6, 8);
    b.add("MatMul", {is_fused ? b.layer_norm(h, 8) : b.written_out(h, 8), b.weight("w", {8, 3})}, {b.output("y")});
    OnnxFoldOptions options;
    options.affine = true;
    options.target = OnnxTarget::onnxruntime;
    FoldedTestModel const left(b.model, options, true);
    CHECK_THAT(left.report(),
               Contains("folded 0 of 1\n") && Contains("its beta would give a layer a bias") && !Contains("\naffine "));
    CHECK_FALSE(left.folded.changes());
    CHECK(FoldedTestModel(b.model, options).folded.folds() == 1);
  }
}

TEST_CASE("a convolution takes a bias at no cost") {
  ModelBuilder b;
  std::string const n = b.layer_norm(b.linear(b.input("x", {-1, -2, 6}), 6, 8), 8);
  b.add("Conv", {b.node("Transpose", {n}, {}, {{"perm", {0, 2, 1}}}), b.weight("w", {3, 8, 1})}, {b.output("y")});
  OnnxFoldOptions options;
  options.affine = true;
  options.target = OnnxTarget::onnxruntime;
  FoldedTestModel const one(b.model, options, true);
  CHECK_THAT(one.report(), Contains("folded 1 of 1\n") && Contains("\naffine "));
  CHECK(one.error(tokens(6)) < onnx_fold_tolerance);
}

TEST_CASE("a norm in operators that runtimes join keeps its gamma where it stays written out") {
  for (bool const folds : {true, false}) {
    ModelBuilder b;
    std::string const x = b.input("x", {-1, -2, 8});
    std::string const h = folds ? b.linear(x, 8, 8) : x;
    b.add("Identity", {b.linear(b.written_out(h, 8), 8, 3)}, {b.output("y")});
    for (auto const target : {OnnxTarget::onnx, OnnxTarget::onnxruntime}) {
      OnnxFoldOptions options;
      options.affine = true;
      options.target = target;
      FoldedTestModel const one(b.model, options, true);
      CAPTURE(folds, one.report());
      bool const moves = folds && target == OnnxTarget::onnxruntime;  // as one operator
      CHECK(one.folded.changes() == moves);
      CHECK_THAT(one.report(), Contains(moves ? "\naffine " : "without gamma, its operators are not joined into one"));
      CHECK(one.error(tokens(8)) < onnx_fold_tolerance);
      CHECK(FoldedTestModel(b.model, options).folded.changes());
    }
  }
}

TEST_CASE("a center is not inserted for norms that are left alone") {
  ModelBuilder b;
  std::string const stream = b.node("Relu", {b.linear(b.input("x", {-1, -2, 6}), 6, 8)});
  for (auto const* name : {"y", "z"}) b.add("Relu", {b.layer_norm(stream, 8)}, {b.output(name)});
  OnnxFoldOptions options;
  options.insert_centering = true;
  options.target = OnnxTarget::onnxruntime;
  CHECK(FoldedTestModel(b.model, options).folded.folds() == 2);
  FoldedTestModel const left(b.model, options, true);
  CHECK_FALSE(left.folded.changes());
  CHECK_THAT(left.report(), !Contains("insert "));
}

TEST_CASE("an untied copy that is made for no norm any more takes no beta") {
  // The last norm's beta would move into the head's copy; the copy is there for the first norm alone, which is left
  // alone: so the last norm keeps its beta, and is left alone, too.
  ModelBuilder b;
  b.input("ids", {-1}, ::onnx::TensorProto::INT64);
  std::string const table = b.weight("table", {11, 8});
  std::string const stream = b.node("Gather", {table, "ids"});
  b.add("Relu", {b.layer_norm(stream, 8)}, {b.output("z")});
  std::string const last = b.layer_norm(b.linear(b.node("Relu", {"z"}), 8, 8), 8);
  b.add("MatMul", {last, b.node("Transpose", {table})}, {b.output("y")});
  OnnxFoldOptions options;
  options.affine = true;
  options.tied = TiedTables::untie;
  options.target = OnnxTarget::onnxruntime;
  CHECK(FoldedTestModel(b.model, options).folded.folds() == 2);
  FoldedTestModel const left(b.model, options, true);
  CAPTURE(left.report());
  CHECK(left.folded.folds() == 0);
  CHECK(left.folded.left_alone.size() == 2);
  CHECK_FALSE(left.folded.changes());
}

TEST_CASE("folding what is folded changes nothing, either where gammas and betas have moved") {
  for (auto const target : {OnnxTarget::onnx, OnnxTarget::onnxruntime}) {
    for (bool const is_fused : {true, false}) {
      ModelBuilder b;
      std::string const h = b.linear(b.input("x", {-1, -2, 6}), 6, 8);
      std::string const n = is_fused ? b.layer_norm(h, 8) : b.written_out(h, 8);
      b.add("MatMul", {n, b.weight("w", {8, 3})}, {"y"});
      b.output("y");
      OnnxFoldOptions options;
      options.affine = true;
      options.target = target;
      FoldedTestModel const once(b.model, options);
      REQUIRE(once.folded.changes());
      CHECK_FALSE(FoldedTestModel(once.folded.model, options).folded.changes());
    }
  }
}

TEST_CASE("new nodes have names of their own") {
  ModelBuilder b;
  std::string const h = b.linear(b.input("x", {-1, -2, 6}), 6, 8);
  b.add("MatMul", {b.layer_norm(h, 8), b.weight("w", {8, 3})}, {"y"});
  b.output("y");
  for (auto& node : *b.model.mutable_graph()->mutable_node()) node.set_name(node.output(0));  // as exporters do
  OnnxFoldOptions options;
  options.affine = true;
  for (OnnxTarget const target : {OnnxTarget::onnx, OnnxTarget::onnxruntime}) {
    options.target = target;
    FoldedTestModel const folded(b.model, options);
    REQUIRE(folded.folded.folds() == 1);
    std::set<std::string> names;
    for (auto const& node : folded.folded.model.graph().node()) {
      CAPTURE(node.name());
      CHECK(names.insert(node.name()).second);
    }
  }
}

TEST_CASE("a beta of zeros goes, and leaves its name: of an output, and of what an inserted center reads") {
  for (auto const& target : {OnnxFoldOptions{}, for_onnxruntime()}) {
    ModelBuilder b;
    std::string const h = b.linear(b.input("x", {-1, -2, 6}), 6, 8), d = b.node("Sub", {h, b.mean(h)});
    std::string const v = b.node("Add", {b.mean(b.node("Mul", {d, d})), b.scalar(1e-5)});
    std::string const n = b.node("Mul", {b.node("Div", {d, b.node("Sqrt", {v})}), b.weight("gamma", {8})});
    b.add("Add", {n, b.constant("beta", {8}, std::vector<double>(8))}, {b.output("y")});
    std::string stream = "y";  // whose mean gamma has moved: a center lets the norms behind it fold
    for (int k = 0; k < 2; ++k) {
      stream = b.node("Add", {stream, b.linear(b.node("Relu", {b.written_out(stream, 8)}), 8, 8)});
    }
    b.add("Identity", {b.written_out(stream, 8)}, {b.output("z")});
    FoldedTestModel const plain(b.model, target);
    CHECK_THAT(plain.report(), Contains("folded 1 of 4\n"));
    for (auto const& node : plain.folded.model.graph().node()) CHECK(std::ranges::count(node.input(), "beta") == 0);
    CHECK(plain.error(tokens(6)) < onnx_fold_tolerance);

    b.model.mutable_graph()->mutable_output()->DeleteSubrange(0, 1);  // as an output, y sees a shift
    OnnxFoldOptions options = target;
    options.insert_centering = true;
    FoldedTestModel const centered(b.model, options);
    CAPTURE(centered.report());
    CHECK_THAT(centered.report(), Contains("folded 4 of 4\n") && Contains("insert behind "));
    CHECK(centered.error(tokens(6)) < onnx_fold_tolerance);
  }
}

TEST_CASE("a constant that gives a value more axes stays: a scale, a gamma, a beta, an epsilon") {
  TestTensors const rows = {{"x", random_tensor({5, 6}, 7)}};
  for (std::string const what : {"scale", "gamma", "beta", "epsilon"}) {
    for (std::int64_t const rank : {1, 3}) {
      auto const dims = [&](bool is_it) {
        return is_it && rank == 3 ? std::vector<std::int64_t>{1, 1, 8} : std::vector<std::int64_t>{8};
      };
      for (int k = 0; k < 4; ++k) {
        ModelBuilder b;
        std::string h = b.linear(b.input("x", {-1, 6}), 6, 8);
        if (what == "scale") h = b.node("Mul", {h, b.weight("scale", dims(true))});
        std::string const d = b.node("Sub", {h, b.mean(h)});
        std::vector<std::int64_t> const of_epsilon(what == "epsilon" && rank == 3 ? 3 : 0, 1);
        std::string const v = b.node("Add", {b.mean(b.node("Mul", {d, d})), b.constant("epsilon", of_epsilon, {1e-5})});
        std::string const n =
            b.node("Mul", {b.node("Div", {d, b.node("Sqrt", {v})}), b.weight("gamma", dims(what == "gamma"))});
        std::string const y = b.node("Add", {n, b.constant("beta", dims(what == "beta"), std::vector<double>(8))});
        b.add("Identity", {b.linear(y, 8, 3)}, {b.output("y")});
        OnnxFoldOptions options;
        options.affine = (k & 1) != 0;
        options.target = (k & 2) != 0 ? OnnxTarget::onnxruntime : OnnxTarget::onnx;
        FoldedTestModel const model(b.model, options);
        CAPTURE(what, rank, k, model.report());
        CHECK(model.error(rows) < onnx_fold_tolerance);
        if (rank == 1) CHECK_THAT(model.report(), Contains("folded 1 of 1\n"));
      }
    }
  }
}
