#pragma once

#include <string>
#include <utility>
#include <vector>

namespace thermocline::bench {

// One curve; points in the order of x. Points that are not finite leave a gap.
struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;
  int colour = 0;  // of the palette; any number
  bool dashed = false;
};

// One diagram of a chart.
struct Panel {
  enum class Kind {
    kLines,
    kLogarithmic,  // lines over a logarithmic axis; points that are not positive leave a gap
    kStacked,      // areas on top of each other; all series have the same x
  };

  std::string title;
  std::string unit;  // of y
  Kind kind = Kind::kLines;
  std::vector<Series> series;
  std::string x_label = {};  // not empty: it has an x of its own, with this under it
};

// Panels under each other over the same x, but for those that say otherwise.
struct Chart {
  std::string title;
  std::string subtitle;
  std::string x_label;
  std::vector<Panel> panels;
};

// An SVG document that needs nothing else: light background, axes with round numbers, a legend beside each
// panel.
std::string RenderSvg(const Chart& chart);

}  // namespace thermocline::bench
