#include "tests/bench/svg.h"

#include <cmath>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thermocline::bench {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(SvgTest, NamesWhatItShows) {
  const std::string svg =
      RenderSvg({.title = "A <title>",
                 .subtitle = "and more",
                 .x_label = "keys",
                 .panels = {{.title = "Speed",
                             .unit = "inserts/s",
                             .series = {{.name = "a & b", .points = {{0, 1e6}, {1e6, 2e6}}}}}}});
  for (const char* const text : {"A &lt;title&gt;", "and more", ">keys<", ">Speed<", ">inserts/s<",
                                 "a &amp; b", ">500k<", ">1M<", ">2M<", "</svg>"}) {
    EXPECT_THAT(svg, HasSubstr(text));
  }
}

TEST(SvgTest, WhatIsNotANumberLeavesAGap) {
  for (const auto kind : {Panel::Kind::kLines, Panel::Kind::kLogarithmic}) {
    const Panel panel = {.title = "t",
                         .unit = "u",
                         .kind = kind,
                         .series = {{.name = "n", .points = {{1, 5}, {2, NAN}, {3, 7}}}}};
    const std::string svg = RenderSvg({.panels = {panel}});
    EXPECT_THAT(svg, Not(HasSubstr("nan")));
    EXPECT_THAT(svg, Not(HasSubstr("inf")));
  }
}

TEST(SvgTest, NothingToShow) {
  for (const auto kind : {Panel::Kind::kLines, Panel::Kind::kLogarithmic, Panel::Kind::kStacked}) {
    const std::string svg = RenderSvg({.panels = {{.kind = kind, .series = {{}, {}}}, {.kind = kind}}});
    EXPECT_THAT(svg, Not(HasSubstr("nan")));
    EXPECT_THAT(svg, Not(HasSubstr("inf")));
  }
}

}  // namespace
}  // namespace thermocline::bench
