// SPDX-License-Identifier: MIT
// tests/onnx/output_test.cpp -- folded models and their external data: complete where they are written, untouched bytes
// the same.
#include <foldnorm/onnx/output.hpp>

#include <foldnorm/onnx/fold_model.hpp>

#include "catch.hpp"
#include "files/file_testing.hpp"
#include "graph/matchers.hpp"
#include "onnx/onnx_testing.hpp"

#include <filesystem>
#include <map>
#include <string>
#include <utility>

using namespace foldnorm;
using namespace foldnorm::testing;
using foldnorm::testing::Contains;

namespace {

// x -> linear -> norm -> relu -> linear: the first linear's tensors change, and all lie in `data`.
::onnx::ModelProto model_outside(std::filesystem::path const& path, std::string const& data) {
  ModelBuilder b(23);
  std::string const h = b.linear(b.input("x", {-1, 6}), 6, 8);
  b.add("Identity", {b.linear(b.node("Relu", {b.node("LayerNormalization", {h, b.weight("gamma", {8})})}), 8, 3)},
        {"y"});
  b.output("y");
  std::string bytes = "head";
  for (auto& tensor : *b.model.mutable_graph()->mutable_initializer()) {
    std::string const raw = tensor.raw_data();
    for (auto const& [key, value] : {std::pair<std::string, std::string>{"location", data},
                                     {"offset", std::to_string(bytes.size())},
                                     {"length", std::to_string(raw.size())}}) {
      auto& entry = *tensor.add_external_data();
      entry.set_key(key);
      entry.set_value(value);
    }
    tensor.set_data_location(::onnx::TensorProto::EXTERNAL);
    tensor.clear_raw_data();
    bytes += raw;
  }
  std::filesystem::create_directories((path.parent_path() / data).parent_path());
  write_bytes(path.parent_path() / data, bytes);
  write_bytes(path, b.model.SerializeAsString());
  return b.model;
}

// As fold_onnx does it: did something change?
bool fold_to(std::filesystem::path const& in, std::filesystem::path const& out_path) {
  OnnxFile const file(in);
  OnnxOutput out(out_path, file);
  FoldedOnnx folded = fold_onnx_model(file, {}, out.data());
  if (folded.changes()) {
    out.complete(folded.model);
    out.write(folded.model);
  } else {
    out.copy();
  }
  out.commit();
  return folded.changes();
}

// All initializers of a model in a file, by name, whereever they lie.
std::map<std::string, std::string> tensors_of(std::filesystem::path const& path) {
  OnnxFile const file(path);
  std::map<std::string, std::string> result;
  for (auto const& tensor : file.model().graph().initializer()) {
    result[tensor.name()] = detail::is_external(tensor)
                                ? detail::external_bytes(tensor, *element_count(tensor) * sizeof(double), file)
                                : tensor.raw_data();
  }
  return result;
}

TestTensors run_file(std::filesystem::path const& path) {
  ::onnx::ModelProto model = OnnxFile(path).model();
  for (auto& [name, bytes] : tensors_of(path)) {
    for (auto& tensor : *model.mutable_graph()->mutable_initializer()) {
      if (tensor.name() != name) continue;
      tensor.clear_data_location();
      tensor.clear_external_data();
      tensor.set_raw_data(bytes);
    }
  }
  return run_model(model, {{"x", random_tensor({4, 6}, 3)}});
}

void check_folded(std::filesystem::path const& original, std::filesystem::path const& folded,
                  std::map<std::string, std::string> const& before, TestTensors const& expected) {
  CAPTURE(original, folded);
  CHECK(difference(expected, run_file(folded)) < 1e-12);  // as in fold_model_test.cpp, of two layers
  auto const after = tensors_of(folded);
  CHECK(after.at("linear1.weight") != before.at("linear1.weight"));
  CHECK(after.at("linear1.bias") != before.at("linear1.bias"));
  for (auto const* name : {"gamma", "linear6.weight", "linear6.bias"}) CHECK(after.at(name) == before.at(name));
}

}  // namespace

