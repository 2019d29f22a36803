// SPDX-License-Identifier: MIT
// tests/safetensors/hostile_files_test.cpp -- what no safetensors file may be, each refused with its reason.
#include <foldnorm/safetensors/safetensors_file.hpp>

#include "graph/matchers.hpp"
#include "safetensors/safetensors_testing.hpp"

#include "catch.hpp"

#include <cstdint>
#include <limits>
#include <random>
#include <string>

using namespace foldnorm;
using namespace foldnorm::testing;
using foldnorm::testing::Contains;

namespace {

// A file of one tensor of 8 bytes, with these fields.
std::string one_tensor(std::string const& fields) { return file_bytes(R"({"a":{)" + fields + "}}", "12345678"); }
std::string with_shape(std::string const& shape) {
  return one_tensor(R"("dtype":"F32","shape":)" + shape + R"(,"data_offsets":[0,8])");
}
std::string with_offsets(std::string const& offsets) {
  return one_tensor(R"("dtype":"F32","shape":[2],"data_offsets":)" + offsets);
}
std::string two_tensors(std::string const& first, std::string const& second, std::size_t bytes) {
  auto const entry = [](std::string const& name, std::string const& offsets) {
    return '"' + name + R"(":{"dtype":"U8","shape":[4],"data_offsets":)" + offsets + '}';
  };
  return file_bytes('{' + entry("a", first) + ',' + entry("b", second) + '}', std::string(bytes, 'x'));
}
std::string const good_file = one_tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])");

}  // namespace

TEST_CASE("hostile safetensors: the file that all of them differ from is a good one") {
  CHECK(complaint(good_file).empty());
  CHECK(complaint(file_bytes("{}")).empty());
  CHECK(complaint(two_tensors("[0,4]", "[4,8]", 8)).empty());
}

TEST_CASE("hostile safetensors: cut anywhere, a file says so") {
  for (std::size_t length = 0; length < good_file.size(); ++length) {
    CAPTURE(length);
    CHECK_FALSE(complaint(good_file.substr(0, length)).empty());
  }
  CHECK_THAT(complaint(""), Contains("0 bytes"));
  CHECK_THAT(complaint("1234567"), Contains("7 bytes"));
  CHECK_THAT(complaint(good_file + "x"), Contains("bytes 8:9 of the data belong to no tensor"));
}

TEST_CASE("hostile safetensors: the header's length") {
  CHECK_THAT(complaint(length_bytes(3) + "{}"), Contains("header of 3 bytes in a file of 10"));
  CHECK_THAT(complaint(length_bytes(100'000'001) + "{}"), Contains("100000001 bytes, expected at most 100000000"));
  for (std::uint64_t const length : {std::numeric_limits<std::uint64_t>::max(), std::uint64_t{1} << 63,
                                     std::numeric_limits<std::uint64_t>::max() - 7}) {
    CHECK_THAT(complaint(length_bytes(length) + "{}"), Contains("expected at most"));
  }
}

TEST_CASE("hostile safetensors: the header is one JSON object, in UTF-8") {
  for (char const* const text : {"", "[]", "1", "null", "\"a\"", " {}", "\xEF\xBB\xBF{}"}) {
    CAPTURE(text);
    CHECK_THAT(complaint(file_bytes(text)), Contains("expected a JSON object"));
  }
  for (char const* const text : {"{", "{}}", "{} x", "{\"a\"", "{\"a\":", "{'a':1}", "{\"a\":{}", "{,}"}) {
    CAPTURE(text);
    CHECK_THAT(complaint(file_bytes(text)), Contains("header: "));
  }
  CHECK_THAT(complaint(file_bytes(std::string("{}\0 junk", 8))), Contains("a zero byte"));
  CHECK_THAT(complaint(file_bytes("{\"a\xFF\":{}}")), Contains("is not UTF-8"));
  CHECK_THAT(complaint(file_bytes("{\"__metadata__\":{\"k\":\"\xC0\xAF\"}}")), Contains("is not UTF-8"));
  CHECK_THAT(complaint(file_bytes("{\"a\xED\xA0\x80\":{}}")), Contains("is not UTF-8"));  // half of a surrogate pair
  CHECK(complaint(file_bytes("{}      ")).empty());                                       // padding
}

