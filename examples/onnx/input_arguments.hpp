// SPDX-License-Identifier: MIT
// onnx/input_arguments.hpp -- what a command line says of a model's random inputs.
#pragma once

#include "model_inputs.hpp"

#include <CLI/CLI.hpp>

#include <charconv>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace foldnorm::onnx_models {

class InputArguments {
 public:
  void add_to(CLI::App& app) {
    app.add_option("--size", options_.size, "of dimensions that a call may choose")
        ->check(CLI::Range(1, 1 << 20))
        ->capture_default_str();
    // One value each: file names may follow.
    app.add_option("--dimension", sizes_, "NAME=SIZE: of one of them, by its name in the model")
        ->allow_extra_args(false);
    app.add_option("--range", ranges_, "NAME=FIRST:LAST: values of an integer input; 0:1 where not said")
        ->allow_extra_args(false);
    app.add_option("--seed", options_.seed, "of random values")->capture_default_str();
  }

  // Names may hold colons and equal signs: both are looked for from the end. Throws std::invalid_argument.
  InputOptions read() const {
    InputOptions options = options_;
    for (std::string const& text : sizes_) {
      std::size_t const equal = text.rfind('=');
      require(equal != std::string::npos, text);
      std::int64_t const size = integer(text, equal + 1, text.size());
      require(size >= 1, text);
      options.sizes[text.substr(0, equal)] = size;
    }
    for (std::string const& text : ranges_) {
      std::size_t const equal = text.rfind('='), colon = text.rfind(':');
      require(equal != std::string::npos && colon != std::string::npos && equal < colon, text);
      std::int64_t const first = integer(text, equal + 1, colon), last = integer(text, colon + 1, text.size());
      require(first <= last, text);
      options.ranges[text.substr(0, equal)] = {first, last};
    }
    return options;
  }

 private:
  static void require(bool holds, std::string const& text) {
    if (!holds) throw std::invalid_argument("'" + text + "': expected NAME=SIZE, or NAME=FIRST:LAST, in integers");
  }
  static std::int64_t integer(std::string const& text, std::size_t begin, std::size_t end) {
    std::int64_t value = 0;
    auto const [rest, error] = std::from_chars(text.data() + begin, text.data() + end, value);
    require(error == std::errc() && rest == text.data() + end, text);
    return value;
  }

  InputOptions options_;
  std::vector<std::string> sizes_, ranges_;
};

}  // namespace foldnorm::onnx_models
