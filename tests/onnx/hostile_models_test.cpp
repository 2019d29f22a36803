// SPDX-License-Identifier: MIT
// tests/onnx/hostile_models_test.cpp -- files that are no models, and models that claim what is not so: an error,
// always.
#include <foldnorm/onnx/fold_model.hpp>

#include "catch.hpp"
#include "graph/matchers.hpp"
#include "onnx/onnx_testing.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <random>
#include <string>

using namespace foldnorm;
using namespace foldnorm::testing;
using foldnorm::testing::Contains;

namespace {

::onnx::ModelProto foldable_model() {
  ModelBuilder b;
  std::string const h = b.linear(b.input("x", {-1, 6}), 6, 8);
  b.add("Relu", {b.layer_norm(h, 8)}, {"y"});
  b.output("y");
  return b.model;
}

// What folding a file of these bytes complains about, without the file's name; empty if it does not.
std::string onnx_complaint(std::string const& bytes) {
  TemporaryFolder const folder;
  std::filesystem::path const path = folder / "hostile.onnx";
  write_bytes(path, bytes);
  OnnxFoldOptions options;
  options.affine = options.insert_centering = options.fold_slower = true;
  options.tied = TiedTables::correct;
  try {
    fold_onnx_model(OnnxFile(path), options);
  } catch (onnx_error const& error) {
    std::string const text = error.what(), prefix = path.string() + ": ";
    return text.starts_with(prefix) ? text.substr(prefix.size()) : "no file's name: " + text;
  }
  return {};
}
// ... of a good model that has been changed.
std::string complaint_about(std::function<void(::onnx::GraphProto&)> const& change) {
  ::onnx::ModelProto model = foldable_model();
  change(*model.mutable_graph());
  return onnx_complaint(model.SerializeAsString());
}

::onnx::TensorProto& weight_of(::onnx::GraphProto& graph) { return *graph.mutable_initializer(0); }

void move_outside(::onnx::TensorProto& tensor, std::string const& location, std::string const& offset = "",
                  std::string const& length = "") {
  tensor.clear_raw_data();
  tensor.set_data_location(::onnx::TensorProto::EXTERNAL);
  for (auto const& [key, value] : {std::pair("location", location), {"offset", offset}, {"length", length}}) {
    if (value.empty()) continue;
    auto& entry = *tensor.add_external_data();
    entry.set_key(key);
    entry.set_value(value);
  }
}

}  // namespace

TEST_CASE("a file that is no model is refused") {
  CHECK_THAT(onnx_complaint(""), Contains("no graph"));
  CHECK_THAT(onnx_complaint("hello, world"), Contains("no ONNX model"));
  CHECK_THAT(onnx_complaint(std::string(100, '\xff')), Contains("no ONNX model"));
  CHECK_THROWS_AS(OnnxFile("/nowhere/model.onnx"), onnx_error);
  CHECK_THROWS_AS(OnnxFile("/dev/zero"), onnx_error);
  CHECK_THROWS_AS(OnnxFile("/tmp"), onnx_error);
}

TEST_CASE("onnxruntime#4585: a truncated model, or one with bytes changed, never does anything but fold or complain") {
  std::string const good = foldable_model().SerializeAsString();
  REQUIRE(onnx_complaint(good).empty());
  for (std::size_t length = 1; length < good.size(); length += 7) onnx_complaint(good.substr(0, length));
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    INFO("seed " << seed);
    std::mt19937_64 random(seed);
    std::string bytes = good;
    for (int k = 0; k < 3; ++k) bytes[random() % bytes.size()] = static_cast<char>(random());
    std::string const complaint = onnx_complaint(bytes);
    CHECK_THAT(complaint, !Contains("no file's name"));
  }
}

TEST_CASE("onnx#7815: local functions that call each other are not followed, and what is around them folds") {
  ::onnx::ModelProto model = foldable_model();
  auto const call = [](::onnx::NodeProto& node, char const* function, std::string const& from, char const* to) {
    node.set_domain("local");
    node.set_op_type(function);
    node.add_input(from);
    node.add_output(to);
  };
  for (auto const& [name, other] : {std::pair("ping", "pong"), std::pair("pong", "ping"), std::pair("self", "self")}) {
    auto& function = *model.add_functions();
    function.set_domain("local");
    function.set_name(name);
    function.add_input("a");
    function.add_output("b");
    call(*function.add_node(), other, "a", "b");
  }
  call(*model.mutable_graph()->add_node(), "ping", "y", "z");
  call(*model.mutable_graph()->add_node(), "self", "z", "last");
  model.mutable_graph()->mutable_output(0)->set_name("last");
  CHECK(onnx_complaint(model.SerializeAsString()).empty());
  CHECK(FoldedTestModel(model).folded.folds() == 1);
}

