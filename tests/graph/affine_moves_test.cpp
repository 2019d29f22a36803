// SPDX-License-Identifier: MIT
// tests/graph/affine_moves_test.cpp -- gamma and beta into the layers that read them: what moves, what stays and why,
// and that no output changes.
#include <foldnorm/graph/affine_moves.hpp>

#include "graph/graph_testing.hpp"
#include "graph/matchers.hpp"

#include "catch.hpp"

#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

using namespace foldnorm;
using namespace foldnorm::testing;
using foldnorm::testing::Contains;

namespace {

std::string affine_lines(FoldReport report) {
  report.norms.clear();
  report.centerings.clear();
  return printed(report);
}

// Asserts the verdicts on gamma and beta, and the promises of the moves that they order, on a few seeds.
void check_moves(std::string const& text, std::string const& expected, FoldOptions const& options = moving_affine()) {
  CAPTURE(text);
  Graph const g = graph_of(text);
  CHECK(affine_lines(find_foldable_norms(g, options)) == expected);
  for (std::uint64_t seed : {1U, 2U}) {
    CAPTURE(seed);
    check_affine_moves(g, options.parameters ? *options.parameters : random_parameters(g, 4, seed), options, 4, seed);
  }
}

// Somebody who does not ask: gamma and beta of the first norm go into these readers, whoever else there is.
double naive_error(std::string const& text, std::vector<std::string> const& readers) {
  Graph const g = graph_of(text);
  AffineVerdict verdict;
  for (std::size_t n = 0; n < g.nodes().size() && verdict.name.empty(); ++n) {
    Operator const op = g.nodes()[n].op;
    bool const is_norm = op == Operator::layer_norm || op == Operator::rms_norm;
    if (is_norm) verdict = {NodeId{static_cast<std::int32_t>(n)}, g.nodes()[n].name, {}, true, {}};
  }
  for (std::string const& reader : readers) verdict.readers.push_back(g.find_node(reader).value());
  FoldReport report;
  report.affines = {verdict};
  return fold_error(g, report);
}
// Asserts the verdict, and that the move that it forbids would be wrong.
void check_stays(std::string const& text, std::string const& expected, std::vector<std::string> const& readers = {}) {
  check_moves(text, expected);
  CAPTURE(text);
  CHECK(naive_error(text, readers) > visible_error);
}

FoldedModel moved(Graph const& g, Parameters const& p, FoldOptions const& options = moving_affine()) {
  return fold_norms(g, find_foldable_norms(g, options), p);
}

std::string const x6 = "input x features=6\n";
std::string const n6 = x6 + "rms_norm n x gamma=g beta=b\n";

}  // namespace

TEST_CASE("affine_moves: the numbers are those of the formula, for a layer_norm and an rms_norm") {
  for (std::string const norm : {"layer_norm", "rms_norm"}) {
    Graph const g = graph_of("input x features=2\n" + norm +
                             " n x gamma=g beta=b\nlinear h n out=2 weight=W bias=c\nlinear k n out=1 weight=V\n"
                             "output y h\noutput z k\n");
    Parameters p;
    p.set("g", Vector<double>{{2.0, 3.0}});
    p.set("b", Vector<double>{{1.0, -1.0}});
    p.set("W", Matrix<double>{{1.0, 2.0}, {5.0, 3.0}});
    p.set("c", Vector<double>{{10.0, 20.0}});
    p.set("V", Matrix<double>{{4.0, 1.0}});
    FoldedModel const folded = moved(g, p);
    CHECK(printed(folded.graph) == "input x features=2\n" + norm +
                                       " n x\nlinear h n out=2 weight=W bias=c\nlinear k n out=1 weight=V "
                                       "bias=k.bias\noutput y h\noutput z k\n");
    CHECK(folded.parameters.get<double>("W") == Matrix<double>{{2.0, 6.0}, {10.0, 9.0}});
    CHECK(folded.parameters.get<double>("c") == Vector<double>{{9.0, 22.0}});
    CHECK(folded.parameters.get<double>("V") == Matrix<double>{{8.0, 3.0}});
    CHECK(folded.parameters.get<double>("k.bias") == Vector<double>{{3.0}});
    CHECK(folded.parameters.size() == 4);
  }
}