TEST_CASE(
    "onnx output: in the same folder, changed tensors go to a file of their own, and others stay where they are") {
  TemporaryFolder const folder;
  model_outside(folder / "model.onnx", "weights.bin");
  auto const before = tensors_of(folder / "model.onnx");
  std::string const model = read_bytes(folder / "model.onnx"), weights = read_bytes(folder / "weights.bin");
  REQUIRE(fold_to(folder / "model.onnx", folder / "folded.onnx"));
  check_folded(folder / "model.onnx", folder / "folded.onnx", before, run_file(folder / "model.onnx"));
  CHECK(read_bytes(folder / "model.onnx") == model);
  CHECK(read_bytes(folder / "weights.bin") == weights);
  CHECK(std::filesystem::file_size(folder / "folded.onnx.data") == 4096 + 48 * sizeof(double));
  CHECK(folder.file_count() == 4);
  OnnxFile const folded(folder / "folded.onnx");
  for (auto const& tensor : folded.model().graph().initializer()) {
    bool const changes = tensor.name().starts_with("linear1");
    CHECK(detail::external_entry(tensor, "location") == (changes ? "folded.onnx.data" : "weights.bin"));
  }
}

TEST_CASE("onnx output: in another folder, or over the file that they are in, all tensors come along") {
  for (std::string const data : {"weights.bin", "model.onnx.data", "inner/weights.bin"}) {
    TemporaryFolder const folder;
    std::filesystem::create_directory(folder / "other");
    model_outside(folder / "model.onnx", data);
    auto const before = tensors_of(folder / "model.onnx");
    TestTensors const expected = run_file(folder / "model.onnx");
    REQUIRE(fold_to(folder / "model.onnx", folder / "other/model.onnx"));
    check_folded(folder / "model.onnx", folder / "other/model.onnx", before, expected);
    CHECK(std::filesystem::exists(folder / "other/model.onnx.data"));
    REQUIRE(fold_to(folder / "model.onnx", folder / "model.onnx"));  // in place
    check_folded("in place", folder / "model.onnx", before, expected);
    std::filesystem::remove(folder / "model.onnx.data");
    CHECK_THROWS_AS(run_file(folder / "model.onnx"), onnx_error);
    check_folded(folder / "model.onnx", folder / "other/model.onnx", before, expected);  // stands by itself
  }
}

TEST_CASE("onnx output: what is folded already is copied, byte for byte, with its data") {
  TemporaryFolder const folder;
  model_outside(folder / "model.onnx", "weights.bin");
  REQUIRE(fold_to(folder / "model.onnx", folder / "folded.onnx"));
  CHECK_FALSE(fold_to(folder / "folded.onnx", folder / "again.onnx"));
  CHECK(read_bytes(folder / "again.onnx") == read_bytes(folder / "folded.onnx"));
  CHECK_FALSE(std::filesystem::exists(folder / "again.onnx.data"));
  std::filesystem::create_directory(folder / "other");
  for (int twice = 0; twice < 2; ++twice) {
    CHECK_FALSE(fold_to(folder / "folded.onnx", folder / "other/again.onnx"));
    CHECK(read_bytes(folder / "other/again.onnx") == read_bytes(folder / "folded.onnx"));
    for (auto const* name : {"weights.bin", "folded.onnx.data"}) {
      CHECK(read_bytes(folder / "other" / name) == read_bytes(folder / name));
    }
  }
  write_bytes(folder / "other/weights.bin", "somebody else's");
  std::filesystem::remove(folder / "other/again.onnx");
  CHECK_THROWS_WITH(fold_to(folder / "folded.onnx", folder / "other/again.onnx"), Contains("is there already"));
  CHECK(read_bytes(folder / "other/weights.bin") == "somebody else's");
  CHECK_FALSE(std::filesystem::exists(folder / "other/again.onnx"));
}