TEST_CASE("hostile safetensors: a tensor's fields") {
  CHECK_THAT(complaint(one_tensor("")), Contains("\"a\" lacks its dtype"));
  CHECK_THAT(complaint(one_tensor(R"("dtype":"F32","data_offsets":[0,8])")), Contains("lacks its shape"));
  CHECK_THAT(complaint(one_tensor(R"("dtype":"F32","shape":[2])")), Contains("lacks its data_offsets"));
  CHECK_THAT(complaint(one_tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1)")), Contains("key \"x\""));
  CHECK_THAT(complaint(one_tensor(R"("dtype":"f32","shape":[2],"data_offsets":[0,8])")), Contains("dtype \"f32\""));
  CHECK_THAT(complaint(one_tensor(R"("dtype":7,"shape":[2],"data_offsets":[0,8])")), Contains("a number"));
  CHECK_THAT(complaint(one_tensor(R"("dtype":null,"shape":[2],"data_offsets":[0,8])")), Contains("null"));
  CHECK_THAT(complaint(one_tensor(R"("dtype":["F32"],"shape":[2],"data_offsets":[0,8])")), Contains("a list"));
  CHECK_THAT(complaint(file_bytes(R"({"a":1})")), Contains("a number"));
  CHECK_THAT(complaint(file_bytes(R"({"a":[]})")), Contains("a list"));
}

TEST_CASE("hostile safetensors: shapes that are negative, broken, overflow or disagree with the bytes") {
  CHECK_THAT(complaint(with_shape("[-2]")), Contains("negative number -2"));
  CHECK_THAT(complaint(with_shape("[2.0]")), Contains("no integer"));
  CHECK_THAT(complaint(with_shape("[18446744073709551616]")), Contains("too large"));
  CHECK_THAT(complaint(with_shape("2")), Contains("a number"));
  CHECK_THAT(complaint(with_shape("[[2]]")), Contains("a list"));
  CHECK_THAT(complaint(with_shape("[\"2\"]")), Contains("a string"));
  CHECK_THAT(complaint(with_shape("{}")), Contains("an object"));
  CHECK_THAT(complaint(with_shape("[3]")), Contains("3 of F32 takes 12 bytes"));
  CHECK_THAT(complaint(with_shape("[]")), Contains("scalar of F32 takes 4 bytes"));
  CHECK_THAT(complaint(with_shape("[0]")), Contains("takes 0 bytes"));
  // In 64 bits 2^62 * 8 elements are none, and 2^62 + 2 of four bytes are the very 8 that are there.
  CHECK_THAT(complaint(with_shape("[4611686018427387904,8]")), Contains("no number of bytes"));
  CHECK_THAT(complaint(with_shape("[4611686018427387906]")), Contains("no number of bytes"));
  CHECK_THAT(complaint(with_shape("[18446744073709551615,18446744073709551615]")), Contains("no number of bytes"));
  std::string many = "[1";
  for (int i = 0; i < 70; ++i) many += ",1";
  CHECK_THAT(complaint(with_shape(many + "]")), Contains("more than 64 dimensions"));
  CHECK_THAT(complaint(one_tensor(R"("dtype":"F4","shape":[3],"data_offsets":[0,8])")), Contains("no number of bytes"));
}

TEST_CASE("hostile safetensors: offsets out of range, in the wrong order, overlapping, with holes") {
  CHECK_THAT(complaint(with_offsets("[0,9]")), Contains("outside of the file's 8 bytes"));
  CHECK_THAT(complaint(with_offsets("[8,0]")), Contains("outside"));
  CHECK_THAT(complaint(with_offsets("[18446744073709551608,18446744073709551615]")), Contains("outside"));
  CHECK_THAT(complaint(with_offsets("[-8,0]")), Contains("negative number -8"));
  CHECK_THAT(complaint(with_offsets("[0]")), Contains("1 data_offsets, expected 2"));
  CHECK_THAT(complaint(with_offsets("[]")), Contains("0 data_offsets"));
  CHECK_THAT(complaint(with_offsets("[0,8,8]")), Contains("more than 2 data_offsets"));
  CHECK_THAT(complaint(with_offsets("[0,8.5]")), Contains("no integer"));
  CHECK_THAT(complaint(two_tensors("[0,4]", "[3,7]", 7)), Contains("\"b\" (bytes 3:7) overlaps"));
  CHECK_THAT(complaint(two_tensors("[0,4]", "[0,4]", 4)), Contains("overlaps"));
  CHECK_THAT(complaint(two_tensors("[0,4]", "[5,9]", 9)), Contains("bytes 4:5 of the data belong to no tensor"));
  CHECK_THAT(complaint(two_tensors("[1,5]", "[5,9]", 9)), Contains("bytes 0:1 of the data belong to no tensor"));
  CHECK_THAT(complaint(two_tensors("[0,4]", "[4,8]", 9)), Contains("bytes 8:9 of the data belong to no tensor"));
}

