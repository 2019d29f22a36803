// SPDX-License-Identifier: MIT
// tests/graph/place_centering_test.cpp -- where an inserted center pays: known architectures, prices and ties, and the
// rewrite.
#include <foldnorm/graph/place_centering.hpp>

#include <foldnorm/graph/dot.hpp>

#include "graph/graph_testing.hpp"
#include "graph/matchers.hpp"

#include "catch.hpp"

#include <cmath>
#include <limits>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace placements {

using namespace foldnorm;
using namespace foldnorm::testing;
using foldnorm::testing::Contains;

FoldOptions placing(PlacementCosts costs = {}) {
  FoldOptions options;
  options.insert_centering = std::move(costs);
  return options;
}

// Every center costs this, every norm brings 1.
PlacementCosts at_a_price_of(double cost) {
  PlacementCosts costs;
  costs.insertion = [cost](Graph const&, NodeId) { return cost; };
  return costs;
}

std::vector<std::string> inserted(FoldReport const& report) {
  std::vector<std::string> names;
  for (InsertionSet const& set : report.placement.value().sets) {
    for (Insertion const& insertion : set.insertions) names.push_back(insertion.name);
  }
  return names;
}

// Pre-norm blocks on a stream x of 8 features; `last` is the stream behind them.
std::string pre_norm_blocks(std::string x, int count, std::string& last) {
  std::string text;
  for (int k = 0; k < count; ++k) {
    std::string const b = "b" + std::to_string(k);
    text += "layer_norm " + b + ".ln1 " + x + " gamma=" + b + ".g1 beta=" + b + ".c1\n";
    for (std::string const role : {"q", "k", "v"}) {
      text += "linear " + b + "." + role + " " + b + ".ln1 out=8 weight=" + b + ".w" + role + "\n";
    }
    text += "attention " + b + ".a " + b + ".q " + b + ".k " + b + ".v heads=2\n";
    text += "linear " + b + ".o " + b + ".a out=8 weight=" + b + ".wo bias=" + b + ".bo\n";
    text += "add " + b + ".r1 " + x + " " + b + ".o\n";
    text += "layer_norm " + b + ".ln2 " + b + ".r1 gamma=" + b + ".g2 beta=" + b + ".c2\n";
    text += "linear " + b + ".fc1 " + b + ".ln2 out=16 weight=" + b + ".w1\n";
    text += "gelu " + b + ".act " + b + ".fc1\n";
    text += "linear " + b + ".fc2 " + b + ".act out=8 weight=" + b + ".w2 bias=" + b + ".b2\n";
    text += "add " + b + ".r2 " + b + ".r1 " + b + ".fc2\n";
    x = b + ".r2";
  }
  last = x;
  return text;
}

std::string with_final_norm(std::string const& x) {
  return "layer_norm ln_f " + x + " gamma=gf beta=cf\nlinear head ln_f out=5 weight=H\noutput y head\n";
}

std::string bloom(bool tied = false) {
  std::string x;
  std::string const stem =
      "ids t vocab=5\nembedding words t features=8 table=E\nlayer_norm words_ln words gamma=g beta=c\n";
  std::string const blocks = pre_norm_blocks("words_ln", 2, x);
  std::string text = stem + blocks + with_final_norm(x);
  if (tied) text.replace(text.find("weight=H"), 8, "weight=E");
  return text;
}

std::string clip_vision() {
  std::string x;
  std::string const stem =
      "input patches features=12\nconv patch patches out=8 weight=P\nadd_parameter pos patch value=pos per_token=1\n"
      "layer_norm ln_pre pos gamma=g beta=c\n";
  std::string const blocks = pre_norm_blocks("ln_pre", 2, x);
  return stem + blocks + with_final_norm(x);
}

std::string whisper_encoder() {
  std::string x;
  std::string const stem =
      "input mel features=12\nconv conv1 mel out=8 kernel=3 weight=C1 bias=c1\ngelu act1 conv1\n"
      "conv conv2 act1 out=8 kernel=3 weight=C2 bias=c2\ngelu act2 conv2\n"
      "add_parameter pos act2 value=sin per_token=1\n";
  std::string const blocks = pre_norm_blocks("pos", 2, x);
  return stem + blocks + with_final_norm(x);
}

