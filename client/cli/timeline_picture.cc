#include "client/cli/timeline_picture.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "fmt/format.h"

#include "client/cli/text.h"

namespace thermocline::cli {
namespace {

constexpr double kLeft = 80;
constexpr double kTop = 60;
constexpr double kHeight = 300;
constexpr double kRight = 24;
constexpr double kBottom = 56;
constexpr int kTicks = 8;

constexpr const char* kStyle = R"(<style>
svg { color-scheme: light dark; background: #ffffff; --ink: #1f2328; --faint: #d8dee4; --data: #0072b2; }
@media (prefers-color-scheme: dark) {
  svg { background: #15181c; --ink: #e6e9ec; --faint: #343a41; --data: #56b4e9; }
}
text { font: 12px system-ui, sans-serif; fill: var(--ink); }
.title { font-size: 16px; font-weight: 600; }
.grid { stroke: var(--faint); fill: none; }
.area { fill: var(--data); fill-opacity: 0.25; stroke: none; }
.line { fill: none; stroke: var(--data); stroke-width: 1.25; stroke-linejoin: round; }
</style>
)";

std::string Escaped(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '&':
        escaped += "&amp;";
        break;
      default:
        escaped += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return escaped;
}

std::string Label(double x, double y, std::string_view anchor, std::string_view text,
                  std::string_view style = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y, anchor, style,
                     Escaped(text));
}

// The smallest of 1, 2, 5, 10 .. that is not smaller; counts are whole.
double RoundStep(double least) {
  const double power = std::pow(10, std::floor(std::log10(std::max(1.0, least))));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= least * 0.999) return factor * power;
  }
  return 10 * power;
}

constexpr double kSecond = 1e6;
constexpr double kDay = 86'400 * kSecond;

// Steps of time that people count in. Above a day all are days: months are not as long as each other.
double TimeStep(double least) {
  for (const double step : {1.0,
                            10.0,
                            100.0,
                            1e3,
                            1e4,
                            1e5,
                            kSecond,
                            2 * kSecond,
                            5 * kSecond,
                            10 * kSecond,
                            30 * kSecond,
                            60 * kSecond,
                            120 * kSecond,
                            300 * kSecond,
                            600 * kSecond,
                            1800 * kSecond,
                            3600 * kSecond,
                            2 * 3600 * kSecond,
                            6 * 3600 * kSecond,
                            kDay / 2,
                            kDay,
                            2 * kDay,
                            7 * kDay,
                            14 * kDay,
                            30 * kDay,
                            91 * kDay,
                            182 * kDay,
                            365 * kDay}) {
    if (step >= least) return step;
  }
  return RoundStep(least / (365 * kDay)) * 365 * kDay;
}

// As much of a moment as tells the ticks apart.
std::string TickText(storage::Moment moment, double step) {
  std::string text = storage::FormatMoment(moment);
  if (step >= kDay) return text.substr(0, text.find('T'));
  if (!text.empty() && text.back() == 'Z') text.pop_back();
  const size_t middle = text.find('T');
  if (middle == std::string::npos) return text;
  text[middle] = ' ';
  if (step >= 60 * kSecond) return text.substr(0, middle + 6);
  return text.substr(middle + 1);
}

}  // namespace

TimelinePicture::TimelinePicture(storage::Moment first, storage::Moment last, uint64_t running)
    : first_(first), last_(last), running_before_(running), columns_(kColumns) {}

double TimelinePicture::Share(storage::Moment at) const {
  const double whole = static_cast<double>(last_) - static_cast<double>(first_);
  return whole <= 0 ? 0 : (static_cast<double>(at) - static_cast<double>(first_)) / whole;
}

size_t TimelinePicture::ColumnOf(storage::Moment at) const {
  return std::min(kColumns - 1, static_cast<size_t>(std::max(0.0, Share(at)) * kColumns));
}

void TimelinePicture::Add(storage::Moment at, uint64_t running) {
  Column& column = columns_[ColumnOf(at)];
  column.least = column.seen ? std::min(column.least, running) : running;
  column.most = std::max(column.most, running);
  column.last = running;
  column.seen = true;
}

// One line up and down through each column, where it changes.
std::string TimelinePicture::Area(double high) const {
  const auto y = [&](uint64_t running) { return kTop + kHeight * (1 - static_cast<double>(running) / high); };
  std::string line = fmt::format("M{:.1f} {:.1f}", kLeft, y(running_before_));
  for (size_t i = 0; i < columns_.size(); ++i) {
    const Column& column = columns_[i];
    if (!column.seen) continue;
    const double x = kLeft + static_cast<double>(i);
    line += fmt::format("H{:.1f}V{:.1f}", x, y(column.most));
    if (column.least != column.most) line += fmt::format("V{:.1f}", y(column.least));
    if (column.last != column.least) line += fmt::format("V{:.1f}", y(column.last));
  }
  line += fmt::format("H{:.1f}", kLeft + kColumns);
  const double floor = kTop + kHeight;
  return fmt::format("<path class=\"area\" d=\"{}V{:.1f}H{:.1f}Z\"/>\n<path class=\"line\" d=\"{}\"/>\n",
                     line, floor, kLeft, line);
}

std::string TimelinePicture::TimeAxis() const {
  std::string svg;
  const double step = TimeStep((static_cast<double>(last_) - static_cast<double>(first_)) / kTicks);
  for (double at = std::ceil(static_cast<double>(first_) / step) * step; at <= static_cast<double>(last_);
       at += step) {
    if (std::abs(at) > 9e18) break;
    const auto moment = static_cast<storage::Moment>(at);
    const double x = kLeft + Share(moment) * kColumns;
    svg += fmt::format("<path class=\"grid\" d=\"M{:.1f} {:.1f}v6\"/>\n", x, kTop + kHeight);
    svg += Label(x, kTop + kHeight + 22, "middle", TickText(moment, step));
  }
  return svg;
}

std::string TimelinePicture::Render(const std::string& title) const {
  uint64_t most = running_before_;
  for (const Column& column : columns_) most = std::max(most, column.most);
  const double step = RoundStep(static_cast<double>(most) / 5);
  const double high = std::max(1.0, std::ceil(static_cast<double>(most) / step)) * step;
  const double width = kLeft + kColumns + kRight;
  const double height = kTop + kHeight + kBottom;
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" "
      "height=\"{1:.0f}\" "
      "role=\"img\">\n<title>{2}</title>\n{3}",
      width, height, Escaped(title), kStyle);
  svg += Label(kLeft, 26, "start", title, " class=\"title\"");
  svg += Label(kLeft, 46, "start",
               fmt::format("running at the same time: {} at most; {} to {}", FormatCount(most),
                           storage::FormatMoment(first_), storage::FormatMoment(last_)));
  for (double value = 0; value <= high; value += step) {
    const double y = kTop + kHeight * (1 - value / high);
    svg += fmt::format("<path class=\"grid\" d=\"M{:.1f} {:.1f}h{}\"/>\n", kLeft, y, kColumns);
    svg += Label(kLeft - 8, y + 4, "end", FormatCount(static_cast<uint64_t>(value)));
  }
  return svg + Area(high) + TimeAxis() + "</svg>\n";
}

}  // namespace thermocline::cli
