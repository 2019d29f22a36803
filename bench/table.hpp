// SPDX-License-Identifier: MIT
// bench/table.hpp -- measured cases as tables: foldnorm beside its fastest peer and the limits of memory.
#pragma once

#include "measure.hpp"

#include <iosfwd>
#include <string>
#include <vector>

namespace bench {

inline constexpr char const* control_name = "foldnorm again";  // the same call, to show how much is noise

struct Measured {
  Case what;
  std::vector<Timing> timings;

  Timing const* find(std::string const& name) const;  // null: not measured
  Timing const* ours() const { return find(ours_name); }
  Timing const* best_peer() const;
  double ratio() const;                        // best peer's time over ours; 0 without either
  double over(std::string const& name) const;  // that implementation's time over ours; 0 without either
  double control() const;                      // time of the second measurement of ours over that of the first
};

using Table = std::vector<std::vector<std::string>>;  // the first row is the head

// cases: all of one group.
Table comparison(std::vector<Measured> const& cases);
Table all_times(std::vector<Measured> const& cases);

void print(std::ostream& out, Table const& table, bool markdown);

// "geometric mean 1.31, worst 0.98 (769x2048)", and the range of the control.
std::string summary(std::vector<Measured> const& cases);

void write_csv(std::ostream& out, std::vector<Measured> const& cases);

}  // namespace bench
