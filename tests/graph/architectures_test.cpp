// SPDX-License-Identifier: MIT
// tests/graph/architectures_test.cpp -- known architectures in miniature: how many norms fold, and that nothing
// changes.
//
// The counts are the specification's table (docs/folding.md), scaled to the depth here. Every model is written the way
// its public definition reads, evaluated with random parameters, folded, and evaluated again.
#include <foldnorm/graph/find_foldable_norms.hpp>

#include "graph/graph_testing.hpp"

#include "catch.hpp"

#include <algorithm>
#include <set>
#include <sstream>
#include <string>
#include <vector>

using namespace foldnorm;
using namespace foldnorm::testing;

namespace {

constexpr Index width = 8;

// Writes statements, with one fresh parameter name per role of each node.
struct Model {
  std::string text;

  std::string add_line(std::string const& name, std::string const& line) {
    text += line + "\n";
    return name;
  }
  std::string linear(std::string const& n, std::string const& x, Index out = width) {
    return add_line(n,
                    "linear " + n + " " + x + " out=" + std::to_string(out) + " weight=" + n + ".w bias=" + n + ".b");
  }
  std::string norm(std::string const& n, std::string const& x) {
    return add_line(n, "layer_norm " + n + " " + x + " gamma=" + n + ".g beta=" + n + ".b");
  }
  std::string op(std::string const& op, std::string const& n, std::string const& inputs, std::string const& keys = "") {
    return add_line(n, op + " " + n + " " + inputs + " " + keys);
  }
  std::string add(std::string const& n, std::string const& a, std::string const& b) {
    return op("add", n, a + " " + b);
  }
  std::string output(std::string const& x) { return op("output", "y." + x, x); }

