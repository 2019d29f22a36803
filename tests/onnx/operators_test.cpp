// SPDX-License-Identifier: MIT
// tests/onnx/operators_test.cpp -- one small model for each operator: what folds across it, and that nothing is
// changed.
#include <foldnorm/onnx/fold_model.hpp>

#include "catch.hpp"
#include "graph/matchers.hpp"
#include "onnx/fold_checks.hpp"
#include "onnx/onnx_testing.hpp"

#include <cstdint>
#include <string>
#include <vector>

using namespace foldnorm;
using namespace foldnorm::testing;
using foldnorm::testing::Contains;

namespace {

// From [2, 4, 8], features last, to whatever has features last, eight again.
using Step = std::string (*)(ModelBuilder&, std::string const&);
struct OperatorCase {
  char const* name;
  char const* report;  // a part of what is reported of the norm behind it
  Step step;
  std::int64_t opset = 17;
};
char const* const it_folds = "folded 1 of 1\n";

std::string columns(ModelBuilder& b, std::string const& x) {
  return b.node("Transpose", {x}, {}, {{"perm", {0, 2, 1}}});
}
std::string with_text(ModelBuilder& b, std::string const& value, char const* name, char const* text) {
  ModelBuilder::set_text(b.last(), name, text);
  return value;
}
std::string einsum(ModelBuilder& b, std::string const& x, std::string const& y, char const* equation) {
  return with_text(b, b.node("Einsum", {x, y}), "equation", equation);
}
std::string pad(ModelBuilder& b, std::string const& x, std::vector<std::int64_t> const& pads, char const* mode,
                double value) {
  return with_text(b, b.node("Pad", {x, b.integers("pads", pads), b.scalar(value)}), "mode", mode);
}
std::string resize(ModelBuilder& b, std::string const& x, std::vector<float> const& factors, char const* mode) {
  std::string const scales = b.floats("scales", factors);
  return with_text(b, b.node("Resize", {x, "", scales}), "mode", mode);
}
std::string first_eight(ModelBuilder& b, std::string const& x) {
  return b.node("Slice", {x, b.integers("begin", {0}), b.integers("end", {8}), b.integers("last_axis", {2})});
}
std::string mask(ModelBuilder& b, std::string const& x) {  // of each token, computed
  return b.node("Greater", {b.node("ReduceMax", {x}, {{"keepdims", 1}}, {{"axes", {-1}}}), b.scalar(1)});
}
std::string heads_of(ModelBuilder& b, std::string const& x, std::vector<std::int64_t> const& shape) {
  return b.node("Reshape", {x, b.integers("heads" + std::to_string(b.model.graph().node_size()), shape)});
}
std::string merged(ModelBuilder& b, std::string const& x) {
  return b.node("Reshape", {x, b.integers("merged" + std::to_string(b.model.graph().node_size()), {0, 0, -1})});
}
std::string gemm(ModelBuilder& b, std::string const& x, std::int64_t flips_a, std::int64_t flips_b, bool has_bias) {
  std::string const rows = b.node("Reshape", {x, b.integers("rows", {-1, 8})});
  std::string const a = flips_a != 0 ? b.node("Transpose", {rows}) : rows;
  std::vector<std::string> inputs{a, b.weight("gemm.w", {8, 8})};
  if (has_bias) inputs.push_back(b.weight("gemm.b", {8}));
  std::string const y = b.node("Gemm", inputs, {{"transA", flips_a}, {"transB", flips_b}});
  ModelBuilder::set_number(b.last(), "alpha", 0.5);
  ModelBuilder::set_number(b.last(), "beta", -3);
  return b.node("Reshape", {y, b.integers("back", {2, 4, 8})});
}
std::string pool(ModelBuilder& b, std::string const& x, char const* type, std::int64_t counts_padding) {
  std::string const y = b.node(type, {columns(b, x)}, {}, {{"kernel_shape", {3}}, {"pads", {1, 1}}});
  if (counts_padding != 0) ModelBuilder::set(b.last(), "count_include_pad", counts_padding);
  return columns(b, y);
}

std::vector<OperatorCase> const& operator_cases() {
  static std::vector<OperatorCase> const cases{
      {"Where by token, of two layers", "folded 0 of 1\nkeep",  // the condition sees the shift
       [](auto& b, auto& x) {
         return b.node("Where", {mask(b, x), x, b.linear(x, 8, 8)});
       }},
      {"Where by token, of a layer and zeros", it_folds,
       [](auto& b, auto& x) {
         return b.node("Where", {mask(b, "x"), x, b.scalar(0)});
       }},
      {"Where by token, of a layer and a learned token", it_folds,
       [](auto& b, auto& x) {
         return b.node("Where", {mask(b, "x"), b.weight("token", {1, 1, 8}), x});
       }},
      {"Where by token, of a layer and another number", ": unknown: ",
       [](auto& b, auto& x) {
         return b.node("Where", {mask(b, "x"), x, b.scalar(0.5)});
       }},
      {"Where by feature", ": nonlinear: Where ",
       [](auto& b, auto& x) {
         std::string const marks = b.constant("marks", {8}, {1, 0, 1, 1, 0, 0, 1, 0});
         return b.node("Where", {b.node("Greater", {marks, b.scalar(0.5)}), x, b.scalar(0)});
       }},
      {"Pad of tokens by zeros", it_folds,
       [](auto& b, auto& x) {
         return pad(b, x, {0, 1, 0, 0, 2, 0}, "constant", 0);
       }},
      {"Pad of tokens by ones", ": unknown: Pad ",
       [](auto& b, auto& x) {
         return pad(b, x, {0, 1, 0, 0, 2, 0}, "constant", 1);
       }},
      {"Pad of tokens by reflection", it_folds,
       [](auto& b, auto& x) {
         return pad(b, x, {0, 1, 0, 0, 2, 0}, "reflect", 0);
       }},
      {"Pad of tokens by attribute", it_folds,
       [](auto& b, auto& x) {
         return with_text(b, b.node("Pad", {x}, {}, {{"pads", {0, 1, 0, 0, 0, 0}}}), "mode", "edge");
       },
       9},
      {"Pad of features", ": unknown: Pad ",
       [](auto& b, auto& x) {
         return first_eight(b, pad(b, x, {0, 0, 0, 0, 0, 1}, "constant", 0));
       }},
      {"Tile of tokens", it_folds,
       [](auto& b, auto& x) {
         return b.node("Tile", {x, b.integers("repeats", {1, 2, 1})});
       }},
      {"Expand of samples", it_folds,
       [](auto& b, auto& x) {
         return b.node("Expand", {b.node("Unsqueeze", {x, b.integers("axis", {0})}), b.integers("to", {3, 2, 4, 8})});
       }},
      {"Resize of tokens, nearest", it_folds,
       [](auto& b, auto& x) {
         return resize(b, x, {1, 2, 1}, "nearest");
       }},
      {"Resize of tokens, linear", it_folds,
       [](auto& b, auto& x) {
         return resize(b, x, {1, 2, 1}, "linear");
       }},
      {"Resize of tokens to a size", it_folds,
       [](auto& b, auto& x) {
         return b.node("Resize", {x, "", "", b.integers("sizes", {2, 8, 8})});
       }},
      {"Resize of features", ": unknown: Resize ",
       [](auto& b, auto& x) {
         return first_eight(b, resize(b, x, {1, 1, 2}, "linear"));
       }},
      {"Upsample by attribute", it_folds,
       [](auto& b, auto& x) {
         std::string const y = b.node("Upsample", {x});
         auto& scales = *b.last().add_attribute();
         scales.set_name("scales");
         scales.set_type(::onnx::AttributeProto::FLOATS);
         for (float const factor : {1.0F, 2.0F, 1.0F}) scales.add_floats(factor);
         return y;
       },
       7},
      {"Einsum with a matrix", it_folds,
       [](auto& b, auto& x) {
         return einsum(b, x, b.weight("w", {8, 8}), "btj,jk->btk");
       }},
      {"Einsum with a matrix on the left", it_folds,
       [](auto& b, auto& x) {
         return einsum(b, b.weight("w", {8, 8}), x, "kj,btj->btk");
       }},
      {"Einsum with a stack of matrices", it_folds,
       [](auto& b, auto& x) {
         return einsum(b, x, b.weight("w", {4, 8, 8}), "btj,tjk->btk");
       }},
      {"Einsum that merges heads", it_folds,
       [](auto& b, auto& x) {
         return einsum(b, heads_of(b, x, {0, 0, 2, 4}), b.weight("w", {2, 4, 8}), "bthd,hdk->btk");
       }},
      {"Einsum into heads", it_folds,
       [](auto& b, auto& x) {
         return merged(b, einsum(b, x, b.weight("w", {8, 2, 4}), "btj,jhd->bthd"));
       }},
      {"Einsum that mixes tokens", it_folds,
       [](auto& b, auto& x) {
         return einsum(b, b.weight("w", {4, 4}), x, "st,btj->bsj");
       }},
      {"Einsum of one factor by feature", ": unknown: Einsum ",
       [](auto& b, auto& x) { return einsum(b, x, b.weight("w", {8}), "btj,j->btj"); }},
      {"MatMul by a stack of matrices", it_folds,
       [](auto& b, auto& x) {
         return b.node("MatMul", {x, b.weight("w", {2, 8, 8})});
       }},
      {"MatMul of columns", it_folds,
       [](auto& b, auto& x) {
         return columns(b, b.node("MatMul", {b.weight("w", {8, 8}), columns(b, x)}));
       }},
      {"Gemm with factors", it_folds, [](auto& b, auto& x) { return gemm(b, x, 0, 0, true); }},
      {"Gemm with factors and without bias", it_folds, [](auto& b, auto& x) { return gemm(b, x, 0, 1, false); }},
      {"Gemm with factors, both transposed", it_folds, [](auto& b, auto& x) { return gemm(b, x, 1, 1, true); }},
      {"Split along features", ": feature_mix: ",
       [](auto& b, auto& x) {
         b.add("Split", {x, b.integers("parts", {3, 5})}, {"front", "back"});
         ModelBuilder::set(b.last(), "axis", -1);
         return b.node("Concat", {"back", "front"}, {{"axis", 2}});
       }},
      {"Split along tokens", it_folds,
       [](auto& b, auto& x) {
         b.add("Split", {x}, {"front", "back"});
         ModelBuilder::set(b.last(), "axis", 1);
         return b.node("Concat", {"back", "front"}, {{"axis", 1}});
       }},
      {"AveragePool", it_folds, [](auto& b, auto& x) { return pool(b, x, "AveragePool", 0); }},
      {"AveragePool that counts its padding", it_folds, [](auto& b, auto& x) { return pool(b, x, "AveragePool", 1); }},
      {"MaxPool", ": nonlinear: MaxPool ", [](auto& b, auto& x) { return pool(b, x, "MaxPool", 0); }},
      {"GlobalAveragePool", it_folds,
       [](auto& b, auto& x) { return columns(b, b.node("GlobalAveragePool", {columns(b, x)})); }},
      {"ReduceSum of tokens", it_folds,
       [](auto& b, auto& x) {
         return b.node("ReduceSum", {x, b.integers("tokens", {1})}, {{"keepdims", 1}});
       }},
      {"ConvTranspose", it_folds,
       [](auto& b, auto& x) {
         return columns(b, b.node("ConvTranspose", {columns(b, x), b.weight("w", {8, 8, 3}), b.weight("c", {8})}, {},
                                  {{"strides", {2}}}));
       }},
      {"ConvTranspose of one tap, with zeros between", it_folds,
       [](auto& b, auto& x) {
         return columns(b, b.node("ConvTranspose", {columns(b, x), b.weight("w", {8, 8, 1}), b.weight("c", {8})}, {},
                                  {{"strides", {2}}}));
       }},
      {"Conv of one tap, with zeros around", it_folds,
       [](auto& b, auto& x) {
         return columns(
             b, b.node("Conv", {columns(b, x), b.weight("w", {8, 8, 1}), b.weight("c", {8})}, {}, {{"pads", {1, 1}}}));
       }},
      {"zero minus a value", it_folds,
       [](auto& b, auto& x) {
         return b.node("Sub", {b.scalar(0), x});
       }},
      {"a vector minus a value", it_folds,
       [](auto& b, auto& x) {
         return b.node("Sub", {b.weight("v", {8}), x});
       }},
      {"Mul by a sum over no axis", ": nonlinear: Mul ",
       [](auto& b, auto& x) {
         return b.node("Mul", {x, b.node("ReduceSum", {b.linear(x, 8, 8)}, {{"noop_with_empty_axes", 1}})});
       }},
      {"ConvTranspose in groups", ": unknown: ConvTranspose ",
       [](auto& b, auto& x) {
         return columns(b, b.node("ConvTranspose", {columns(b, x), b.weight("w", {8, 4, 3})}, {{"group", 2}}));
       }},
      {"Conv in groups", ": grouped: Conv ",
       [](auto& b, auto& x) {
         return columns(b,
                        b.node("Conv", {columns(b, x), b.weight("w", {8, 4, 3})}, {{"group", 2}}, {{"pads", {1, 1}}}));
       }},
      {"heads and back", it_folds,
       [](auto& b, auto& x) {
         std::string const h = b.node("Transpose", {heads_of(b, x, {0, 0, 2, 4})}, {}, {{"perm", {0, 2, 1, 3}}});
         return merged(b, b.node("Transpose", {b.node("Mul", {h, b.scalar(0.5)})}, {}, {{"perm", {0, 2, 1, 3}}}));
       }},
      {"heads by sizes taken from a shape", it_folds,
       [](auto& b, auto& x) {
         std::string const sizes = b.node("Shape", {x});
         auto const one = [&](std::int64_t place) {
           std::string const name = "place" + std::to_string(place);
           return b.node("Unsqueeze",
                         {b.node("Gather", {sizes, b.constant_index(name, place)}), b.integers(name + ".axis", {0})});
         };
         std::string const target = b.node("Concat", {one(0), one(1), b.integers("tail", {2, 4})}, {{"axis", 0}});
         return merged(b, b.node("Mul", {b.node("Reshape", {x, target}), b.scalar(0.5)}));
       }},
      {"heads by a part of a shape", it_folds,
       [](auto& b, auto& x) {
         std::string const first = b.node("Slice", {b.node("Shape", {x}), b.integers("from", {0}),
                                                    b.integers("to", {-1}), b.integers("along", {0})});
         std::string const target = b.node(
             "Concat", {b.node("Cast", {first}, {{"to", ::onnx::TensorProto::INT64}}), b.integers("tail", {2, 4})},
             {{"axis", 0}});
         return merged(b, b.node("Mul", {b.node("Reshape", {x, target}), b.scalar(0.5)}));
       }},
      {"Neg, Dropout and Cast", it_folds,
       [](auto& b, auto& x) {
         return b.node("Cast", {b.node("Dropout", {b.node("Neg", {x})})}, {{"to", ::onnx::TensorProto::DOUBLE}});
       }},
      {"heads merged in another order", ": unknown: Reshape ",
       [](auto& b, auto& x) {
         std::string const h = b.node("Transpose", {heads_of(b, x, {0, 0, 2, 4})}, {}, {{"perm", {0, 1, 3, 2}}});
         return merged(b, h);
       }},
      {"one of three", it_folds,
       [](auto& b, auto& x) {
         std::string const qkv = heads_of(b, b.linear(x, 8, 24), {0, 0, 3, 2, 4});
         return merged(b, b.node("Gather", {qkv, b.integers("second", {1})}, {{"axis", 2}}));
       }},
      {"attention of two heads, and no projection", ": nonlinear: MatMul ",
       [](auto& b, auto& x) {
         auto const split = [&](std::string const& y) {
           return b.node("Transpose", {heads_of(b, y, {0, 0, 2, 4})}, {}, {{"perm", {0, 2, 1, 3}}});
         };
         std::string const q = split(b.linear(x, 8, 8)), v = split(b.linear(x, 8, 8));
         std::string const k = b.node("Transpose", {q}, {}, {{"perm", {0, 1, 3, 2}}});
         std::string const p = b.node("Softmax", {b.node("MatMul", {q, k})}, {{"axis", -1}});
         return merged(b, b.node("Transpose", {b.node("MatMul", {p, v})}, {}, {{"perm", {0, 2, 1, 3}}}));
       }},
      {"PRelu", ": nonlinear: PRelu ", [](auto& b, auto& x) {
         return b.node("PRelu", {x, b.weight("slope", {8})});
       }}};
  return cases;
}

}  // namespace

