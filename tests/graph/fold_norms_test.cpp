// SPDX-License-Identifier: MIT
// tests/graph/fold_norms_test.cpp -- the rewrite: the same outputs with fewer layer_norms, or nothing at all.
#include <foldnorm/graph/fold_norms.hpp>

#include "graph/graph_testing.hpp"
#include "graph/matchers.hpp"

#include "catch.hpp"

#include <limits>
#include <string>
#include <vector>

using namespace foldnorm;
using namespace foldnorm::testing;
using foldnorm::testing::Contains;

namespace {

// A pre-norm block with a scaled branch: everything that a fold does, in one graph.
char const* const block = R"(
  input x features=8
  linear embed x out=6 weight=E bias=e
  add_parameter pos embed value=P per_token=1
  layer_norm n1 pos gamma=g1 beta=b1 eps=0.01
  linear fc n1 out=6 weight=W bias=w
  scale_channels layer_scale fc value=s
  add stream pos layer_scale
  layer_norm n2 stream gamma=g2 beta=b2
  linear head n2 out=3 weight=H bias=h
  output y head
)";

template <class Scalar>
Parameters in_type(Parameters const& parameters) {
  Parameters result;
  for (auto const& [name, value] : parameters) {
    Matrix<double> const values = parameters.as<double>(name);
    result.set(name, Matrix<Scalar>(Matrix<Scalar>::Zero(values.rows(), values.cols())));
    result.assign(name, values);
  }
  return result;
}

}  // namespace

TEST_CASE("fold_norms: before and after, as text") {
  Graph const g = graph_of(block);
  FoldedModel const folded = fold_norms(g, find_foldable_norms(g), random_parameters(g, 4, 1));
  CHECK(printed(folded.graph) ==
        "input x features=8\n"
        "linear embed x out=6 weight=E bias=e\n"
        "add_parameter pos embed value=P per_token=1\n"
        "rms_norm n1 pos gamma=g1 beta=b1 eps=0.01\n"
        "linear fc n1 out=6 weight=W bias=w\n"
        "add stream pos fc\n"
        "rms_norm n2 stream gamma=g2 beta=b2\n"
        "linear head n2 out=3 weight=H bias=h\n"
        "output y head\n");
}

TEST_CASE("fold_norms: outputs stay equal, layer_norms are gone, and only what was named has changed") {
  Graph const g = graph_of(block);
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    CAPTURE(seed);
    Parameters const p = random_parameters(g, 4, seed);
    FoldReport const report = find_foldable_norms(g);
    FoldedModel const folded = fold_norms(g, report, p);
    CHECK(count_of(g, Operator::layer_norm) == 2);
    CHECK(count_of(folded.graph, Operator::layer_norm) == 0);
    CHECK(count_of(folded.graph, Operator::rms_norm) == 2);
    CHECK(fold_error(g, report, p, 4, seed) <= fold_tolerance);
    for (char const* kept : {"g1", "b1", "g2", "b2", "H", "h"}) {
      CHECK(folded.parameters.as<double>(kept) == p.as<double>(kept));
    }
    for (char const* centered : {"E", "e", "P", "W", "w"}) {
      CHECK(folded.parameters.as<double>(centered) != p.as<double>(centered));
      CHECK(is_centered(folded.parameters.get<double>(centered)));
    }
    CHECK_FALSE(folded.parameters.contains("s"));  // composed into W and w
  }
}

TEST_CASE("fold_norms: the centered numbers are those of the formula") {
  Graph const g = graph_of(
      "input x features=1\nlinear h x out=2 weight=W bias=b\nbatch_norm s h scale=v shift=t\n"
      "layer_norm n s\noutput y n\n");
  Parameters p;
  p.set("W", Vector<double>{{1.0, 5.0}});
  p.set("b", Vector<double>{{2.0, 4.0}});
  p.set("v", Vector<double>{{3.0, 1.0}});
  p.set("t", Vector<double>{{0.0, 8.0}});
  FoldedModel const folded = fold_norms(g, find_foldable_norms(g), p);
  // v .* W = (3, 5), mean 4;  v .* b + t = (6, 12), mean 9
  CHECK(folded.parameters.get<double>("W") == Vector<double>{{-1.0, 1.0}});
  CHECK(folded.parameters.get<double>("b") == Vector<double>{{-3.0, 3.0}});
  CHECK(folded.parameters.size() == 2);
}