  // Multi-head attention of q's tokens on kv's, with an output projection and, as usual, a dropout behind it.
  std::string attention(std::string const& n, std::string const& q, std::string const& kv, bool dropout = true) {
    linear(n + ".q", q);
    linear(n + ".k", kv);
    linear(n + ".v", kv);
    op("attention", n + ".a", n + ".q " + n + ".k " + n + ".v", "heads=2");
    linear(n + ".proj", n + ".a");
    return dropout ? op("dropout", n, n + ".proj", "p=0.1") : n + ".proj";
  }
  std::string mlp(std::string const& n, std::string const& x, std::string const& activation = "gelu") {
    linear(n + ".fc1", x, 2 * width);
    op(activation, n + ".act", n + ".fc1");
    return linear(n + ".fc2", n + ".act");
  }
  std::string pre_norm_block(std::string const& n, std::string x, bool layer_scale = false) {
    std::string branch = attention(n + ".attn", norm(n + ".ln1", x), n + ".ln1", !layer_scale);
    if (layer_scale) branch = op("scale_channels", n + ".ls1", branch, "value=" + n + ".gamma1");
    x = add(n + ".r1", x, branch);
    branch = mlp(n + ".mlp", norm(n + ".ln2", x));
    if (layer_scale) branch = op("scale_channels", n + ".ls2", branch, "value=" + n + ".gamma2");
    branch = op("drop_path", n + ".dp", branch);
    return add(n + ".r2", x, branch);
  }
  std::string post_norm_block(std::string const& n, std::string x) {
    x = norm(n + ".ln1", add(n + ".r1", x, attention(n + ".attn", x, x)));
    return norm(n + ".ln2", add(n + ".r2", x, mlp(n + ".mlp", x, "relu")));
  }
};

struct Expected {
  std::size_t norms;
  std::set<std::string> folds;  // by name; {"all"} for every one
};

void check(std::string const& text, Expected const& expected, FoldOptions const& options = {}, Index tokens = 8) {
  CAPTURE(text);
  Graph const g = graph_of(text);
  FoldReport const report = find_foldable_norms(g, options);
  CAPTURE(printed(report));
  CHECK(report.norms.size() == expected.norms);
  std::set<std::string> folds, all;
  for (Verdict const& norm : report.norms) {
    all.insert(norm.name);
    if (norm.folds()) folds.insert(norm.name);
  }
  CHECK(folds == (expected.folds == std::set<std::string>{"all"} ? all : expected.folds));
  for (std::uint64_t seed : {11U, 12U}) {
    CAPTURE(seed);
    CHECK(fold_error(g, report, tokens, seed) <= fold_tolerance);
  }
  Parameters const p = random_parameters(g, tokens, 11);
  FoldedModel const folded = fold_norms(g, report, p);
  CHECK(count_of(folded.graph, Operator::layer_norm) == expected.norms - folds.size());
  FoldOptions with_affine = options;
  with_affine.affine = true;
  check_affine_moves(g, p, with_affine, tokens, 11);
}

// Asserts that nothing is left of these norms but x / rms(x).
void check_all_bare(std::string const& text, FoldOptions options = {}) {
  CAPTURE(text);
  options.affine = true;
  Graph const g = graph_of(text);
  FoldReport const report = find_foldable_norms(g, options);
  CHECK(std::ranges::all_of(report.affines, &AffineVerdict::moves));
  FoldedModel const folded = fold_norms(g, report, random_parameters(g, 8, 11));
  CHECK(count_of(folded.graph, Operator::layer_norm) == 0);
  for (Node const& node : folded.graph.nodes()) {
    if (node.op != Operator::rms_norm) continue;
    CAPTURE(node.name);
    CHECK_FALSE(node.parameter(Key::gamma).present());
    CHECK_FALSE(node.parameter(Key::beta).present());
  }
}

std::size_t count_moves(std::string const& text) {
  FoldReport const report = find_foldable_norms(graph_of(text), moving_affine());
  return static_cast<std::size_t>(std::ranges::count_if(report.affines, &AffineVerdict::moves));
}

void check_none_folds(std::string const& text, Reason reason, std::string const& blame) {
  CAPTURE(text);
  for (Verdict const& norm : find_foldable_norms(graph_of(text)).norms) {
    REQUIRE_FALSE(norm.folds());
    CHECK(norm.refusal->reason == reason);
    CHECK(norm.refusal->blame_name == blame);
  }
}

Expected every_one_of(std::size_t norms) { return {norms, {"all"}}; }

Model gpt2(bool tied) {
  Model m;
  m.text = "ids tokens vocab=11\n";
  m.op("embedding", "wte", "tokens", "features=8 table=wte");
  m.op("add_parameter", "wpe", "wte", "value=wpe per_token=1");
  std::string x = m.op("dropout", "drop", "wpe", "p=0.1");
  for (std::string const b : {"h0", "h1", "h2"}) x = m.pre_norm_block(b, x);
  m.norm("ln_f", x);
  m.op("linear", "head", "ln_f", std::string("out=11 weight=") + (tied ? "wte" : "head"));
  m.output("head");
  return m;
}

Model vit(bool layer_scale, bool pre_norm = false) {
  Model m;
  m.text = "input patches features=12\ninput nothing features=8\n";
  m.linear("patch", "patches");
  // The class token: a parameter put in front, as the sum of a zero token and the parameter.
  m.op("mean_tokens", "one", "nothing");
  m.op("scale", "zero", "one", "by=0");
  m.op("center", "blank", "zero");
  m.op("add_parameter", "cls", "blank", "value=cls");
  m.op("concat_tokens", "sequence", "cls patch");
  std::string x = m.op("add_parameter", "positions", "sequence", "value=pos per_token=1");
  if (pre_norm) x = m.norm("ln_pre", x);
  for (std::string const b : {"b0", "b1"}) x = m.pre_norm_block(b, x, layer_scale);
  m.output(m.linear("head", m.norm("ln", x), 5));
  return m;
}

}  // namespace

TEST_CASE("architectures: GPT-2 folds every norm, with an untied head or one that is untied or corrected") {
  check(gpt2(false).text, every_one_of(7));
  check(gpt2(true).text, every_one_of(7), untying());
  check(gpt2(true).text, every_one_of(7), correcting());
}