TEST_CASE("affine_moves: a verdict for every norm with a gamma or beta, and only where asked for") {
  std::string const text = x6 +
                           "layer_norm a x gamma=g\nlinear h a out=6 weight=W\nrms_norm b h beta=c groups=2\n"
                           "linear k b out=6 weight=V\nrms_norm bare k\nrelu r bare\nlayer_norm d r gamma=h beta=e\n"
                           "output y d\n";
  check_moves(text, "affine a\naffine b\nkeep_affine d output y\n");
  Graph const g = graph_of(text);
  CHECK(find_foldable_norms(g).affines.empty());
  CHECK(find_foldable_norms(g, moving_affine()).affines[1].shifts);
  CHECK_FALSE(find_foldable_norms(g, moving_affine()).affines[0].shifts);
}

TEST_CASE("affine_moves: operators that copy or average whole tokens are looked through, with all their readers") {
  for (std::string const op : {"identity", "dropout", "drop_path", "permute_tokens", "mean_tokens"}) {
    check_moves(n6 + op + " k n\nlinear h n out=4 weight=W bias=w\nlinear i k out=3 weight=V bias=v\nidentity l k\n" +
                    "linear j l out=3 weight=U\noutput y h\noutput z i\noutput u j\n",
                "affine n\n");
    check_stays(n6 + op + " k n\nlinear h n out=4 weight=W bias=w\nrelu r k\noutput y h\noutput z r\n",
                "keep_affine n read_unforgiven r\n", {"h"});
  }
}

TEST_CASE("affine_moves: readers that are not linear keep gamma and beta") {
  for (std::string const op :
       {"relu r n", "softmax r n", "add r n x", "multiply r n x", "scale r n by=2", "scale_channels r n value=s",
        "add_parameter r n value=s", "center r n", "max_tokens r n", "slice_features r n start=0 length=3",
        "concat_tokens r n x", "attention r x x n"}) {
    check_stays(n6 + "linear h n out=6 weight=W bias=w\n" + op + "\noutput y h\noutput z r\n",
                "keep_affine n read_unforgiven r\n", {"h"});
  }
  // A norm that reads a norm keeps that one's, not its own.
  check_stays(n6 + "rms_norm m n gamma=c\nlinear h m out=6 weight=W\noutput y h\n",
              "keep_affine n read_unforgiven m\naffine m\n");
  CHECK(affine_lines(find_foldable_norms(graph_of(n6 + "opaque o n features=3\noutput y o\n"), moving_affine())) ==
        "keep_affine n read_unforgiven o\n");
}

TEST_CASE("affine_moves: what is observed keeps gamma and beta: an output, a value that nobody reads") {
  check_stays(n6 + "linear h n out=6 weight=W\noutput y h\noutput z n\n", "keep_affine n output z\n", {"h"});
  check_stays(n6 + "identity i n\nlinear h n out=6 weight=W\noutput z i\noutput y h\n", "keep_affine n output z\n",
              {"h"});
  check_moves(n6 + "identity i n\nlinear h n out=6 weight=W\noutput y h\n", "keep_affine n output i\n");
  check_moves(n6 + "output y x\n", "keep_affine n output n\n");
}

TEST_CASE("affine_moves: a convolution over several tokens takes gamma, and beta only if it is known to be zero") {
  std::string const conv3 = "conv h n out=4 kernel=3 weight=W bias=w\noutput y h\n";
  check_moves(x6 + "rms_norm n x gamma=g\n" + conv3, "affine n\n");
  check_moves(n6 + conv3, "keep_affine n read_unforgiven h\n");
  Graph const g = graph_of(n6 + conv3);
  Parameters p = random_parameters(g, 4, 1);
  FoldOptions known = moving_affine();
  known.parameters = &p;
  check_moves(n6 + conv3, "keep_affine n read_unforgiven h\n", known);
  p.set("b", Matrix<double>::Zero(6, 1));
  check_moves(n6 + conv3, "affine n\n", known);
  // Without the zeros around the sequence there is nothing that beta would miss: one tap.
  check_moves(n6 + "conv h n out=4 weight=W\noutput y h\n", "affine n\n");
  // The rewrite would add beta's sum over all taps, which tokens at the border do not see.
  FoldReport report = find_foldable_norms(g, known);
  report.affines[0].shifts = true;
  CHECK_THAT(refusal_of(g, report, p), Contains("report"));
}

