// SPDX-License-Identifier: MIT
// tests/safetensors/stored_parameters_test.cpp -- tensors as a graph's parameters: found, checked, and the right way
// round.
#include <foldnorm/safetensors/stored_parameters.hpp>

#include "graph/graph_testing.hpp"
#include "graph/matchers.hpp"
#include "safetensors/safetensors_testing.hpp"

#include "catch.hpp"

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

using namespace foldnorm;
using namespace foldnorm::testing;
using foldnorm::testing::Contains;

namespace {

// 1, 2, 3, ...: exact in every type up to 256.
template <class Scalar>
std::vector<Scalar> counted(std::size_t count) {
  std::vector<Scalar> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<Scalar>(static_cast<float>(i + 1));
  return values;
}

// A file of tensors that each hold 1, 2, 3, ...
template <class Scalar>
std::string counted_file(std::vector<std::pair<std::string, TensorLayout::Shape>> const& tensors) {
  std::vector<TensorDescription> entries;
  std::string data;
  for (auto const& [name, shape] : tensors) {
    std::size_t size = 1;
    for (std::uint64_t const length : shape) size *= length;
    std::uint64_t const begin = data.size();
    data += data_bytes(counted<Scalar>(size));
    entries.push_back({name, tensor_type_of<Scalar>(), shape, begin, data.size()});
  }
  return file_bytes(header_text(std::nullopt, entries), data);
}

std::string complaint_about(std::string const& bytes, Graph const& g, InByOutNames const& in_by_out = {}) {
  TemporaryFolder const folder;
  write_bytes(folder / "f", bytes);
  SafetensorsFile const file(folder / "f");
  try {
    StoredParameters const stored(file, g, in_by_out);
  } catch (std::exception const& error) {
    return error.what();
  }
  return {};
}

char const* const stored_linear = "input x features=3\nlinear f x out=2 weight=W bias=b\noutput y f\n";

}  // namespace

TEMPLATE_TEST_CASE("stored_parameters: a Linear of PyTorch, whose rows are outputs", "", double, float, Eigen::half,
                   Eigen::bfloat16) {
  TemporaryFolder const folder;
  write_bytes(folder / "f", counted_file<TestType>({{"W", {2, 3}}, {"b", {2}}}));
  SafetensorsFile const file(folder / "f");
  Graph const g = graph_of(stored_linear);
  Parameters const p = StoredParameters(file, g).read();
  Matrix<double> expected(2, 3);
  expected << 1, 2, 3, 4, 5, 6;
  CHECK(std::holds_alternative<Matrix<TestType>>(p.at("W")));
  CHECK(p.as<double>("W") == expected);
  CHECK(p.as<double>("b") == Vector<double>{{1, 2}});
}

TEST_CASE("stored_parameters: a Conv1D of GPT-2, whose rows are inputs") {
  TemporaryFolder const folder;
  write_bytes(folder / "f", counted_file<float>({{"W", {3, 2}}, {"b", {2}}}));
  SafetensorsFile const file(folder / "f");
  Graph const g = graph_of(stored_linear);
  Parameters const p = StoredParameters(file, g, {"W"}).read();
  Matrix<double> expected(2, 3);
  expected << 1, 3, 5, 2, 4, 6;
  CHECK(p.as<double>("W") == expected);
}

TEST_CASE("stored_parameters: tables and positions are one token after the other") {
  TemporaryFolder const folder;
  write_bytes(folder / "f", counted_file<float>({{"E", {4, 3}}, {"P", {1, 2, 3}}}));
  SafetensorsFile const file(folder / "f");
  Graph const g = graph_of(
      "ids t vocab=4\nembedding e t features=3 table=E\nadd_parameter p e value=P per_token=1\n"
      "linear h p out=4 weight=E\noutput y h\n");
  Parameters const p = StoredParameters(file, g).read();
  CHECK(p.as<double>("E").col(2) == Vector<double>{{7, 8, 9}});
  CHECK(p.as<double>("P").col(1) == Vector<double>{{4, 5, 6}});
}

