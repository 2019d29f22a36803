// SPDX-License-Identifier: MIT
// tests/graph/find_foldable_norms_test.cpp -- what folds, what must not, and why: every reason with its least graph.
//
// Cases a to h are those of the derivation (docs/folding.md) of what looking upstream only would get wrong: each comes
// with the wrong fold carried out, which visibly changes the outputs.
#include <foldnorm/graph/find_foldable_norms.hpp>

#include "graph/graph_testing.hpp"
#include "graph/matchers.hpp"

#include "catch.hpp"

#include <cmath>
#include <string>
#include <vector>

using namespace foldnorm;
using namespace foldnorm::testing;
using foldnorm::testing::Contains;

namespace {

// The reason alone of the first verdict "keep NORM REASON BLAME".
std::string first_reason(std::string const& text, FoldOptions const& options = {}) {
  FoldReport const report = find_foldable_norms(graph_of(text), options);
  return report.norms.at(0).folds() ? "fold" : std::string(to_string(report.norms[0].refusal->reason));
}

// Asserts the verdict lines, and that the fold leaves the outputs alone, on a few seeds.
void check_folds(std::string const& text, std::string const& expected, FoldOptions const& options = {}) {
  CAPTURE(text);
  Graph const g = graph_of(text);
  FoldReport const report = find_foldable_norms(g, options);
  CHECK(printed(report) == expected);
  for (std::uint64_t seed : {1U, 2U}) {
    CAPTURE(seed);
    CHECK(fold_error(g, report, 4, seed) <= fold_tolerance);
  }
}

// Asserts the verdict lines, that folding what they say is harmless, and that the naive fold is not.
void check_refuses(std::string const& text, std::string const& expected, std::vector<std::string> const& naive) {
  check_folds(text, expected);
  Graph const g = graph_of(text);
  CHECK(fold_error(g, naive_report(g, naive)) > visible_error);
}

std::string const x8 = "input x features=8\n";

}  // namespace

TEST_CASE("find_foldable_norms: a linear layer in front of the norm folds, weight and bias are centered") {
  check_folds(x8 + "linear h x out=6 weight=W bias=b\nlayer_norm n h gamma=g beta=c\nlinear z n out=8 weight=V\n"
                   "output y z\n",
              "fold n\ncenter W\ncenter b\n");
  check_folds(x8 + "linear h x out=6 weight=W\nlayer_norm n h eps=0.5\noutput y n\n", "fold n\ncenter W\n");
}

TEST_CASE("find_foldable_norms: a one-feature norm folds") {
  check_folds(x8 + "linear h x out=1 weight=W bias=b\nlayer_norm n h gamma=g beta=c\noutput y n\n",
              "fold n\ncenter W\ncenter b\n");
}

TEST_CASE("find_foldable_norms: every general linear layer is a source") {
  check_folds(x8 + "conv h x out=6 kernel=3 weight=W bias=b\nlayer_norm n h\noutput y n\n",
              "fold n\ncenter W\ncenter b\n");
  check_folds("ids i vocab=9\nembedding e i features=6 table=E\nlayer_norm n e\noutput y n\n", "fold n\ncenter E\n");
  check_folds(
      "ids i vocab=9\nembedding e i features=6 table=E\nadd_parameter p e value=P per_token=1\n"
      "add_parameter q p value=Q\nlayer_norm n q\noutput y n\n",
      "fold n\ncenter E\ncenter P\ncenter Q\n");
}

TEST_CASE("find_foldable_norms: operators that keep zero means let the norm look through them") {
  for (std::string const op :
       {"identity k h", "dropout k h", "drop_path k h", "scale k h by=-3", "scale k h by=0", "permute_tokens k h",
        "mean_tokens k h", "concat_tokens k h h", "add k h h", "subtract k h x6", "attention k x6 x6 h"}) {
    // x6 is one more source, so that the products read something whose shift shows.
    std::string const text = x8 + "linear x6 x out=6 weight=U\nlinear h x out=6 weight=W bias=b\n" + op +
                             "\nlayer_norm n k gamma=g beta=c\noutput y n\n";
    bool const both = op.starts_with("subtract");
    check_folds(text, std::string("fold n\n") + (both ? "center U\n" : "") + "center W\ncenter b\n");
  }
}

TEST_CASE("find_foldable_norms: an explicit centering is a source and forgives") {
  check_folds(x8 + "center c x\nlayer_norm n c\noutput y n\n", "fold n\n");
  check_folds(x8 + "linear h x out=6 weight=W\nlayer_norm n h\ncenter c h\noutput y n\noutput z c\n",
              "fold n\ncenter W\n");
  // center takes the mean of all features: a grouped norm behind it keeps its own.
  check_refuses(x8 + "center c x\nlayer_norm n c groups=2\noutput y n\n", "keep n nonlinear c\n", {});
}

TEST_CASE("find_foldable_norms: softmax over the features forgives a shift and makes no zero mean") {
  check_folds(x8 + "linear h x out=6 weight=W bias=b\nlayer_norm n h\nsoftmax s h\noutput y n\noutput z s\n",
              "fold n\ncenter W\ncenter b\n");
  check_refuses(x8 + "softmax s x\nlayer_norm n s\noutput y n\n", "keep n nonlinear s\n", {});
}

TEST_CASE("find_foldable_norms: case a, an activation also reads the stream") {
  for (std::string const op : {"relu", "gelu", "silu", "tanh", "sigmoid", "max_tokens"}) {
    check_refuses(x8 + "linear h x out=6 weight=W bias=b\nlayer_norm n h gamma=g beta=c\n" + op +
                      " a h\noutput y n\noutput z a\n",
                  "keep n read_unforgiven a\n", {"W", "b"});
  }
}

