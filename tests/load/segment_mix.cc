#include "tests/load/segment_mix.h"

#include <algorithm>
#include <cstdlib>
#include <regex>

#include <fmt/format.h>

namespace thermocline::load {
namespace {

constexpr uint64_t kStride = 2;
constexpr uint64_t kDecade = 10;
constexpr int kSamples = 64;
constexpr uint64_t kMaxSegments = 10'000;
constexpr uint64_t kMaxIds = 100'000'000'000;

uint64_t NumberOf(const std::string& digits, const std::string& unit) {
  const uint64_t scale = unit == "k" ? 1'000 : unit == "M" ? 1'000'000 : unit == "B" ? 1'000'000'000 : 1;
  return std::strtoull(digits.c_str(), nullptr, 10) * scale;
}

}  // namespace

absl::StatusOr<SegmentOptions> ParseSegments(const std::string& text) {
  static const auto& form =
      *new std::regex(R"(\s*(\d{1,9})([kMB]?)(?:\s+segments?)?\s*x\s*(\d{1,9})([kMB]?)(?:\s+ids?)?\s*)");
  std::smatch part;
  if (!std::regex_match(text, part, form)) {
    return absl::InvalidArgumentError(fmt::format("'{}' is not of the form '100 x 1M'", text));
  }
  const uint64_t segments = NumberOf(part[1], part[2]);
  const uint64_t ids = NumberOf(part[3], part[4]);
  if (segments < 1 || segments > kMaxSegments || ids < 1 || ids > kMaxIds) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' is out of range: 1 to 10k segments of 1 to 100B ids", text));
  }
  SegmentOptions options;
  options.segments = static_cast<uint32_t>(segments);
  options.ids = ids;
  return options;
}

SegmentIds::SegmentIds(const SegmentOptions& options, Size size, uint32_t number) {
  const bool small = size == Size::kSmall;
  name_ = fmt::format("load:{}:{:04}", small ? "small" : "large", number);
  count_ = small ? std::max<uint64_t>(options.ids / kSmaller, 1) : options.ids;
  stride_ = small ? kStride * kSmaller : kStride;
  // The dense ones are spread evenly over the numbers.
  const uint64_t before = uint64_t{number} * options.dense_percent / 100;
  const bool dense = (uint64_t{number} + 1) * options.dense_percent / 100 > before;
  spread_ = dense ? 1 : kSparse;
  seed_ = bench::Mix(2 * uint64_t{number} + (small ? 1 : 0));
}

uint64_t SegmentIds::IdOf(uint64_t index, uint64_t choice) const {
  const uint64_t number = index * stride_ + choice % stride_;
  return number * spread_ + (bench::Mix(number) % spread_);
}

bool SegmentIds::Holds(uint64_t id) const {
  const uint64_t index = id / spread_ / stride_;
  return index < count_ && At(index) == id;
}

bool SegmentIds::MayHold(uint64_t id) const {
  const uint64_t index = id / spread_ / stride_;
  return index < count_ && (At(index) == id || Addable(index) == id);
}

SegmentQuestion SegmentQuestion::Draw(const SegmentOptions& options, Kind kind, bench::RandomStream& random) {
  using Size = SegmentIds::Size;
  SegmentQuestion question;
  const auto some = [&] { return static_cast<uint32_t>(random.Below(options.segments)); };
  if (kind == Kind::kUnion) {
    const Size size = random.Below(2) == 0 ? Size::kSmall : Size::kLarge;
    const uint64_t first = some() / kDecade * kDecade;
    for (uint64_t i = first; i < std::min<uint64_t>(first + kDecade, options.segments); ++i)
      question.operands_.emplace_back(options, size, static_cast<uint32_t>(i));
    std::string prefix = question.operands_.front().name();
    prefix.back() = '*';
    question.expression_ = std::move(prefix);
    question.is_union_ = true;
  } else {
    question.operands_.emplace_back(options, kind == Kind::kLargeAndLarge ? Size::kLarge : Size::kSmall,
                                    some());
    question.operands_.emplace_back(options, kind == Kind::kSmallAndSmall ? Size::kSmall : Size::kLarge,
                                    some());
    question.expression_ = fmt::format("{} & {}", question.operands_[0].name(), question.operands_[1].name());
  }
  question.Expect(random);
  return question;
}

void SegmentQuestion::Expect(bench::RandomStream& random) {
  for (int i = 0; i < kSamples; ++i) {
    const SegmentIds& from = operands_[random.Below(operands_.size())];
    const uint64_t id = from.At(random.Below(from.count()));
    const auto holds = [&](const SegmentIds& segment) { return segment.Holds(id); };
    if (is_union_ || std::ranges::all_of(operands_, holds)) expected_.push_back(id);
  }
  std::ranges::sort(expected_);
  expected_.erase(std::unique(expected_.begin(), expected_.end()), expected_.end());
}

bool SegmentQuestion::MayHold(uint64_t id) const {
  const auto may = [&](const SegmentIds& segment) { return segment.MayHold(id); };
  return is_union_ ? std::ranges::any_of(operands_, may) : std::ranges::all_of(operands_, may);
}

void SegmentAnswer::Take(std::span<const uint64_t> ids) {
  const std::vector<uint64_t>& expected = question_.expected();
  for (const uint64_t id : ids) {
    if (found_ < expected.size() && id == expected[found_]) ++found_;
    const bool ascends = ids_ == 0 || id > last_;
    if (fault_.empty() && !ascends) fault_ = fmt::format("{} comes after {}", id, last_);
    if (fault_.empty() && !question_.MayHold(id)) fault_ = fmt::format("{} does not belong there", id);
    last_ = id;
    ++ids_;
  }
}

std::string SegmentAnswer::Fault() const {
  if (!fault_.empty() || found_ == question_.expected().size()) return fault_;
  return fmt::format("{} is missing", question_.expected()[found_]);
}

}  // namespace thermocline::load
