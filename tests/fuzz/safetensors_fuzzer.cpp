// SPDX-License-Identifier: MIT
// tests/fuzz/safetensors_fuzzer.cpp -- any bytes as a safetensors file: an error with the file's name, or tensors that
// can be read, of a graph's sizes or refused, and a file that is written again as it was.
#include <foldnorm/graph/random_values.hpp>
#include <foldnorm/safetensors/write_parameters.hpp>

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "files/file_testing.hpp"
#include "fuzz/fuzzing.hpp"
#include "graph/random_graph.hpp"
#include "safetensors/safetensors_testing.hpp"

namespace {

using namespace foldnorm;
using fuzz::promise;

// Every layout that a parameter can have.
Graph network() {
  Graph g;
  NodeId const x = g.embedding("tokens", g.ids("i", 5), 4, "table");
  NodeId const placed = g.add_token_parameter("placed", x, "places");
  NodeId const mixed = g.conv("mixed", placed, 4, 3, "kernel", "bias");
  NodeId const normed = g.layer_norm("norm", mixed, "gamma", "beta");
  g.output("y", g.linear("head", normed, 3, "W"));
  return g;
}

testing::TemporaryFolder const& folder() {
  static testing::TemporaryFolder const one;
  return one;
}

std::string good_file() {
  Graph const graph = network();
  AtomicFile out(folder() / "good.safetensors");
  write_parameters(out, graph, random_parameters(graph, 6, 1));
  out.commit();
  return testing::read_bytes(folder() / "good.safetensors");
}

void read_all(SafetensorsFile const& file) {
  for (TensorDescription const& tensor : file.header().tensors) {
    std::vector<std::byte> bytes(tensor.end - tensor.begin);
    file.read(tensor.begin, bytes);
    promise(file.header().find(tensor.name) == &tensor, "a tensor is not found by its name");
  }
}

void write_again(SafetensorsFile const& file, Graph const& graph, std::string_view original) {
  StoredParameters const stored(file, graph);
  Parameters const parameters = stored.read();
  AtomicFile out(folder() / "again.safetensors");
  write_changed(out, stored, graph, parameters);
  out.commit();
  promise(testing::read_bytes(folder() / "again.safetensors") == original,
          "a file without changes is written otherwise");
}

std::string with_header(std::string_view file, std::string const& header) {
  std::uint64_t old_size = 0;
  std::memcpy(&old_size, file.data(), sizeof old_size);
  return testing::file_bytes(header, std::string(file.substr(sizeof old_size + old_size)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  static Graph const graph = network();
  auto const path = folder() / "fuzzed.safetensors";
  testing::write_bytes(path, std::string(fuzz::as_text(data, size)));
  try {
    SafetensorsFile const file(path);
    read_all(file);
    write_again(file, graph, fuzz::as_text(data, size));
  } catch (safetensors_error const& error) {
    promise(std::string_view(error.what()).starts_with(path.string() + ": "), "a message without the file's name");
  }
  return 0;
}

// Changes the header's text and keeps its length right; or the bytes of all.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
  fuzz::Random random(seed);
  std::uint64_t header_size = 0;
  if (size >= sizeof header_size) std::memcpy(&header_size, data, sizeof header_size);
  bool const has_header = size >= sizeof header_size && header_size <= size - sizeof header_size;
  if (!has_header || random.chance(0.01)) return fuzz::give(good_file(), data, most);
  if (random.chance(0.2)) return LLVMFuzzerMutate(data, size, most);
  std::string header(fuzz::as_text(data, size).substr(sizeof header_size, header_size));
  if (random.chance(0.5)) {  // another number
    std::size_t const place = header.find_first_of("0123456789", static_cast<std::size_t>(random.below(200)));
    if (place != std::string::npos) header[place] = static_cast<char>('0' + random.below(10));
  } else {
    header.resize(header_size + 16);
    auto* const text = reinterpret_cast<std::uint8_t*>(header.data());
    header.resize(LLVMFuzzerMutate(text, header_size, header.size()));
  }
  return fuzz::give(with_header(fuzz::as_text(data, size), header), data, most);
}