TEST_CASE("architectures: pre-norm networks are left with one scale a token, gamma and beta are in the weights") {
  check_all_bare(gpt2(false).text);
  check_all_bare(gpt2(true).text, untying());
  check_all_bare(vit(false).text);
  check_all_bare(vit(true).text);
  CHECK(count_moves(gpt2(true).text) == 6);        // all but the final norm, whose reader is the tied head
  CHECK(count_moves(vit(false, true).text) == 5);  // all but the one in front of the blocks, which starts the stream
}

TEST_CASE("architectures: GPT-2 with a tied head keeps every norm of the stream, for that reason") {
  check(gpt2(true).text, {7, {}});
  check_none_folds(gpt2(true).text, Reason::tied, "head");
}

TEST_CASE("architectures: GPT-2 with a probe on the stream, or raw hidden states returned, keeps every norm") {
  std::string const text = gpt2(false).text;
  check(text + "linear probe h1.r2 out=3 weight=probe\noutput probed probe\n", {7, {}});
  check_none_folds(text + "linear probe h1.r2 out=3 weight=probe\noutput probed probe\n", Reason::read_unforgiven,
                   "probe");
  check(text + "output hidden h0.r1\n", {7, {}});
  check_none_folds(text + "output hidden h0.r1\n", Reason::output, "hidden");
  // A probe with a norm of its own does no harm, and folds as well.
  check(text + "layer_norm probe_ln h1.r2 gamma=pg\nlinear probe probe_ln out=3 weight=probe\noutput probed probe\n",
        every_one_of(8));
}

TEST_CASE("architectures: GPT-2 in training keeps its norms, elementwise dropout lies in the stream") {
  for (Verdict const& norm : find_foldable_norms(graph_of(gpt2(false).text), in_training()).norms) {
    REQUIRE_FALSE(norm.folds());
    CHECK(norm.refusal->reason == Reason::dropout);
  }
}

TEST_CASE("architectures: a parallel block (Phi) folds every norm") {
  Model m;
  m.text = "ids tokens vocab=11\n";
  std::string x = m.op("embedding", "wte", "tokens", "features=8 table=wte");
  for (std::string const b : {"h0", "h1", "h2"}) {
    std::string const n = m.norm(b + ".ln", x);
    x = m.op("add", b + ".r", x + " " + m.attention(b + ".attn", n, n) + " " + m.mlp(b + ".mlp", n));
  }
  m.output(m.linear("head", m.norm("ln", x), 11));
  check(m.text, every_one_of(4));
}

TEST_CASE("architectures: ViT folds every norm, LayerScale composes with its branch") {
  check(vit(false).text, every_one_of(5));
  check(vit(true).text, every_one_of(5));
  CHECK(find_foldable_norms(graph_of(vit(true).text)).compositions.size() == 4);
  check(vit(false).text + "output hidden b0.r2\n", {5, {}});
  check(vit(false).text + "linear probe b0.r2 out=3 weight=probe\noutput probed probe\n", {5, {}});
}

TEST_CASE(
    "architectures: CLIP's vision tower folds the norm in front of its blocks, whose affine part stops the rest") {
  check(vit(false, true).text, {6, {"ln_pre"}});
  // One centering behind it frees them all.
  std::string text = vit(false, true).text;
  text.insert(text.find("layer_norm b0.ln1"), "center c ln_pre\n");
  for (std::string const old : {"layer_norm b0.ln1 ln_pre", "add b0.r1 ln_pre"}) {
    text.replace(text.find(old), old.size(), old.substr(0, old.size() - 6) + "c");
  }
  check(text, every_one_of(6));
}

TEST_CASE("architectures: BLOOM folds the embedding's norm alone, whose affine part starts the stream") {
  auto const bloom = [](bool tied) {
    Model m;
    m.text = "ids tokens vocab=11\n";
    m.op("embedding", "words", "tokens", "features=8 table=words");
    std::string x = m.norm("words_ln", "words");
    for (std::string const b : {"h0", "h1"}) x = m.pre_norm_block(b, x);
    m.norm("ln_f", x);
    m.op("linear", "head", "ln_f", std::string("out=11 weight=") + (tied ? "words" : "head"));
    m.output("head");
    return m.text;
  };
  check(bloom(false), {6, {"words_ln"}});
  check(bloom(true), {6, {"words_ln"}}, untying());
  check(bloom(true), {6, {}});
  CHECK(find_foldable_norms(graph_of(bloom(true))).norms[0].refusal->reason == Reason::tied);
  CHECK(find_foldable_norms(graph_of(bloom(true))).norms[1].refusal->reason == Reason::norm_affine);
}

