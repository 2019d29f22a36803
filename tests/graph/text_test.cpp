// SPDX-License-Identifier: MIT
// tests/graph/text_test.cpp -- reading and writing graphs: round trips, free form, and every way to be malformed.
#include <foldnorm/graph/text.hpp>

#include "graph/graph_testing.hpp"
#include "graph/matchers.hpp"

#include "catch.hpp"

#include <set>
#include <sstream>
#include <string>
#include <vector>

using namespace foldnorm;
using namespace foldnorm::testing;
using Catch::Matchers::StartsWith;
using foldnorm::testing::Contains;

namespace {

// Every operator, every key both given and left out.
char const* const everything = R"(input x features=6
ids words vocab=10
linear h x out=4 weight=W bias=b
linear h2 x out=4 weight=W
conv c x out=9 kernel=3 groups=3 weight=K bias=k
conv c2 x out=9 weight=K2
embedding e words features=6 table=E
add_parameter p e value=P
add_parameter p2 e value=P2 per_token=1
scale_channels sc p value=s
scale by p by=-0.1
add sum p e x
subtract difference p e
multiply product p e
identity i p
dropout d p
dropout d2 p p=0.125
drop_path dp p
drop_path dp2 p p=0
relu r p
gelu g p
silu si p
tanh ta p
sigmoid sg p
softmax so p
center ce p
layer_norm ln p gamma=ga beta=be
layer_norm ln2 p eps=1e-06 groups=2
rms_norm rn p gamma=ga
rms_norm rn2 p beta=be eps=0 groups=3
batch_norm bn p scale=u shift=t
concat_tokens ct p e
concat_features cf p h
slice_features sl p start=0 length=6
mean_tokens mean p
max_tokens max p
permute_tokens pt p
merge_tokens mt p ratio=2
attention at p e x
attention at2 p e x heads=3
opaque op features=3
opaque op2 p h features=1
linear head e out=10 weight=E
output y cf
output y.2/a-b_C x
)";

}  // namespace

TEST_CASE("text: every operator, written and read again, gives an equal graph") {
  Graph const g = graph_of(everything);
  std::set<Operator> seen;
  for (Node const& node : g.nodes()) seen.insert(node.op);
  REQUIRE(seen.size() == operator_rows.size());  // or this test misses one
  CHECK(graph_of(printed(g)) == g);
  CHECK(printed(g) == everything);  // already in the form in which it is written
}

TEST_CASE("text: a graph that was built reads back equal") {
  Graph g;
  NodeId const x = g.input("x", 2147483647);
  NodeId const y = g.scale("s", x, 0.1 + 0.2);  // 0.30000000000000004
  NodeId const n = g.layer_norm("n", y, "g", "", {4.9406564584124654e-324, 1});
  g.output("o", g.scale("t", n, -1.7976931348623157e308));
  CHECK(graph_of(printed(g)) == g);
}

TEST_CASE("text: keys come in any order, blanks and comments anywhere") {
  Graph const plain = graph_of("input x features=6\nconv c x out=9 kernel=3 groups=3 weight=K bias=k\noutput y c\n");
  CHECK(graph_of("# a head line\n\n   \t\n\tinput   x features=6# glued to it\n"
                 "conv c x bias=k groups=3 weight=K out=9 kernel=3 # all of them\n#\noutput y c") == plain);
  CHECK(graph_of("input x features=6\r\n\r\nconv c x out=9 kernel=3 groups=3 weight=K bias=k\r\noutput y c\r\n") ==
        plain);
  CHECK(graph_of("input x features=6 # c\r\nconv c x groups=3 out=9 kernel=3 weight=K bias=k\noutput y c\r") == plain);
}

TEST_CASE("text: a default that is spelled out is the same as one left out") {
  CHECK(graph_of("input x features=2\nlayer_norm n x eps=0.00001 groups=1\noutput y n\n") ==
        graph_of("input x features=2\nlayer_norm n x\noutput y n\n"));
  CHECK(graph_of("input x features=2\ndropout n x p=5e-1\noutput y n\n") ==
        graph_of("input x features=2\ndropout n x\noutput y n\n"));
}

TEST_CASE("text: nodes and parameters have names in separate spaces") {
  Graph const g = graph_of("input x features=2\nlinear x2 x out=2 weight=x bias=x2\noutput y x2\n");
  CHECK(g.nodes().size() == 3);
  CHECK(g.parameters().size() == 2);
}

TEST_CASE("text: the word of an operator can name a node") {
  CHECK(graph_of("input input features=2\nrelu relu input\noutput output relu\n").nodes().size() == 3);
}

