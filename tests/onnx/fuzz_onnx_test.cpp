// SPDX-License-Identifier: MIT
// tests/onnx/fuzz_onnx_test.cpp -- random ONNX models: whatever folds, the function stays.
#include <foldnorm/onnx/fold_model.hpp>

#include "catch.hpp"
#include "onnx/onnx_testing.hpp"

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

using namespace foldnorm;
using namespace foldnorm::testing;

namespace {

// Values are [2, 4, features] or, with their axes moved, [2, features, 4]; every step reads what others have made.
class RandomModel {
 public:
  explicit RandomModel(std::uint64_t seed) : random_(seed), b_(pick({9, 13, 17, 18}), seed) {
    int const steps = 4 + below(14);
    add(b_.input("x", {-1, -2, width}), width);
    b_.input("flag", {}, ::onnx::TensorProto::BOOL);
    b_.input("ids", {2, tokens}, ::onnx::TensorProto::INT64);
    table_ = b_.weight("table", {vocabulary, width});
    add(b_.linear("x", width, width), width);
    if (below(2) == 0) add(b_.node("Gather", {table_, "ids"}), width);
    for (int k = 0; k < steps; ++k) step();
    for (Value const& value : values_) {
      if (value.reads > 0 && below(25) > 0) continue;
      // A final norm, as streams have it, or a value that somebody sees.
      std::string const seen = below(3) > 0 ? norm(value) : value.name;
      b_.add("Identity", {seen}, {b_.output("out" + std::to_string(++outputs_))});
    }
  }

  ::onnx::ModelProto const& model() const { return b_.model; }

 private:
  static constexpr std::int64_t width = 6, tokens = 4, vocabulary = 5;
  struct Value {
    std::string name;
    std::int64_t features = 0;
    int reads = 0;
  };

  int below(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }
  std::int64_t pick(std::vector<std::int64_t> const& from) {
    return from[static_cast<std::size_t>(below(static_cast<int>(from.size())))];
  }
  void add(std::string const& name, std::int64_t features) { values_.push_back({name, features}); }
  // Mostly one of the last.
  Value& any() {
    int const count = static_cast<int>(values_.size());
    Value& value =
        values_[static_cast<std::size_t>(below(3) > 0 ? count - 1 - below(std::min(count, 3)) : below(count))];
    ++value.reads;
    return value;
  }
  // Another one of as many features.
  Value& like(Value const& one) {
    std::vector<Value*> alike;
    for (Value& value : values_) {
      if (value.features == one.features) alike.push_back(&value);
    }
    Value& value = *alike[static_cast<std::size_t>(below(static_cast<int>(alike.size())))];
    ++value.reads;
    return value;
  }
  std::string fresh() { return "p" + std::to_string(++made_); }
  // Sometimes one that is there already.
  std::string vector(std::int64_t n) {
    if (n == width && !vectors_.empty() && below(5) == 0)
      return vectors_[static_cast<std::size_t>(below(static_cast<int>(vectors_.size())))];
    std::string const name = b_.weight(fresh(), {n});
    if (n == width) vectors_.push_back(name);
    return name;
  }
  std::string matrix(std::int64_t in, std::int64_t out) {
    bool const is_square = in == width && out == width;
    if (is_square && !matrices_.empty() && below(4) == 0) {
      std::string const shared = matrices_[static_cast<std::size_t>(below(static_cast<int>(matrices_.size())))];
      return below(2) == 0 ? shared : b_.node("Transpose", {shared});
    }
    std::string const name = b_.weight(fresh(), {in, out});
    if (is_square) matrices_.push_back(name);
    return name;
  }
  std::string transposed(std::string const& x) { return b_.node("Transpose", {x}, {}, {{"perm", {0, 2, 1}}}); }
  std::string sliced(std::string const& x, std::int64_t axis, std::int64_t begin, std::int64_t end) {
    if (b_.opset() < 10) return b_.node("Slice", {x}, {}, {{"axes", {axis}}, {"starts", {begin}}, {"ends", {end}}});
    return b_.node("Slice",
                   {x, b_.integers(fresh(), {begin}), b_.integers(fresh(), {end}), b_.integers(fresh(), {axis})});
  }

