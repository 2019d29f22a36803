// SPDX-License-Identifier: MIT
// architectures/catalogue.hpp -- the architectures by name: at their real sizes, and as narrow as possible with every
// layer in place, so that a count can be checked by running the network.
#pragma once

#include "blocks.hpp"
#include "language_models.hpp"
#include "simple_networks.hpp"
#include "speech_models.hpp"
#include "vision_models.hpp"

#include <foldnorm/graph/graph.hpp>

#include <string_view>
#include <vector>

namespace foldnorm::architectures {

enum class Scale {
  real,
  narrow  // the same statements in the same order, with some ten features
};

struct Architecture {
  std::string_view name;
  Graph (*build)(Scale);
  bool tied = false;  // the token table is the head's weight, too
};

// Tokens of every input of a narrow network: Swin's and ConvNeXt's three merges need 64.
inline constexpr Index narrow_tokens = 64;

inline BlockSizes at(Scale scale, BlockSizes const& real) { return scale == Scale::real ? real : BlockSizes{8, 2, 16}; }
inline LanguageModelSizes at(Scale scale, LanguageModelSizes const& real) {
  return scale == Scale::real ? real : LanguageModelSizes{real.layers, at(scale, real.block), 11};
}
inline VisionModelSizes at(Scale scale, VisionModelSizes const& real) {
  return scale == Scale::real ? real : VisionModelSizes{real.layers, at(scale, real.block), 6, 5};
}
inline StageSizes at(Scale scale, StageSizes const& real) {
  return scale == Scale::real ? real : StageSizes{real.depths, 8, 4, 6, 5};
}
inline Index at(Scale scale, Index real) { return scale == Scale::real ? real : 4; }

// Layers, width, heads, hidden features, vocabulary.
constexpr LanguageModelSizes text_sizes(Index layers, Index width, Index heads, Index hidden, Index vocab) {
  return {layers, {width, heads, hidden}, vocab};
}
// Layers, width, heads, and the values of a patch; hidden is four times the width.
constexpr VisionModelSizes image_sizes(Index layers, Index width, Index heads, Index patch_features) {
  return {layers, {width, heads, 4 * width}, patch_features, 1000};
}

inline std::vector<Architecture> const& catalogue() {
  static std::vector<Architecture> const rows{
      {"GPT-2 small", [](Scale s) { return gpt2(at(s, text_sizes(12, 768, 12, 3072, 50257))); }, true},
      {"OPT-125m", [](Scale s) { return gpt2(at(s, text_sizes(12, 768, 12, 3072, 50272)), &Graph::relu); }, true},
      {"OPT-350m", [](Scale s) { return opt_post_norm(at(s, text_sizes(24, 1024, 16, 4096, 50272)), at(s, 512)); },
       true},
      {"Phi-1.5", [](Scale s) { return phi(at(s, text_sizes(24, 2048, 32, 8192, 51200))); }},
      {"Phi-2", [](Scale s) { return phi(at(s, text_sizes(32, 2560, 32, 10240, 51200))); }},
      {"BLOOM-560m", [](Scale s) { return bloom(at(s, text_sizes(24, 1024, 16, 4096, 250880))); }, true},
      {"ViT-Tiny/16", [](Scale s) { return vit(at(s, image_sizes(12, 192, 3, 768))); }},
      {"ViT-B/16", [](Scale s) { return vit(at(s, image_sizes(12, 768, 12, 768))); }},
      {"DeiT-B distilled", [](Scale s) { return deit(at(s, image_sizes(12, 768, 12, 768))); }},
      {"DINOv2-B/14", [](Scale s) { return dinov2(at(s, image_sizes(12, 768, 12, 588))); }},
      {"CLIP ViT-B/32 vision", [](Scale s) { return clip_vision(at(s, image_sizes(12, 768, 12, 3072))); }},
      {"CLIP ViT-B/32 text", [](Scale s) { return clip_text(at(s, text_sizes(12, 512, 8, 2048, 49408))); }},
      {"BERT-base", [](Scale s) { return bert(at(s, text_sizes(12, 768, 12, 3072, 30522))); }, true},
      {"Transformer base", [](Scale s) { return transformer(at(s, text_sizes(6, 512, 8, 2048, 37000))); }, true},
      {"Swin-T", [](Scale s) { return swin(at(s, StageSizes{})); }},
      {"Swin-V2-T", [](Scale s) { return swin_v2(at(s, StageSizes{})); }},
      {"ConvNeXt-T",
       [](Scale s) {
         return convnext(at(s, StageSizes{{3, 3, 9, 3}, 96, 32, 48, 1000}));
       }},
      {"MLP-Mixer-B/16", [](Scale s) { return mixer(at(s, image_sizes(12, 768, 1, 768))); }},
      {"Whisper-tiny encoder",
       [](Scale s) {
         return whisper_encoder(4, at(s, BlockSizes{384, 6, 1536}), at(s, 80));
       }},
      {"Whisper-tiny decoder", [](Scale s) { return whisper_decoder(at(s, text_sizes(4, 384, 6, 1536, 51865))); },
       true},
      {"T5-small encoder", [](Scale s) { return t5_encoder(at(s, text_sizes(6, 512, 8, 2048, 32128))); }},
      {"LLaMA-7B", [](Scale s) { return llama(at(s, text_sizes(32, 4096, 32, 11008, 32000))); }},
      {"DiT-S/2", [](Scale s) { return dit(at(s, image_sizes(12, 384, 6, 16))); }},
      {"LN-MLP, 8 x 64",
       [](Scale s) {
         return norm_mlp({8, at(s, 64), at(s, 64), 10});
       }},
      {"LN-RNN, 5 steps",
       [](Scale s) {
         return ln_rnn({5, at(s, 64), at(s, 128), 10});
       }},
      {"LN-LSTM, 5 steps",
       [](Scale s) {
         return ln_lstm({5, at(s, 64), at(s, 128), 10});
       }},
  };
  return rows;
}

}  // namespace foldnorm::architectures
