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
    add(b_.linear("x", width, width), width);
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
  static constexpr std::int64_t width = 6, tokens = 4;
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

  void step() {
    Value const x = any();
    std::int64_t const f = x.features;
    switch (below(22)) {
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
    options.target = random() % 2 == 0 ? OnnxTarget::onnx : OnnxTarget::onnxruntime;
    RandomModel const model(seed);
    FoldedTestModel const folded(model.model(), options);
    folds += folded.folded.folds();
    INFO("seed " << seed << "\n" << folded.report());
    // A wrong fold is wrong by the size of the values. A norm of an almost constant sample makes roundings up to
    // 1 / sqrt(eps) = 316 times larger: three of them in series, and some 1e2 roundings of 1.1e-16, are 3.5e-7.
    CHECK(folded.error({{"x", random_tensor({2, 4, 6}, seed)}}) < 3.5e-7);
    // Once more brings nothing new, unless a gamma or a scale that went into a layer was some other layer's bias, too.
    if (!folded.folded.changes() || options.affine || !folded.folded.report.compositions.empty()) continue;
    CHECK(FoldedTestModel(folded.folded.model, options).folded.folds() == 0);
  }
  return folds;
}

}  // namespace

TEST_CASE("random ONNX models keep their function when they fold") { CHECK(fold_random_models(1, 600) > 200); }
TEST_CASE("many random ONNX models keep their function when they fold", "[.long]") {
  CHECK(fold_random_models(1000, 30000) > 10000);
}