TEST_CASE("find_foldable_norms: case b, a layer also reads the stream raw") {
  for (std::string const op :
       {"linear a h out=5 weight=V", "conv a h out=6 kernel=3 weight=V", "conv a h out=6 kernel=3 groups=6 weight=V",
        "scale_channels a h value=s", "batch_norm a h scale=s shift=t", "multiply a h x", "rms_norm a h",
        "attention a h x h", "attention a x h h"}) {
    check_refuses("input x features=6\nlinear h x out=6 weight=W bias=b\nlayer_norm n h gamma=g beta=c\n" + op +
                      "\noutput y n\noutput z a\n",
                  "keep n read_unforgiven a\n", {"W", "b"});
  }
}

TEST_CASE("find_foldable_norms: case b, several heads see a shift of all features, even in front of a norm") {
  check_refuses(
      "input x features=6\nlinear h x out=6 weight=W\nlayer_norm n h\nattention a x x h heads=2\n"
      "layer_norm m a\noutput y n\noutput z m\n",
      "keep n read_unforgiven a\nkeep m nonlinear a\n", {"W"});
}

TEST_CASE("find_foldable_norms: case b, post-norm attention reads the stream raw behind other operators") {
  check_refuses(x8 + "linear h x out=8 weight=W bias=b\nadd_parameter p h value=P per_token=1\nlinear q p out=8 "
                     "weight=Q\nadd s p q\nlayer_norm n s gamma=g beta=c\noutput y n\n",
                "keep n read_unforgiven q\n", {"W", "b", "P", "Q"});
}

TEST_CASE("find_foldable_norms: case c, the raw stream is an output") {
  check_refuses(x8 + "linear h x out=6 weight=W\nlayer_norm n h gamma=g beta=c\noutput y n\noutput raw h\n",
                "keep n output raw\n", {"W"});
  check_refuses(x8 + "linear h x out=6 weight=W\nidentity i h\nmean_tokens m i\nlayer_norm n h\noutput y n\n"
                     "output probe m\n",
                "keep n output probe\n", {"W"});
}

TEST_CASE("find_foldable_norms: case c, a value that nobody reads counts as observed") {
  CHECK(verdicts(x8 + "linear h x out=6 weight=W\nlayer_norm n h\nscale forgotten h by=2\noutput y n\n") ==
        "keep n output forgotten\n");
  CHECK(verdicts(x8 + "linear h x out=6 weight=W\nlinear h2 h out=6 weight=V\nlayer_norm n h\noutput y n\n") ==
        "keep n read_unforgiven h2\n");
  // An unread layer_norm still forgives: its value does not move.
  check_folds(x8 + "linear h x out=6 weight=W\nlayer_norm n h\nlayer_norm n2 h\noutput y n\n",
              "fold n\nfold n2\ncenter W\n");
}

TEST_CASE("find_foldable_norms: case d, a norm over a concatenation of features") {
  // Every block's shift would have to be the same.
  check_refuses(x8 + "linear a x out=4 weight=A\nlinear b x out=4 weight=B\nconcat_features c a b\n"
                     "layer_norm n c gamma=g beta=d\noutput y n\n",
                "keep n feature_mix c\n", {"A", "B"});
  check_refuses(x8 + "linear a x out=4 weight=A\nmerge_tokens c a ratio=2\nlayer_norm n c gamma=g beta=d\noutput y n\n",
                "keep n feature_mix c\n", {"A"});
}

TEST_CASE("find_foldable_norms: case d, a norm over a slice needs another shift than the norm over everything") {
  check_refuses(x8 + "linear h x out=8 weight=W\nslice_features s h start=0 length=4\nlayer_norm n s\n"
                     "layer_norm all h\noutput y n\noutput z all\n",
                "keep n read_unforgiven all\nfold all\ncenter W\n", {"W"});
}

TEST_CASE("find_foldable_norms: case e, a convolution with groups that cut the norm's span") {
  check_refuses(x8 + "conv h x out=8 kernel=3 groups=8 weight=W bias=b\nlayer_norm n h gamma=g beta=c\noutput y n\n",
                "keep n grouped h\n", {});
  Graph const g = graph_of(x8 + "conv h x out=8 groups=2 weight=W\nlayer_norm n h gamma=g beta=c\noutput y n\n");
  CHECK(verdicts(printed(g)) == "keep n grouped h\n");
  FoldReport per_group = naive_report(g, {"W"});
  CHECK(fold_error(g, per_group) > visible_error);
  per_group.centerings[0].parts = {{0, 4}, {4, 8}};  // another function, although its value has zero mean
  CHECK(fold_error(g, per_group) > visible_error);
}

TEST_CASE("find_foldable_norms: case f, a table that is also the head") {
  std::string const text =
      "ids i vocab=9\nembedding e i features=6 table=E\nlayer_norm n e gamma=g beta=b\n"
      "linear head n out=9 weight=E\noutput logits head\n";
  check_refuses(text, "keep n tied head\n", {"E"});
  check_folds(text, "fold n\ncenter E\n", untying());
  // The head's own shift is no better.
  CHECK(verdicts("ids i vocab=9\nembedding e i features=6 table=E\nlinear head e out=9 weight=E\nlayer_norm n head\n"
                 "output y n\n",
                 untying()) == "keep n tied e\n");
  // The table is to blame, too, where the head stands before it.
  CHECK(verdicts("input x features=4\nids i vocab=6\nlinear h x out=6 weight=E\nlayer_norm n h\n"
                 "embedding e i features=4 table=E\noutput a n\noutput b e\n") == "keep n tied e\n");
}