TEST_CASE("each operator lets a norm behind it fold, or blocks it by name") {
  for (OperatorCase const& one : operator_cases()) {
    INFO(one.name);
    ModelBuilder b(one.opset);
    std::string const y = one.step(b, b.linear(b.input("x", {2, 4, 8}), 8, 8));
    b.add("Relu", {b.written_out(y, 8)}, {b.output("y")});
    check_folds(b.model, operator_inputs(), one.report);
  }
}

TEST_CASE("each operator between a norm and a layer keeps its function when gamma and beta move") {
  for (OperatorCase const& one : operator_cases()) {
    INFO(one.name);
    ModelBuilder b(one.opset);
    std::string const y = one.step(b, b.written_out(b.linear(b.input("x", {2, 4, 8}), 8, 8), 8));
    b.add("MatMul", {y, b.weight("last", {8, 3})}, {b.output("y")});
    check_folds(b.model, operator_inputs(), "folded 1 of 1\n");
  }
}

TEST_CASE("a norm of each head folds, and its gamma and beta stay") {
  for (std::string const writing : {"fused", "written out"}) {
    for (bool const is_packed : {false, true}) {  // queries, keys and values as one layer
      INFO(writing << (is_packed ? ", packed" : ""));
      ModelBuilder b;
      std::string const x = b.input("x", {-1, -2, 8});
      std::string const all = b.linear(x, 8, is_packed ? 24 : 8);
      std::vector<std::int64_t> const shape =
          is_packed ? std::vector<std::int64_t>{0, 0, 3, 2, 4} : std::vector<std::int64_t>{0, 0, 2, 4};
      std::string h = heads_of(b, all, shape);
      if (is_packed) {
        h = b.node("Transpose", {h}, {}, {{"perm", {2, 0, 3, 1, 4}}});
        auto& zero = *b.model.mutable_graph()->mutable_initializer()->Add();
        zero.set_name("zero");
        zero.set_data_type(::onnx::TensorProto::INT64);
        zero.add_int64_data(0);
        h = b.node("Gather", {h, "zero"}, {{"axis", 0}});
      } else {
        h = b.node("Transpose", {h}, {}, {{"perm", {0, 2, 1, 3}}});
      }
      std::string const n = writing == "fused" ? b.layer_norm(h, 4) : b.written_out(h, 4);
      b.add("Relu", {n}, {b.output("y")});
      if (is_packed)
        b.add("Relu", {b.node("Slice", {all, b.integers("s", {8}), b.integers("e", {24}), b.integers("a", {2})})},
              {b.output("z")});
      check_folds(b.model, operator_inputs(), it_folds);
    }
  }
}