TEST_CASE("architectures: BERT folds the embedding's norm alone, not its blocks' nor the head's behind GELU") {
  auto const bert = [](bool tied) {
    Model m;
    m.text = "ids tokens vocab=11\nids types vocab=2\n";
    m.op("embedding", "word", "tokens", "features=8 table=word");
    m.op("embedding", "type", "types", "features=8 table=type");
    m.add("sum", "word", "type");
    m.op("add_parameter", "positions", "sum", "value=pos per_token=1");
    std::string x = m.norm("ln_embed", "positions");
    for (std::string const b : {"b0", "b1"}) x = m.post_norm_block(b, x);
    m.op("gelu", "transform.act", m.linear("transform", x));
    m.norm("ln_head", "transform.act");
    m.op("linear", "decoder", "ln_head", std::string("out=11 weight=") + (tied ? "word" : "decoder"));
    m.output("decoder");
    return m.text;
  };
  check(bert(false), {6, {"ln_embed"}});
  check(bert(true), {6, {"ln_embed"}}, untying());
  check(bert(true), {6, {}});
  FoldReport const report = find_foldable_norms(graph_of(bert(true)));
  CHECK(report.norms.front().refusal->reason == Reason::tied);
  CHECK(report.norms.back().refusal->reason == Reason::nonlinear);
}

TEST_CASE("architectures: the original post-norm Transformer folds nothing") {
  Model m;
  m.text = "ids source vocab=11\nids target vocab=11\n";
  m.op("embedding", "se", "source", "features=8 table=E");
  m.op("embedding", "te", "target", "features=8 table=T");
  std::string x = m.op("add_parameter", "sp", "se", "value=sin per_token=1");
  for (std::string const b : {"e0", "e1"}) x = m.post_norm_block(b, x);
  std::string const memory = x;
  x = m.op("add_parameter", "tp", "te", "value=sin per_token=1");
  for (std::string const b : {"d0", "d1"}) {
    x = m.norm(b + ".ln0", m.add(b + ".r0", x, m.attention(b + ".self", x, x)));
    x = m.norm(b + ".ln1", m.add(b + ".r1", x, m.attention(b + ".cross", x, memory)));
    x = m.norm(b + ".ln2", m.add(b + ".r2", x, m.mlp(b + ".mlp", x, "relu")));
  }
  m.output(m.linear("head", x, 11));
  check(m.text, {2 * 2 + 3 * 2, {}});
  // With uniform gains and zero-sum shifts (here: none at all), all but the first of each stack.
  std::string plain;
  std::istringstream lines(m.text);
  for (std::string line; std::getline(lines, line);) {
    plain += (line.starts_with("layer_norm") ? line.substr(0, line.find(" gamma=")) : line) + "\n";
  }
  check(plain, {10, {"e0.ln2", "e1.ln1", "e1.ln2", "d0.ln1", "d0.ln2", "d1.ln0", "d1.ln1", "d1.ln2"}});
  FoldReport const report = find_foldable_norms(graph_of(plain));
  CHECK(report.norms[0].refusal ==
        Refusal{Reason::read_unforgiven, *graph_of(plain).find_node("e0.attn.q"), "e0.attn.q"});
  CHECK(report.norms[4].refusal->blame_name == "d0.self.q");
}