  std::string norm(Value const& x) {
    if (b_.opset() >= 17 && below(2) == 0) return b_.layer_norm(x.name, x.features);
    if (below(2) == 0) return b_.written_out(x.name, x.features);
    std::string const m = b_.mean(x.name), s = b_.mean(b_.node("Mul", {x.name, x.name}));
    std::string const v = b_.node("Max", {b_.node("Sub", {s, b_.node("Mul", {m, m})}), b_.scalar(0)});
    std::string const root = b_.node("Sqrt", {b_.node("Add", {v, b_.scalar(1e-5)})});
    std::string const y = b_.node("Div", {b_.node("Sub", {x.name, m}), root});
    return below(3) == 0 ? y : b_.node("Mul", {y, vector(x.features)});
  }

  // Of two heads, or of three thirds; with a projection or without one, and sometimes with a norm of each head's
  // values.
  std::string attention(Value const& x) {
    std::int64_t const f = x.features;
    std::int64_t const heads = f % 3 == 0 && below(2) == 0 ? 3 : 2;
    if (f % heads != 0) return x.name;
    auto const split = [&](std::string const& y) {
      std::string const h = b_.node("Reshape", {y, b_.integers(fresh(), {0, 0, heads, f / heads})});
      return b_.node("Transpose", {h}, {}, {{"perm", {0, 2, 1, 3}}});
    };
    std::string const q = split(x.name), k = split(like(x).name);
    std::string const v = split(b_.node("Add", {b_.node("MatMul", {like(x).name, matrix(f, f)}), vector(f)}));
    std::string const scores = b_.node("MatMul", {q, b_.node("Transpose", {k}, {}, {{"perm", {0, 1, 3, 2}}})});
    std::string y = b_.node("MatMul", {b_.node("Softmax", {scores}, {{"axis", 3}}), v});
    if (below(3) == 0) y = norm({y, f / heads});
    y = b_.node("Reshape", {b_.node("Transpose", {y}, {}, {{"perm", {0, 2, 1, 3}}}), b_.integers(fresh(), {0, 0, f})});
    return below(2) == 0 ? y : b_.node("MatMul", {y, matrix(f, f)});
  }

  // A condition chooses between two branches, which read what is outside.
  std::string branches(Value const& x) {
    std::string const other = like(x).name;
    std::string const chosen = "If" + fresh();
    auto& node = b_.add("If", {"flag"}, {chosen});
    auto const inside = [&] {
      switch (below(4)) {
        case 0:
          return b_.node("Identity", {x.name});
        case 1:
          return b_.node("Add", {b_.node("MatMul", {other, matrix(x.features, x.features)}), vector(x.features)});
        case 2:
          return norm({below(2) == 0 ? x.name : b_.node("Add", {x.name, other}), x.features});
        default:
          return b_.node("Mul", {other, vector(x.features)});
      }
    };
    b_.set_graph(node, "then_branch", [&] { return on_its_own(inside); });
    b_.set_graph(node, "else_branch", [&] { return on_its_own(inside); });
    return chosen;
  }

