// SPDX-License-Identifier: MIT
// tests/fuzz/graph_text_fuzzer.cpp -- any text as a layer graph: an error with its line, or a graph that prints as
// itself, whose norms are judged under all options, and whose fold computes what it did.
#include "fuzz/fuzzing.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

#include "graph/fuzz_support.hpp"

namespace {

using namespace fuzz;
using foldnorm::FoldMode;
using foldnorm::FoldOptions;
using foldnorm::PlacementCosts;
using foldnorm::TiedTables;

void check_printing(Graph const& graph) {
  std::string const printed = text(graph);
  std::istringstream in(printed);
  Graph const again = foldnorm::read_graph(in, "printed");
  promise(again == graph, "a printed graph reads as another one");
  promise(text(again) == printed, "a graph that was read prints otherwise");
}

std::vector<FoldOptions> all_options() {
  FoldOptions affine, untied, corrected, training;
  affine.affine = true;
  untied.tied = TiedTables::untie;
  corrected.tied = TiedTables::correct;
  corrected.insert_centering = PlacementCosts();
  training.mode = FoldMode::training;
  return {{}, affine, untied, corrected, training};
}

// Small enough, and with numbers moderate enough, to be run both ways and compared.
bool is_comparable(Graph const& graph) {
  constexpr Index most_features = 32;
  for (Node const& node : graph.nodes()) {
    if (node.op == Operator::opaque || node.features > most_features) return false;
    if (node.op == Operator::ids && node.count(Key::vocab) > most_features) return false;
    if (node.op == Operator::scale && !(std::abs(node.number(Key::by)) <= 8 && std::abs(node.number(Key::by)) >= 0.1))
      return false;
    bool const is_norm = node.op == Operator::layer_norm || node.op == Operator::rms_norm;
    if (is_norm && node.number(Key::eps) < 1e-6) return false;
  }
  return std::ranges::all_of(graph.parameters(), [](auto const& p) { return p.rows * p.columns <= 4096; });
}

void check_folds(Graph const& graph, FoldOptions const& options) {
  constexpr Index tokens = 4;
  auto const report = foldnorm::find_foldable_norms(graph, options);
  promise(!text(report).empty() || report.norms.empty(), "a report without a word");
  if (report.folds() == 0 || !is_comparable(graph)) return;
  try {
    foldnorm::token_counts(graph, tokens);
  } catch (std::invalid_argument const&) {
    return;  // token counts that do not fit
  }
  auto const parameters = foldnorm::random_parameters(graph, tokens, 1);
  auto const values = foldnorm::evaluate_nodes(graph, parameters, foldnorm::random_inputs(graph, tokens, 1));
  // Beyond, rounding is all that would be compared.
  if (!std::ranges::all_of(values, [](auto const& value) { return largest(value) < 1e4; })) return;
  bool const training = options.mode == FoldMode::training;
  promise(judge(graph, report, parameters, tokens, training, 1) != Outcome::different, "a fold changes the function");
}

// --- mutation: words for words, lines for lines
// ----------------------------------------------------------------------

std::vector<std::string> lines_of(std::string_view whole) {
  std::vector<std::string> lines;
  std::istringstream in{std::string(whole)};
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::string random_word(std::vector<std::string> const& lines, Random& random) {
  switch (random.below(5)) {
    case 0:
      return std::string(random.pick(foldnorm::operator_rows).word);
    case 1:
      return std::string(random.pick(foldnorm::key_rows).word) + "=" + std::to_string(random.below(9));
    case 2:
      return std::string(random.pick(foldnorm::key_rows).word) + "=p" + std::to_string(random.below(9));
    default: {
      auto const words = foldnorm::detail::split_words(random.pick(lines));
      return words.empty() ? "x" : std::string(random.pick(words));
    }
  }
}

void change_line(std::vector<std::string>& lines, Random& random) {
  auto const place = lines.begin() + static_cast<std::ptrdiff_t>(random.below(static_cast<Index>(lines.size())));
  switch (random.below(6)) {
    case 0:
      lines.erase(place);
      return;
    case 1:
      lines.insert(place, random.pick(std::vector<std::string>(lines)));
      return;
    case 2:
      std::swap(*place, lines[static_cast<std::size_t>(random.below(static_cast<Index>(lines.size())))]);
      return;
    default: {
      auto const parts = foldnorm::detail::split_words(*place);
      std::vector<std::string> words(parts.begin(), parts.end());
      auto const at = random.below(static_cast<Index>(words.size()) + 1);
      std::string const word = random_word(lines, random);
      if (at == static_cast<Index>(words.size()) || random.chance(0.2)) {
        words.insert(words.begin() + at, word);
      } else {
        words[static_cast<std::size_t>(at)] = word;
      }
      place->clear();
      for (std::string const& each : words) *place += (place->empty() ? "" : " ") + each;
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  std::istringstream in{std::string(as_text(data, size))};
  Graph graph;
  try {
    graph = foldnorm::read_graph(in, "fuzzed");
  } catch (foldnorm::parse_error const& error) {
    promise(std::string_view(error.what()).starts_with("fuzzed:"), "a message without the file's name");
    return 0;
  }
  check_printing(graph);
  if (graph.nodes().size() > 60) return 0;
  for (FoldOptions const& options : all_options()) check_folds(graph, options);
  return 0;
}

// A graph of the random generator now and then; else lines and words are changed, or bytes.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
  Random random(seed);
  auto lines = lines_of(as_text(data, size));
  if (lines.empty() || random.chance(0.01)) return give(text(random_graph(random.seed()).graph), data, most);
  if (random.chance(0.1)) return LLVMFuzzerMutate(data, size, most);
  for (Index changes = random.between(1, 4); changes > 0 && !lines.empty(); --changes) change_line(lines, random);
  std::string changed;
  for (std::string const& line : lines) changed += line + '\n';
  return give(changed, data, most);
}