TEST_CASE("find_foldable_norms: case f, a weight that is used twice folds only where both uses agree") {
  std::string const twice = x8 +
                            "linear h x out=8 weight=W bias=b\nlayer_norm n h gamma=g beta=c\n"
                            "linear h2 n out=8 weight=W bias=b\n";
  check_folds(twice + "layer_norm n2 h2\noutput y n2\n", "fold n\nfold n2\ncenter W\ncenter b\n");
  check_refuses(twice + "output y h2\n", "keep n tied h2\n", {"W", "b"});
}

TEST_CASE("find_foldable_norms: case f, a shared bias links two weights") {
  std::string const text = x8 + "linear h x out=6 weight=W bias=b\nlayer_norm n h\nlinear k x out=6 weight=V bias=b\n";
  check_refuses(text + "output y n\noutput z k\n", "keep n tied k\n", {"W", "b"});
  check_folds(text + "layer_norm n2 k\noutput y n\noutput z n2\n", "fold n\nfold n2\ncenter W\ncenter b\ncenter V\n");
}

TEST_CASE("find_foldable_norms: case f, a chain of shared parameters is one class") {
  // W-b, V-b, V-c: what the third layer forbids, the first may not do.
  std::string const text = x8 +
                           "linear h x out=6 weight=W bias=b\nlayer_norm n h\nlinear k x out=6 weight=V bias=b\n"
                           "layer_norm n2 k\nlinear l x out=6 weight=V bias=c\n";
  check_refuses(text + "relu r l\noutput y n\noutput z n2\noutput u r\n", "keep n tied l\nkeep n2 tied l\n",
                {"W", "b", "V", "c"});
}

TEST_CASE("find_foldable_norms: case f, a parameter that is a gain, a shift or a scale elsewhere") {
  for (std::string const other : {"layer_norm o r gamma=b", "rms_norm o r beta=b", "scale_channels o r value=b",
                                  "batch_norm o r scale=s shift=b"}) {
    check_refuses(x8 + "linear h x out=6 weight=W bias=b\nlayer_norm n h\nrelu r n\n" + other + "\noutput y o\n",
                  other.starts_with("layer") ? "keep n tied o\nkeep o nonlinear r\n" : "keep n tied o\n", {"W", "b"});
  }
}

TEST_CASE("find_foldable_norms: case g, the affine part of another layer_norm starts the stream") {
  for (std::string const affine : {"gamma=g", "beta=b", "gamma=g beta=b"}) {
    check_refuses(x8 + "layer_norm first x " + affine + "\nlinear h first out=8 weight=W\nadd s first h\n" +
                      "layer_norm n s\noutput y n\n",
                  "keep first input x\nkeep n norm_affine first\n", {"W"});
  }
}

TEST_CASE("find_foldable_norms: case g, a norm without an affine part has zero mean and starts a stream that folds") {
  check_folds(x8 + "layer_norm first x\nlayer_norm n first\noutput y n\n", "keep first input x\nfold n\n");
  // rms_norm passes a zero mean on.
  check_folds(x8 + "linear h x out=6 weight=W\ncenter c h\nrms_norm r c\nlayer_norm n r\noutput y n\n", "fold n\n");
  check_refuses(x8 + "rms_norm r x\nlayer_norm n r\noutput y n\n", "keep n nonlinear r\n", {});
}

TEST_CASE("find_foldable_norms: case h, an elementwise dropout in training") {
  std::string const text = x8 + "linear h x out=6 weight=W bias=b\ndropout d h\nlayer_norm n d\noutput y n\n";
  CHECK(verdicts(text, in_training()) == "keep n dropout d\n");
  check_folds(text, "fold n\ncenter W\ncenter b\n");
  // Why: with some features zeroed, a centered h has no zero mean, and the raw one another function.
  Graph const g = graph_of(x8 +
                           "linear h x out=6 weight=W bias=b\nscale_channels d h value=mask\nlayer_norm n d\n"
                           "output y n\n");
  Parameters p = random_parameters(g, 4, 1);
  Vector<double> mask(6);
  mask << 2, 0, 0, 2, 2, 0;
  p.set("mask", mask);
  CHECK(fold_error(g, naive_report(g, {"W", "b"}), p, 4, 1) > visible_error);
  // Also as another reader.
  CHECK(verdicts(x8 + "linear h x out=6 weight=W\nlayer_norm n h\ndropout d h p=0.1\nlayer_norm n2 d\noutput y n\n"
                      "output z n2\n",
                 in_training()) == "keep n read_unforgiven d\nkeep n2 dropout d\n");
}

TEST_CASE("find_foldable_norms: in training drop_path, and a dropout that drops nothing, are no obstacle") {
  CHECK(verdicts(x8 + "linear h x out=6 weight=W\ndrop_path d h\nlayer_norm n d\noutput y n\n", in_training()) ==
        "fold n\ncenter W\n");
  CHECK(verdicts(x8 + "linear h x out=6 weight=W\ndropout d h p=0\nlayer_norm n d\noutput y n\n", in_training()) ==
        "fold n\ncenter W\n");
}

