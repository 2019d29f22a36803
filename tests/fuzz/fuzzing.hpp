// SPDX-License-Identifier: MIT
// tests/fuzz/fuzzing.hpp -- what the libFuzzer targets share: a broken promise ends the process, which libFuzzer takes
// for a crash and keeps the input.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

namespace fuzz {

template <class Text>
void promise(bool holds, Text const& what) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", std::string(what).c_str());
  std::abort();
}

inline std::string_view as_text(std::uint8_t const* data, std::size_t size) {
  return {reinterpret_cast<char const*>(data), size};
}

// Puts the bytes where libFuzzer wants a mutated input; those that do not fit stay away.
inline std::size_t give(std::string_view bytes, std::uint8_t* data, std::size_t most) {
  std::size_t const size = bytes.copy(reinterpret_cast<char*>(data), most);
  return size;
}

}  // namespace fuzz
