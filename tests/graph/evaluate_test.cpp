// SPDX-License-Identifier: MIT
// tests/graph/evaluate_test.cpp -- the meaning of every operator, on numbers worked out by hand.
#include <foldnorm/graph/evaluate.hpp>

#include "graph/graph_testing.hpp"
#include "graph/matchers.hpp"

#include "catch.hpp"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

using namespace foldnorm;
using namespace foldnorm::testing;
using foldnorm::testing::Contains;

namespace {

using Rows = std::vector<std::vector<double>>;

Matrix<double> of(Rows const& rows) {
  Matrix<double> m(static_cast<Index>(rows.size()), static_cast<Index>(rows.empty() ? 0 : rows[0].size()));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::size_t j = 0; j < rows[i].size(); ++j) m(static_cast<Index>(i), static_cast<Index>(j)) = rows[i][j];
  }
  return m;
}

// A few roundings of numbers of unit size; the operators that only move or add small integers are exact.
constexpr double few_roundings = 1e-14;

bool near(Matrix<double> const& a, Matrix<double> const& b, double tolerance = few_roundings) {
  if (a.rows() != b.rows() || a.cols() != b.cols()) return false;
  return a.size() == 0 || (a - b).cwiseAbs().maxCoeff() <= tolerance;
}

// The output y of: input x (x.rows() features), then these statements.
Matrix<double> value_of(std::string const& statements, Matrix<double> const& x, Parameters const& parameters = {}) {
  Graph const g = graph_of("input x features=" + std::to_string(x.rows()) + "\n" + statements);
  return evaluate(g, parameters, {{"x", x}}).at("y");
}
// ... of one operator that reads x.
Matrix<double> unary(std::string const& op, Rows const& x, std::string const& keys = "",
                     Parameters const& parameters = {}) {
  return value_of(op + " r x " + keys + "\noutput y r\n", of(x), parameters);
}

Parameters with(std::vector<std::pair<std::string, Rows>> const& values) {
  Parameters p;
  for (auto const& [name, rows] : values) p.set(name, of(rows));
  return p;
}

}  // namespace

TEST_CASE("evaluate: linear is W x + b for every token") {
  Parameters const p = with({{"W", {{1, 2}, {3, 4}, {5, 6}}}, {"b", {{10}, {20}, {30}}}});
  CHECK(unary("linear", {{1, -1}, {1, 0}}, "out=3 weight=W bias=b", p) == of({{13, 9}, {27, 17}, {41, 25}}));
  CHECK(unary("linear", {{1, -1}, {1, 0}}, "out=3 weight=W", p) == of({{3, -1}, {7, -3}, {11, -5}}));
}

TEST_CASE("evaluate: conv correlates over the tokens, with zeros outside") {
  // Column t * in + c: taps of token j-1, j, j+1, each for channels 0 and 1.
  Parameters const p = with({{"W", {{1, 10, 100, 1000, 10000, 100000}}}, {"b", {{0.5}}}});
  Rows const x{{1, 2, 3}, {4, 5, 6}};
  // token 0: 100*1 + 1000*4 + 10000*2 + 100000*5;  token 1: 1*1 + 10*4 + 100*2 + 1000*5 + 10000*3 + 100000*6; ...
  CHECK(unary("conv", x, "out=1 kernel=3 weight=W bias=b", p) == of({{524100.5, 635241.5, 6352.5}}));
}

TEST_CASE("evaluate: conv with groups keeps each group's channels to itself") {
  // 2 groups of 2 channels in, 1 out, kernel 3: row g holds the taps of group g.
  Parameters const p = with({{"W", {{1, 0, 0, 2, 0, 3}, {0, 1, 1, 1, 5, 0}}}});
  Rows const x{{1, 2}, {3, 4}, {5, 6}, {7, 8}};
  // group 0: x0[j-1] + 2 x1[j] + 3 x1[j+1];  group 1: x3[j-1] + x2[j] + x3[j] + 5 x2[j+1]
  CHECK(unary("conv", x, "out=2 kernel=3 groups=2 weight=W", p) == of({{18, 9}, {42, 21}}));
}

TEST_CASE("evaluate: conv that is wider than the tokens reads zeros on both sides") {
  Parameters const p = with({{"W", {{1, 2, 4, 8, 16, 32, 64}}}});
  CHECK(unary("conv", {{1, 3}}, "out=1 kernel=7 weight=W", p) == of({{8 + 3 * 16, 4 + 3 * 8}}));
}

