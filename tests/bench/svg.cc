#include "tests/bench/svg.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include <fmt/format.h>

namespace thermocline::bench {
namespace {

constexpr double kLeft = 78;
constexpr double kWidth = 720;
constexpr double kLegend = 220;
constexpr double kTop = 70;
constexpr double kHeight = 150;
constexpr double kBetween = 58;
constexpr double kBottom = 14;

// Okabe and Ito's colours, which nearly everybody can tell apart.
constexpr std::array<std::string_view, 8> kPalette = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                      "#56b4e9", "#e69f00", "#7f7f7f", "#8c564b"};

using Points = std::vector<std::pair<double, double>>;

std::string_view ColourOf(const Series& series) {
  return kPalette[static_cast<size_t>(series.colour) % kPalette.size()];
}

std::string Escaped(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    escaped += c == '<'   ? "&lt;"
               : c == '>' ? "&gt;"
               : c == '&' ? "&amp;"
               : c == '"' ? "&quot;"
                          : std::string(1, c);
  }
  return escaped;
}

// 1500000 as "1.5M".
std::string Short(double value) {
  for (const auto& [unit, name] : {std::pair(1e9, "G"), std::pair(1e6, "M"), std::pair(1e3, "k")}) {
    if (std::abs(value) >= unit) return fmt::format("{:g}{}", std::round(value / unit * 1e4) / 1e4, name);
  }
  return fmt::format("{:g}", std::round(value * 1e9) / 1e9);
}

// The values of one axis, and where they lie on `pixels` of paper that begin at `start` (and may run
// backwards).
class Axis {
 public:
  Axis(double low, double high, bool logarithmic, double start, double pixels)
      : logarithmic_(logarithmic), start_(start), pixels_(pixels) {
    if (logarithmic) {
      low_ = std::pow(10, std::floor(std::log10(low)));
      high_ = std::max(std::pow(10, std::ceil(std::log10(high))), low_ * 10);
      for (double tick = low_; tick < high_ * 1.001; tick *= 10) ticks_.push_back(tick);
      return;
    }
    const double step = Step((high > low ? high - low : 1) / 5);
    low_ = std::floor(low / step) * step;
    high_ = std::max(std::ceil(high / step), std::floor(low / step) + 1) * step;
    for (int i = 0; low_ + i * step < high_ + step / 2; ++i) ticks_.push_back(low_ + i * step);
  }

  const std::vector<double>& ticks() const { return ticks_; }
  bool Shows(double value) const { return std::isfinite(value) && (!logarithmic_ || value > 0); }
  double At(double value) const {
    const double share =
        logarithmic_ ? std::log(value / low_) / std::log(high_ / low_) : (value - low_) / (high_ - low_);
    return start_ + share * pixels_;
  }

 private:
  // The smallest of 1, 2, 5, 10 .. that is not smaller.
  static double Step(double least) {
    const double power = std::pow(10, std::floor(std::log10(least)));
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (factor * power >= least * 0.999) return factor * power;
    }
    return 10 * power;
  }

  bool logarithmic_;
  double start_;
  double pixels_;
  double low_ = 0;
  double high_ = 1;
  std::vector<double> ticks_;
};

void Text(std::string& svg, double x, double y, std::string_view anchor, std::string_view text,
          std::string_view style = "") {
  svg += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y, anchor, style,
                     Escaped(text));
}

void Line(std::string& svg, double x1, double y1, double x2, double y2, std::string_view colour) {
  svg += fmt::format("<path d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\" stroke=\"{}\" fill=\"none\"/>\n", x1, y1, x2,
                     y2, colour);
}

// Each series on top of those before it.
std::vector<Points> Stacked(const std::vector<Series>& series) {
  std::vector<Points> stacked;
  for (const Series& one : series) {
    Points sums = one.points;
    for (size_t i = 0; i < sums.size() && !stacked.empty(); ++i) sums[i].second += stacked.back()[i].second;
    stacked.push_back(std::move(sums));
  }
  return stacked;
}

void DrawCurve(std::string& svg, const Series& series, const Axis& x, const Axis& y) {
  std::string path;
  std::string dots;
  bool pen_down = false;
  for (const auto& [at, value] : series.points) {
    const bool shown = y.Shows(value);
    if (shown) {
      path += fmt::format("{}{:.1f} {:.1f}", pen_down ? "L" : "M", x.At(at), y.At(value));
      dots += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2\"/>", x.At(at), y.At(value));
    }
    pen_down = shown;
  }
  svg += fmt::format("<path d=\"{}\" stroke=\"{}\" stroke-width=\"1.8\" fill=\"none\"{}/>\n", path,
                     ColourOf(series), series.dashed ? " stroke-dasharray=\"5 3\"" : "");
  if (series.points.size() <= 60) svg += fmt::format("<g fill=\"{}\">{}</g>\n", ColourOf(series), dots);
}