std::string bert() {
  std::string text = "ids t vocab=5\nembedding words t features=8 table=E\nlayer_norm ln words gamma=g beta=c\n";
  std::string x = "ln";
  for (std::string const b : {"b0", "b1"}) {
    text += "linear " + b + ".v " + x + " out=8 weight=" + b + ".v\nadd " + b + ".r1 " + x + " " + b + ".v\n";
    text += "layer_norm " + b + ".ln1 " + b + ".r1 gamma=" + b + ".g1 beta=" + b + ".c1\n";
    text += "linear " + b + ".f " + b + ".ln1 out=8 weight=" + b + ".f\nrelu " + b + ".a " + b + ".f\n";
    text += "linear " + b + ".p " + b + ".a out=8 weight=" + b + ".p\nadd " + b + ".r2 " + b + ".ln1 " + b + ".p\n";
    text += "layer_norm " + b + ".ln2 " + b + ".r2 gamma=" + b + ".g2 beta=" + b + ".c2\n";
    x = b + ".ln2";
  }
  return text + "linear head " + x + " out=3 weight=H\noutput y head\n";
}

// All norms fold by one center, with the same outputs.
void check_one_insertion(std::string const& text, std::string const& node, FoldOptions const& options = placing()) {
  CAPTURE(text);
  Graph const g = graph_of(text);
  FoldReport const report = find_foldable_norms(g, options);
  CAPTURE(printed(report));
  CHECK(report.folds() == report.norms.size());
  CHECK(inserted(report) == std::vector{node});
  REQUIRE(report.placement->sets.size() == 1);
  FoldOptions without = options;
  without.insert_centering.reset();
  CHECK(report.placement->sets[0].norms.size() == report.folds() - find_foldable_norms(g, without).folds());
  CHECK(fold_error(g, report, 6) <= fold_tolerance);
  FoldedModel const folded = fold_norms(g, report, random_parameters(g, 6, 1));
  CHECK(count_of(folded.graph, Operator::layer_norm) == 0);
  CHECK(count_of(folded.graph, Operator::center) == 1);
}

char const* const two_streams =
    "input x features=4\nrelu a x\nlayer_norm n1 a gamma=g1\nlayer_norm n2 a gamma=g2\n"
    "input z features=4\nrelu b z\nlayer_norm m1 b gamma=g3\noutput y1 n1\noutput y2 n2\noutput y3 m1\n";

}  // namespace placements

TEST_CASE("place_centering: one center folds every norm of BLOOM, CLIP's vision tower and Whisper's encoder") {
  using namespace placements;
  check_one_insertion(bloom(), "words_ln");
  check_one_insertion(clip_vision(), "ln_pre");
  check_one_insertion(whisper_encoder(), "act2");
  FoldOptions untied = placing();
  untied.tied = TiedTables::untie;
  check_one_insertion(bloom(true), "words_ln", untied);
  // By size, too: a center of the stream costs what one norm of it saves.
  Graph const g = graph_of(whisper_encoder());
  check_one_insertion(whisper_encoder(), "act2", placing(placement_costs_by_size(g, 6)));
}

TEST_CASE("place_centering: centers are no part of a fold unless asked for") {
  using namespace placements;
  FoldReport const report = find_foldable_norms(graph_of(bloom()));
  CHECK_FALSE(report.placement);
  CHECK(report.folds() == 1);
}

TEST_CASE("place_centering: post-norm BERT has no place where a center pays, and says so") {
  using namespace placements;
  Graph const g = graph_of(bert());
  FoldReport const report = find_foldable_norms(g, placing());
  CHECK(report.placement == Placement{});
  CHECK_THAT(printed(report), Contains("# nothing worth inserting\n") && !Contains("insert "));
  FoldReport without = report;
  without.placement.reset();
  CHECK(find_foldable_norms(g) == without);
}