TEST_CASE("find_foldable_norms: in training batch_norm and scale_channels stay by themselves") {
  for (std::string const op : {"batch_norm s h scale=s shift=t", "scale_channels s h value=s"}) {
    std::string const text = x8 + "linear h x out=6 weight=W\n" + op + "\nlayer_norm n s\noutput y n\n";
    CHECK(verdicts(text, in_training()) == "keep n scale s\n");
    CHECK_THAT(verdicts(text), Contains("fold n"));
  }
}

TEST_CASE("find_foldable_norms: in training values are not looked at, since they change") {
  std::string const text = x8 + "layer_norm first x gamma=g\nlayer_norm n first\noutput y n\n";
  Parameters p;
  p.set("g", Vector<double>::Constant(8, 2));
  FoldOptions options = knowing(p);
  CHECK_THAT(verdicts(text, options), Contains("fold n"));
  options.mode = FoldMode::training;
  CHECK_THAT(verdicts(text, options), Contains("keep n norm_affine first"));
}

TEST_CASE("find_foldable_norms: reason input, an input or ids reaches the norm") {
  check_refuses(x8 + "layer_norm n x\noutput y n\n", "keep n input x\n", {});
  check_refuses(x8 + "linear h x out=8 weight=W\nadd s h x\nlayer_norm n s\noutput y n\n", "keep n input x\n", {"W"});
}

TEST_CASE("find_foldable_norms: reason nonlinear, each operator that makes no zero mean is named") {
  for (std::string const op : {"relu", "gelu", "silu", "tanh", "sigmoid", "softmax", "max_tokens"}) {
    check_refuses(x8 + "linear h x out=6 weight=W\n" + op + " a h\nlayer_norm n a\noutput y n\n",
                  "keep n nonlinear a\n", {"W"});
  }
  check_refuses(x8 + "linear h x out=8 weight=W\nmultiply a h x\nlayer_norm n a\noutput y n\n", "keep n nonlinear a\n",
                {"W"});
  check_refuses(x8 + "linear h x out=8 weight=W\nattention a x x h heads=2\nlayer_norm n a\noutput y n\n",
                "keep n nonlinear a\n", {"W"});
  check_refuses(x8 + "linear h x out=8 weight=W\nrms_norm a h gamma=g\nlayer_norm n a\noutput y n\n",
                "keep n nonlinear a\n", {"W"});
}

TEST_CASE("find_foldable_norms: reason scale, a scale that cannot be composed with its linear layer") {
  std::string const norm = "layer_norm n s\noutput y n\n";
  check_refuses(x8 + "scale_channels s x value=v\n" + norm, "keep n scale s\n", {});
  check_refuses(x8 + "batch_norm s x scale=v shift=t\n" + norm, "keep n scale s\n", {});
  // The linear layer has another reader.
  check_refuses(x8 + "linear h x out=6 weight=W\nscale_channels s h value=v\n" + norm + "output z h\n",
                "keep n scale s\n", {"W"});
  // A depthwise convolution, an embedding, and a linear behind something else are no partner.
  check_refuses(x8 + "conv h x out=8 groups=8 weight=W\nbatch_norm s h scale=v shift=t\n" + norm, "keep n scale s\n",
                {});
  check_refuses("ids i vocab=9\nembedding h i features=6 table=E\nscale_channels s h value=v\n" + norm,
                "keep n scale s\n", {"E"});
  check_refuses(x8 + "linear h x out=6 weight=W\nidentity k h\nscale_channels s k value=v\n" + norm, "keep n scale s\n",
                {"W"});
  // Something is shared: the weight, the bias, the scale, the shift.
  for (std::string const other : {"linear k x out=8 weight=W", "linear k x out=8 weight=U bias=b",
                                  "add_parameter k x value=v", "add_parameter k x value=t"}) {
    check_refuses(
        x8 + "linear h x out=8 weight=W bias=b\nbatch_norm s h scale=v shift=t\n" + norm + other + "\noutput z k\n",
        "keep n scale s\n", {"W", "b"});
  }
}

TEST_CASE("find_foldable_norms: reason unknown, an opaque operator blocks on both sides") {
  CHECK(verdicts(x8 + "opaque magic x features=6\nlayer_norm n magic\noutput y n\n") == "keep n unknown magic\n");
  CHECK(verdicts(x8 + "linear h x out=6 weight=W\nopaque magic h features=6\nlayer_norm n h\noutput y n\n"
                      "output z magic\n") == "keep n read_unforgiven magic\n");
}

TEST_CASE("find_foldable_norms: a scale behind a linear layer composes with it") {
  std::string const tail = "layer_norm n s gamma=g beta=c\noutput y n\n";
  check_folds(x8 + "linear h x out=6 weight=W bias=b\nscale_channels s h value=v\n" + tail,
              "fold n\ncenter W\ncenter b\ncenter v\n");
  check_folds(x8 + "linear h x out=6 weight=W\nscale_channels s h value=v\n" + tail, "fold n\ncenter W\ncenter v\n");
  check_folds(x8 + "linear h x out=6 weight=W bias=b\nbatch_norm s h scale=v shift=t\n" + tail,
              "fold n\ncenter W\ncenter b\ncenter v\ncenter t\n");
  check_folds(x8 + "conv h x out=6 kernel=3 weight=W\nbatch_norm s h scale=v shift=t\n" + tail,
              "fold n\ncenter W\ncenter v\ncenter t\n");
}