TEST_CASE("fold_norms: a batch_norm gives a layer without a bias one, under a name that is free") {
  Graph const g = graph_of(
      "input x features=4\nlinear fc x out=6 weight=fc.bias\nbatch_norm s fc scale=v shift=t\n"
      "layer_norm n s\noutput y n\n");
  Parameters p = random_parameters(g, 4, 1);
  p.set("fc.bias_", Matrix<double>::Ones(1, 1));  // of no concern to the graph, but taken
  FoldReport const report = find_foldable_norms(g);
  FoldedModel const folded = fold_norms(g, report, p);
  std::string const bias =
      folded.graph.parameter(folded.graph.node(folded.graph.find_node("fc").value()).parameter(Key::bias)).name;
  CHECK(bias == "fc.bias__");
  CHECK(folded.parameters.as<double>(bias).rows() == 6);
  CHECK(folded.parameters.as<double>("fc.bias_") == Matrix<double>::Ones(1, 1));
  CHECK_FALSE(folded.parameters.contains("v"));
  CHECK_FALSE(folded.parameters.contains("t"));
  CHECK(fold_error(g, report, p, 4, 1) <= fold_tolerance);
}

TEST_CASE("fold_norms: no bias is added where the centered shift is zero") {
  Graph const g = graph_of(
      "input x features=4\nlinear fc x out=6 weight=W\nbatch_norm s fc scale=v shift=t\n"
      "layer_norm n s\noutput y n\n");
  Parameters p = random_parameters(g, 4, 1);
  p.set("t", Vector<double>::Constant(6, 0.7));
  FoldReport const report = find_foldable_norms(g);
  FoldedModel const folded = fold_norms(g, report, p);
  CHECK_FALSE(folded.graph.node(folded.graph.find_node("fc").value()).parameter(Key::bias).present());
  CHECK(fold_error(g, report, p, 4, 1) <= fold_tolerance);
}

TEST_CASE("fold_norms: composing and centering go part by part, rows outside of the parts are scaled only") {
  Graph const g = graph_of(
      "input x features=4\nlinear fc x out=6 weight=W bias=b\nbatch_norm s fc scale=v shift=t\n"
      "slice_features k s start=0 length=4\nslice_features raw s start=4 length=2\n"
      "layer_norm n k groups=2\noutput y n\noutput z raw\n");
  Parameters const p = random_parameters(g, 4, 1);
  FoldReport const report = find_foldable_norms(g);
  REQUIRE(report.folds() == 1);
  REQUIRE(report.centerings[0].parts == std::vector<Interval>{{0, 2}, {2, 4}});
  CHECK(fold_error(g, report, p, 4, 1) <= fold_tolerance);
}

TEST_CASE("fold_norms: a composed convolution") {
  Graph const g = graph_of(
      "input x features=4\nconv fc x out=6 kernel=3 weight=W bias=b\nbatch_norm s fc scale=v "
      "shift=t\nlayer_norm n s gamma=g\noutput y n\n");
  FoldReport const report = find_foldable_norms(g);
  CHECK(report.compositions.size() == 1);
  CHECK(fold_error(g, report) <= fold_tolerance);
  CHECK(count_of(fold_norms(g, report, random_parameters(g, 4, 1)).graph, Operator::batch_norm) == 0);
}

