// SPDX-License-Identifier: MIT
// tests/safetensors/write_parameters_test.cpp -- what is written is what was there, but for what has changed.
#include <foldnorm/safetensors/write_parameters.hpp>

#include "graph/graph_testing.hpp"
#include "graph/matchers.hpp"
#include "safetensors/safetensors_testing.hpp"

#include "catch.hpp"

#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

using namespace foldnorm;
using namespace foldnorm::testing;
using foldnorm::testing::Contains;

namespace {

// Every role, type and layout; tensors that no graph names, of types that are not weights'; data in another order than
// the header; spaces where no writer of ours puts any. The bytes are random: NaNs of all kinds among them.
char const* const written_graph = R"(
  ids t vocab=5
  embedding e t features=4 table=E
  input x features=4
  conv c x out=4 kernel=3 weight=C bias=c
  add stream e c
  layer_norm n stream gamma=g beta=b
  linear up n out=6 weight=W bias=w
  linear down up out=4 weight=V
  add stream2 stream down
  layer_norm n2 stream2
  linear head n2 out=3 weight=H
  output y head
)";
char const* const odd_header = R"({ "W" : {"shape":[4,6],"dtype":"F16","data_offsets":[200,248]}, )"
                               R"("__metadata__":{"format":"pt","é":"\n"},)"
                               R"("E":{"dtype":"BF16","shape":[1,5,4],"data_offsets":[160,200]},)"
                               R"("ids":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},)"
                               R"("C":{"dtype":"F16","shape":[4,4,3],"data_offsets":[16,112]},)"
                               R"("c":{"dtype":"F64","shape":[4],"data_offsets":[112,144]},)"
                               R"("none":{"dtype":"F32","shape":[0,3],"data_offsets":[144,144]},)"
                               R"("f8":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[144,147]},)"
                               R"("mask":{"dtype":"BOOL","shape":[13],"data_offsets":[147,160]},)"
                               R"("g":{"dtype":"F32","shape":[4],"data_offsets":[248,264]},)"
                               R"("b":{"dtype":"F16","shape":[1,4],"data_offsets":[264,272]},)"
                               R"("w":{"dtype":"F32","shape":[6],"data_offsets":[272,296]},)"
                               R"("V":{"dtype":"F32","shape":[4,6],"data_offsets":[296,392]},)"
                               R"("H":{"dtype":"F16","shape":[3,4],"data_offsets":[392,416]}}   )";
InByOutNames const odd_in_by_out{"W"};

std::string odd_file(bool finite) {
  std::mt19937_64 random(11);
  std::string data(416, '\0');
  for (char& byte : data) byte = static_cast<char>(random() % 256);
  if (finite) {  // no exponent's upper bits: every float of every type is then small, and a fold can take it
    for (char& byte : data) byte = static_cast<char>(byte & 0x2F);
  }
  return file_bytes(odd_header, data);
}

