// SPDX-License-Identifier: MIT
#include "table.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ostream>

namespace bench {
namespace {

std::string shape_name(Case const& c) {
  return std::to_string(c.shape.features) + "x" + std::to_string(c.shape.columns);
}

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  return text;
}

// Three significant digits, at most.
std::string microseconds(double seconds) {
  double const us = seconds * 1e6;
  return fixed(us, us < 1 ? 3 : us < 10 ? 2 : us < 100 ? 1 : 0);
}

std::string ratio_text(double ratio) { return ratio > 0 ? fixed(ratio, 2) : "-"; }

// What part of the speed of a copy of as many bytes ours reaches.
std::string share(Measured const& m, char const* limit) {
  auto const *ours = m.ours(), *copy = m.find(limit);
  return ours && copy ? fixed(m.what.copies() * copy->median() / ours->median(), 2) : "-";
}

std::vector<std::string> names_in(std::vector<Measured> const& cases) {
  std::vector<std::string> names;
  for (auto const& m : cases)
    for (auto const& t : m.timings)
      if (std::find(names.begin(), names.end(), t.name) == names.end()) names.push_back(t.name);
  return names;
}

}  // namespace

Timing const* Measured::find(std::string const& name) const {
  auto const found = std::find_if(timings.begin(), timings.end(), [&](Timing const& t) { return t.name == name; });
  return found == timings.end() ? nullptr : &*found;
}

Timing const* Measured::best_peer() const {
  Timing const* best = nullptr;
  for (auto const& t : timings) {
    if (!t.contender || t.name == ours_name || t.name == control_name) continue;
    if (!best || t.median() < best->median()) best = &t;
  }
  return best;
}

double Measured::ratio() const { return ours() && best_peer() ? best_peer()->median() / ours()->median() : 0; }

double Measured::over(std::string const& name) const {
  auto const* other = find(name);
  return ours() && other ? other->median() / ours()->median() : 0;
}

double Measured::control() const { return over(control_name); }

Table comparison(std::vector<Measured> const& cases) {
  Table table{
      {"shape", "foldnorm us", "best peer us", "best peer", "ratio", tuned_name, "of memcpy", "of streaming", "again"}};
  for (auto const& m : cases) {
    auto const *ours = m.ours(), *peer = m.best_peer();
    table.push_back({shape_name(m.what), ours ? microseconds(ours->median()) : "-",
                     peer ? microseconds(peer->median()) : "-", peer ? peer->name : "-", ratio_text(m.ratio()),
                     ratio_text(m.over(tuned_name)), share(m, memcpy_name), share(m, streaming_copy_name),
                     ratio_text(m.control())});
  }
  return table;
}

Table all_times(std::vector<Measured> const& cases) {
  auto const names = names_in(cases);
  Table table{{"us"}};
  table[0].insert(table[0].end(), names.begin(), names.end());
  for (auto const& m : cases) {
    std::vector<std::string> row{shape_name(m.what)};
    for (auto const& name : names) {
      auto const* t = m.find(name);
      row.push_back(t ? microseconds(t->median()) : "-");
    }
    table.push_back(row);
  }
  return table;
}

void print(std::ostream& out, Table const& table, bool markdown) {
  std::vector<std::size_t> widths(table[0].size());
  for (auto const& row : table)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  auto line = [&](auto const& cell) {
    for (std::size_t i = 0; i < widths.size(); ++i)
      out << (markdown ? "| " : i ? "  " : "") << cell(i) << (markdown ? " " : "");
    out << (markdown ? "|\n" : "\n");
  };
  for (std::size_t r = 0; r < table.size(); ++r) {
    line([&](std::size_t i) {
      std::string const space(widths[i] - table[r][i].size(), ' ');
      return i ? space + table[r][i] : table[r][i] + space;
    });
    if (markdown && r == 0) line([&](std::size_t i) { return std::string(widths[i] - 1, '-') + (i ? ":" : "-"); });
  }
}

std::string summary(std::vector<Measured> const& cases) {
  double logarithms = 0, least = 1, most = 1;
  int count = 0;
  Measured const* worst = nullptr;
  for (auto const& m : cases) {
    if (m.ratio() <= 0) continue;
    logarithms += std::log(m.ratio());
    ++count;
    if (!worst || m.ratio() < worst->ratio()) worst = &m;
    if (m.control() > 0) least = std::min(least, m.control()), most = std::max(most, m.control());
  }
  if (!worst) return "nothing to compare";
  return "ratio: geometric mean " + fixed(std::exp(logarithms / count), 2) + ", worst " + fixed(worst->ratio(), 2) +
         " (" + worst->what.path() + "); foldnorm again: " + fixed(least, 2) + " to " + fixed(most, 2);
}

void write_csv(std::ostream& out, std::vector<Measured> const& cases) {
  for (auto const& m : cases)
    for (auto const& t : m.timings)
      out << m.what.path() << "," << t.name << "," << t.median() * 1e6 << "," << t.least() * 1e6 << ","
          << t.seconds.size() << "," << t.calls << "\n";
}

}  // namespace bench