TEST_CASE("fold_norms: a second run finds nothing left to do") {
  Graph const g = graph_of(block);
  Parameters const p = random_parameters(g, 4, 3);
  FoldedModel const once = fold_norms(g, find_foldable_norms(g), p);
  FoldReport const again = find_foldable_norms(once.graph);
  CHECK(again == FoldReport{});
  FoldedModel const twice = fold_norms(once.graph, again, once.parameters);
  CHECK(twice.graph == once.graph);
  CHECK(same_parameters(twice.parameters, once.parameters));
}

TEST_CASE("fold_norms: carrying out one report's centerings twice changes no bit the second time") {
  Graph const g = graph_of(
      "input x features=8\nlinear h x out=6 weight=W bias=b\nlayer_norm n h groups=2\nlinear k x out=5 weight=V\n"
      "layer_norm m k\noutput y n\noutput z m\n");
  FoldReport const report = find_foldable_norms(g);
  for (bool const narrow : {false, true}) {
    Parameters const p = narrow ? in_type<float>(random_parameters(g, 4, 3)) : random_parameters(g, 4, 3);
    FoldedModel const once = fold_norms(g, report, p);
    CHECK_FALSE(same_parameters(once.parameters, p));
    CHECK(same_parameters(fold_norms(g, report, once.parameters).parameters, once.parameters));
  }
}

TEMPLATE_TEST_CASE("fold_norms: parameters keep their type, and the fold is as exact as that", "", float, Eigen::half,
                   Eigen::bfloat16) {
  Graph const g = graph_of(block);
  Parameters const p = in_type<TestType>(random_parameters(g, 4, 7));
  FoldOptions options;
  options.affine = GENERATE(false, true);
  FoldReport const report = find_foldable_norms(g, options);
  FoldedModel const folded = fold_norms(g, report, p);
  for (auto const& [name, value] : folded.parameters) CHECK(std::holds_alternative<Matrix<TestType>>(value));
  // Every weight is rounded once, by u relative; 1e2 of them add up along a path.
  CHECK(fold_error(g, report, p, 4, 7) <= 1e2 * foldnorm::detail::unit_roundoff<TestType>());
  CHECK(fold_error(g, report, p, 4, 7) > 0);
}

TEMPLATE_TEST_CASE("fold_norms: a composed or moved bias is its exact value, rounded once", "", float, Eigen::half,
                   Eigen::bfloat16) {
  Graph const g = graph_of(block);
  Parameters const p = in_type<TestType>(random_parameters(g, 4, 7));
  FoldOptions options;
  options.affine = true;
  FoldedModel const folded = fold_norms(g, find_foldable_norms(g, options), p);
  Vector<double> const h = p.as<double>("H") * p.as<double>("b2") + p.as<double>("h");
  for (Index i = 0; i < h.size(); ++i) CHECK(folded.parameters.get<TestType>("h")(i) == round_once<TestType>(h(i)));
}

TEST_CASE("fold_norms: float and double parameters may be mixed") {
  Graph const g = graph_of(block);
  Parameters p = random_parameters(g, 4, 7);
  for (char const* name : {"W", "e", "s", "g1"}) p.set(name, Matrix<float>(p.as<double>(name).cast<float>()));
  FoldReport const report = find_foldable_norms(g);
  FoldedModel const folded = fold_norms(g, report, p);
  CHECK(std::holds_alternative<Matrix<float>>(folded.parameters.at("W")));
  CHECK(std::holds_alternative<Matrix<float>>(folded.parameters.at("e")));
  CHECK(std::holds_alternative<Matrix<double>>(folded.parameters.at("E")));
  CHECK(fold_error(g, report, p, 4, 7) <= 1e2 * 0x1p-24);
}

TEST_CASE("fold_norms: a composed bias keeps its own storage type") {
  Graph const g = graph_of(
      "input x features=4\nlinear fc x out=6 weight=W bias=b\nscale_channels s fc value=v\n"
      "layer_norm n s\noutput y n\n");
  Parameters p = random_parameters(g, 4, 1);
  p.set("W", Matrix<float>(p.as<double>("W").cast<float>()));
  FoldedModel const folded = fold_norms(g, find_foldable_norms(g), p);
  CHECK(std::holds_alternative<Matrix<float>>(folded.parameters.at("W")));
  CHECK(std::holds_alternative<Matrix<double>>(folded.parameters.at("b")));
}