void DrawAreas(std::string& svg, const std::vector<Series>& series, const Axis& x, const Axis& y) {
  const std::vector<Points> stacked = Stacked(series);
  for (size_t i = stacked.size(); i-- > 0;) {
    if (stacked[i].empty()) continue;
    std::string path = fmt::format("M{:.1f} {:.1f}", x.At(stacked[i].front().first), y.At(0));
    for (const auto& [at, sum] : stacked[i]) path += fmt::format("L{:.1f} {:.1f}", x.At(at), y.At(sum));
    path += fmt::format("L{:.1f} {:.1f}Z", x.At(stacked[i].back().first), y.At(0));
    svg += fmt::format("<path d=\"{0}\" fill=\"{1}\" stroke=\"{1}\"/>\n", path, ColourOf(series[i]));
  }
}

void DrawLegend(std::string& svg, const Panel& panel, double top) {
  const double left = kLeft + kWidth + 16;
  double y = top + 8;
  for (size_t n = 0; n < panel.series.size(); ++n) {
    // Areas from top to bottom, as they lie.
    const bool stacked = panel.kind == Panel::Kind::kStacked;
    const Series& series = panel.series[stacked ? panel.series.size() - 1 - n : n];
    svg += fmt::format("<path d=\"M{:.1f} {:.1f}h22\" stroke=\"{}\" stroke-width=\"{}\" fill=\"none\"{}/>\n",
                       left, y, ColourOf(series), stacked ? 9 : 2,
                       series.dashed ? " stroke-dasharray=\"5 3\"" : "");
    Text(svg, left + 28, y + 4, "start", series.name);
    y += 16;
  }
}

Axis VerticalAxis(const Panel& panel, double top) {
  const bool logarithmic = panel.kind == Panel::Kind::kLogarithmic;
  double low = logarithmic ? INFINITY : 0;
  double high = 0;
  const auto include = [&](const Points& points) {
    for (const auto& [at, value] : points) {
      if (!std::isfinite(value) || (logarithmic && value <= 0)) continue;
      low = std::min(low, value);
      high = std::max(high, value);
    }
  };
  for (const Series& series : panel.series) include(series.points);
  if (panel.kind == Panel::Kind::kStacked) {
    for (const Points& points : Stacked(panel.series)) include(points);
  }
  if (high == 0) high = 1;
  return Axis(std::min(low, high), high, logarithmic, top + kHeight, -kHeight);
}

void DrawPanel(std::string& svg, const Panel& panel, const Axis& x, double top) {
  const Axis y = VerticalAxis(panel, top);
  Text(svg, kLeft, top - 10, "start", panel.title, " font-weight=\"bold\"");
  svg +=
      fmt::format("<text transform=\"translate(16 {:.1f}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
                  top + kHeight / 2, Escaped(panel.unit));
  for (const double tick : y.ticks()) {
    Line(svg, kLeft, y.At(tick), kLeft + kWidth, y.At(tick), "#e4e4e4");
    Text(svg, kLeft - 6, y.At(tick) + 4, "end", Short(tick));
  }
  if (panel.kind == Panel::Kind::kStacked) {
    DrawAreas(svg, panel.series, x, y);
  } else {
    for (const Series& series : panel.series) DrawCurve(svg, series, x, y);
  }
  Line(svg, kLeft, top + kHeight, kLeft + kWidth, top + kHeight, "#444");
  Line(svg, kLeft, top, kLeft, top + kHeight, "#444");
  for (const double tick : x.ticks()) {
    Line(svg, x.At(tick), top + kHeight, x.At(tick), top + kHeight + 4, "#444");
    Text(svg, x.At(tick), top + kHeight + 17, "middle", Short(tick));
  }
  if (!panel.x_label.empty()) Text(svg, kLeft + kWidth / 2, top + kHeight + 33, "middle", panel.x_label);
  DrawLegend(svg, panel, top);
}

double LastX(const Panel& panel) {
  double last = 0;
  for (const Series& series : panel.series) {
    for (const auto& point : series.points) last = std::max(last, point.first);
  }
  return last;
}

Axis HorizontalAxis(double last) { return Axis(0, last, /*logarithmic=*/false, kLeft, kWidth); }

}  // namespace

std::string RenderSvg(const Chart& chart) {
  double last = 0;
  for (const Panel& panel : chart.panels) {
    if (panel.x_label.empty()) last = std::max(last, LastX(panel));
  }
  const Axis x = HorizontalAxis(last);
  const double height = kTop + static_cast<double>(chart.panels.size()) * (kHeight + kBetween) + kBottom;
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
      "font-family=\"sans-serif\" font-size=\"11\" fill=\"#222\">\n"
      "<rect width=\"{0}\" height=\"{1}\" fill=\"#fdfdfb\"/>\n",
      kLeft + kWidth + kLegend, height);
  Text(svg, kLeft, 26, "start", chart.title, " font-size=\"17\" font-weight=\"bold\"");
  Text(svg, kLeft, 43, "start", chart.subtitle, " fill=\"#666\"");
  double top = kTop;
  for (const Panel& panel : chart.panels) {
    top += 10;
    DrawPanel(svg, panel, panel.x_label.empty() ? x : HorizontalAxis(LastX(panel)), top);
    top += kHeight + kBetween - 10;
  }
  Text(svg, kLeft + kWidth / 2, top - kBetween + 44, "middle", chart.x_label);
  return svg + "</svg>\n";
}

}  // namespace thermocline::bench
