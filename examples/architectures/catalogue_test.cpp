// SPDX-License-Identifier: MIT
// architectures/catalogue_test.cpp -- the counts of docs/architectures.md, and that folding changes no output.
#include "architectures/catalogue.hpp"

#include "catch.hpp"
#include "graph/graph_testing.hpp"

#include <foldnorm/graph/find_foldable_norms.hpp>
#include <foldnorm/graph/fold_norms.hpp>

#include <map>
#include <string>

using namespace foldnorm;
using architectures::Architecture;
using architectures::Scale;

namespace {

struct ExpectedCounts {
  std::size_t norms, folds, insertions, folds_with_insertions;
};

// Of the specification's table (architectures under strict exactness), and of the models beside it.
std::map<std::string, ExpectedCounts> const& expected_counts() {
  static std::map<std::string, ExpectedCounts> const counts{
      {"GPT-2 small", {25, 25, 0, 25}},
      {"OPT-125m", {25, 25, 0, 25}},
      {"OPT-350m", {48, 0, 0, 0}},
      {"Phi-1.5", {25, 25, 0, 25}},
      {"Phi-2", {33, 33, 0, 33}},
      {"BLOOM-560m", {50, 1, 1, 50}},
      {"ViT-Tiny/16", {25, 25, 0, 25}},
      {"ViT-B/16", {25, 25, 0, 25}},
      {"DeiT-B distilled", {25, 25, 0, 25}},
      {"DINOv2-B/14", {25, 25, 0, 25}},
      {"CLIP ViT-B/32 vision", {26, 1, 1, 26}},
      {"CLIP ViT-B/32 text", {25, 25, 0, 25}},
      {"BERT-base", {26, 1, 0, 1}},
      {"Transformer base", {30, 0, 0, 0}},
      {"Swin-T", {29, 6, 0, 6}},
      {"Swin-V2-T", {29, 28, 0, 28}},
      {"ConvNeXt-T", {23, 1, 0, 1}},
      {"MLP-Mixer-B/16", {25, 1, 12, 25}},
      {"Whisper-tiny encoder", {9, 0, 1, 9}},
      {"Whisper-tiny decoder", {13, 13, 0, 13}},
      {"T5-small encoder", {0, 0, 0, 0}},
      {"LLaMA-7B", {0, 0, 0, 0}},
      {"DiT-S/2", {25, 1, 0, 1}},
      {"LN-MLP, 8 x 64", {8, 8, 0, 8}},
      {"LN-RNN, 5 steps", {5, 5, 0, 5}},
      {"LN-LSTM, 5 steps", {14, 9, 0, 9}},
  };
  return counts;
}

}  // namespace

TEST_CASE("architectures: every one folds as many norms as its row says, at real sizes and narrow") {
  CHECK(architectures::catalogue().size() == expected_counts().size());
  for (Architecture const& architecture : architectures::catalogue()) {
    CAPTURE(architecture.name);
    ExpectedCounts const expected = expected_counts().at(std::string(architecture.name));
    for (Scale const scale : {Scale::real, Scale::narrow}) {
      Graph const graph = architecture.build(scale);
      FoldOptions options;
      if (architecture.tied) options.tied = TiedTables::untie;
      FoldReport const plain = find_foldable_norms(graph, options);
      CHECK(plain.norms.size() == expected.norms);
      CHECK(plain.folds() == expected.folds);
      options.insert_centering = PlacementCosts{};
      FoldReport const placed = find_foldable_norms(graph, options);
      REQUIRE(placed.placement);
      CHECK(placed.placement->insertions() == expected.insertions);
      CHECK(placed.folds() == expected.folds_with_insertions);
    }
  }
}

TEST_CASE("architectures: a narrow copy computes the same folded, with every layer in place") {
  for (Architecture const& architecture : architectures::catalogue()) {
    CAPTURE(architecture.name);
    Graph const graph = architecture.build(Scale::narrow);
    CHECK(graph.nodes().size() == architecture.build(Scale::real).nodes().size());
    FoldOptions options;
    if (architecture.tied) options.tied = TiedTables::untie;
    options.insert_centering = PlacementCosts{};
    CHECK(testing::fold_error(graph, find_foldable_norms(graph, options), architectures::narrow_tokens, 1) <=
          testing::fold_tolerance);
  }
}

TEST_CASE("architectures: a tied table keeps every norm of its stream, unless untied") {
  for (Architecture const& architecture : architectures::catalogue()) {
    if (!architecture.tied) continue;
    CAPTURE(architecture.name);
    CHECK(find_foldable_norms(architecture.build(Scale::real)).folds() == 0);
  }
}
