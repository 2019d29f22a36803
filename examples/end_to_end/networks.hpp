// SPDX-License-Identifier: MIT
// end_to_end/networks.hpp -- what end_to_end times: networks at real sizes, and how many tokens go through them.
#pragma once

#include "architectures/language_models.hpp"
#include "architectures/simple_networks.hpp"
#include "architectures/speech_models.hpp"
#include "architectures/vision_models.hpp"

#include <foldnorm/graph/graph.hpp>

#include <string>
#include <vector>

namespace foldnorm::end_to_end {

struct Network {
  std::string name;
  Graph (*build)(Index width);
  Index width = 0;  // for those that come in several
  Index tokens = 1;

  // A few megabytes of weights, that is.
  bool is_small() const { return width > 0; }
};

inline std::vector<Network> networks() {
  using namespace architectures;
  auto const mlp = [](Index width) { return norm_mlp({8, width, width, 10}); };
  // Untied before: the product of an untied head, stored the other way round, takes another time than a tied one.
  auto const gpt = [](Index) { return gpt2({12, {768, 12, 3072}, 50257}, &Graph::gelu, Head::untied); };
  auto const bloom_like = [](Index) { return bloom({4, {1024, 16, 4096}, 4096}, Head::untied); };
  std::vector<Network> all;
  for (Index const width : {32, 64, 128, 256}) {
    for (Index const batch : {1, 16, 256, 4096}) all.push_back({"MLP 8 x " + std::to_string(width), mlp, width, batch});
  }
  all.push_back({"GPT-2 small", gpt, 0, 1});
  all.push_back({"GPT-2 small", gpt, 0, 64});
  all.push_back({"ViT-Tiny/16", [](Index) { return vit({12, {192, 3, 768}, 768, 1000}); }, 0, 196});
  all.push_back({"ViT-B/16", [](Index) { return vit({12, {768, 12, 3072}, 768, 1000}); }, 0, 196});
  all.push_back({"Whisper-tiny encoder", [](Index) { return whisper_encoder(4, {384, 6, 1536}, 80); }, 0, 3000});
  all.push_back({"BLOOM-like, 4 x 1024", bloom_like, 0, 1});
  all.push_back({"BLOOM-like, 4 x 1024", bloom_like, 0, 64});
  return all;
}

}  // namespace foldnorm::end_to_end