TEST_CASE("text: a malformed line is reported by source, line and what is wrong, and nothing is returned") {
  struct Bad {
    std::string line;
    std::vector<std::string> message;
  };
  std::vector<Bad> const table{
      {"linaer h x out=3 weight=V", {"linaer"}},
      {"Linear h x out=3 weight=V", {"Linear"}},
      {"relu", {"relu", "name"}},
      {"input features=3", {"input", "name"}},
      {"relu r", {"relu r"}},
      {"relu r x x", {"relu r"}},
      {"relu r nobody", {"nobody"}},
      {"relu r r", {"'r'"}},                  // a self loop
      {"relu r y", {"relu r", "y"}},          // an output is not readable
      {"relu r words", {"relu r", "words"}},  // nor are ids
      {"output o words", {"output o", "words"}},
      {"embedding f x features=3 table=F", {"embedding f", "x"}},
      {"relu x x", {"relu x", "taken"}},
      {"relu a:b x", {"a:b"}},
      {"relu caf\xc3\xa9 x", {"caf"}},
      {"linear h out=3 weight=V x", {"'x'", "after a key"}},
      {"linear h x out=3", {"linear h", "weight", "missing"}},
      {"linear h x weight=V", {"linear h", "out", "missing"}},
      {"input z", {"input z", "features", "missing"}},
      {"linear h x out=3 out=3 weight=V", {"linear h", "out", "twice"}},
      {"linear h x out=3 weight=V weight=V", {"linear h", "weight", "twice"}},
      {"linear h x out=3 weight=V p=0.5", {"linear h", "p"}},
      {"linear h x out=3 weight=V gamma=g", {"linear h", "gamma"}},
      {"linear h x out=3 weight=V wieght=U", {"wieght"}},
      {"linear h x out=3 weight=V =3", {"key"}},
      {"linear h x out= weight=V", {"out=", "no value"}},
      {"linear h x out=3 weight=", {"weight=", "no value"}},
      {"linear h x out=3 weight=a=b", {"linear h", "a=b"}},
      {"linear h x out=3 weight=V,U", {"linear h", "V,U"}},
      {"linear h x out=0 weight=V", {"linear h", "out"}},
      {"linear h x out=-3 weight=V", {"out=-3", "integer"}},
      {"linear h x out=3.0 weight=V", {"out=3.0", "integer"}},
      {"linear h x out=3e0 weight=V", {"out=3e0", "integer"}},
      {"linear h x out=0x3 weight=V", {"out=0x3", "integer"}},
      {"linear h x out=2147483648 weight=V", {"linear h", "out"}},
      {"linear h x out=99999999999999999999999999 weight=V", {"linear h", "out"}},
      {"linear h x out=three weight=V", {"out=three"}},
      {"slice_features s x start=-1 length=2", {"start=-1"}},
      {"slice_features s x start=5 length=2", {"slice_features s", "7", "6"}},
      {"slice_features s x start=0 length=0", {"slice_features s", "length"}},
      {"scale s x by=nan", {"by=nan"}},
      {"scale s x by=NaN", {"by=NaN"}},
      {"scale s x by=inf", {"by=inf"}},
      {"scale s x by=-infinity", {"by=-infinity"}},
      {"scale s x by=0x1p3", {"by=0x1p3"}},
      {"scale s x by=1e999", {"by=1e999"}},
      {"scale s x by=1.2.3", {"by=1.2.3"}},
      {"scale s x by=1e", {"by=1e"}},
      {"scale s x by=--1", {"by=--1"}},
      {"scale s x by=1,5", {"by=1,5"}},
      {"scale s x", {"scale s", "by", "missing"}},
      {"layer_norm n x eps=-1e-5", {"layer_norm n", "eps"}},
      {"layer_norm n x eps=nan", {"eps=nan"}},
      {"layer_norm n x groups=4", {"layer_norm n", "groups=4", "6"}},
      {"dropout d x p=1", {"dropout d", "p="}},
      {"drop_path d x p=-0.1", {"drop_path d", "p="}},
      {"add_parameter p x value=v per_token=0", {"add_parameter p", "per_token"}},
      {"add_parameter p x value=v per_token=2", {"add_parameter p", "per_token"}},
      {"conv c x out=4 kernel=2 weight=K", {"conv c", "kernel=2"}},
      {"conv c x out=4 groups=4 weight=K", {"conv c", "groups=4"}},
      {"add a x", {"add a"}},
      {"subtract a x x x", {"subtract a"}},
      {"concat_features a x", {"concat_features a"}},
      {"attention a x x", {"attention a"}},
      {"add a x h4", {"add a", "6", "4"}},
      {"linear h x out=5 weight=W", {"linear h", "W", "5x6", "4x6"}},
      {"linear h e out=9 weight=E", {"linear h", "E"}},  // a tied head has vocab outputs
      {"add_parameter p x value=b4", {"add_parameter p", "b4"}},
      {"embedding f words features=7 table=E", {"embedding f", "E"}},
      {"input z features=3 x", {"'x'", "after a key"}},
      {"input z x features=3", {"input z"}},
      {"output", {"output", "name"}},
      {"output o", {"output o"}},
  };
  std::string const head =
      "# line 1\ninput x features=6\nids words vocab=10\nlinear h4 x out=4 weight=W bias=b4\n"
      "embedding e words features=6 table=E\noutput y h4\n\n";
  CHECK_NOTHROW(graph_of(head));
  for (Bad const& bad : table) {
    for (char const* const ending : {"\n", "\r\n", ""}) {
      CAPTURE(bad.line);
      std::istringstream in(head + bad.line + ending + (*ending == '\0' ? "" : "relu after x\n"));
      std::string message;
      try {
        read_graph(in, "dir/some file.txt");
      } catch (parse_error const& error) {
        message = error.what();
      }
      CHECK_THAT(message, StartsWith("dir/some file.txt:8: "));
      for (std::string const& part : bad.message) CHECK_THAT(message, Contains(part));
    }
  }
}