  // Two runs of a body, which reads what the one before has made, and what is outside.
  std::string loop(Value const& x) {
    std::int64_t const f = x.features;
    std::string const other = like(x).name, name = "Loop" + fresh(), state = name + ".state";
    auto& node = b_.add("Loop", {b_.integers(name + ".count", {2}), "", x.name}, {name});
    b_.set_graph(node, "body", [&] {
      for (auto const& input : {name + ".iteration", name + ".condition", state}) {
        auto& described = *b_.model.mutable_graph()->add_input();
        described.set_name(input);
        described.mutable_type()->mutable_tensor_type()->set_elem_type(::onnx::TensorProto::DOUBLE);
      }
      b_.model.mutable_graph()->add_output()->set_name(b_.node("Identity", {name + ".condition"}));
      return on_its_own([&] {
        std::string const read = below(3) > 0 ? state : b_.node("Add", {state, other});
        std::string const y = below(3) > 0 ? b_.node("MatMul", {read, matrix(f, f)}) : below(2) == 0 ? other : read;
        std::string const n = below(3) > 0 ? norm({y, f}) : b_.node("Relu", {y});
        return below(2) == 0 ? n : b_.node("Add", {b_.node("MatMul", {n, matrix(f, f)}), vector(f)});
      });
    });
    return name;
  }
  // What a graph inside of a node makes of its own, nobody else can read.
  template <class Build>
  std::string on_its_own(Build build) {
    auto const vectors = vectors_, matrices = matrices_;
    std::string const output = build();
    vectors_ = vectors;
    matrices_ = matrices;
    return output;
  }

