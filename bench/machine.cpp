// SPDX-License-Identifier: MIT
#include "machine.hpp"

#include "implementation.hpp"

#include <fstream>
#include <ostream>
#include <thread>

namespace bench {
namespace {

std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "an unknown processor";
}

std::string cache_sizes() {
  std::string result;
  for (int level = 0; level < 4; ++level) {
    std::string const folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(level) + "/";
    std::string type, number, size;
    if (!(std::ifstream(folder + "type") >> type) || type == "Instruction") continue;
    if (!(std::ifstream(folder + "level") >> number) || !(std::ifstream(folder + "size") >> size)) continue;
    result += ", L" + number + " " + size;
  }
  return result;
}

}  // namespace

void describe_machine(std::ostream& out, std::vector<Library> const& libraries, int threads) {
  out << processor() << ", " << std::thread::hardware_concurrency() << " cores" << cache_sizes() << "\n";
  out << BENCH_COMPILER << ", " << BENCH_FLAGS << "\n";
  std::string separator;
  for (auto const& library : libraries) {
    if (library.version.empty()) continue;
    out << separator << library.version;
    separator = ", ";
  }
  for (auto const& name : missing_libraries()) out << separator << "NOT FOUND: " << name;
  out << "\n" << threads << (threads == 1 ? " thread" : " threads (plain code: one)") << "\n";
}

}  // namespace bench