TEST_CASE("fold_norms: parameters that the report does not name need not be there") {
  Graph const g = graph_of(block);
  Parameters p = random_parameters(g, 4, 1);
  for (char const* name : {"g1", "b1", "g2", "b2", "H", "h"}) p.erase(name);
  CHECK_NOTHROW(fold_norms(g, find_foldable_norms(g), p));
}

TEST_CASE("fold_norms: any one wrong parameter leaves everything as it was, and the message names it") {
  Graph const g = graph_of(block);
  FoldReport const report = find_foldable_norms(g);
  Parameters const good = random_parameters(g, 4, 1);
  double const inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  for (Centering const& centering : report.centerings) {
    std::string const& name = centering.parameter;
    CAPTURE(name);
    std::vector<Parameters> bad(5, good);
    bad[0].get<double>(name)(1, 0) = nan;
    bad[1].get<double>(name)(0, 0) = -inf;
    bad[2].get<double>(name)(2, 0) = 1e308;  // its centered value might not fit
    bad[3].erase(name);
    bad[4].set(name, Matrix<double>::Ones(5, 1));
    for (std::size_t i = 0; i < bad.size(); ++i) {
      CAPTURE(i);
      Parameters const before = bad[i];
      CHECK_THAT(refusal_of(g, report, bad[i]), Contains(name));
      bool const has_nan = i == 0;
      if (!has_nan) CHECK(same_parameters(bad[i], before));
      CHECK(printed(g) == printed(graph_of(block)));
    }
  }
}

TEST_CASE("fold_norms: the report of another graph is refused") {
  Graph const g = graph_of(block);
  Parameters const p = random_parameters(g, 4, 1);
  FoldReport const report = find_foldable_norms(g);

  FoldReport norm = report;
  norm.norms[0].name = "nobody";
  CHECK_THAT(refusal_of(g, norm, p), Contains("report") && Contains("nobody"));
  norm = report;
  norm.norms[0].name = "fc";
  CHECK_THAT(refusal_of(g, norm, p), Contains("report"));
  norm = report;
  norm.norms[0].norm = report.norms[1].norm;
  CHECK_THAT(refusal_of(g, norm, p), Contains("report"));

  FoldReport centering = report;
  centering.centerings[0].parameter = "nobody";
  CHECK_THAT(refusal_of(g, centering, p), Contains("report") && Contains("nobody"));
  centering = report;
  centering.centerings[0].rows = 7;
  CHECK_THAT(refusal_of(g, centering, p), Contains("report"));
  centering = report;
  centering.centerings[0].parts = {{0, 7}};
  CHECK_THAT(refusal_of(g, centering, p), Contains("0:7"));
  centering.centerings[0].parts = {{2, 4}, {0, 2}};
  CHECK_THAT(refusal_of(g, centering, p), Contains("0:2"));

  FoldReport composition = report;
  composition.compositions[0].scale = NodeId{99};
  CHECK_THAT(refusal_of(g, composition, p), Contains("report"));
  composition = report;
  composition.compositions[0].linear = NodeId{};
  CHECK_THAT(refusal_of(g, composition, p), Contains("report"));

  FoldReport untied = report;
  untied.untied = {"nobody"};
  CHECK_THAT(refusal_of(g, untied, p), Contains("report") && Contains("nobody"));

  FoldReport corrected = report;
  corrected.corrected = {{*g.find_node("fc"), "fc", "W"}};  // no head, for W is no table
  CHECK_THAT(refusal_of(g, corrected, p), Contains("report") && Contains("head fc"));
}