  void step() {
    Value const x = any();
    std::int64_t const f = x.features;
    switch (below(34)) {
      case 0:
      case 1:
      case 2:
      case 3: {
        std::int64_t const out = pick({width, width, width, 4});
        std::string const y = b_.node("MatMul", {x.name, matrix(f, out)});
        return add(below(2) == 0 ? y : b_.node("Add", {vector(out), y}), out);
      }
      case 4:
      case 5:
        return add(b_.node("Add", {x.name, like(x).name}), f);
      case 6:
        return add(b_.node(below(2) == 0 ? "Sub" : "Mul", {x.name, like(x).name}), f);
      case 7:
        return add(b_.node(below(2) == 0 ? "Relu" : "Tanh", {x.name}), f);
      case 8:
      case 9:
      case 10:
        return add(norm(x), f);
      case 11:
        return add(b_.node(below(2) == 0 ? "Mul" : "Div", {x.name, b_.scalar(0.7)}), f);
      case 12:
        return add(b_.node(below(2) == 0 ? "Mul" : "Add", {x.name, vector(f)}), f);
      case 13:
        return add(b_.node("Add", {x.name, b_.weight(fresh(), {below(2) == 0 ? tokens : 1, f})}), f);
      case 14: {  // a convolution over tokens
        bool const is_wide = below(2) == 0;
        std::string const w = b_.weight(fresh(), {width, f, is_wide ? 3 : 1});
        std::string y =
            b_.node("Conv", {transposed(x.name), w}, {},
                    {{"pads", is_wide ? std::vector<std::int64_t>{1, 1} : std::vector<std::int64_t>{0, 0}}});
        if (below(2) == 0) {
          std::string const variance = b_.constant(fresh(), {width}, {1, 2, 3, 4, 5, 6});
          y = b_.node("BatchNormalization", {y, vector(width), vector(width), vector(width), variance});
        }
        return add(transposed(y), width);
      }
      case 15: {  // attention of one head
        std::string const scores = b_.node("MatMul", {x.name, transposed(like(x).name)});
        return add(b_.node("MatMul", {b_.node("Softmax", {scores}, {{"axis", 2}}), like(x).name}), f);
      }
      case 16: {  // through two dimensions
        std::string const flat = b_.node("Reshape", {x.name, b_.integers(fresh(), {-1, f})});
        std::string const y =
            b_.node("Gemm", {flat, matrix(f, width), vector(width)}, {{"transB", f == width ? 1 : 0}});
        return add(b_.node("Reshape", {y, b_.integers(fresh(), {2, -1, width})}), width);
      }
      case 17: {  // apart and together again
        std::string const front = sliced(x.name, -1, 0, 2), back = sliced(x.name, 2, 2, f);
        return add(b_.node("Concat", {back, front}, {{"axis", -1}}), f);
      }
      case 18:  // tokens in another order
        return add(b_.node("Concat", {sliced(x.name, 1, 2, tokens), sliced(like(x).name, 1, 0, 2)}, {{"axis", 1}}), f);
      case 19:  // one factor, or one summand, a token
        return add(b_.node(below(2) == 0 ? "Mul" : "Add", {x.name, b_.mean(like(x).name)}), f);
      case 20: {  // a token that is learned
        std::string const start = b_.node("Expand", {b_.weight(fresh(), {1, 1, f}), b_.integers(fresh(), {2, 1, f})});
        return add(b_.node("Concat", {start, sliced(x.name, 1, 1, tokens)}, {{"axis", 1}}), f);
      }
      case 21: {  // one token or another, by a condition of each
        std::string const y = below(3) == 0 ? b_.scalar(0) : below(2) == 0 ? b_.weight(fresh(), {f}) : like(x).name;
        std::string const condition = b_.node("Greater", {b_.mean(like(x).name), b_.scalar(0.2)});
        return add(b_.node("Where", {condition, x.name, y}), f);
      }
      case 22: {  // other tokens at the front, and as many as before
        std::string const pads = b_.integers(fresh(), {0, 2, 0, 0, 0, 0});
        if (b_.opset() < 11) return add(x.name, f);
        std::string const y = b_.node("Pad", {x.name, pads, b_.scalar(below(3) == 0 ? 1 : 0)});
        if (below(2) == 0) ModelBuilder::set_text(b_.last(), "mode", "reflect");
        return add(sliced(y, 1, 0, tokens), f);
      }
      case 23: {  // more tokens, and as many as before
        if (b_.opset() < 11) return add(x.name, f);
        std::string const y = b_.node("Resize", {x.name, "", b_.floats(fresh(), {1, 2, 1})});
        ModelBuilder::set_text(b_.last(), "mode", below(2) == 0 ? "nearest" : "linear");
        return add(sliced(y, 1, 1, tokens + 1), f);
      }
      case 24: {  // products by equation
        if (b_.opset() < 12) return add(x.name, f);
        int const kind = below(4);
        std::string const left = kind == 0   ? matrix(f, width)
                                 : kind == 1 ? b_.weight(fresh(), {tokens, f, width})
                                 : kind == 2 ? b_.weight(fresh(), {tokens, tokens})
                                             : like(x).name;
        std::string const y = b_.node("Einsum", {left, x.name});
        char const* const equations[] = {"jk,btj->btk", "tjk,btj->btk", "st,btj->bsj", "bti,btj->btj"};
        ModelBuilder::set_text(b_.last(), "equation", equations[kind]);
        return add(y, kind < 2 ? width : f);
      }
      case 25: {  // Gemm's factors
        std::string const flat = b_.node("Reshape", {x.name, b_.integers(fresh(), {-1, f})});
        bool const flips = below(2) == 0;
        std::string const rows = flips ? b_.node("Transpose", {flat}) : flat;
        std::string const y = b_.node("Gemm", {rows, matrix(f, width), vector(width)}, {{"transA", flips ? 1 : 0}});
        ModelBuilder::set_number(b_.last(), "alpha", below(2) == 0 ? 0.5 : 1);
        ModelBuilder::set_number(b_.last(), "beta", below(2) == 0 ? -2 : 1);
        return add(b_.node("Reshape", {y, b_.integers(fresh(), {2, -1, width})}), width);
      }
      case 26: {  // sums of tokens
        char const* const type = below(2) == 0 ? "AveragePool" : "ReduceSum";
        if (type == std::string("ReduceSum")) {
          if (b_.opset() < 13) return add(x.name, f);
          std::string const sum = b_.node("ReduceSum", {x.name, b_.integers(fresh(), {1})}, {{"keepdims", 1}});
          return add(b_.node("Add", {like(x).name, sum}), f);
        }
        std::string const y = b_.node(type, {transposed(x.name)}, {{"count_include_pad", below(2)}},
                                      {{"kernel_shape", {3}}, {"pads", {1, 1}}});
        return add(transposed(y), f);
      }
      case 27:
      case 28:
        return add(attention(x), f);
      case 29: {  // a norm of each head
        if (f % 2 != 0) return add(x.name, f);
        std::string const h = b_.node("Reshape", {x.name, b_.integers(fresh(), {0, 0, 2, -1})});
        std::string const n = norm({h, f / 2});
        return add(b_.node("Reshape", {n, b_.integers(fresh(), {0, 0, f})}), f);
      }
      case 30:
        return add(branches(x), f);
      case 31:
        return add(loop(x), f);
      case 32: {  // a table, looked up or read as a head's weight
        if (below(3) > 0 || f != width) return add(b_.node("Gather", {table_, "ids"}), width);
        std::string const head = b_.node("MatMul", {x.name, b_.node("Transpose", {table_})});
        return add(head, vocabulary);
      }
      default: {  // places by the shape
        std::string const target = b_.node("Shape", {x.name});
        return add(
            b_.node(
                "Reshape",
                {b_.node("Unsqueeze",
                         b_.opset() < 13 ? std::vector{x.name} : std::vector{x.name, b_.integers(fresh(), {1})}, {},
                         b_.opset() < 13 ? std::vector<std::pair<std::string, std::vector<std::int64_t>>>{{"axes", {1}}}
                                         : std::vector<std::pair<std::string, std::vector<std::int64_t>>>{}),
                 target}),
            f);
      }
    }
  }