TEST_CASE("place_centering: what the freed norms rest on is centered as well, and no more") {
  using namespace placements;
  CHECK(verdicts("input x features=4\nrelu a x\nadd_parameter p a value=P\nlayer_norm n1 p gamma=g\nlayer_norm n2 p\n"
                 "linear h n1 out=4 weight=W bias=b\nadd s p h\nlayer_norm n3 s\noutput y n2\noutput z n3\n",
                 placing()) == "fold n1\nfold n2\nfold n3\ncenter P\ncenter W\ncenter b\ninsert a\n");
  // Behind the sum of two streams, for a linear layer reads the one; the other needs no centering then.
  CHECK(
      verdicts("input x features=4\nlinear h x out=4 weight=W\nrelu a x\nadd s h a\nlayer_norm n1 s\nlayer_norm n2 s\n"
               "linear r a out=4 weight=R\noutput w r\noutput y n1\noutput z n2\n",
               placing()) == "fold n1\nfold n2\ninsert s\n");
}

TEST_CASE("place_centering: a center that brings no more than it costs is not inserted, set by set") {
  using namespace placements;
  CHECK(inserted(find_foldable_norms(graph_of(two_streams), placing())) == std::vector<std::string>{"a"});
  CHECK(inserted(find_foldable_norms(graph_of(two_streams), placing(at_a_price_of(0.5)))) ==
        std::vector<std::string>{"a", "b"});
  CHECK(inserted(find_foldable_norms(graph_of(two_streams), placing(at_a_price_of(2)))).empty());
  FoldReport const report = find_foldable_norms(graph_of(two_streams), placing(at_a_price_of(0.5)));
  REQUIRE(report.placement->sets.size() == 2);
  InsertionSet const& first = report.placement->sets[0];
  CHECK(first.profit() == 2);
  CHECK(first.cost() == 0.5);
  REQUIRE(first.norms.size() == 2);
  CHECK(first.norms[1] == FreedNorm{*graph_of(two_streams).find_node("n2"), "n2", 1});
  // Nothing is inserted for norms that bring nothing, even for free.
  PlacementCosts worthless = at_a_price_of(0);
  worthless.norm = [](Graph const&, NodeId) { return 0.0; };
  CHECK(find_foldable_norms(graph_of(two_streams), placing(worthless)).placement == Placement{});
}

TEST_CASE("place_centering: two centers that pay only together are one set") {
  using namespace placements;
  // Each norm reads both streams; a center behind each sum would cost as much as it brings.
  std::string text = "input x features=4\nrelu a x\nsigmoid b x\n";
  for (std::string const k : {"1", "2", "3"}) {
    text += "scale u" + k + " a by=" + k + ".5\nadd s" + k + " u" + k + " b\nlayer_norm n" + k + " s" + k + " gamma=g" +
            k + "\noutput y" + k + " n" + k + "\n";
  }
  FoldReport const report = find_foldable_norms(graph_of(text), placing());
  CHECK(inserted(report) == std::vector<std::string>{"a", "b"});
  REQUIRE(report.placement->sets.size() == 1);
  CHECK(report.placement->sets[0].norms.size() == 3);
  CHECK(fold_error(graph_of(text), report) <= fold_tolerance);
}

TEST_CASE("place_centering: costs whose sums are rounded give no set without norms") {
  using namespace placements;
  Graph const g = graph_of(
      "input i features=4\nlinear e i out=4 weight=E\nrelu a e\ngelu b1 e\nsilu b2 e\nadd s1 a b1\nadd s2 a b2\n"
      "layer_norm k1 s1\nlayer_norm k2 s2\noutput o1 k1\noutput o2 k2\n");
  for (double const cheap : {0.0, 1e-17, 1e-16}) {  // .1 + .2 is not .3
    PlacementCosts costs;
    costs.insertion = [cheap](Graph const& graph, NodeId node) { return graph.node(node).name == "a" ? cheap : 1.0; };
    costs.norm = [](Graph const& graph, NodeId node) { return graph.node(node).name == "k1" ? .1 : .2; };
    FoldReport const report = find_foldable_norms(g, placing(costs));
    for (InsertionSet const& set : report.placement.value().sets) CHECK_FALSE(set.norms.empty());
    CHECK(fold_error(g, report) <= fold_tolerance);
  }
}

