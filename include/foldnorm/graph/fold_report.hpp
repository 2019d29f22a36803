// SPDX-License-Identifier: MIT
// foldnorm/graph/fold_report.hpp -- what the analysis found: a verdict for every layer_norm, and what to change.
//
// Printed with <<, a report is the verdict lines of docs/layer_graph_format.md, section 2:
//   fold NODE
//   keep NODE REASON NODE_TO_BLAME
//   center PARAMETER [START:END ...]
//   correct HEAD TABLE                       if FoldOptions::tied asks for it
//   insert NODE                              if FoldOptions::insert_centering asks for it
//   affine NODE                              if FoldOptions::affine asks for these two
//   keep_affine NODE REASON NODE_TO_BLAME
#pragma once

#include <foldnorm/graph/node.hpp>
#include <foldnorm/graph/segments.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace foldnorm::inline FOLDNORM_ABI {

// Why a norm stays, or keeps its gamma and beta. Meanings and the node each names: docs/folding.md, "Reasons".
enum class Reason : std::uint8_t {
  input,        // an input reaches the norm
  nonlinear,    // an activation, product, softmax, max over tokens, several-headed attention, norm without zero mean
  norm_affine,  // the gamma or beta of another layer_norm starts the stream
  scale,        // a per-channel scale or batch_norm that cannot be composed with a linear layer
  grouped,      // a convolution with groups that cut the norm's span
  feature_mix,  // a concat, slice or merge whose cut a needed segment crosses
  read_unforgiven,  // the producer could be centered, but this reader would see the shift
  output,           // the producer could be centered, but this output (or unread value) would see the shift
  tied,             // the other use of a shared parameter that does not allow it
  dropout,          // training mode: an elementwise dropout lies between
  unknown,          // an operator without a rule
  left_alone        // FoldOptions::leave_alone
};

constexpr std::string_view to_string(Reason reason) {
  constexpr std::array<std::string_view, 12> words{"input",   "nonlinear",   "norm_affine",     "scale",
                                                   "grouped", "feature_mix", "read_unforgiven", "output",
                                                   "tied",    "dropout",     "unknown",         "left_alone"};
  return words[static_cast<std::size_t>(reason)];
}

struct Refusal {
  Reason reason = Reason::unknown;
  NodeId blame;
  std::string blame_name;
  bool operator==(Refusal const&) const = default;
};

struct Verdict {
  NodeId norm;
  std::string name;
  std::optional<Refusal> refusal;  // none: the norm folds
  bool folds() const { return !refusal; }
  bool operator==(Verdict const&) const = default;
};

// A parameter whose output axis (its rows) is centered on each of these intervals by itself.
struct Centering {
  std::string parameter;
  std::vector<Interval> parts;  // ascending, disjoint, not empty
  Index rows = 0;
  bool operator==(Centering const&) const = default;
};

// A linear or conv and the scale_channels or batch_norm behind it that become one layer.
struct Composition {
  NodeId linear;
  NodeId scale;
  bool operator==(Composition const&) const = default;
};

// Whether gamma and beta of a layer_norm or rms_norm move into the layers that read it.
struct AffineVerdict {
  NodeId norm;
  std::string name;
  std::vector<NodeId> readers;     // linears and convs, in order; none if refused
  bool shifts = false;             // beta moves into their biases (else there is none, or it is known to be zero)
  std::optional<Refusal> refusal;  // none: they move
  bool moves() const { return !refusal; }
  bool operator==(AffineVerdict const&) const = default;
};

// A node behind which a center is inserted: all that read the node read the center instead.
struct Insertion {
  NodeId node;
  std::string name;
  double cost = 0;
  bool operator==(Insertion const&) const = default;
};

struct FreedNorm {
  NodeId norm;
  std::string name;
  double profit = 0;
  bool operator==(FreedNorm const&) const = default;
};

// Centers that pay together, and the norms that fold by them and by nothing less.
struct InsertionSet {
  std::vector<Insertion> insertions;  // in the order of the graph, as are the norms
  std::vector<FreedNorm> norms;
  double cost() const {
    return std::accumulate(insertions.begin(), insertions.end(), 0.0,
                           [](double sum, Insertion const& insertion) { return sum + insertion.cost; });
  }
  double profit() const {
    return std::accumulate(norms.begin(), norms.end(), 0.0,
                           [](double sum, FreedNorm const& norm) { return sum + norm.profit; });
  }
  bool operator==(InsertionSet const&) const = default;
};

// What explicit centers bring; no sets if none is worth its cost.
struct Placement {
  std::vector<InsertionSet> sets;

  std::size_t insertions() const {
    return std::accumulate(sets.begin(), sets.end(), std::size_t{0},
                           [](std::size_t sum, InsertionSet const& set) { return sum + set.insertions.size(); });
  }
  bool operator==(Placement const&) const = default;
};

// A linear whose weight is an embedding's table, and that adds to its value what the table loses by being centered.
struct CorrectedHead {
  NodeId head;
  std::string name;
  std::string table;
  bool operator==(CorrectedHead const&) const = default;
};

struct FoldReport {
  std::vector<Verdict> norms;             // every layer_norm, in the order of the graph
  std::vector<Centering> centerings;      // in the order of first use
  std::vector<Composition> compositions;  // those that some fold needs
  std::vector<std::string> untied;        // tables whose heads are to keep a copy
  std::vector<CorrectedHead> corrected;   // heads of the other tables that are centered
  std::optional<Placement> placement;     // if asked for
  std::vector<AffineVerdict> affines;     // if asked for: every norm with a gamma or beta, in the order of the graph

  std::size_t folds() const {
    return static_cast<std::size_t>(std::ranges::count_if(norms, [](Verdict const& norm) { return norm.folds(); }));
  }
  bool operator==(FoldReport const&) const = default;
};

inline std::ostream& operator<<(std::ostream& out, FoldReport const& report) {
  auto const print = [&](char const* verdict, std::string const& name, Refusal const& refusal) {
    out << verdict << ' ' << name << ' ' << to_string(refusal.reason) << ' ' << refusal.blame_name << '\n';
  };
  for (Verdict const& norm : report.norms) {
    if (norm.folds()) {
      out << "fold " << norm.name << '\n';
    } else {
      print("keep", norm.name, *norm.refusal);
    }
  }
  for (Centering const& centering : report.centerings) {
    out << "center " << centering.parameter;
    bool const whole = centering.parts.size() == 1 && centering.parts[0] == Interval{0, centering.rows};
    for (Interval const& part : centering.parts) {
      if (!whole) out << ' ' << part.begin << ':' << part.end;
    }
    out << '\n';
  }
  for (CorrectedHead const& head : report.corrected) out << "correct " << head.name << ' ' << head.table << '\n';
  if (report.placement && report.placement->sets.empty()) out << "# nothing worth inserting\n";
  if (report.placement) {
    for (InsertionSet const& set : report.placement->sets) {
      for (Insertion const& insertion : set.insertions) out << "insert " << insertion.name << '\n';
    }
  }
  for (AffineVerdict const& affine : report.affines) {
    if (affine.moves()) {
      out << "affine " << affine.name << '\n';
    } else {
      print("keep_affine", affine.name, *affine.refusal);
    }
  }
  return out;
}

}  // namespace foldnorm::inline FOLDNORM_ABI