TEST_CASE("architectures: Swin folds the patch norm, all of the last stage, and the final norm") {
  Model m;
  m.text = "input patches features=12\n";
  std::string x = m.norm("patch_ln", m.linear("patch", "patches"));
  for (int stage = 0; stage < 4; ++stage) {
    std::string const s = "s" + std::to_string(stage);
    if (stage > 0) {  // patch merging: a norm over the concatenated neighbours, then a reduction without bias
      m.op("merge_tokens", s + ".merge", x, "ratio=2");
      x = m.op("linear", s + ".reduce", m.norm(s + ".merge_ln", s + ".merge"), "out=8 weight=" + s + ".reduce");
    }
    for (std::string const& b : {s + ".b0", s + ".b1"}) x = m.pre_norm_block(b, x);
  }
  m.op("mean_tokens", "pool", m.norm("ln", x));
  m.output(m.linear("head", "pool", 5));
  // Patch norm, the four of the last stage, final: 6, as in Swin-T.
  check(m.text, {1 + 16 + 3 + 1, {"patch_ln", "s3.b0.ln1", "s3.b0.ln2", "s3.b1.ln1", "s3.b1.ln2", "ln"}});
  FoldReport const report = find_foldable_norms(graph_of(m.text));
  auto const reason = [&](std::string const& norm) {
    return std::ranges::find(report.norms, norm, &Verdict::name)->refusal->reason;
  };
  CHECK(reason("s0.b0.ln1") == Reason::norm_affine);
  CHECK(reason("s1.b0.ln1") == Reason::feature_mix);
}

TEST_CASE("architectures: Swin-V2 folds every norm but the final one, each follows a linear layer") {
  Model m;
  m.text = "input patches features=12\n";
  std::string x = m.norm("patch_ln", m.linear("patch", "patches"));
  std::set<std::string> folds{"patch_ln"};
  for (int stage = 0; stage < 4; ++stage) {
    std::string const s = "s" + std::to_string(stage);
    if (stage > 0) {  // reduction first, then its norm
      m.op("merge_tokens", s + ".merge", x, "ratio=2");
      m.op("linear", s + ".reduce", s + ".merge", "out=8 weight=" + s + ".reduce");
      x = m.norm(s + ".merge_ln", s + ".reduce");
      folds.insert(x);
    }
    for (std::string const& b : {s + ".b0", s + ".b1"}) {
      x = m.add(b + ".r1", x, m.norm(b + ".ln1", m.attention(b + ".attn", x, x)));
      x = m.add(b + ".r2", x, m.norm(b + ".ln2", m.mlp(b + ".mlp", x)));
      folds.insert({b + ".ln1", b + ".ln2"});
    }
  }
  m.op("mean_tokens", "pool", m.norm("ln", x));
  m.output(m.linear("head", "pool", 5));
  check(m.text, {folds.size() + 1, folds});
}

TEST_CASE("architectures: ConvNeXt folds the stem's norm alone, depthwise convolutions are everywhere else") {
  Model m;
  m.text = "input patches features=12\n";
  std::string x = m.norm("stem_ln", m.linear("stem", "patches"));
  for (int stage = 0; stage < 3; ++stage) {
    std::string const s = "s" + std::to_string(stage);
    if (stage > 0) {  // a norm, then a convolution of stride 2
      m.op("merge_tokens", s + ".merge", m.norm(s + ".down_ln", x), "ratio=2");
      x = m.linear(s + ".down", s + ".merge");
    }
    for (std::string const& b : {s + ".b0", s + ".b1"}) {
      m.op("conv", b + ".dw", x, "out=8 kernel=7 groups=8 weight=" + b + ".dw bias=" + b + ".dwb");
      std::string branch = m.mlp(b + ".mlp", m.norm(b + ".ln", b + ".dw"));
      x = m.add(b + ".r", x, m.op("scale_channels", b + ".ls", branch, "value=" + b + ".gamma"));
    }
  }
  m.op("mean_tokens", "pool", x);
  m.output(m.linear("head", m.norm("ln", "pool"), 5));
  check(m.text, {1 + 6 + 2 + 1, {"stem_ln"}});
  FoldReport const report = find_foldable_norms(graph_of(m.text));
  CHECK(std::ranges::find(report.norms, "s0.b0.ln", &Verdict::name)->refusal->reason == Reason::grouped);
  CHECK(std::ranges::find(report.norms, "s2.b0.ln", &Verdict::name)->refusal->blame_name == "s2.b0.dw");
}