TEST_CASE("evaluate: embedding picks columns, a tied head takes the table's transpose") {
  Graph const g = graph_of(
      "ids i vocab=3\nembedding e i features=2 table=E\nlinear head e out=3 weight=E\noutput y e\noutput z head\n");
  Parameters const p = with({{"E", {{1, 2, 3}, {4, 5, 6}}}});
  NamedValues const out = evaluate(g, p, {{"i", of({{2, 0, 2}})}});
  CHECK(out.at("y") == of({{3, 1, 3}, {6, 4, 6}}));
  CHECK(out.at("z") == of({{27, 17, 27}, {36, 22, 36}, {45, 27, 45}}));
}

TEST_CASE("evaluate: add_parameter adds one column to all tokens, or one to each") {
  Parameters const p = with({{"v", {{10}, {20}}}, {"q", {{1, 2, 3}, {4, 5, 6}}}});
  CHECK(unary("add_parameter", {{1, 2, 3}, {4, 5, 6}}, "value=v", p) == of({{11, 12, 13}, {24, 25, 26}}));
  CHECK(unary("add_parameter", {{1, 2, 3}, {4, 5, 6}}, "value=q per_token=1", p) == of({{2, 4, 6}, {8, 10, 12}}));
}

TEST_CASE("evaluate: scales multiply, one factor per feature or one for all") {
  Parameters const p = with({{"s", {{2}, {-3}}}, {"t", {{100}, {200}}}});
  CHECK(unary("scale_channels", {{1, 2}, {4, 5}}, "value=s", p) == of({{2, 4}, {-12, -15}}));
  CHECK(unary("batch_norm", {{1, 2}, {4, 5}}, "scale=s shift=t", p) == of({{102, 104}, {188, 185}}));
  CHECK(unary("scale", {{1, 2}, {4, 5}}, "by=-0.5") == of({{-0.5, -1}, {-2, -2.5}}));
}

TEST_CASE("evaluate: sums, differences and products work elementwise, one token is repeated on either side") {
  Matrix<double> const x = of({{1, 2, 3}, {10, 20, 30}});
  std::string const mean = "mean_tokens m x\n";
  CHECK(value_of("add a x x x\noutput y a\n", x) == 3 * x);
  CHECK(value_of(mean + "add a m x m\noutput y a\n", x) == of({{5, 6, 7}, {50, 60, 70}}));
  CHECK(value_of(mean + "subtract a x m\noutput y a\n", x) == of({{-1, 0, 1}, {-10, 0, 10}}));
  CHECK(value_of(mean + "subtract a m x\noutput y a\n", x) == of({{1, 0, -1}, {10, 0, -10}}));
  CHECK(value_of(mean + "multiply a m x\noutput y a\n", x) == of({{2, 4, 6}, {200, 400, 600}}));
  CHECK(value_of(mean + "add a m m\noutput y a\n", x) == of({{4}, {40}}));
}

TEST_CASE("evaluate: identity, dropout and drop_path leave everything as it is") {
  Rows const x{{1, -2}, {3, 4}};
  CHECK(unary("identity", x) == of(x));
  CHECK(unary("dropout", x, "p=0.9") == of(x));
  CHECK(unary("drop_path", x, "p=0.9") == of(x));
}

TEST_CASE("evaluate: activations follow their formulas") {
  Rows const x{{-2, -0.5, 0, 1, 3}};
  CHECK(unary("relu", x) == of({{0, 0, 0, 1, 3}}));
  // Phi(1) = 0.8413447460685429, Phi(2) = 0.9772498680518208, Phi(0.5) = 0.6914624612740131, Phi(3) = .9986501019683699
  CHECK(near(unary("gelu", x), of({{-2 * (1 - 0.9772498680518208), -0.5 * (1 - 0.6914624612740131), 0,
                                    0.8413447460685429, 3 * 0.9986501019683699}})));
  // sigmoid(1) = 0.7310585786300049, (2) = 0.8807970779778823, (0.5) = 0.6224593312018546, (3) = 0.9525741268224334
  Matrix<double> const s =
      of({{1 - 0.8807970779778823, 1 - 0.6224593312018546, 0.5, 0.7310585786300049, 0.9525741268224334}});
  CHECK(near(unary("sigmoid", x), s));
  CHECK(near(unary("silu", x), s.cwiseProduct(of(x))));
  // tanh(2) = 0.9640275800758169, (0.5) = 0.46211715726000973, (1) = 0.7615941559557649, (3) = 0.9950547536867305
  CHECK(near(unary("tanh", x),
             of({{-0.9640275800758169, -0.46211715726000973, 0, 0.7615941559557649, 0.9950547536867305}})));
}