TEST_CASE("fold_norms: a composition of nodes that are not a layer and its scale is refused") {
  Graph const g = graph_of("input x features=4\nlinear fc x out=4 weight=W\nrelu r fc\nlayer_norm n r\noutput y n\n");
  FoldReport report = naive_report(g, {"W"});
  report.compositions = {{*g.find_node("fc"), *g.find_node("r")}};
  CHECK_THAT(refusal_of(g, report, random_parameters(g, 4, 1)), Contains("report"));
  Graph const h = graph_of("input x features=4\nrelu r x\nscale_channels s r value=W\nlayer_norm n s\noutput y n\n");
  report = naive_report(h, {"W"});
  report.compositions = {{*h.find_node("r"), *h.find_node("s")}};
  CHECK_THAT(refusal_of(h, report, random_parameters(h, 4, 1)), Contains("report"));
}

TEST_CASE("fold_norms: an untied table is centered, its heads read an unchanged copy") {
  Graph const g = graph_of(
      "ids i vocab=9\nembedding e i features=6 table=E\nlayer_norm n e gamma=g beta=b\nlinear head n out=9 weight=E\n"
      "linear head2 n out=9 weight=E bias=c\noutput y head\noutput z head2\n");
  FoldReport const report = find_foldable_norms(g, untying());
  for (bool const narrow : {false, true}) {
    Parameters const p = narrow ? in_type<float>(random_parameters(g, 4, 2)) : random_parameters(g, 4, 2);
    FoldedModel const folded = fold_norms(g, report, p);
    CHECK(folded.parameters.as<double>("E.untied") == p.as<double>("E").transpose());  // now an ordinary weight
    CHECK(folded.parameters.at("E.untied").index() == p.at("E").index());
    CHECK(folded.parameters.as<double>("E") != p.as<double>("E"));
    CHECK(folded.graph.parameter(*folded.graph.find_parameter("E.untied")).uses.size() == 2);
    CHECK(folded.graph.parameter(*folded.graph.find_parameter("E")).uses.size() == 1);
    CHECK(fold_error(g, report, p, 5, 2) <= (narrow ? 1e2 * 0x1p-24 : fold_tolerance));
  }
}

TEST_CASE("fold_norms: the name of an untied copy avoids those that are taken") {
  Graph const g = graph_of(
      "ids i vocab=9\nembedding e i features=6 table=E\nadd_parameter p e value=E.untied\n"
      "layer_norm n p gamma=g beta=b\nlinear head n out=9 weight=E\noutput y head\n");
  FoldReport const report = find_foldable_norms(g, untying());
  Parameters const p = random_parameters(g, 4, 2);
  FoldedModel const folded = fold_norms(g, report, p);
  CHECK(folded.graph.find_parameter("E.untied_"));
  CHECK(folded.parameters.as<double>("E.untied").cols() == 1);
  CHECK(fold_error(g, report, p, 5, 2) <= fold_tolerance);
}

TEST_CASE("fold_norms: a corrected head adds what its table has lost, under its own name") {
  Graph const g = graph_of(
      "ids i vocab=9\nembedding e i features=6 table=E\nadd_parameter p e value=E.ones\n"
      "layer_norm n p gamma=g beta=b\nlinear head n out=9 weight=E\nlinear head2 n out=9 weight=E bias=c\n"
      "relu head.tied head\noutput y head.tied\noutput z head2\n");
  FoldReport const report = find_foldable_norms(g, correcting());
  for (bool const narrow : {false, true}) {
    Parameters const p = narrow ? in_type<float>(random_parameters(g, 4, 2)) : random_parameters(g, 4, 2);
    FoldedModel const folded = fold_norms(g, report, p);
    CHECK(printed(folded.graph) ==
          "ids i vocab=9\nembedding e i features=6 table=E\nadd_parameter p e value=E.ones\n"
          "rms_norm n p gamma=g beta=b\nlinear head.tied_ n out=9 weight=E\nlinear head.sums n out=1 weight=E.ones_\n"
          "linear head.correction head.sums out=9 weight=E.means\nadd head head.tied_ head.correction\n"
          "linear head2.tied n out=9 weight=E bias=c\nlinear head2.sums n out=1 weight=E.ones_\n"
          "linear head2.correction head2.sums out=9 weight=E.means\nadd head2 head2.tied head2.correction\n"
          "relu head.tied head\noutput y head.tied\noutput z head2\n");
    CHECK(folded.parameters.as<double>("E.ones_") == Matrix<double>::Ones(1, 6));
    // Stored in the table's type: one rounding, and those of the sum that the mean is.
    Matrix<double> const means = p.as<double>("E").colwise().mean().transpose();
    CHECK(folded.parameters.at("E.means").index() == p.at("E").index());
    CHECK((folded.parameters.as<double>("E.means") - means).cwiseAbs().maxCoeff() <= (narrow ? 0x1p-23 : 0x1p-50));
    CHECK(fold_error(g, report, p, 5, 2) <= (narrow ? 1e2 * 0x1p-24 : fold_tolerance));
  }
}

