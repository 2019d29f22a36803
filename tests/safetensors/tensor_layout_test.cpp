// SPDX-License-Identifier: MIT
// tests/safetensors/tensor_layout_test.cpp -- which shapes of a tensor hold a parameter, and which do not.
#include <foldnorm/safetensors/tensor_layout.hpp>

#include "graph/graph_testing.hpp"
#include "graph/matchers.hpp"

#include "catch.hpp"

#include <cstdint>
#include <string>
#include <vector>

using namespace foldnorm;
using namespace foldnorm::testing;
using foldnorm::testing::Contains;

namespace {

using Shapes = std::vector<TensorLayout::Shape>;

TensorLayout layout_named(Graph const& g, std::string const& name, InByOutNames const& in_by_out = {}) {
  return tensor_layout(g, g.parameter(g.find_parameter(name).value()), in_by_out);
}
void check_fits(TensorLayout const& layout, Shapes const& good, Shapes const& bad) {
  for (auto const& shape : good) {
    CAPTURE(shape);
    CHECK(layout.fits(shape));
  }
  for (auto const& shape : bad) {
    CAPTURE(shape);
    CHECK_FALSE(layout.fits(shape));
  }
}

char const* const every_role = R"(
  ids t vocab=7
  embedding e t features=6 table=E
  add_parameter p e value=P per_token=1
  add_parameter v p value=v
  conv c v out=4 kernel=3 groups=2 weight=C bias=c
  conv c1 c out=4 weight=C1
  linear l c1 out=5 weight=W bias=b
  layer_norm n l gamma=g
  linear up n out=6 weight=U
  linear head up out=7 weight=E
  output y head
)";

}  // namespace

TEST_CASE("tensor_layout: a linear's weight is out x in, its inputs in one axis or several") {
  TensorLayout const w = layout_named(graph_of(every_role), "W");
  CHECK(w.by_rows);
  CHECK(shape_text(w) == "5x4");
  check_fits(w, {{5, 4}, {5, 2, 2}, {5, 4, 1, 1}}, {{4, 5}, {5}, {20}, {1, 5, 4}, {}, {5, 4, 2}, {5, 5}, {5, 0}});
}

TEST_CASE("tensor_layout: a weight named as in by out, and names that cannot be") {
  Graph const g = graph_of(every_role);
  TensorLayout const w = layout_named(g, "W", {"W"});
  CHECK_FALSE(w.by_rows);
  check_fits(w, {{4, 5}, {1, 4, 5}}, {{5, 4}, {20}, {2, 2, 5}});
  CHECK_FALSE(layout_named(g, "C1", {"C1"}).by_rows);
  for (char const* const name : {"E", "P", "v", "C", "b", "g"}) {
    CHECK_THROWS_WITH(layout_named(g, name, {name}), Contains(name) && Contains("in by out"));
  }
}

TEST_CASE("tensor_layout: a convolution's weight is out, in of a group, kernel") {
  TensorLayout const c = layout_named(graph_of(every_role), "C");
  CHECK(shape_text(c) == "4x3x3");
  CHECK(c.kernel == 3);
  check_fits(c, {{4, 3, 3}}, {{4, 9}, {4, 3, 1, 3}, {4, 6, 3}, {3, 3, 4}, {4, 9, 1}});
  TensorLayout const one_tap = layout_named(graph_of(every_role), "C1");
  CHECK(shape_text(one_tap) == "4x4x1");
  check_fits(one_tap, {{4, 4, 1}, {4, 4}, {4, 4, 1, 1}}, {{4, 5}, {16}, {1, 4, 4}});
}

TEST_CASE("tensor_layout: tables, per-token parameters and vectors, with axes of length 1") {
  Graph const g = graph_of(every_role);
  check_fits(layout_named(g, "E"), {{7, 6}, {1, 7, 6}}, {{6, 7}, {42}, {7, 6, 1}, {2, 7, 6}});
  check_fits(layout_named(g, "P"), {{3, 6}, {9, 6}, {1, 9, 6}, {1, 1, 6}}, {{6}, {6, 3}, {2, 9, 6}});
  CHECK(shape_text(layout_named(g, "P")) == "tokensx6");
  check_fits(layout_named(g, "g"), {{5}, {1, 5}, {1, 1, 5}, {5, 1, 1}}, {{4}, {}, {5, 5}, {0}, {2, 5}});
}

TEST_CASE("tensor_layout: one weight of two kernels has no layout") {
  Graph const g =
      graph_of("input x features=2\nconv a x out=6 kernel=3 weight=W\nlinear b a out=6 weight=W\noutput y b\n");
  CHECK_THROWS_WITH(layout_named(g, "W"), Contains("W is a weight of 3 taps and of 1 in linear b"));
}

TEST_CASE("tensor_layout: vectors of one feature") {
  Graph const g = graph_of("input x features=3\nlinear f x out=1 weight=W bias=b\noutput y f\n");
  check_fits(layout_named(g, "b"), {{1}, {}, {1, 1}}, {{2}, {0}});
  check_fits(layout_named(g, "W"), {{1, 3}}, {{3}, {3, 1}});
}