TEST_CASE("place_centering: of equal cost, the fewest centers") {
  using namespace placements;
  Graph const g = graph_of(
      "input x features=4\nrelu a x\nsigmoid b x\nadd s a b\nlayer_norm n1 s gamma=g1\nlayer_norm n2 s gamma=g2\n"
      "layer_norm n3 s gamma=g3\noutput y1 n1\noutput y2 n2\noutput y3 n3\n");
  PlacementCosts costs;
  costs.insertion = [](Graph const& graph, NodeId node) { return graph.node(node).name == "s" ? 2.0 : 1.0; };
  CHECK(inserted(find_foldable_norms(g, placing(costs))) == std::vector<std::string>{"s"});
}

TEST_CASE("place_centering: no center where somebody sees the shift, or a norm rests on parts of the axis") {
  using namespace placements;
  // The stream is read raw in front of its two norms; behind the reader each would need a center of its own.
  CHECK(
      inserted(find_foldable_norms(
                   graph_of("input x features=4\nrelu a x\nlinear q a out=4 weight=Q\nscale u a by=2\nscale v a by=3\n"
                            "layer_norm n u gamma=g\nlayer_norm m v gamma=h\noutput y n\noutput z m\noutput w q\n"),
                   placing()))
          .empty());
  // A norm over the first half of s would lose its zero mean to a center of all of it.
  char const* const halves =
      "input x features=4\nlayer_norm p x\nrelu a x\nconcat_features s p a\nlayer_norm n1 s gamma=g1\n"
      "layer_norm n2 s gamma=g2\nslice_features h s start=0 length=4\nlayer_norm m h gamma=k\n"
      "output y1 n1\noutput y2 n2\noutput z m\n";
  FoldReport const report = find_foldable_norms(graph_of(halves), placing());
  CHECK(report.norms.back().folds());
  CHECK(inserted(report).empty());
}

TEST_CASE("place_centering: a center in front of a concatenation serves a norm over groups") {
  using namespace placements;
  Graph const g = graph_of(
      "input x features=4\nrelu a x\nlinear b x out=4 weight=W\nconcat_features s a b\nlayer_norm n1 s groups=2 "
      "gamma=g\n"
      "layer_norm n2 s groups=2\noutput y n1\noutput z n2\n");
  FoldReport const report = find_foldable_norms(g, placing());
  CHECK(inserted(report) == std::vector<std::string>{"a"});
  CHECK(report.folds() == 2);
  CHECK(fold_error(g, report) <= fold_tolerance);
}

TEST_CASE("place_centering: in training, a center behind a dropout frees the stream") {
  using namespace placements;
  std::string x;
  std::string const stem = "ids t vocab=5\nembedding e t features=8 table=E\ndropout d e p=0.1\n";
  std::string const blocks = pre_norm_blocks("d", 2, x);
  FoldOptions options = placing();
  options.mode = FoldMode::training;
  CHECK(find_foldable_norms(graph_of(stem + blocks + with_final_norm(x)), in_training()).folds() == 0);
  check_one_insertion(stem + blocks + with_final_norm(x), "d", options);
}

TEST_CASE("place_centering: costs and profits that are negative or not finite throw, with the node") {
  using namespace placements;
  Graph const g = graph_of(two_streams);
  double const infinity = std::numeric_limits<double>::infinity();
  for (double const wrong : {-1.0, infinity, std::nan("")}) {
    CAPTURE(wrong);
    PlacementCosts costs;
    costs.norm = [&](Graph const& graph, NodeId node) { return graph.node(node).name == "m1" ? wrong : 1; };
    CHECK_THROWS_AS(find_foldable_norms(g, placing(at_a_price_of(wrong))), std::invalid_argument);
    CHECK_THROWS_WITH(find_foldable_norms(g, placing(costs)), Contains("norm of m1: "));
  }
  PlacementCosts too_much;
  too_much.norm = [](Graph const&, NodeId) { return std::numeric_limits<double>::max(); };
  CHECK_THROWS_WITH(find_foldable_norms(g, placing(too_much)), Contains("sum"));
  PlacementCosts nothing;
  nothing.insertion = nullptr;
  CHECK_THROWS_WITH(find_foldable_norms(g, placing(nothing)), Contains("insertion of a: no function"));
}