TEST_CASE("architectures: MLP-Mixer folds the first norm alone") {
  // Token mixing W2 gelu(X W1): a matrix over the tokens, the same for all features. The format has no parameter that
  // mixes tokens, so the two matrices are attentions whose queries and keys are free inputs; between them stands the
  // activation that separates the branch from any layer over the features. That, not the weights, decides.
  Model m;
  m.text = "input patches features=12\ninput mix1 features=8\ninput mix2 features=8\n";
  std::string x = m.linear("patch", "patches");
  for (std::string const b : {"b0", "b1"}) {
    m.norm(b + ".ln1", x);
    m.op("attention", b + ".t1", "mix1 mix2 " + b + ".ln1");
    m.op("gelu", b + ".act", b + ".t1");
    m.op("attention", b + ".t2", "mix2 mix1 " + b + ".act");
    x = m.add(b + ".r1", x, b + ".t2");
    x = m.add(b + ".r2", x, m.mlp(b + ".mlp", m.norm(b + ".ln2", x)));
  }
  m.op("mean_tokens", "pool", m.norm("ln", x));
  m.output(m.linear("head", "pool", 5));
  check(m.text, {2 * 2 + 1, {"b0.ln1"}});
  FoldReport const report = find_foldable_norms(graph_of(m.text));
  CHECK(report.norms[1].refusal == Refusal{Reason::nonlinear, *graph_of(m.text).find_node("b0.act"), "b0.act"});
}

TEST_CASE("architectures: an MLP of linear, norm, activation folds every norm") {
  Model m;
  m.text = "input x features=12\n";
  std::string x = "x";
  for (std::string const l : {"l0", "l1", "l2"}) x = m.op("relu", l + ".act", m.norm(l + ".ln", m.linear(l, x)));
  m.output(m.linear("head", x, 5));
  check(m.text, every_one_of(3));
}

TEST_CASE("architectures: an LN-RNN, unrolled with shared weights, folds every norm") {
  Model m;
  m.text = "input x features=12\ninput h0 features=8\n";
  std::string h = "h0";
  for (std::string const t : {"t1", "t2", "t3"}) {
    m.op("linear", t + ".wx", "x", "out=8 weight=W bias=b");
    m.op("linear", t + ".uh", h, "out=8 weight=U");
    m.add(t + ".a", t + ".wx", t + ".uh");
    h = m.op("tanh", t + ".h", m.op("layer_norm", t + ".ln", t + ".a", "gamma=g beta=c"));
  }
  m.output(h);
  check(m.text, every_one_of(3));
}

TEST_CASE("architectures: an LN-LSTM folds the gates' norms, not the one on the cell state") {
  Model m;
  m.text = "input x features=12\ninput h0 features=8\ninput c0 features=8\n";
  std::string h = "h0", c = "c0";
  std::set<std::string> folds;
  for (std::string const t : {"t1", "t2"}) {
    for (std::string const gate : {"i", "f", "o", "g"}) {
      std::string const k = t + "." + gate;
      m.op("linear", k + ".wx", "x", "out=8 weight=W" + gate + " bias=b" + gate);
      m.op("linear", k + ".uh", h, "out=8 weight=U" + gate);
      m.op("layer_norm", k + ".ln", m.add(k + ".a", k + ".wx", k + ".uh"), "gamma=g" + gate + " beta=n" + gate);
      m.op(gate == "g" ? "tanh" : "sigmoid", k, k + ".ln");
      folds.insert(k + ".ln");
    }
    m.op("multiply", t + ".fc", t + ".f " + c);
    m.op("multiply", t + ".ig", t + ".i " + t + ".g");
    c = m.add(t + ".c", t + ".fc", t + ".ig");
    m.op("tanh", t + ".tc", m.norm(t + ".c_ln", c));
    h = m.op("multiply", t + ".h", t + ".o " + t + ".tc");
  }
  m.output(h);
  check(m.text, {10, folds});
}

TEST_CASE("architectures: a model of rms_norms (LLaMA, T5) has nothing to fold") {
  std::string text = gpt2(false).text;
  for (std::size_t at = 0; (at = text.find("layer_norm", at)) != std::string::npos;) text.replace(at, 10, "rms_norm");
  check(text, {0, {}});
  CHECK(find_foldable_norms(graph_of(text)) == FoldReport{});
}
