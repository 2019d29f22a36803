// SPDX-License-Identifier: MIT
// fold_graph/report_json.hpp -- a fold report and a certificate as JSON: docs/layer_graph_format.md, section 5.
#pragma once

#include <foldnorm/graph/certificate.hpp>
#include <foldnorm/graph/fold_report.hpp>
#include <foldnorm/graph/graph.hpp>

#include <nlohmann/json.hpp>

#include <optional>
#include <string>

namespace foldnorm::fold_graph {

using Json = nlohmann::ordered_json;

namespace detail {

// What all kinds of verdict have: a name, the word that the text has, and the reason for a no.
inline Json verdict(std::string const& name, std::optional<Refusal> const& refusal, char const* yes, char const* no) {
  Json result{{"name", name}, {"verdict", refusal ? no : yes}};
  if (refusal) {
    result["reason"] = to_string(refusal->reason);
    result["blame"] = refusal->blame_name;
  }
  return result;
}

inline Json sets(Placement const& placement) {
  Json result = Json::array();
  for (InsertionSet const& set : placement.sets) {
    Json insertions = Json::array(), norms = Json::array();
    for (Insertion const& insertion : set.insertions) {
      insertions.push_back({{"node", insertion.name}, {"cost", insertion.cost}});
    }
    for (FreedNorm const& norm : set.norms) norms.push_back({{"name", norm.name}, {"profit", norm.profit}});
    result.push_back({{"insertions", std::move(insertions)}, {"norms", std::move(norms)}});
  }
  return result;
}

}  // namespace detail

// One key for each member of FoldReport; none for a placement that was not asked for.
inline Json to_json(Graph const& graph, FoldReport const& report) {
  Json result{{"norms", Json::array()},  {"centerings", Json::array()}, {"compositions", Json::array()},
              {"untied", report.untied}, {"corrected", Json::array()},  {"affines", Json::array()}};
  for (Verdict const& norm : report.norms) {
    result["norms"].push_back(detail::verdict(norm.name, norm.refusal, "fold", "keep"));
  }
  for (Centering const& centering : report.centerings) {
    Json intervals = Json::array();
    for (Interval const& part : centering.parts) intervals.push_back({part.begin, part.end});
    result["centerings"].push_back(
        {{"parameter", centering.parameter}, {"rows", centering.rows}, {"intervals", std::move(intervals)}});
  }
  for (Composition const& pair : report.compositions) {
    result["compositions"].push_back(
        {{"linear", graph.node(pair.linear).name}, {"scale", graph.node(pair.scale).name}});
  }
  for (AffineVerdict const& affine : report.affines) {
    result["affines"].push_back(detail::verdict(affine.name, affine.refusal, "affine", "keep_affine"));
  }
  for (CorrectedHead const& head : report.corrected) {
    result["corrected"].push_back({{"head", head.name}, {"table", head.table}});
  }
  if (report.placement) result["placement"] = detail::sets(*report.placement);
  return result;
}

inline Json to_json(std::vector<OutputDifference> const& differences) {
  Json result = Json::array();
  for (OutputDifference const& output : differences) {
    result.push_back({{"output", output.output}, {"absolute", output.absolute}, {"relative", output.relative}});
  }
  return result;
}
inline Json to_json(std::vector<NormMean> const& means) {
  Json result = Json::array();
  for (NormMean const& norm : means) result.push_back({{"norm", norm.norm}, {"mean", norm.mean}});
  return result;
}

// In one line; bytes that are no UTF-8, as paths may have, become U+FFFD.
inline std::string line_of(Json const& document) {
  return document.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

}  // namespace foldnorm::fold_graph