TEST_CASE("place_centering: costs by size are features times tokens") {
  using namespace placements;
  Graph const g = graph_of("input x features=6\nmean_tokens m x\nlayer_norm n m\noutput y n\n");
  PlacementCosts const costs = placement_costs_by_size(g, 7);
  CHECK(costs.insertion(g, *g.find_node("x")) == 42);
  CHECK(costs.norm(g, *g.find_node("n")) == 6);
  CHECK_THROWS_AS(placement_costs_by_size(graph_of("opaque o features=3\noutput y o\n"), 7), graph_error);
}

TEST_CASE("place_centering: a stream of 1e5 blocks takes one center, or none if it costs more than all of them bring") {
  using namespace placements;
  int const blocks = 100'000;
  Graph g;
  NodeId stream = g.gelu("a", g.input("x", 4));
  for (int i = 0; i < blocks; ++i) {
    std::string const k = std::to_string(i);
    NodeId const n = g.layer_norm("n" + k, stream, "g" + k);
    stream = g.add("s" + k, {stream, g.linear("l" + k, n, 4, "W" + k)});
  }
  g.output("y", g.layer_norm("n", stream));
  FoldReport const report = find_foldable_norms(g, placing());
  CHECK(report.folds() == blocks + 1);
  CHECK(inserted(report) == std::vector<std::string>{"a"});
  CHECK(find_foldable_norms(g, placing(at_a_price_of(2 * blocks))).placement == Placement{});
}

TEST_CASE("place_centering: the center comes behind its node under a free name, and all readers read it") {
  using namespace placements;
  Graph const g = graph_of(
      "input x features=4\ninput a.centered features=4\nrelu a x\nlayer_norm n1 a gamma=g1\nlayer_norm n2 a\n"
      "output y n1\noutput z n2\noutput w a.centered\n");
  FoldReport const report = find_foldable_norms(g, placing());
  FoldedModel const folded = fold_norms(g, report, random_parameters(g, 4, 1));
  CHECK(printed(folded.graph) ==
        "input x features=4\ninput a.centered features=4\nrelu a x\ncenter a.centered_ a\n"
        "rms_norm n1 a.centered_ gamma=g1\nrms_norm n2 a.centered_\noutput y n1\noutput z n2\noutput w a.centered\n");
  CHECK(fold_error(g, report) <= fold_tolerance);
  // Folded again, it stays as it is.
  CHECK(find_foldable_norms(folded.graph, placing()).placement == Placement{});
}

TEST_CASE("place_centering: a report that inserts behind what is not there is refused") {
  using namespace placements;
  Graph const g = graph_of("ids t vocab=3\nembedding e t features=4 table=E\noutput y e\n");
  Parameters const p = random_parameters(g, 4, 1);
  for (std::string const node : {"nobody", "t", "y"}) {
    CAPTURE(node);
    FoldReport report;
    NodeId const id = g.find_node(node).value_or(NodeId{7});
    report.placement = Placement{{InsertionSet{{Insertion{id, node, 1}}, {}}}};
    CHECK_THROWS_WITH(fold_norms(g, report, p), Contains("report") && Contains("insertion " + node));
  }
}

TEST_CASE("place_centering: a drawing shows the center, and the way through it") {
  using namespace placements;
  Graph const g =
      graph_of("input x features=4\nrelu a x\nlayer_norm n1 a\nlayer_norm n2 a\noutput y n1\noutput z n2\n");
  std::ostringstream out;
  write_dot(out, g, find_foldable_norms(g, placing()));
  CHECK_THAT(out.str(), Contains("\"a centered\" [label=\"center\"") && Contains("\"a\" -> \"a centered\"") &&
                            Contains("\"a centered\" -> \"n1\"") && !Contains("\"a\" -> \"n1\""));
  std::ostringstream plain;
  write_dot(plain, g, find_foldable_norms(g));
  CHECK_THAT(plain.str(), !Contains("centered"));
}