TEST_CASE("affine_moves: the groups of a convolution meet their own inputs") {
  for (std::string const groups : {"2", "3", "6"}) {
    check_moves(n6 + "conv h n out=12 groups=" + groups + " weight=W\noutput y h\n", "affine n\n");
    check_moves(x6 + "layer_norm n x gamma=g groups=3\nconv h n out=12 kernel=5 groups=" + groups +
                    " weight=W bias=w\nlayer_norm m h groups=12\noutput y m\n",
                "affine n\n");
  }
}

TEST_CASE("affine_moves: a weight that another layer uses stays, and the other use is to blame") {
  check_stays(n6 + "linear h n out=6 weight=W\nlinear k x out=6 weight=W\noutput y h\noutput z k\n",
              "keep_affine n tied k\n", {"h"});
  check_stays(n6 + "linear h n out=6 weight=W\nrelu r x\nrms_norm m r gamma=c\nlinear k m out=6 weight=W\noutput y h\n"
                   "output z k\n",
              "keep_affine n tied k\nkeep_affine m tied h\n", {"h"});
  // In another role.
  check_stays(
      "input x features=1\ninput q features=6\nrms_norm n x gamma=g beta=b\nlinear h n out=6 weight=W\n"
      "add_parameter p q value=W\noutput y h\noutput z p\n",
      "keep_affine n tied p\n", {"h"});
  check_moves("input x features=1\nrms_norm n x gamma=g beta=b\nlinear h n out=6 weight=W bias=W\noutput y h\n",
              "keep_affine n tied h\n");
  // A bias, where there is a beta to go into it.
  std::string const shared_bias =
      "linear h n out=6 weight=W bias=w\nlinear k x out=6 weight=V bias=w\noutput y h\n"
      "output z k\n";
  check_stays(n6 + shared_bias, "keep_affine n tied k\n", {"h"});
  check_moves(x6 + "rms_norm n x gamma=g\n" + shared_bias, "affine n\n");
}

TEST_CASE("affine_moves: what readers of one norm share is changed once, if they would change it alike") {
  std::string const outputs = "output y h\noutput z k\n";
  check_moves(n6 + "linear h n out=4 weight=W bias=w\nlinear k n out=4 weight=W bias=w\n" + outputs, "affine n\n");
  check_moves(n6 + "linear h n out=4 weight=W bias=w\nlinear k n out=4 weight=W bias=v\n" + outputs, "affine n\n");
  check_moves(n6 + "linear h n out=4 weight=W\nidentity i n\nconv k i out=4 weight=W bias=w\n" + outputs, "affine n\n");
  // b + W beta is not b + V beta.
  check_stays(n6 + "linear h n out=4 weight=W bias=w\nlinear k n out=4 weight=V bias=w\n" + outputs,
              "keep_affine n tied k\n", {"h", "k"});
  // The columns of one weight, read as one tap of six inputs, and as three taps of groups of two.
  std::string const one_and_three =
      "rms_norm n x gamma=g\nlinear h n out=6 weight=W\n"
      "conv k n out=6 kernel=3 groups=3 weight=W\n" +
      outputs;
  check_moves(x6 + one_and_three, "keep_affine n tied k\n");
}

TEST_CASE("affine_moves: gammas and betas may be shared, and go when the last norm that has them does") {
  std::string const text =
      x6 +
      "rms_norm n x gamma=g beta=b\nlinear h n out=6 weight=W bias=w\nrms_norm m h gamma=g beta=b\n"
      "linear k m out=6 weight=V\n";
  check_moves(text + "output y k\n", "affine n\naffine m\n");
  check_moves(text + "output y k\noutput z m\n", "affine n\nkeep_affine m output z\n");
  Graph const all = graph_of(text + "output y k\n"), one = graph_of(text + "output y k\noutput z m\n");
  FoldedModel const without = moved(all, random_parameters(all, 4, 1));
  CHECK_FALSE(without.parameters.contains("g"));
  CHECK_FALSE(without.parameters.contains("b"));
  Parameters const p = random_parameters(one, 4, 1);
  FoldedModel const with = moved(one, p);
  CHECK(with.parameters.as<double>("g") == p.as<double>("g"));
  CHECK(with.parameters.as<double>("b") == p.as<double>("b"));
}