TEST_CASE("find_foldable_norms: a composition happens only where a fold needs it") {
  Graph const g = graph_of(x8 +
                           "linear h x out=6 weight=W\nscale_channels s h value=v\nrelu r s\nlayer_norm n r\n"
                           "output y n\n");
  FoldReport const report = find_foldable_norms(g);
  CHECK(report.compositions.empty());
  CHECK(report.centerings.empty());
  // What reads the scale decides: here a raw reader behind it.
  CHECK(verdicts(x8 + "linear h x out=6 weight=W\nscale_channels s h value=v\nlayer_norm n s\nrelu r s\noutput y n\n"
                      "output z r\n") == "keep n read_unforgiven r\n");
}

TEST_CASE("find_foldable_norms: segments, a grouped norm folds with its groups centered by themselves") {
  check_folds(x8 + "linear h x out=6 weight=W bias=b\nlayer_norm n h groups=2 gamma=g beta=c\noutput y n\n",
              "fold n\ncenter W 0:3 3:6\ncenter b 0:3 3:6\n");
  // Centering all six features together is wrong.
  Graph const g = graph_of(x8 + "linear h x out=6 weight=W bias=b\nlayer_norm n h groups=2\noutput y n\n");
  CHECK(fold_error(g, naive_report(g, {"W", "b"})) > visible_error);
  // A norm over everything and one over halves forgive only a common shift between them.
  check_folds(x8 + "linear h x out=6 weight=W\nlayer_norm n h groups=2\nlayer_norm all h\noutput y n\noutput z all\n",
              "keep n read_unforgiven all\nfold all\ncenter W\n");
}

TEST_CASE("find_foldable_norms: segments, groups of one feature") {
  // Each feature is its own group: its norm is beta, whatever the feature.
  check_folds(x8 + "linear h x out=3 weight=W bias=b\nlayer_norm n h groups=3 beta=c\noutput y n\n",
              "fold n\ncenter W 0:1 1:2 2:3\ncenter b 0:1 1:2 2:3\n");
}

TEST_CASE("find_foldable_norms: segments, fused QKV with a norm per head on q and k leaves the v rows alone") {
  std::string const text =
      "input x features=6\nlinear qkv x out=12 weight=W bias=b\n"
      "slice_features q qkv start=0 length=4\nslice_features k qkv start=4 length=4\n"
      "slice_features v qkv start=8 length=4\n"
      "layer_norm qn q groups=2 gamma=g beta=h\nlayer_norm kn k groups=2 gamma=g beta=h\n"
      "attention a qn kn v heads=2\nlinear o a out=6 weight=O\noutput y o\n";
  check_folds(text, "fold qn\nfold kn\ncenter W 0:2 2:4 4:6 6:8\ncenter b 0:2 2:4 4:6 6:8\n");
  Graph const g = graph_of(text);
  Parameters const p = random_parameters(g, 4, 1);
  FoldedModel const folded = fold_norms(g, find_foldable_norms(g), p);
  for (char const* name : {"W", "b"}) {
    CHECK(folded.parameters.as<double>(name).bottomRows(4) == p.as<double>(name).bottomRows(4));
    CHECK(folded.parameters.as<double>(name).topRows(2).colwise().sum().cwiseAbs().maxCoeff() < 1e-14);
    CHECK(folded.parameters.as<double>(name).topRows(8) != p.as<double>(name).topRows(8));
  }
}

TEST_CASE("find_foldable_norms: segments, concat and slice that fit together are transparent") {
  check_folds(x8 + "linear a x out=4 weight=A\nlinear b x out=2 weight=B\nconcat_features c a b\n"
                   "slice_features s c start=4 length=2\nslice_features t c start=0 length=4\n"
                   "layer_norm n s\nlayer_norm m t\noutput y n\noutput z m\n",
              "fold n\nfold m\ncenter A\ncenter B\n");
  check_folds(x8 + "linear a x out=3 weight=A\nlinear b x out=3 weight=B\nconcat_features c a b\n"
                   "layer_norm n c groups=2\noutput y n\n",
              "fold n\ncenter A\ncenter B\n");
}

TEST_CASE("find_foldable_norms: segments, a part that nobody reads may move as it likes") {
  check_folds(x8 + "linear h x out=6 weight=W\nslice_features s h start=0 length=4\nlayer_norm n s\noutput y n\n",
              "fold n\ncenter W 0:4\n");
  // The slice of a sum: what is left out frees both operands there.
  check_folds(x8 + "linear h x out=6 weight=W\nlinear k x out=6 weight=V\nadd a h k\n"
                   "slice_features s a start=2 length=3\nlayer_norm n s\noutput y n\n",
              "fold n\ncenter W 2:5\ncenter V 2:5\n");
  // An activation in front of a slice leaves dead features dead.
  check_folds(x8 + "linear h x out=6 weight=W\nrelu r h\nslice_features s r start=0 length=3\n"
                   "slice_features t h start=3 length=3\nlayer_norm n t\noutput y n\noutput z s\n",
              "fold n\ncenter W 3:6\n");
}

TEST_CASE("find_foldable_norms: segments, merged tokens fold one by one under a grouped norm") {
  check_folds(x8 + "linear h x out=3 weight=W bias=b\nmerge_tokens m h ratio=2\nlayer_norm n m groups=2\noutput y n\n",
              "fold n\ncenter W\ncenter b\n");
}