TEST_CASE("values of several heads fold in front of a norm of each head, not in front of one norm of all") {
  for (bool const is_per_head : {true, false}) {
    ModelBuilder b;
    std::string const x = b.input("x", {-1, -2, 8});
    auto const split = [&](std::string const& y) {
      return b.node("Transpose", {heads_of(b, y, {0, 0, 2, 4})}, {}, {{"perm", {0, 2, 1, 3}}});
    };
    std::string const q = split(b.linear(x, 8, 8)), v = split(b.linear(x, 8, 8));
    std::string const p = b.node(
        "Softmax", {b.node("MatMul", {q, b.node("Transpose", {q}, {}, {{"perm", {0, 1, 3, 2}}})})}, {{"axis", -1}});
    std::string const y = b.node("MatMul", {p, v});
    std::string const n = is_per_head
                              ? b.layer_norm(y, 4)
                              : b.layer_norm(merged(b, b.node("Transpose", {y}, {}, {{"perm", {0, 2, 1, 3}}})), 8);
    b.add("Relu", {n}, {b.output("y")});
    check_folds(b.model, operator_inputs(), is_per_head ? it_folds : ": nonlinear: MatMul ");
  }
}

TEST_CASE("an opset that is too old is refused") {
  ModelBuilder b(6);
  b.add("Relu", {b.linear(b.input("x", {-1, 8}), 8, 8)}, {b.output("y")});
  CHECK_THROWS_WITH(FoldedTestModel(b.model), Contains("model.onnx: opset 6, expected 7 or later"));
}