TEST_CASE("messages nested without end are refused") {
  std::string nested;
  auto const wrap = [&](char tag) {
    std::string length;
    std::size_t n = nested.size();
    for (; n >= 128; n >>= 7) length += static_cast<char>((n & 127) | 128);
    nested = tag + length + static_cast<char>(n) + nested;
  };
  for (int k = 0; k < 1000; ++k) {  // a graph in an attribute of a node of a graph ...
    wrap('\x32');                   // AttributeProto.g
    wrap('\x2a');                   // NodeProto.attribute
    wrap('\x0a');                   // GraphProto.node
  }
  wrap('\x3a');  // ModelProto.graph
  CHECK_THAT(onnx_complaint(nested), Contains("no ONNX model"));
}

TEST_CASE("a graph that is none is refused") {
  CHECK_THAT(complaint_about([](auto& graph) { graph.mutable_node(0)->set_input(0, "nowhere"); }),
             Contains("reads 'nowhere', which nothing before it makes"));
  CHECK_THAT(complaint_about([](auto& graph) { graph.mutable_node()->SwapElements(0, 1); }),
             Contains("which nothing before it makes"));
  CHECK_THAT(complaint_about([](auto& graph) { graph.mutable_node(0)->set_input(0, graph.node(2).output(0)); }),
             Contains("which nothing before it makes"));  // a cycle
  CHECK_THAT(complaint_about([](auto& graph) { graph.mutable_node(1)->set_output(0, graph.node(0).output(0)); }),
             Contains("is made twice"));
  CHECK_THAT(complaint_about([](auto& graph) { *graph.add_initializer() = graph.initializer(0); }),
             Contains("is there twice"));
  CHECK_THAT(complaint_about([](auto& graph) { graph.mutable_output(0)->set_name("z"); }), Contains("reads 'z'"));
}

TEST_CASE("tensors that are not what they claim are refused before memory is taken for them") {
  auto const with_dims = [](std::int64_t rows, std::int64_t columns) {
    return complaint_about([=](auto& graph) {
      weight_of(graph).set_dims(0, rows);
      weight_of(graph).set_dims(1, columns);
    });
  };
  CHECK_THAT(with_dims(6, 9), Contains("bytes, expected 432 by its shape"));
  CHECK_THAT(with_dims(30000, 30000), Contains("bytes, expected 7200000000 by its shape"));
  // No parameter, as it is no tensor at all: nothing can be folded, and nothing is read.
  CHECK(with_dims(-6, 8).empty());
  CHECK(with_dims(std::numeric_limits<std::int64_t>::max(), 8).empty());
  CHECK(complaint_about([](auto& graph) { weight_of(graph).set_data_type(4711); }).empty());
  CHECK(complaint_about([](auto& graph) { weight_of(graph).set_data_type(::onnx::TensorProto::STRING); }).empty());
  CHECK_THAT(complaint_about([](auto& graph) { weight_of(graph).clear_raw_data(); }),
             Contains("0 elements, expected 48"));
  CHECK_THAT(complaint_about([](auto& graph) {
               double const nan = std::numeric_limits<double>::quiet_NaN();
               weight_of(graph).mutable_raw_data()->replace(0, sizeof nan, reinterpret_cast<char const*>(&nan),
                                                            sizeof nan);
             }),
             Contains("parameter linear1.weight"));
}

TEST_CASE("gamma and beta of a norm of each head are checked, though they stay as they are") {
  for (int const parameter : {1, 2}) {
    ModelBuilder b;
    std::string const h = b.linear(b.input("x", {-1, -2, 8}), 8, 8);
    std::string const n = b.layer_norm(b.node("Reshape", {h, b.integers("heads", {0, 0, 2, 4})}), 4);
    b.add("Relu", {n}, {b.output("y")});
    REQUIRE(onnx_complaint(b.model.SerializeAsString()).empty());
    for (auto& tensor : *b.model.mutable_graph()->mutable_initializer()) {
      bool const is_it = tensor.name().ends_with(parameter == 1 ? ".gamma" : ".beta");
      if (is_it) tensor.mutable_raw_data()->append("more");
    }
    CHECK_THAT(onnx_complaint(b.model.SerializeAsString()), Contains("36 bytes, expected 32 by its shape"));
  }
}