std::string bytes_of_tensor(SafetensorsFile const& file, std::string const& name) {
  TensorDescription const& tensor = *file.header().find(name);
  std::string bytes(tensor.end - tensor.begin, '\0');
  file.read(tensor.begin, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

// The file that a rewrite of odd_file makes.
void write_odd(TemporaryFolder const& folder, std::string const& bytes, FoldOptions const& options,
               std::string const& to) {
  write_bytes(folder / "in", bytes);
  SafetensorsFile const file(folder / "in");
  Graph const g = graph_of(written_graph);
  StoredParameters const stored(file, g, odd_in_by_out);
  FoldedModel const folded = fold_norms(g, find_foldable_norms(g, options), stored.read());
  AtomicFile out(folder / to);
  write_changed(out, stored, folded.graph, folded.parameters);
  out.commit();
}

}  // namespace

TEST_CASE("write_changed: without a change the bytes are those of the file") {
  TemporaryFolder const folder;
  write_bytes(folder / "in", odd_file(false));
  SafetensorsFile const file(folder / "in");
  Graph const g = graph_of(written_graph);
  StoredParameters const stored(file, g, odd_in_by_out);
  SECTION("nothing is read") {
    AtomicFile out(folder / "out");
    write_changed(out, stored, g, {});
    out.commit();
  }
  SECTION("everything goes through the graph's parameters") {
    AtomicFile out(folder / "out");
    write_changed(out, stored, g, stored.read());
    out.commit();
  }
  SECTION("in place") {
    AtomicFile out(folder / "in");
    write_changed(out, stored, g, stored.read());
    out.commit();
    write_bytes(folder / "out", read_bytes(folder / "in"));
  }
  CHECK(read_bytes(folder / "out") == odd_file(false));
}

TEST_CASE("write_changed: a fold changes the tensors that it centers, and no byte of the others") {
  TemporaryFolder const folder;
  write_odd(folder, odd_file(true), {}, "out");
  SafetensorsFile const before(folder / "in"), after(folder / "out");
  CHECK(after.header().text == before.header().text);
  for (TensorDescription const& tensor : before.header().tensors) {
    CAPTURE(tensor.name);
    bool const centered = std::string("ECcV").find(tensor.name) != std::string::npos;
    CHECK((bytes_of_tensor(before, tensor.name) != bytes_of_tensor(after, tensor.name)) == centered);
  }
  // A second fold of what the first has written.
  std::string const once = read_bytes(folder / "out");
  write_odd(folder, once, {}, "again");
  CHECK(read_bytes(folder / "again") == once);
}

TEST_CASE("write_changed: the centered columns are those of the layout") {
  TemporaryFolder const folder;
  write_odd(folder, odd_file(true), {}, "out");
  SafetensorsFile const after(folder / "out");
  std::string const c = bytes_of_tensor(after, "C"), v = bytes_of_tensor(after, "V");
  for (std::size_t entry = 0; entry < 12; ++entry) {  // [out, in, kernel]: each (in, kernel) over out
    double sum = 0, largest = 0;
    for (std::size_t o = 0; o < 4; ++o) {
      Eigen::half value;
      std::memcpy(&value, c.data() + 2 * (o * 12 + entry), 2);
      sum += static_cast<double>(value);
      largest = std::max(largest, std::abs(static_cast<double>(value)));
    }
    CHECK(std::abs(sum) <= 4 * 0x1p-11 * largest);
  }
  for (std::size_t entry = 0; entry < 6; ++entry) {
    double sum = 0, largest = 0;
    for (std::size_t o = 0; o < 4; ++o) {
      float value = 0;
      std::memcpy(&value, v.data() + 4 * (o * 6 + entry), 4);
      sum += static_cast<double>(value);
      largest = std::max(largest, std::abs(static_cast<double>(value)));
    }
    CHECK(std::abs(sum) <= 4 * 0x1p-24 * largest);
  }
}

TEST_CASE("write_changed: tensors that go and come; all others keep name, order, type, shape and bytes") {
  TemporaryFolder const folder;
  FoldOptions options;
  options.affine = true;  // g and b move into W and w
  write_odd(folder, odd_file(true), options, "out");
  SafetensorsFile const before(folder / "in"), after(folder / "out");
  CHECK(after.header().metadata == before.header().metadata);
  CHECK_FALSE(after.header().find("g"));
  CHECK_FALSE(after.header().find("b"));
  std::vector<std::string> expected;
  for (TensorDescription const& tensor : before.header().tensors) {
    if (tensor.name != "g" && tensor.name != "b") expected.push_back(tensor.name);
  }
  std::vector<std::string> names;
  for (TensorDescription const& tensor : after.header().tensors) {
    CAPTURE(tensor.name);
    names.push_back(tensor.name);
    TensorDescription const& old = *before.header().find(tensor.name);
    CHECK(tensor.type == old.type);
    CHECK(tensor.shape == old.shape);
    bool const changed = std::string("ECcVWw").find(tensor.name) != std::string::npos;
    CHECK((bytes_of_tensor(before, tensor.name) != bytes_of_tensor(after, tensor.name)) == changed);
  }
  CHECK(names == expected);
  CHECK(after.header().text.size() % 8 == 0);
}

TEST_CASE("write_changed: new parameters are appended, in PyTorch's layout and their own type") {
  TemporaryFolder const folder;
  Graph const g = graph_of(
      "ids t vocab=5\nembedding e t features=4 table=E\nlayer_norm n e beta=b\nlinear f n out=3 weight=W\n"
      "linear h n out=5 weight=E\nadd_parameter p h value=q\noutput y p\noutput z f\n");
  {
    Parameters p = random_parameters(g, 4, 3);
    p.set("W", Matrix<Eigen::half>(p.as<double>("W").cast<Eigen::half>()));
    p.set("E", Matrix<float>(p.as<double>("E").cast<float>()));
    AtomicFile out(folder / "in");
    write_parameters(out, g, p);
    out.commit();
  }
  SafetensorsFile const file(folder / "in");
  StoredParameters const stored(file, g);
  FoldOptions options;
  options.affine = true;
  options.tied = TiedTables::untie;
  FoldReport const report = find_foldable_norms(g, options);
  FoldedModel const folded = fold_norms(g, report, stored.read());
  AtomicFile out(folder / "out");
  write_changed(out, stored, folded.graph, folded.parameters);
  out.commit();

  SafetensorsFile const written(folder / "out");
  std::vector<std::string> names;
  for (TensorDescription const& tensor : written.header().tensors) names.push_back(tensor.name);
  CHECK(names == std::vector<std::string>{"E", "W", "q", "f.bias", "E.untied", "h.bias"});
  CHECK(written.header().find("f.bias")->type == TensorType::f16);
  CHECK(written.header().find("f.bias")->shape == TensorLayout::Shape{3});
  CHECK(written.header().find("E.untied")->type == TensorType::f32);
  CHECK(written.header().find("E.untied")->shape == TensorLayout::Shape{5, 4});
  // What was written is the folded model: read by its own graph, it is the same parameters.
  CHECK(same_parameters(StoredParameters(written, folded.graph).read(), folded.parameters));
}

TEST_CASE("write_changed: a new parameter does not take the name of a tensor that the graph does not use") {
  TemporaryFolder const folder;
  Graph const used = graph_of("input x features=3\nlinear f x out=3 weight=W bias=f.bias\noutput y f\n");
  Graph const g = graph_of("input x features=3\nlinear f x out=3 weight=W\noutput y f\n");
  {
    AtomicFile out(folder / "in");
    write_parameters(out, used, random_parameters(used, 1, 1));
    out.commit();
  }
  SafetensorsFile const file(folder / "in");
  StoredParameters const stored(file, g);
  AtomicFile out(folder / "out");
  CHECK_THROWS_WITH(write_changed(out, stored, used, random_parameters(used, 1, 1)),
                    Contains("f.bias") && Contains("does not use"));
}

TEST_CASE("write_changed: a value of another type or size than its tensor is refused") {
  TemporaryFolder const folder;
  write_bytes(folder / "in", odd_file(true));
  SafetensorsFile const file(folder / "in");
  Graph const g = graph_of(written_graph);
  StoredParameters const stored(file, g, odd_in_by_out);
  AtomicFile out(folder / "out");
  Parameters p;
  p.set("V", Matrix<double>::Zero(4, 6));
  CHECK_THROWS_WITH(write_changed(out, stored, g, p), Contains("V is 4x6 of F64, its tensor 4x6 of F32"));
  p.set("V", Matrix<float>::Zero(6, 4));
  CHECK_THROWS_WITH(write_changed(out, stored, g, p), Contains("V is 6x4 of F32"));
}

TEMPLATE_TEST_CASE("write_parameters: what is written is read again, bit for bit", "", double, float, Eigen::half,
                   Eigen::bfloat16) {
  TemporaryFolder const folder;
  Graph const g = graph_of(written_graph);
  Parameters const random = random_parameters(g, 4, 3);
  Parameters p;
  for (auto const& [name, value] : random) {
    p.set(name, Matrix<TestType>(random.as<double>(name).template cast<TestType>()));
  }
  AtomicFile out(folder / "f");
  write_parameters(out, g, p);
  out.commit();
  SafetensorsFile const file(folder / "f");
  CHECK(file.header().tensors.front().name == "E");
  CHECK(file.header().find("C")->shape == TensorLayout::Shape{4, 4, 3});
  CHECK_FALSE(file.header().metadata);
  CHECK(same_parameters(StoredParameters(file, g).read(), p));
}

TEST_CASE("write_parameters: a missing parameter, or one of another size") {
  TemporaryFolder const folder;
  Graph const g = graph_of("input x features=3\nlinear f x out=2 weight=W bias=b\noutput y f\n");
  AtomicFile out(folder / "f");
  Parameters p = random_parameters(g, 1, 1);
  p.set("b", Matrix<double>::Zero(3, 1));
  CHECK_THROWS_WITH(write_parameters(out, g, p), Contains("b is 3x1, expected 2x1"));
  p.erase("b");
  CHECK_THROWS_WITH(write_parameters(out, g, p), Contains("'b'"));
}

TEST_CASE("write_parameters: a parameter named as the format names its metadata") {
  TemporaryFolder const folder;
  Graph const g = graph_of("input x features=3\nlinear f x out=2 weight=__metadata__\noutput y f\n");
  AtomicFile out(folder / "f");
  CHECK_THROWS_AS(write_parameters(out, g, random_parameters(g, 1, 1)), std::invalid_argument);
}

TEST_CASE("header_text: what it writes is read as the same, names of any kind among them") {
  std::vector<TensorDescription> tensors{{"a\"\\\n\x01", TensorType::u8, {3, 1}, 0, 3},
                                         {"é", TensorType::f8_e5m2, {}, 3, 4},
                                         {"", TensorType::f4, {2, 5}, 4, 9}};
  SafetensorsHeader::Metadata const metadata{{"z", "1"}, {"a", "\"quoted\""}};
  SafetensorsHeader const header = read_header(header_text(metadata, tensors), 9, "f");
  CHECK(header.tensors == tensors);
  CHECK(header.metadata == metadata);
  CHECK(header.text.size() % 8 == 0);
  CHECK(header_text(std::nullopt, {}) == "{}      ");
}