  std::mt19937_64 random_;
  ModelBuilder b_;
  std::vector<Value> values_;
  std::string table_;
  std::vector<std::string> vectors_, matrices_;
  int made_ = 0, outputs_ = 0;
};

std::size_t fold_random_models(std::uint64_t first, std::uint64_t count) {
  std::size_t folds = 0;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    std::mt19937_64 random(seed ^ 0x5eed);
    OnnxFoldOptions options;
    options.affine = random() % 2 == 0;
    options.insert_centering = random() % 2 == 0;
    options.tied = std::vector{TiedTables::refuse, TiedTables::untie, TiedTables::correct}[random() % 3];
    options.target = random() % 2 == 0 ? OnnxTarget::onnx : OnnxTarget::onnxruntime;
    RandomModel const model(seed);
    bool const leaves_slower = random() % 2 == 0;
    FoldedTestModel const folded(model.model(), options, leaves_slower);
    folds += folded.folded.folds();
    INFO("seed " << seed << "\n" << folded.report());
    // A wrong fold is wrong by the size of the values. A norm of an almost constant sample makes roundings up to
    // 1 / sqrt(eps) = 316 times larger: three of them in series, and some 1e2 roundings of 1.1e-16, are 3.5e-7.
    TestTensors inputs{
        {"x", random_tensor({2, 4, 6}, seed)}, {"ids", TestTensor({2, 4})}, {"flag", TestTensor(TestTensor::Shape{})}};
    for (double& id : inputs.at("ids").values) id = static_cast<double>(random() % 5);
    for (double const flag : {0.0, 1.0}) {
      inputs.at("flag").values[0] = flag;
      CHECK(folded.error(inputs) < 3.5e-7);
    }
    // Once more brings nothing new, unless a gamma or a scale that went into a layer was some other layer's bias, too,
    // or a head has got a copy of its table, which can be centered now.
    FoldReport const& report = folded.folded.report;
    bool const is_plain = !options.affine && report.compositions.empty() && report.untied.empty();
    if (!folded.folded.changes() || !is_plain) continue;
    CHECK(FoldedTestModel(folded.folded.model, options, leaves_slower).folded.folds() == 0);
  }
  return folds;
}

}  // namespace

TEST_CASE("random ONNX models keep their function when they fold") { CHECK(fold_random_models(1, 600) > 200); }
TEST_CASE("many random ONNX models keep their function when they fold", "[.long]") {
  CHECK(fold_random_models(1000, 30000) > 10000);
}