TEST_CASE("hostile safetensors: nothing may be there twice") {
  std::string const entry = R"({"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  CHECK_THAT(complaint(file_bytes(R"({"a":)" + entry + R"(,"a":)" + entry + '}')), Contains("\"a\" is there twice"));
  CHECK_THAT(complaint(file_bytes(R"({"a":)" + entry + R"(,"\u0061":)" + entry + '}')), Contains("is there twice"));
  CHECK_THAT(complaint(file_bytes(R"({"__metadata__":{},"__metadata__":{}})")), Contains("is there twice"));
  CHECK_THAT(complaint(file_bytes(R"({"__metadata__":{"k":"1","k":"2"}})")), Contains("\"k\" is there twice"));
  CHECK_THAT(complaint(one_tensor(R"("dtype":"F32","dtype":"F32")")), Contains("dtype is there twice"));
  CHECK_THAT(complaint(one_tensor(R"("shape":[2],"shape":[2])")), Contains("shape is there twice"));
  CHECK_THAT(complaint(one_tensor(R"("data_offsets":[0,8],"data_offsets":[0,8])")), Contains("is there twice"));
}

TEST_CASE("hostile safetensors: metadata are texts") {
  CHECK(complaint(file_bytes(R"({"__metadata__":{}})")).empty());
  for (char const* const text : {R"({"__metadata__":{"k":1}})", R"({"__metadata__":{"k":{}}})",
                                 R"({"__metadata__":{"k":["x"]}})", R"({"__metadata__":{"k":null}})",
                                 R"({"__metadata__":"x"})", R"({"__metadata__":[]})", R"({"__metadata__":true})"}) {
    CAPTURE(text);
    CHECK_THAT(complaint(file_bytes(text)), Contains("__metadata__: ") && Contains("not expected here"));
  }
}

TEST_CASE("hostile safetensors: nesting ends the parsing where it begins to be too deep") {
  std::string const deep(10'000'000, '[');
  CHECK_THAT(complaint(with_shape(deep)), Contains("a list is not expected here"));
  std::string objects;
  for (int i = 0; i < 1'000'000; ++i) objects += "{\"a\":";
  CHECK_THAT(complaint(file_bytes(objects)), Contains("header: "));
}

TEST_CASE("hostile safetensors: names in messages are short and printable") {
  std::string const text = complaint(file_bytes("{\"" + std::string(1'000'000, 'a') + "\":{}}"));
  CHECK(text.size() < 200);
  CHECK_THAT(complaint(file_bytes("{\"a\\u001b[31m\":{}}")), Contains("\\u001b"));
  CHECK_THAT(complaint(file_bytes("{\"" + std::string(79, 'a') + "\xC3\xA9\":{}}")),
             Contains("aaa") && Contains("..."));
}

TEST_CASE("hostile safetensors: what is no file") {
  TemporaryFolder const folder;
  CHECK_THROWS_WITH(SafetensorsFile(folder / "nothing"), Contains("nothing: cannot be opened: No such file"));
  CHECK_THROWS_WITH(SafetensorsFile(folder / ""), Contains("is not a regular file"));
}

TEST_CASE("hostile safetensors: a file that has become shorter since it was opened") {
  TemporaryFolder const folder;
  write_bytes(folder / "f", good_file);
  SafetensorsFile const file(folder / "f");
  std::string data(8, '\0');
  file.read(0, std::as_writable_bytes(std::span(data)));
  CHECK(data == "12345678");
  std::filesystem::resize_file(folder / "f", good_file.size() - 1);
  CHECK_THROWS_WITH(file.read(0, std::as_writable_bytes(std::span(data))), Contains("cannot be read: 8 bytes"));
}

TEST_CASE("hostile safetensors: headers changed at random are refused or read, never worse") {
  std::string const header =
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]},)"
      R"("b":{"dtype":"I64","shape":[1],"data_offsets":[8,16]}})";
  constexpr std::uint64_t seed = 20261127;
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  int refused = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string changed = header;
    for (int change = 0; change <= round % 3; ++change) {
      changed[random() % changed.size()] = static_cast<char>(random() % 256);
    }
    CAPTURE(round, changed);
    try {
      SafetensorsHeader const read = read_header(changed, 16, "f");
      REQUIRE(read.text == changed);
    } catch (safetensors_error const&) {
      ++refused;
    }
  }
  CHECK(refused > 10'000);  // some change a name only
}
