// SPDX-License-Identifier: MIT
// tests/consumer/weights.cpp -- the optional component: a file that is not there is said not to be.
#include <foldnorm/safetensors/safetensors_file.hpp>

#include <cstdio>

int main() {
  try {
    foldnorm::SafetensorsFile const file("nothing.safetensors");
  } catch (foldnorm::safetensors_error const& error) {
    std::puts(error.what());
    return 0;
  }
  return 1;
}