TEST_CASE("evaluate: activations survive arguments whose exponential does not") {
  Matrix<double> const y = unary("sigmoid", {{-800, 800}});
  CHECK(y == of({{0, 1}}));
  CHECK(unary("silu", {{-800, 800}}) == of({{0, 800}}));
  CHECK(unary("gelu", {{-800, 800}}) == of({{0, 800}}));
}

TEST_CASE("evaluate: softmax is over the features of a token, and does not overflow") {
  double const e = std::exp(1.0);
  CHECK(near(unary("softmax", {{0, 1000}, {1, 1001}}), of({{1 / (1 + e), 1 / (1 + e)}, {e / (1 + e), e / (1 + e)}})));
}

TEST_CASE("evaluate: center subtracts each token's mean") {
  CHECK(near(unary("center", {{1, 5}, {2, 5}, {6, 5}}), of({{-2, 0}, {-1, 0}, {3, 0}})));
}

TEST_CASE("evaluate: layer_norm has the biased variance, and eps inside the root") {
  // Token (1, 3): mean 2, variance 1. Token (4, 4): variance 0.
  Parameters const p = with({{"g", {{2}, {3}}}, {"b", {{10}, {20}}}});
  CHECK(near(unary("layer_norm", {{1, 4}, {3, 4}}, "gamma=g beta=b eps=3", p), of({{9, 10}, {21.5, 20}})));
  CHECK(near(unary("layer_norm", {{1, 4}, {3, 4}}, "eps=0"), of({{-1, 0}, {1, 0}})));
  // variance 1e-5 and the default eps 1e-5: a factor 1 / sqrt 2
  double const d = std::sqrt(1e-5);
  CHECK(near(unary("layer_norm", {{-d}, {d}}), of({{-std::sqrt(0.5)}, {std::sqrt(0.5)}})));
}

TEST_CASE("evaluate: rms_norm divides by the root mean square, without a mean") {
  // Token (1, 7): mean square 25; with eps = 75, root 10.
  Parameters const p = with({{"g", {{2}, {3}}}, {"b", {{10}, {20}}}});
  CHECK(near(unary("rms_norm", {{1}, {7}}, "gamma=g beta=b eps=75", p), of({{10.2}, {22.1}})));
  CHECK(near(unary("rms_norm", {{1}, {7}}, "eps=0"), of({{0.2}, {1.4}})));
}

TEST_CASE("evaluate: grouped norms work on contiguous blocks of features, gamma and beta on single features") {
  Parameters const p = with({{"g", {{1}, {2}, {3}, {4}}}, {"b", {{0}, {0}, {0}, {5}}}});
  CHECK(near(unary("layer_norm", {{1, 1}, {3, 5}, {10, 0}, {10, 8}}, "groups=2 eps=0 gamma=g beta=b", p),
             of({{-1, -1}, {2, 2}, {0, -3}, {5, 9}})));
  CHECK(near(unary("rms_norm", {{1}, {7}, {0}, {0}}, "groups=2 eps=0"), of({{0.2}, {1.4}, {0}, {0}})));
}

TEST_CASE("evaluate: concatenation, in the operands' order") {
  Matrix<double> const x = of({{1, 2}, {3, 4}});
  CHECK(value_of("mean_tokens m x\nconcat_tokens c m x\noutput y c\n", x) == of({{1.5, 1, 2}, {3.5, 3, 4}}));
  CHECK(value_of("scale s x by=10\nconcat_features c s x\noutput y c\n", x) ==
        of({{10, 20}, {30, 40}, {1, 2}, {3, 4}}));
}

TEST_CASE("evaluate: a slice takes features start to start + length - 1") {
  CHECK(unary("slice_features", {{1, 2}, {3, 4}, {5, 6}, {7, 8}}, "start=1 length=2") == of({{3, 4}, {5, 6}}));
}

TEST_CASE("evaluate: mean and maximum over tokens give one token, permute_tokens reverses") {
  Rows const x{{1, 5, 3}, {-1, -5, -3}};
  CHECK(near(unary("mean_tokens", x), of({{3}, {-3}})));
  CHECK(unary("max_tokens", x) == of({{5}, {-1}}));
  CHECK(unary("permute_tokens", x) == of({{3, 5, 1}, {-3, -5, -1}}));
}

