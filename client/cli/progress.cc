#include "client/cli/progress.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"

#include "client/cli/text.h"

namespace thermocline::cli {
namespace {

constexpr std::chrono::milliseconds kRedraw{200};
constexpr std::chrono::milliseconds kPlainLine{5000};
constexpr size_t kBarWidth = 20;
constexpr std::string_view kEraseLine = "\r\x1b[K";

std::string Rate(const ProgressState& state) {
  if (state.elapsed.count() <= 0) return "0";
  return FormatCount(state.records * 1000 / static_cast<uint64_t>(state.elapsed.count()));
}

std::string Remaining(const ProgressState& state) {
  if (state.bytes == 0) return "";
  const double whole = static_cast<double>(state.elapsed.count()) / static_cast<double>(state.bytes) *
                       static_cast<double>(*state.total_bytes);
  const auto left = std::chrono::milliseconds(static_cast<int64_t>(whole)) - state.elapsed;
  return fmt::format("  {} left", FormatDuration(std::max(left, std::chrono::milliseconds(0))));
}

}  // namespace

std::string ProgressBar(double part) {
  const auto filled = static_cast<size_t>(part * kBarWidth);
  return fmt::format("[{}{}] {:3.0f} %", std::string(filled, '#'), std::string(kBarWidth - filled, '-'),
                     part * 100);
}

std::string ProgressLine(const ProgressState& state) {
  std::string done = fmt::format("{} {}  {}/s  {}", FormatCount(state.records), state.what, Rate(state),
                                 FormatBytes(state.bytes));
  if (!state.total_bytes.has_value()) return done;
  // A file may grow while it is read.
  const double part = state.bytes >= *state.total_bytes
                          ? 1
                          : static_cast<double>(state.bytes) / static_cast<double>(*state.total_bytes);
  return fmt::format("{}  {} of {}{}", ProgressBar(part), done, FormatBytes(*state.total_bytes),
                     Remaining(state));
}

Progress::Progress(std::ostream& out, bool terminal, std::function<std::string()> line)
    : out_(out), terminal_(terminal), line_(std::move(line)), thread_([this] { Show(); }) {}

Progress::~Progress() { Stop(); }

void Progress::Note(std::string_view line) {
  std::lock_guard lock(mutex_);
  Erase();
  out_ << line << "\n" << std::flush;
}

void Progress::Stop() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Progress::Show() {
  std::unique_lock lock(mutex_);
  while (!stopped_.wait_for(lock, terminal_ ? kRedraw : kPlainLine, [this] { return stop_; })) {
    Erase();
    out_ << line_() << (terminal_ ? "" : "\n") << std::flush;
  }
  Erase();
}

void Progress::Erase() {
  if (terminal_) out_ << kEraseLine << std::flush;
}

}  // namespace thermocline::cli
