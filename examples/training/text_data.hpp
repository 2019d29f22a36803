// SPDX-License-Identifier: MIT
// training/text_data.hpp -- a text as samples of a character-level language model: windows, and each one's next
// characters.
#pragma once

#include <foldnorm/core/types.hpp>

#include "batch_gradients.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace foldnorm::training {

// Windows of `tokens` characters, one behind the other; the label of a character is the one that follows it.
struct TextWindows {
  std::vector<std::uint8_t> ids;
  Index tokens = 64;

  Index size() const { return ids.empty() ? 0 : (static_cast<Index>(ids.size()) - 1) / tokens; }
};

struct Text {
  std::string alphabet;  // the character of every id, in the order of their codes
  TextWindows train, test;
};

// The last share of the text is for the test; `tokens` characters make a window.
inline Text split_text(std::string const& text, Index tokens, double test_share) {
  std::array<std::uint8_t, 256> id{};
  Text result{.alphabet = {}, .train = {.ids = {}, .tokens = tokens}, .test = {.ids = {}, .tokens = tokens}};
  std::array<bool, 256> seen{};
  for (char const c : text) seen[static_cast<unsigned char>(c)] = true;
  for (std::size_t c = 0; c < seen.size(); ++c) {
    if (!seen[c]) continue;
    id[c] = static_cast<std::uint8_t>(result.alphabet.size());
    result.alphabet += static_cast<char>(c);
  }
  auto const train_size = static_cast<std::size_t>((1 - test_share) * static_cast<double>(text.size()));
  for (std::size_t i = 0; i < text.size(); ++i) {
    (i < train_size ? result.train : result.test).ids.push_back(id[static_cast<unsigned char>(text[i])]);
  }
  return result;
}

// Throws std::runtime_error with what to do if the file cannot be read.
inline std::string read_text(std::filesystem::path const& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(in)), {});
  if (text.empty()) throw std::runtime_error(path.string() + ": no text there; './dev text' writes one");
  return text;
}

// The windows `chosen`, a column of ids each, and every next character.
template <real_scalar Scalar>
void load_samples(TextWindows const& text, std::span<Index const> chosen, Samples<Scalar>& samples) {
  samples.inputs.resize(text.tokens, static_cast<Index>(chosen.size()));
  samples.labels.clear();
  for (Index j = 0; j < samples.inputs.cols(); ++j) {
    auto const first = static_cast<std::size_t>(chosen[static_cast<std::size_t>(j)] * text.tokens);
    for (Index i = 0; i < text.tokens; ++i) {
      samples.inputs(i, j) = static_cast<Scalar>(text.ids[first + static_cast<std::size_t>(i)]);
      samples.labels.push_back(text.ids[first + static_cast<std::size_t>(i) + 1]);
    }
  }
}

}  // namespace foldnorm::training