TEST_CASE("find_foldable_norms: segments, a grouped convolution is centered inside its groups") {
  check_folds(x8 + "conv h x out=8 kernel=3 groups=2 weight=W bias=b\nlayer_norm n h groups=2\noutput y n\n",
              "fold n\ncenter W 0:4 4:8\ncenter b 0:4 4:8\n");
  check_folds(x8 + "conv h x out=8 groups=2 weight=W\nlayer_norm n h groups=4\noutput y n\n",
              "fold n\ncenter W 0:2 2:4 4:6 6:8\n");
  check_refuses(x8 + "conv h x out=8 groups=4 weight=W\nlayer_norm n h groups=2\noutput y n\n", "keep n grouped h\n",
                {"W"});
}

TEST_CASE("find_foldable_norms: segments, several heads' values without an output projection") {
  std::string const attend = "input x features=8\nlinear v x out=8 weight=V bias=b\nattention a x x v heads=2\n";
  // Each head mixes tokens in its own way: no shift of all of F survives.
  check_refuses(attend + "layer_norm n a\noutput y n\n", "keep n nonlinear a\n", {"V", "b"});
  // Per head it does.
  check_folds(attend + "layer_norm n a groups=2\noutput y n\n", "fold n\ncenter V 0:4 4:8\ncenter b 0:4 4:8\n");
  // One head mixes all features alike.
  check_folds("input x features=8\nlinear v x out=8 weight=V bias=b\nattention a x x v\nlayer_norm n a\noutput y n\n",
              "fold n\ncenter V\ncenter b\n");
}

TEST_CASE("find_foldable_norms: untied heads keep a copy, with the other uses' say") {
  std::string const embed = "ids i vocab=9\nembedding e i features=6 table=E\n";
  std::string const head = "layer_norm n e gamma=g beta=b\nlinear head n out=9 weight=E bias=hb\noutput y head\n";
  check_folds(embed + head, "fold n\ncenter E\n", untying());
  Graph const g = graph_of(embed + head);
  CHECK(find_foldable_norms(g, untying()).untied == std::vector<std::string>{"E"});
  CHECK(find_foldable_norms(g).untied.empty());
  CHECK(find_foldable_norms(g, untying()).corrected.empty());
  CHECK(find_foldable_norms(g, correcting()).untied.empty());
  CHECK(find_foldable_norms(g, correcting()).corrected ==
        std::vector<CorrectedHead>{{g.find_node("head").value(), "head", "E"}});
  for (TiedTables const tied : {TiedTables::untie, TiedTables::correct}) {  // table and head would be trained apart
    CHECK_THROWS_AS(find_foldable_norms(g, {FoldMode::training, tied}), std::invalid_argument);
  }
  check_folds(embed + head, "fold n\ncenter E\ncorrect head E\n", correcting());
  // A second, raw lookup forbids it still.
  CHECK(verdicts(embed + head + "embedding e2 i features=6 table=E\noutput raw e2\n", untying()) == "keep n tied e2\n");
  // A use as the weight of a convolution is no head: it is centered along, if its own value may be.
  check_folds("input x features=6\n" + std::string("ids i vocab=6\nembedding e i features=6 table=E\n") +
                  "layer_norm n e gamma=g beta=b\nlinear head n out=6 weight=E\noutput y head\n"
                  "conv c x out=6 weight=E\nlayer_norm n2 c\noutput z n2\n",
              "fold n\nfold n2\ncenter E\n", untying());
}

TEST_CASE("find_foldable_norms: values, a uniform gamma without a shift in sum passes the norm's zero mean on") {
  std::string const text = x8 + "layer_norm first x gamma=g beta=b\nlayer_norm n first\noutput y n\n";
  Graph const g = graph_of(text);
  Vector<double> uniform = Vector<double>::Constant(8, 1.5), balanced = Vector<double>::LinSpaced(8, -3.5, 3.5);
  auto const reason = [&](Vector<double> const& gamma, Vector<double> const& beta) {
    Parameters p = random_parameters(g, 4, 1);
    p.set("g", gamma);
    p.set("b", beta);
    FoldReport const report = find_foldable_norms(g, knowing(p));
    CHECK(fold_error(g, report, p, 4, 1) <= fold_tolerance);
    return printed(report);
  };
  std::string const kept = "keep first input x\nkeep n norm_affine first\n";
  CHECK(reason(uniform, balanced) == "keep first input x\nfold n\n");
  CHECK(reason(uniform, uniform) == kept);
  CHECK(reason(balanced, balanced) == kept);
  CHECK(verdicts(text) == kept);
  balanced(0) += 1e-6;  // no longer in balance
  CHECK(reason(uniform, balanced) == kept);
}

TEST_CASE("find_foldable_norms: values, a grouped norm is judged group by group") {
  std::string const text = x8 +
                           "layer_norm first x groups=2 gamma=g\nslice_features s first start=0 length=4\n"
                           "slice_features t first start=4 length=4\nlayer_norm n s\nlayer_norm m t\n"
                           "output y n\noutput z m\n";
  Parameters p;
  Vector<double> gamma(8);
  gamma << 2, 2, 2, 2, 1, 2, 3, 4;
  p.set("g", gamma);
  CHECK(verdicts(text, knowing(p)) == "keep first input x\nfold n\nkeep m norm_affine first\n");
}

TEST_CASE("find_foldable_norms: values, a uniform scale is a common factor") {
  std::string const text = x8 +
                           "linear h x out=6 weight=W\nidentity k h\nscale_channels s k value=v\n"
                           "layer_norm n s\noutput y n\n";
  Graph const g = graph_of(text);
  Parameters p = random_parameters(g, 4, 1);
  CHECK(verdicts(text, knowing(p)) == "keep n scale s\n");
  p.set("v", Vector<double>::Constant(6, -0.7));
  FoldReport const report = find_foldable_norms(g, knowing(p));
  CHECK(printed(report) == "fold n\ncenter W\n");
  CHECK(fold_error(g, report, p, 4, 1) <= fold_tolerance);
}