TEST_CASE("affine_moves: a tied head keeps gamma unless its table is untied by a fold") {
  std::string const text =
      "ids i vocab=9\nembedding e i features=6 table=E\nlayer_norm n e gamma=g beta=b\n"
      "linear head n out=9 weight=E\noutput y head\n";
  FoldOptions untie = moving_affine();
  untie.tied = TiedTables::untie;
  check_moves(text, "keep_affine n tied e\n");
  check_moves(text, "affine n\n", untie);
  Graph const g = graph_of(text);
  FoldedModel const folded = moved(g, random_parameters(g, 4, 1), untie);
  CHECK(is_centered(folded.parameters.get<double>("E")));
  CHECK_FALSE(is_centered(folded.parameters.get<double>("E.untied")));  // the head's own, which nobody centers
  // Nothing is untied where no norm folds by it.
  check_moves(text + "output z e\n", "keep_affine n tied e\n", untie);
  // Two heads on one norm share the copy; heads on two norms cannot.
  check_moves(text + "linear head2 n out=9 weight=E bias=c\noutput z head2\n", "affine n\n", untie);
  check_moves(
      text + "linear f n out=6 weight=F\nlayer_norm m f gamma=c\nlinear head2 m out=9 weight=E\noutput z head2\n",
      "keep_affine n tied head2\nkeep_affine m tied head\n", untie);
  // A convolution reads the table itself, and so does a layer whose bias it is.
  check_moves(
      "ids i vocab=6\nembedding e i features=6 table=E\nlayer_norm n e gamma=g\nlinear head n out=6 weight=E\n"
      "conv k n out=6 weight=E\nlayer_norm m k\noutput y head\noutput z m\n",
      "keep_affine n tied e\n", untie);
  check_moves(
      "ids i vocab=1\nembedding e i features=6 table=E\nlayer_norm n e beta=b\nlinear head n out=1 weight=E\n"
      "linear k n out=6 weight=V bias=E\nlayer_norm m k\noutput y head\noutput z m\n",
      "keep_affine n tied e\n", untie);
}

TEST_CASE("affine_moves: readers that are producers end centered, with a bias that beta gave them") {
  std::string const text = x6 +
                           "rms_norm n x gamma=g beta=b\nlinear h n out=6 weight=W\nlinear k n out=6 weight=V bias=v\n"
                           "add s h k\nlayer_norm m s gamma=c beta=d\nlinear head m out=3 weight=H\noutput y head\n";
  check_moves(text, "affine n\naffine m\n");
  Graph const g = graph_of(text);
  FoldedModel const folded = moved(g, random_parameters(g, 4, 1));
  CHECK(count_of(folded.graph, Operator::layer_norm) == 0);
  for (char const* name : {"W", "h.bias", "V", "v"}) CHECK(is_centered(folded.parameters.get<double>(name)));
  // Part by part; what is not centered keeps all of W beta.
  check_moves(n6 + "linear h n out=6 weight=W\nslice_features p h start=0 length=4\n"
                   "slice_features raw h start=4 length=2\nlayer_norm m p groups=2\noutput y m\noutput z raw\n",
              "affine n\n");
}

TEST_CASE("affine_moves: readers that a scale composes with, and that get no bias which would be zero") {
  std::string const branch = n6 + "linear h n out=6 weight=W\nscale_channels s h value=v\nlayer_norm m s\noutput y m\n";
  check_moves(branch, "affine n\n");
  Graph const g = graph_of(branch);
  FoldedModel const folded = moved(g, random_parameters(g, 4, 1));
  CHECK(count_of(folded.graph, Operator::scale_channels) == 0);
  CHECK(is_centered(folded.parameters.get<double>("h.bias")));
  check_moves(n6 + "conv h n out=6 weight=W\nbatch_norm s h scale=v shift=t\nlayer_norm m s\noutput y m\n",
              "affine n\n");
  check_moves(n6 + "linear h n out=6 weight=W bias=w\nbatch_norm s h scale=v shift=t\nlayer_norm m s\noutput y m\n",
              "affine n\n");
  // One feature: centered, it is zero.
  std::string const one =
      n6 + "linear h n out=1 weight=W\nlayer_norm m h beta=c\nlinear k m out=2 weight=V\noutput y k\n";
  check_moves(one, "affine n\naffine m\n");
  Graph const narrow = graph_of(one);
  CHECK_FALSE(moved(narrow, random_parameters(narrow, 4, 1)).parameters.contains("h.bias"));
}

