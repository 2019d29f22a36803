// SPDX-License-Identifier: MIT
// examples/other_file.hpp -- a file that a command writes is none of the others that it names.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <system_error>

namespace foldnorm {

// By whatever names: links and relative paths are followed, of files that are there and of files that will be.
inline bool is_same_file(std::filesystem::path const& a, std::filesystem::path const& b) {
  std::error_code ignored;
  auto const place = [&](std::filesystem::path const& path) {
    return std::filesystem::weakly_canonical(std::filesystem::absolute(path), ignored);
  };
  return std::filesystem::equivalent(a, b, ignored) || place(a) == place(b);
}

// Throws std::invalid_argument if `path`, which `option` names, is `other`. Empty: not asked for.
inline void require_other_file(char const* option, std::filesystem::path const& path,
                               std::filesystem::path const& other) {
  if (path.empty() || other.empty() || !is_same_file(path, other)) return;
  throw std::invalid_argument(std::string(option) + " " + path.string() + " would be written over " + other.string());
}
inline void require_other_file(char const* option, std::filesystem::path const& path,
                               std::initializer_list<std::filesystem::path> others) {
  for (std::filesystem::path const& other : others) require_other_file(option, path, other);
}

}  // namespace foldnorm