TEST_CASE("evaluate: merge_tokens stacks neighbours, feature k F + f of token j is feature f of token j ratio + k") {
  CHECK(unary("merge_tokens", {{1, 2, 3, 4}, {5, 6, 7, 8}}, "ratio=2") == of({{1, 3}, {5, 7}, {2, 4}, {6, 8}}));
}

TEST_CASE("evaluate: attention mixes values by the softmax over keys of q.k / sqrt(features of q per head)") {
  // One query (a, 0, 0, 0), keys e0 and 0, four features: scores a/2 and 0. With a = 2 ln 3: weights 3/4 and 1/4.
  double const a = 2 * std::log(3.0);
  Graph const g =
      graph_of("input q features=4\ninput k features=4\ninput v features=2\nattention t q k v\noutput y t\n");
  NamedValues const in{
      {"q", of({{a}, {0}, {0}, {0}})}, {"k", of({{1, 0}, {0, 0}, {0, 0}, {0, 0}})}, {"v", of({{4, 8}, {0, 100}})}};
  CHECK(near(evaluate(g, {}, in).at("y"), of({{5}, {25}}), 100 * few_roundings));
}

TEST_CASE("evaluate: attention with several heads gives each its own block of queries, keys and values") {
  // Two heads of one query feature: head 0 scores 3:1 for the first key, head 1 scores 1:3.
  double const a = std::log(3.0);
  Graph const g =
      graph_of("input q features=2\ninput k features=2\ninput v features=4\nattention t q k v heads=2\noutput y t\n");
  NamedValues const in{{"q", of({{a}, {a}})}, {"k", of({{1, 0}, {0, 1}})}, {"v", of({{4, 8}, {0, 4}, {4, 8}, {0, 4}})}};
  CHECK(near(evaluate(g, {}, in).at("y"), of({{5}, {1}, {7}, {3}})));
}

TEST_CASE("evaluate: attention without structure is a mean of the values") {
  Matrix<double> const x = of({{0, 0, 0}});
  CHECK(near(
      value_of("add_parameter v x value=p per_token=1\nattention t x x v\noutput y t\n", x, with({{"p", {{1, 2, 6}}}})),
      of({{3, 3, 3}})));
}

TEST_CASE("evaluate: gives every node's value, in the order of the graph") {
  Graph const g = graph_of("ids i vocab=5\ninput x features=1\nscale s x by=2\noutput y s\noutput z x\n");
  NamedValues const in{{"x", of({{1, 2}})}, {"i", of({{4}})}};
  std::vector<Matrix<double>> const values = evaluate_nodes(g, {}, in);
  REQUIRE(values.size() == 5);
  CHECK(values[0] == of({{4}}));
  CHECK(values[2] == of({{2, 4}}));
  NamedValues const out = evaluate(g, {}, in);
  CHECK(out.size() == 2);
  CHECK(out.at("y") == of({{2, 4}}));
  CHECK(out.at("z") == of({{1, 2}}));
}

TEST_CASE("evaluate: float parameters are widened, sums run in double") {
  Parameters p;
  p.set("W", Matrix<float>::Constant(1, 3, 0.1F));
  Matrix<double> const y = unary("linear", {{1}, {1e9}, {-1e9}}, "out=1 weight=W", p);
  CHECK(std::abs(y(0, 0) - static_cast<double>(0.1F)) < 1e-7);  // in float 1e8 would swallow it
}

TEST_CASE("evaluate: every operator in float is the same in double, to float's rounding") {
  Graph const g = graph_of(
      "ids i vocab=5\ninput x features=4\nembedding e i features=4 table=E\nadd a x e\nlayer_norm n a gamma=g\n"
      "rms_norm r a groups=2\nlinear q n out=4 weight=W bias=b\nattention t q r n heads=2\ngelu u t\nsilu v u\n"
      "tanh w v\nsigmoid z w\nsoftmax f z\nscale s f by=3\nbatch_norm c s scale=c shift=d\ncenter m c\noutput y m\n");
  Parameters const p = random_parameters(g, 3, 1);
  NamedValues const in = random_inputs(g, 3, 2);
  Matrix<double> const in_double = evaluate(g, p, in).at("y");
  Matrix<float> const in_float = evaluate<float>(g, p, in).at("y");
  CHECK(near(in_float.cast<double>(), in_double, 100 * double(std::numeric_limits<float>::epsilon())));
  CHECK(in_float.cast<double>() != in_double);
}