TEST_CASE("text: the first malformed line is the one that is reported") {
  CHECK_THROWS_WITH(graph_of("input x features=3\nrelu a b\nrelu c d\n"), StartsWith("test:2: ") && Contains("'b'"));
}

TEST_CASE("text: a graph without an output is malformed, at its last line") {
  CHECK_THROWS_WITH(graph_of(""), StartsWith("test:1: ") && Contains("output"));
  CHECK_THROWS_WITH(graph_of("# nothing\n\n"), StartsWith("test:2: ") && Contains("output"));
  CHECK_THROWS_WITH(graph_of("input x features=3\nrelu r x\n\n"), StartsWith("test:3: ") && Contains("output"));
}

TEST_CASE("text: a stream that breaks is an error, not a short graph") {
  std::istringstream in("input x features=3\noutput y x\n");
  in.setstate(std::ios::badbit);
  CHECK_THROWS_AS(read_graph(in, "test"), parse_error);
}

TEST_CASE("text: stray bytes are refused, not skipped") {
  CHECK_THROWS_AS(graph_of(std::string("input x features=3\0\noutput y x\n", 30)), parse_error);
  CHECK_THROWS_AS(graph_of("\xef\xbb\xbfinput x features=3\noutput y x\n"), parse_error);  // a byte order mark
  CHECK_THROWS_AS(graph_of("input x features=3\routput y x\n"), parse_error);              // a CR alone ends no line
  CHECK_THROWS_AS(graph_of("input x\vfeatures=3\noutput y x\n"), parse_error);
}

TEST_CASE("text: a table can be tied to a head that stands above it") {
  Graph const g = graph_of(
      "input x features=3\nids i vocab=5\nlinear head x out=5 weight=E\nembedding e i features=3 table=E\n"
      "output y head\noutput z e\n");
  ParameterDescription const& table = g.parameter(g.find_parameter("E").value());
  CHECK(table.rows == 3);
  CHECK(table.columns == 5);
  CHECK(graph_of(printed(g)) == g);
  CHECK_THROWS_WITH(graph_of("input x features=3\nids i vocab=5\nlinear h x out=4 weight=E\n"
                             "embedding e i features=3 table=E\noutput y h\n"),
                    StartsWith("test:4: ") && Contains("E"));
}

TEST_CASE("text: a plus sign and numbers below the range of double are finite decimals") {
  Graph const g = graph_of("input x features=4\nscale s x by=+2.5\nlayer_norm n s eps=1e-400\noutput y n\n");
  CHECK(g.node(*g.find_node("s")).number(Key::by) == 2.5);
  CHECK(g.node(*g.find_node("n")).number(Key::eps) == 0);
  CHECK_THROWS_AS(graph_of("input x features=4\nlayer_norm n x eps=-1e-400\noutput y n\n"), parse_error);
  CHECK_THROWS_AS(graph_of("input x features=4\nscale s x by=++1\noutput y s\n"), parse_error);
  CHECK_THROWS_AS(graph_of("input x features=4\nscale s x by=+-1\noutput y s\n"), parse_error);
}

TEST_CASE("text: counts and positions are written in digits, however large") {
  Graph g;
  g.output("o", g.embedding("e", g.ids("i", 100'000), 2'000'000, "E"));
  std::stringstream text;
  write_graph(text, g);
  CHECK(text.str() == "ids i vocab=100000\nembedding e i features=2000000 table=E\noutput o e\n");
  CHECK(read_graph(text, "t").nodes().front().count(Key::vocab) == 100'000);
}

TEST_CASE("text: numbers beyond the range are told by their size, not by how they are written") {
  auto const eps = [](std::string const& digits) {
    return graph_of("input x features=4\nlayer_norm n x eps=" + digits + "\noutput y n\n").nodes()[1].number(Key::eps);
  };
  CHECK(eps("0." + std::string(400, '0') + "1") == 0);
  CHECK(eps("1e-99999") == 0);
  CHECK_THROWS_AS(eps(std::string(400, '1') + "e-2"), parse_error);
  CHECK_THROWS_AS(eps("1e400"), parse_error);
  CHECK_THROWS_AS(eps("1e99999"), parse_error);
}