TEST_CASE("find_foldable_norms: values, a layer that is centered already makes zero mean, whoever else reads it") {
  std::string const text = x8 + "linear h x out=6 weight=W bias=b\nlayer_norm n h\noutput y n\noutput raw h\n";
  Graph const g = graph_of(text);
  Parameters p = random_parameters(g, 4, 1);
  CHECK(verdicts(text, knowing(p)) == "keep n output raw\n");
  fold_centering(p.get<double>("W"));
  CHECK(verdicts(text, knowing(p)) == "keep n output raw\n");  // its bias is not
  fold_centering(p.get<double>("b"));
  FoldReport const report = find_foldable_norms(g, knowing(p));
  CHECK(printed(report) == "fold n\n");
  CHECK(fold_error(g, report, p, 4, 1) <= fold_tolerance);
}

TEST_CASE("find_foldable_norms: values, a norm that folds makes no less zero mean than one that stays") {
  // The shift sums to zero on the whole axis, and not on the halves that the norm in front has made zero-mean.
  for (std::string const first : {"layer_norm g x groups=2", "rms_norm g c groups=2"}) {
    for (std::string const second : {"layer_norm", "rms_norm"}) {
      std::string const text = x8 + "center c x\n" + first + "\n" + second + " n " + (first[0] == 'l' ? "g" : "c") +
                               " beta=b\nlayer_norm l n\noutput y l\n";
      CAPTURE(text);
      Graph const g = graph_of(text);
      Parameters p = random_parameters(g, 4, 1);
      Vector<double> beta(8);
      beta << 1, 1, 1, 1, -1, -1, -1, -1;
      p.set("b", beta);
      FoldReport const report = find_foldable_norms(g, knowing(p));
      CHECK(report.norms.back().folds());
      CHECK(fold_error(g, report, p, 4, 1) <= fold_tolerance);
      beta(7) = 1;
      p.set("b", beta);
      CHECK_FALSE(find_foldable_norms(g, knowing(p)).norms.back().folds());
    }
  }
}

TEST_CASE(
    "find_foldable_norms: values, a grouped convolution whose columns sum to zero over all groups is not centered") {
  // Each group's rows meet other inputs: only a column that sums to zero inside its group counts.
  std::string const text = x8 + "conv h x out=8 groups=2 weight=W\nlayer_norm n h\noutput y n\n";
  Graph const g = graph_of(text);
  Parameters p = random_parameters(g, 4, 1);
  fold_centering(p.get<double>("W"));
  FoldReport const report = find_foldable_norms(g, knowing(p));
  CHECK(printed(report) == "keep n grouped h\n");
  CHECK(fold_error(g, report, p, 4, 1) <= fold_tolerance);
}

TEST_CASE("find_foldable_norms: values that are missing, of the wrong size or not numbers tell nothing") {
  std::string const text = x8 + "layer_norm first x gamma=g\nlayer_norm n first\noutput y n\n";
  std::string const kept = "keep first input x\nkeep n norm_affine first\n";
  Parameters p;
  CHECK(verdicts(text, knowing(p)) == kept);
  p.set("g", Vector<double>::Constant(7, 2));
  CHECK(verdicts(text, knowing(p)) == kept);
  p.set("g", Matrix<double>(8, 0));
  CHECK(verdicts(text, knowing(p)) == kept);
  p.set("g", Vector<double>::Constant(8, std::nan("")));
  CHECK(verdicts(text, knowing(p)) == kept);
  p.set("g", Vector<float>::Constant(8, 2));
  CHECK(verdicts(text, knowing(p)) == "keep first input x\nfold n\n");
}

TEST_CASE("find_foldable_norms: verdicts do not depend on names or on the order of statements") {
  std::string const a = x8 +
                        "linear h x out=6 weight=W bias=b\nlinear k x out=6 weight=V bias=b\nadd s h k\n"
                        "layer_norm n s\nlayer_norm m k\nrelu r k\noutput y n\noutput z m\noutput u r\n";
  // The same network with other names, read from the other side.
  std::string const b =
      "input in features=8\nlinear z9 in out=6 weight=q1 bias=q2\nrelu a z9\noutput b a\n"
      "layer_norm A.m z9\noutput c A.m\nlinear z8 in out=6 weight=q0 bias=q2\nadd z z9 z8\n"
      "layer_norm A.n z\noutput d A.n\n";
  auto const folded = [](std::string const& text, std::string const& norm) {
    FoldReport const report = find_foldable_norms(graph_of(text));
    return std::ranges::find(report.norms, norm, &Verdict::name)->folds();
  };
  CHECK(folded(a, "n") == folded(b, "A.n"));
  CHECK(folded(a, "m") == folded(b, "A.m"));
  CHECK_FALSE(folded(a, "n"));
  std::string const fewer_a = a.substr(0, a.find("relu")) + "output y n\noutput z m\n";
  std::string const fewer_b =
      "input in features=8\nlinear z9 in out=6 weight=q1 bias=q2\nlayer_norm A.m z9\n"
      "output c A.m\nlinear z8 in out=6 weight=q0 bias=q2\nadd z z9 z8\nlayer_norm A.n z\n"
      "output d A.n\n";
  CHECK(folded(fewer_a, "n"));
  CHECK(folded(fewer_a, "m"));
  CHECK(folded(fewer_b, "A.n"));
  CHECK(folded(fewer_b, "A.m"));
  CHECK(verdicts(a) == verdicts(a));
}