TEST_CASE("external data stay in the model's folder, and in their file") {
  auto const outside = [](std::string const& location, std::string const& offset = "", std::string const& length = "") {
    return complaint_about([&](auto& graph) { move_outside(weight_of(graph), location, offset, length); });
  };
  CHECK_THAT(outside("../weights.bin"), Contains("expected a path inside the model's folder"));
  CHECK_THAT(outside("a/../../weights.bin"), Contains("expected a path inside the model's folder"));
  CHECK_THAT(outside("/etc/passwd"), Contains("expected a path inside the model's folder"));
  CHECK_THAT(outside("/dev/zero"), Contains("expected a path inside the model's folder"));
  CHECK_THAT(outside(""), Contains("expected a path inside the model's folder"));
  CHECK_THAT(outside("missing.bin"), Contains("No such file"));
  CHECK_THAT(outside("hostile.onnx", "99999999"), Contains("at bytes 99999999 + 384"));
  CHECK_THAT(outside("hostile.onnx", "18446744073709551615"), Contains("at bytes 18446744073709551615 + 384"));
  CHECK_THAT(outside("hostile.onnx", "-1"), Contains("offset '-1'"));
  CHECK_THAT(outside("hostile.onnx", "0", "385"), Contains("of 385 bytes, expected 384"));
}

TEST_CASE("external data that are as they should be fold, and come into the model") {
  TemporaryFolder const folder;
  ::onnx::ModelProto model = foldable_model();
  auto& weight = weight_of(*model.mutable_graph());
  write_bytes(folder / "weights.bin", "12345678" + weight.raw_data());
  ::onnx::ModelProto const inside = model;
  move_outside(weight, "weights.bin", "8", "384");
  write_bytes(folder / "model.onnx", model.SerializeAsString());
  FoldedOnnx const folded = fold_onnx_model(OnnxFile(folder / "model.onnx"), {.fold_slower = true});
  REQUIRE(folded.folds() == 1);
  CHECK(folded.model.graph().initializer(0).SerializeAsString() ==
        FoldedTestModel(inside).folded.model.graph().initializer(0).SerializeAsString());
  std::filesystem::create_symlink("/etc/hostname", folder / "link.bin");
  weight.mutable_external_data(0)->set_value("link.bin");
  write_bytes(folder / "model.onnx", model.SerializeAsString());
  CHECK_THROWS_AS(fold_onnx_model(OnnxFile(folder / "model.onnx"), {.fold_slower = true}), onnx_error);
}

TEST_CASE("an epsilon that no norm has is refused") {
  for (float const epsilon :
       {-1e-5F, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    ModelBuilder b;
    std::string const h = b.linear(b.input("x", {-1, 6}), 6, 8);
    b.layer_norm(h, 8);
    auto& node = *b.model.mutable_graph()->mutable_node()->rbegin();
    auto& attribute = *node.add_attribute();
    attribute.set_name("epsilon");
    attribute.set_type(::onnx::AttributeProto::FLOAT);
    attribute.set_f(epsilon);
    CHECK_THAT(onnx_complaint(b.model.SerializeAsString()), Contains("expected a finite number >= 0"));
  }
  ModelBuilder b;
  std::string const h = b.linear(b.input("x", {-1, 6}), 6, 8);
  std::string const d = b.node("Sub", {h, b.mean(h)});
  b.node("Div", {d, b.node("Sqrt", {b.node("Add", {b.mean(b.node("Mul", {d, d})), b.scalar(-1)})})});
  CHECK_THAT(onnx_complaint(b.model.SerializeAsString()), Contains("expected a finite number >= 0"));
}

// By the square of its length it would take minutes, and run into the test's time limit.
TEST_CASE("a long chain of identities, each of them read, is walked once and copied nowhere") {
  ModelBuilder b;
  b.input("x", {2, 8});
  std::string axes = b.integers("axes", {1}), many = b.integers("many", std::vector<std::int64_t>(1024, 1));
  for (int k = 0; k < 20'000; ++k) {
    axes = b.node("Identity", {axes});
    many = b.node("Identity", {many});
    b.node("ReduceSum", {"x", axes}, {{"keepdims", 1}});
  }
  b.add("Relu", {b.layer_norm(b.linear("x", 8, 8), 8)}, {"y"});
  b.output("y");
  TemporaryFolder const folder;
  write_bytes(folder / "chain.onnx", b.model.SerializeAsString());
  OnnxFile const file(folder / "chain.onnx");
  OnnxIndex const index(file);
  OnnxShapes const shapes(file, index);
  CHECK(shapes.of(axes).contents.has_value());
  CHECK_FALSE(shapes.of(many).contents.has_value());
  CHECK(fold_onnx_model(file, {.fold_slower = true}).folds() == 1);
}