TEST_CASE("fold_norms: a table that is centered part by part is corrected by the mean of each part") {
  Graph const g = graph_of(
      "ids i vocab=9\nembedding e i features=6 table=E\nlayer_norm n e groups=2 gamma=g\n"
      "linear head n out=9 weight=E\noutput y head\n");
  FoldReport const report = find_foldable_norms(g, correcting());
  Parameters const p = random_parameters(g, 4, 2);
  FoldedModel const folded = fold_norms(g, report, p);
  Matrix<double> ones = Matrix<double>::Zero(2, 6);
  ones.row(0).head(3).setOnes();
  ones.row(1).tail(3).setOnes();
  CHECK(folded.parameters.as<double>("E.ones") == ones);
  CHECK(fold_error(g, report, p, 5, 2) <= fold_tolerance);
  FoldReport beyond = report;
  beyond.centerings[0].parts = {{0, 7}};
  CHECK_THAT(refusal_of(g, beyond, p), Contains("parts of E"));
}

TEST_CASE("fold_norms: corrected and untied heads give the same logits, with one table or two") {
  Graph const g = graph_of(
      "ids i vocab=9\nembedding e i features=6 table=E\nlayer_norm n e gamma=g beta=b\nlinear head n out=9 weight=E\n"
      "output y head\n");
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    CAPTURE(seed);
    Parameters const p = random_parameters(g, 4, seed);
    NamedValues const x = random_inputs(g, 4, seed);
    FoldedModel const untied = fold_norms(g, find_foldable_norms(g, untying()), p);
    FoldedModel const corrected = fold_norms(g, find_foldable_norms(g, correcting()), p);
    Matrix<double> const expected = evaluate(untied.graph, untied.parameters, x).at("y");
    Matrix<double> const actual = evaluate(corrected.graph, corrected.parameters, x).at("y");
    CHECK((actual - expected).cwiseAbs().maxCoeff() <= fold_tolerance * expected.cwiseAbs().maxCoeff());
    CHECK(untied.parameters.contains("E.untied"));
    CHECK_FALSE(corrected.parameters.contains("E.untied"));
  }
}

TEST_CASE("fold_norms: two scales that would add biases of one name") {
  // Both layers lack a bias, and "a.bias" is the name for the first and already a node's name elsewhere.
  Graph const g = graph_of(
      "input x features=4\nlinear a x out=6 weight=A\nbatch_norm sa a scale=va shift=ta\nlayer_norm n sa\n"
      "linear a.bias x out=6 weight=B\nbatch_norm sb a.bias scale=vb shift=tb\nlayer_norm m sb\noutput y n\noutput z "
      "m\n");
  CHECK(fold_error(g, find_foldable_norms(g)) <= fold_tolerance);
}

TEST_CASE("fold_norms: an empty report gives the same graph and parameters back") {
  Graph const g = graph_of(block);
  Parameters const p = random_parameters(g, 4, 1);
  FoldedModel const folded = fold_norms(g, {}, p);
  CHECK(folded.graph == g);
  CHECK(same_parameters(folded.parameters, p));
}