TEST_CASE("onnx output: nothing is written where data are not what the model says") {
  TemporaryFolder const folder;
  std::filesystem::create_directory(folder / "other");
  ::onnx::ModelProto model = model_outside(folder / "model.onnx", "weights.bin");
  for (auto& tensor : *model.mutable_graph()->mutable_initializer()) {
    if (tensor.name() != "linear6.bias") continue;  // of no layer that changes
    tensor.mutable_external_data(1)->set_value("99999");
  }
  write_bytes(folder / "model.onnx", model.SerializeAsString());
  CHECK_THROWS_AS(fold_to(folder / "model.onnx", folder / "other/folded.onnx"), onnx_error);
  CHECK(std::filesystem::is_empty(folder / "other"));
  CHECK_THROWS_WITH(fold_to(folder / "model.onnx", "/nowhere/folded.onnx"), Contains("cannot be written"));
}

TEST_CASE("onnx output: data of the original are not written over, unless it is itself") {
  TemporaryFolder const folder;
  model_outside(folder / "model.onnx", "folded.onnx.data");
  std::string const data = read_bytes(folder / "folded.onnx.data");
  CHECK_THROWS_WITH(fold_to(folder / "model.onnx", folder / "folded.onnx.data"), Contains("would be lost"));
  CHECK_THROWS_WITH(fold_to(folder / "model.onnx", folder / "folded.onnx"), Contains("would be lost"));
  CHECK(read_bytes(folder / "folded.onnx.data") == data);
  CHECK(folder.file_count() == 2);
}

TEST_CASE("onnx output: data of which only the file is said go to another folder, as PyTorch's exporter says it") {
  TemporaryFolder const folder;
  std::filesystem::create_directory(folder / "other");
  ::onnx::ModelProto model = model_outside(folder / "model.onnx", "weights.bin");
  auto const before = tensors_of(folder / "model.onnx");
  TestTensors const expected = run_file(folder / "model.onnx");
  for (auto& tensor : *model.mutable_graph()->mutable_initializer()) {
    std::string const bytes = before.at(tensor.name());
    write_bytes(folder / tensor.name(), bytes);
    tensor.clear_external_data();
    auto& entry = *tensor.add_external_data();
    entry.set_key("location");
    entry.set_value(tensor.name());
  }
  write_bytes(folder / "model.onnx", model.SerializeAsString());
  std::filesystem::remove(folder / "weights.bin");
  REQUIRE(fold_to(folder / "model.onnx", folder / "other/folded.onnx"));
  check_folded(folder / "model.onnx", folder / "other/folded.onnx", before, expected);
}

TEST_CASE("onnx output: large constants that a fold adds go outside, too, if the model keeps any there") {
  TemporaryFolder const folder;
  ModelBuilder b(23);
  b.input("ids", {-1}, ::onnx::TensorProto::INT64);
  std::string const table = b.weight("table", {40, 8});
  std::string const n = b.node("LayerNormalization", {b.node("Gather", {table, "ids"}), b.weight("gamma", {8})});
  b.add("MatMul", {n, b.node("Transpose", {table})}, {"y"});
  b.output("y");
  write_bytes(folder / "inside.onnx", b.model.SerializeAsString());
  ExternalWriter data(folder / "outside.onnx");
  ::onnx::ModelProto outside = OnnxFile(folder / "inside.onnx").model();
  data.move_out(*outside.mutable_graph()->mutable_initializer(0));
  data.finish(outside);
  data.close();
  data.commit();
  write_bytes(folder / "outside.onnx", outside.SerializeAsString());
  for (std::string const name : {"inside", "outside"}) {
    OnnxFile const file(folder / (name + ".onnx"));
    OnnxOutput out(folder / "folded.onnx", file);
    FoldedOnnx folded = fold_onnx_model(file, {.tied = TiedTables::untie}, out.data());
    REQUIRE(folded.folds() == 1);
    bool const is_outside = name == "outside";
    CHECK((out.data() != nullptr) == is_outside);
    bool found = false;
    for (auto const& tensor : folded.model.graph().initializer()) {
      if (!tensor.name().starts_with("table.untied")) continue;
      found = true;
      CHECK(detail::is_external(tensor) == is_outside);
    }
    CHECK(found);
  }
}