TEST_CASE("find_foldable_norms: a graph without layer_norms has an empty report") {
  FoldReport const report = find_foldable_norms(graph_of(x8 + "rms_norm n x\noutput y n\n"));
  CHECK(report == FoldReport{});
  CHECK(find_foldable_norms(Graph{}) == FoldReport{});
}

TEST_CASE("find_foldable_norms: a norm keeps the first culprit that stands in its way") {
  CHECK(first_reason(x8 + "linear h x out=6 weight=W\nrelu r h\nlinear k r out=6 weight=V\nadd s k r\nlayer_norm n s\n"
                          "output y n\n") == "nonlinear");
  CHECK(verdicts(x8 + "linear h x out=6 weight=W\nlinear a h out=6 weight=A\nlinear b h out=6 weight=B\n"
                      "layer_norm n h\noutput y n\noutput z a\noutput u b\n") == "keep n read_unforgiven a\n");
}

TEST_CASE(
    "find_foldable_norms: a recurrent cell, unrolled, folds where its initial state has zero mean or is not added") {
  // h_t = LN(W x_t + U h_{t-1} + b), the cell of an LN-RNN, with h_0 read by U only.
  auto const unrolled = [](int steps, std::string const& first_state) {
    std::string text = "input x0 features=5\n" + first_state;
    for (int t = 1; t <= steps; ++t) {
      std::string const i = std::to_string(t), before = std::to_string(t - 1);
      text += "linear wx" + i + " x0 out=6 weight=W bias=b\nlinear uh" + i + " h" + before + " out=6 weight=U\nadd s" +
              i + " wx" + i + " uh" + i + "\nlayer_norm n" + i + " s" + i + " gamma=g beta=c\ntanh h" + i + " n" + i +
              "\n";
    }
    return text + "output y h" + std::to_string(steps) + "\n";
  };
  std::string const text = unrolled(3, "input h0 features=6\n");
  check_folds(text, "fold n1\nfold n2\nfold n3\ncenter W\ncenter b\ncenter U\n");

  // A state that enters the stream by addition needs zero mean itself.
  auto const residual = [](std::string const& state) {
    return "input x features=5\ninput start features=6\n" + state +
           "linear a1 x out=6 weight=W\nadd s1 h0 a1\nlayer_norm n1 s1 gamma=g beta=c\n"
           "linear a2 n1 out=6 weight=U\nadd s2 s1 a2\nlayer_norm n2 s2 gamma=g beta=c\noutput y n2\n";
  };
  check_folds(residual("center h0 start\n"), "fold n1\nfold n2\ncenter W\ncenter U\n");
  check_refuses(residual("identity h0 start\n"), "keep n1 input start\nkeep n2 input start\n", {"W", "U"});
}

TEST_CASE("find_foldable_norms: removing any listed centering breaks the fold, and others keep their bits") {
  for (std::string const& text : std::vector<std::string>{
           x8 + "linear h x out=6 weight=W bias=b\nadd_parameter p h value=P per_token=1\nlinear k x out=6 weight=V\n"
                "add s p k\nlayer_norm n s gamma=g beta=c\nlinear o n out=6 weight=O bias=ob\nadd t s o\n"
                "layer_norm m t\nlinear z m out=3 weight=Z bias=zb\noutput y z\n",
           x8 + "linear h x out=8 weight=W bias=b\nslice_features s h start=2 length=4\nlayer_norm n s groups=2\n"
                "linear u x out=4 weight=U\nlayer_norm m u\noutput y n\noutput z m\n",
           x8 + "conv h x out=8 kernel=3 groups=2 weight=W bias=b\nlayer_norm n h groups=2\noutput y n\n"}) {
    CAPTURE(text);
    Graph const g = graph_of(text);
    Parameters const p = random_parameters(g, 4, 1);
    FoldReport const report = find_foldable_norms(g);
    REQUIRE(report.folds() == report.norms.size());
    REQUIRE(fold_error(g, report, p, 4, 1) <= fold_tolerance);
    for (std::size_t c = 0; c < report.centerings.size(); ++c) {
      for (std::size_t part = 0; part < report.centerings[c].parts.size(); ++part) {
        FoldReport less = report;
        auto& parts = less.centerings[c].parts;
        parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(part));
        CAPTURE(report.centerings[c].parameter, part);
        CHECK(fold_error(g, less, p, 4, 1) > visible_error);
      }
    }
    FoldedModel const folded = fold_norms(g, report, p);
    for (auto const& [name, value] : p) {
      bool const listed = std::ranges::find(report.centerings, name, &Centering::parameter) != report.centerings.end();
      CAPTURE(name);
      CHECK((folded.parameters.as<double>(name) == p.as<double>(name)) == !listed);
    }
  }
}

TEST_CASE("find_foldable_norms: centers no parameter that no fold needs, although it could") {
  // v's producer tolerates a shift (the center behind it forgives), but no layer_norm rests on it.
  CHECK(verdicts(x8 + "linear h x out=6 weight=W\ncenter c h\nlinear k x out=6 weight=V\nlayer_norm n k\noutput y n\n"
                      "output z c\n") == "fold n\ncenter V\n");
  // One operand spoils the sum: the other is left alone.
  CHECK(verdicts(x8 + "linear h x out=8 weight=W\nadd s h x\nlayer_norm n s\noutput y n\n") == "keep n input x\n");
}