TEST_CASE("evaluate: works without any tokens, where the operators allow it") {
  Parameters const p = with({{"W", {{1, 2}}}});
  Matrix<double> const no_tokens(2, 0);
  CHECK(value_of("linear h x out=1 weight=W\nsoftmax s h\nlayer_norm n s\noutput y n\n", no_tokens, p).cols() == 0);
}

TEST_CASE("evaluate: ids that float does not hold") {
  constexpr Index vocab = (Index{1} << 24) + 4;
  Graph const g = graph_of("ids i vocab=" + std::to_string(vocab) + "\nembedding e i features=1 table=E\noutput y e\n");
  Parameters p;
  Matrix<float> table(1, vocab);
  for (Index i = 0; i < vocab; ++i) table(0, i) = static_cast<float>(i % 1000);
  p.set("E", table);
  Matrix<double> const y = evaluate<float>(g, p, {{"i", of({{vocab - 3, vocab - 1}})}}).at("y").cast<double>();
  CHECK(y == of({{double((vocab - 3) % 1000), double((vocab - 1) % 1000)}}));
}

TEST_CASE("evaluate: refuses inputs, ids and parameters that do not fit, and names the node") {
  Graph const g = graph_of(
      "input x features=2\nids i vocab=3\nembedding e i features=2 table=E\n"
      "add a x e\nadd_parameter q a value=Q per_token=1\noutput y q\n");
  Parameters const p = with({{"E", {{1, 2, 3}, {4, 5, 6}}}, {"Q", {{1, 2}, {3, 4}}}});
  NamedValues const in{{"x", of({{1, 2}, {3, 4}})}, {"i", of({{0, 2}})}};
  REQUIRE_NOTHROW(evaluate(g, p, in));
  auto const message = [&](char const* name, Matrix<double> const* value, bool is_parameter) -> std::string {
    Parameters parameters = p;
    NamedValues inputs = in;
    if (is_parameter) {
      parameters.erase(name);
      if (value) parameters.set(name, *value);
    } else {
      inputs.erase(name);
      if (value) inputs.emplace(name, *value);
    }
    try {
      evaluate(g, parameters, inputs);
    } catch (graph_error const& error) {
      return error.what();
    }
    return "no error";
  };
  double const nan = std::numeric_limits<double>::quiet_NaN();
  Matrix<double> const three = of({{1}, {2}, {3}}), two_tokens_three = of({{1, 1}, {2, 2}, {3, 3}});
  Matrix<double> const outside = of({{0, 3}}), negative = of({{-1, 0}}), half = of({{0.5, 0}}),
                       not_one = of({{nan, 0}});
  Matrix<double> const two_rows = of({{0, 1}, {0, 1}}), three_ids = of({{0, 1, 2}}),
                       infinite = of({{std::numeric_limits<double>::infinity(), 0}});
  CHECK_THAT(message("x", nullptr, false), Contains("input x"));
  CHECK_THAT(message("x", &two_tokens_three, false), Contains("input x") && Contains("3x2") && Contains("2"));
  CHECK_THAT(message("i", nullptr, false), Contains("ids i"));
  for (auto const* bad : {&outside, &negative, &half, &not_one, &infinite, &two_rows}) {
    CHECK_THAT(message("i", bad, false), Contains("ids i"));
  }
  CHECK_THAT(message("i", &three_ids, false), Contains("add a") && Contains("2") && Contains("3"));
  CHECK_THAT(message("E", nullptr, true), Contains("embedding e") && Contains("E"));
  CHECK_THAT(message("E", &three, true), Contains("embedding e") && Contains("3x1") && Contains("2x3"));
  CHECK_THAT(message("Q", &three, true), Contains("add_parameter q") && Contains("Q") && Contains("2x2"));
}

TEST_CASE("evaluate: an opaque node cannot be evaluated, even where no output needs it") {
  Graph const g = graph_of("input x features=2\nopaque magic x features=2\noutput y x\n");
  CHECK_THROWS_AS(evaluate(g, {}, {{"x", of({{1}, {2}})}}), graph_error);
  CHECK_THROWS_WITH(evaluate(g, {}, {{"x", of({{1}, {2}})}}), Contains("opaque magic"));
}
