// SPDX-License-Identifier: MIT
// tests/fuzz/onnx_fuzzer.cpp -- any bytes as an ONNX model: an error with the file's name, or a report, and a folded
// model that can be read and folded again.
#include <foldnorm/graph/random_values.hpp>
#include <foldnorm/onnx/fold_model.hpp>
#include <foldnorm/onnx/report.hpp>
#include <foldnorm/onnx/write_model.hpp>

#include <sstream>
#include <string>
#include <string_view>

#include "files/file_testing.hpp"
#include "fuzz/fuzzing.hpp"
#include "fuzz/model_mutations.hpp"
#include "onnx/onnx_testing.hpp"

namespace {

using namespace foldnorm;
using fuzz::promise;

std::filesystem::path const& path() {
  static testing::TemporaryFolder const folder;
  static std::filesystem::path const file = folder / "fuzzed.onnx";
  return file;
}

// Empty if the bytes were refused.
std::string folded_bytes(std::string const& bytes, OnnxFoldOptions const& options) {
  testing::write_bytes(path(), bytes);
  try {
    OnnxFile const file(path());
    FoldedOnnx const folded = fold_onnx_model(file, options);
    std::ostringstream report;
    print_report(report, file, folded);
    promise(!report.str().empty(), "a report without a word");
    promise(folded.norms() >= folded.folds(), "more folds than norms");
    return folded.changes() ? folded.model.SerializeAsString() : bytes;
  } catch (onnx_error const& error) {
    promise(std::string_view(error.what()).starts_with(path().string() + ": "), "a message without the file's name");
  }
  return {};
}

// What the project itself writes, or one of the forms in which others write a norm.
::onnx::ModelProto good_model(fuzz::Random& random) {
  if (random.chance(0.5)) {
    auto const sample = fuzz::random_graph(random.seed());
    return onnx_model(sample.graph, random_parameters(sample.graph, sample.tokens, 1), {.tokens = sample.tokens});
  }
  testing::ModelBuilder b(random.between(9, 20));
  std::string h = b.linear(b.input("x", {-1, 4, 6}), 6, 8);
  if (random.chance(0.5)) h = b.node("Add", {h, b.node("Relu", {h})});
  h = random.chance(0.5) ? b.layer_norm(h, 8) : b.written_out(h, 8);
  if (random.chance(0.5)) h = b.node("Transpose", {h}, {}, {{"perm", {1, 0, 2}}});
  if (random.chance(0.5)) h = b.node("Reshape", {h, b.integers("to", {-1, 8})});
  b.output(b.linear(h, 8, 6));
  return b.model;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  std::string const bytes(fuzz::as_text(data, size));
  OnnxFoldOptions all;
  all.affine = all.insert_centering = true;
  all.tied = TiedTables::correct;
  all.target = OnnxTarget::onnxruntime;
  for (OnnxFoldOptions const& options : {OnnxFoldOptions(), all}) {
    std::string const folded = folded_bytes(bytes, options);
    promise(folded.empty() || !folded_bytes(folded, options).empty(), "a folded model is refused");
  }
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
  fuzz::Random random(seed);
  ::onnx::ModelProto model;
  google::protobuf::LogSilencer const quiet;
  bool const is_model = size > 0 && model.ParseFromArray(data, static_cast<int>(size));
  if (!is_model || random.chance(0.01)) return fuzz::give(good_model(random).SerializeAsString(), data, most);
  if (random.chance(0.1)) return LLVMFuzzerMutate(data, size, most);
  fuzz::ModelMutation mutation(model, random);
  for (Index changes = random.between(1, 3); changes > 0; --changes) mutation.change_something();
  return fuzz::give(model.SerializeAsString(), data, most);
}