TEST_CASE("affine_moves: the name of a bias that is added avoids those that are taken") {
  Graph const g = graph_of(n6 + "linear h n out=6 weight=h.bias\noutput y h\n");
  Parameters p = random_parameters(g, 4, 1);
  p.set("h.bias_", Matrix<double>::Ones(1, 1));
  FoldedModel const folded = moved(g, p);
  CHECK(folded.graph.find_parameter("h.bias__"));
  CHECK(folded.parameters.as<double>("h.bias_") == Matrix<double>::Ones(1, 1));
}

TEST_CASE("affine_moves: float parameters stay float, a new bias has its weight's type") {
  Graph const g =
      graph_of(n6 + "linear h n out=6 weight=W\nlinear k n out=6 weight=V bias=v\noutput y h\noutput z k\n");
  Parameters p = random_parameters(g, 4, 1);
  for (char const* name : {"W", "g"}) p.set(name, Matrix<float>(p.as<double>(name).cast<float>()));
  FoldReport const report = find_foldable_norms(g, moving_affine());
  FoldedModel const folded = fold_norms(g, report, p);
  CHECK(std::holds_alternative<Matrix<float>>(folded.parameters.at("W")));
  CHECK(std::holds_alternative<Matrix<float>>(folded.parameters.at("h.bias")));
  CHECK(std::holds_alternative<Matrix<double>>(folded.parameters.at("V")));
  // One rounding of W diag(gamma) and of W beta each, u = 2^-24, in sums of six.
  CHECK(fold_error(g, report, p, 4, 1) <= 1e2 * 0x1p-24);
}

TEST_CASE("affine_moves: in training gamma and the weights are trained apart, so that the question is refused") {
  Graph const g = graph_of(n6 + "linear h n out=6 weight=W\noutput y h\n");
  FoldOptions options = moving_affine();
  options.mode = FoldMode::training;
  CHECK_THROWS_AS(find_foldable_norms(g, options), std::invalid_argument);
}

TEST_CASE("affine_moves: any one wrong parameter leaves everything as it was, and the message names it") {
  Graph const g = graph_of(n6 + "linear h n out=6 weight=W bias=w\noutput y h\n");
  FoldReport const report = find_foldable_norms(g, moving_affine());
  Parameters const good = random_parameters(g, 4, 1);
  double const inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  for (std::string const name : {"g", "b", "W", "w"}) {
    for (double const number : {nan, inf}) {
      Parameters bad = good;
      bad.get<double>(name)(1, 0) = number;
      CHECK_THAT(refusal_of(g, report, bad), Contains("norm n") && Contains("finite"));
    }
    Parameters bad = good;
    bad.erase(name);
    CHECK_THAT(refusal_of(g, report, bad), Contains("'" + name + "'"));
    bad.set(name, Matrix<double>::Ones(5, 1));
    CHECK_THAT(refusal_of(g, report, bad), Contains("parameter " + name + ":") && Contains("5x1"));
    Parameters const before = bad;
    CHECK(bad.as<double>("W") == before.as<double>("W"));
  }
}

TEST_CASE("affine_moves: the report of another graph is refused") {
  Graph const g = graph_of(n6 +
                           "linear h n out=6 weight=W\nrelu r h\nlinear k r out=3 weight=V\nlinear l k out=2 weight=U\n"
                           "output y l\n");
  Parameters const p = random_parameters(g, 4, 1);
  FoldReport const report = find_foldable_norms(g, moving_affine());
  FoldReport other = report;
  other.affines[0].name = "nobody";
  CHECK_THAT(refusal_of(g, other, p), Contains("report") && Contains("nobody"));
  other = report;
  other.affines[0].name = "h";
  CHECK_THAT(refusal_of(g, other, p), Contains("report"));
  for (char const* wrong : {"x", "r", "l"}) {  // before the norm, no layer, of other inputs
    CAPTURE(wrong);
    other = report;
    other.affines[0].readers = {g.find_node(wrong).value()};
    CHECK_THAT(refusal_of(g, other, p), Contains("report"));
  }
  other = report;
  other.affines[0].readers = {NodeId{99}};
  CHECK_THAT(refusal_of(g, other, p), Contains("report"));
}