TEST_CASE("stored_parameters: a convolution computes what its tensor's definition says") {
  // y[o, j] = sum over c, t of weight[o, c, t] x[c, j + t - 1], groups apart.
  constexpr Index in = 4, out = 6, groups = 2, tokens = 5;
  TemporaryFolder const folder;
  write_bytes(folder / "f", counted_file<double>({{"C", {6, 2, 3}}}));
  SafetensorsFile const file(folder / "f");
  Graph const g = graph_of("input x features=4\nconv c x out=6 kernel=3 groups=2 weight=C\noutput y c\n");
  NamedValues const inputs = random_inputs(g, tokens, 3);
  Matrix<double> const x = inputs.at("x");
  Matrix<double> expected = Matrix<double>::Zero(out, tokens);
  for (Index o = 0; o < out; ++o) {
    for (Index c = 0; c < in / groups; ++c) {
      for (Index t = 0; t < 3; ++t) {
        for (Index j = 0; j < tokens; ++j) {
          Index const from = j + t - 1, channel = o / (out / groups) * (in / groups) + c;
          auto const weight = static_cast<double>((o * 2 + c) * 3 + t + 1);
          if (from >= 0 && from < tokens) expected(o, j) += weight * x(channel, from);
        }
      }
    }
  }
  Matrix<double> const y = evaluate(g, StoredParameters(file, g).read(), inputs).at("y");
  // Sums of 6 products of up to 36 * sqrt(3), in another order.
  CHECK((y - expected).cwiseAbs().maxCoeff() <= 6 * 6 * 36 * 2 * 0x1p-53);
}

TEST_CASE("stored_parameters: a tensor larger than a chunk, and one whose single row is") {
  bool const one_row = GENERATE(false, true);
  Index const rows = one_row ? 2 : 1700, columns = one_row ? 300'000 : 321;
  std::vector<float> values(static_cast<std::size_t>(rows * columns));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  TemporaryFolder const folder;
  TensorDescription const entry{"W",
                                TensorType::f32,
                                {static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(columns)},
                                0,
                                values.size() * sizeof(float)};
  write_bytes(folder / "f", file_bytes(header_text(std::nullopt, std::vector{entry}), data_bytes(values)));
  SafetensorsFile const file(folder / "f");
  Graph g;
  g.output("y", g.linear("f", g.input("x", columns), rows, "W"));
  Matrix<float> const w = StoredParameters(file, g).read().get<float>("W");
  CHECK(w == Eigen::Map<foldnorm::detail::Rows<float> const>(values.data(), rows, columns));
}

TEST_CASE("stored_parameters: what does not fit names the parameter and both shapes") {
  Graph const g = graph_of(stored_linear);
  CHECK(complaint_about(counted_file<float>({{"W", {2, 3}}, {"b", {2}}, {"other", {7}}}), g).empty());
  CHECK_THAT(complaint_about(counted_file<float>({{"W", {2, 3}}}), g),
             Contains("f: parameter b is not in the file, expected 2"));
  CHECK_THAT(complaint_about(counted_file<float>({{"W", {3, 2}}, {"b", {2}}}), g),
             Contains("parameter W is 3x2 of F32, expected 2x3"));
  CHECK_THAT(complaint_about(counted_file<float>({{"W", {2, 3}}, {"b", {2}}}), g, {"W"}),
             Contains("parameter W is 2x3 of F32, expected 3x2"));
  CHECK_THAT(complaint_about(counted_file<float>({{"W", {2, 3}}, {"b", {3}}}), g),
             Contains("parameter b is 3 of F32, expected 2"));
  CHECK_THAT(complaint_about(counted_file<float>({{"W", {2, 3}}, {"b", {2}}}), g, {"w"}), Contains("w is no weight"));
  std::string const integers = file_bytes(R"({"W":{"dtype":"I32","shape":[2,3],"data_offsets":[0,24]},)"
                                          R"("b":{"dtype":"F32","shape":[2],"data_offsets":[24,32]}})",
                                          std::string(32, 'x'));
  CHECK_THAT(complaint_about(integers, g), Contains("W is 2x3 of I32, expected 2x3 of F64, F32, F16 or BF16"));
}

TEST_CASE("stored_parameters: only what is asked for is read") {
  TemporaryFolder const folder;
  write_bytes(folder / "f", counted_file<float>({{"W", {2, 3}}, {"b", {2}}}));
  SafetensorsFile const file(folder / "f");
  Graph const g = graph_of(stored_linear);
  Parameters const p = StoredParameters(file, g).read({"b", "nobody's"});
  CHECK(p.size() == 1);
  CHECK(p.contains("b"));
}
