#include "tests/load/segment_load.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "client/segments.h"

namespace thermocline::load {
namespace {

constexpr std::chrono::seconds kConnectPatience{5};
constexpr std::chrono::seconds kPatience{30};  // with an answer
constexpr std::chrono::milliseconds kPauseAfterFailure{10};
constexpr size_t kAdders = 32;  // adds under way; later ones wait, and are late
constexpr size_t kIdsOfAdd = 4;
constexpr size_t kLoadIds = 64 << 10;  // sent at once

}  // namespace

absl::StatusOr<std::unique_ptr<SegmentLoad>> SegmentLoad::Connect(const LoadOptions& options) {
  std::unique_ptr<SegmentLoad> load(new SegmentLoad(options.segments, options.seed));
  const Client::Options to{.server = fmt::format("{}:{}", options.host, options.port),
                           .connect_timeout = kConnectPatience};
  auto adding = Client::Connect(to);
  if (!adding.ok()) return adding.status();
  load->adding_ = *std::move(adding);
  for (uint32_t i = 0; i < options.segments.queries; ++i) {
    auto asking = Client::Connect(to);
    if (!asking.ok()) return asking.status();
    load->asking_.push_back(*std::move(asking));
  }
  return load;
}

SegmentLoad::~SegmentLoad() { Stop(); }

absl::Status SegmentLoad::LoadOne(const SegmentIds& segment,
                                  const std::function<void(uint64_t ids)>& watcher) {
  const auto writer = adding_->segments().Load(segment.name());
  std::vector<uint64_t> ids;
  for (uint64_t at = 0; at < segment.count(); at += ids.size()) {
    ids.clear();
    for (uint64_t i = at; i < std::min(at + kLoadIds, segment.count()); ++i) ids.push_back(segment.At(i));
    if (absl::Status status = writer->Write(ids); !status.ok()) return status;
    watcher(ids.size());
  }
  return writer->Finish().status();
}

absl::Status SegmentLoad::Load(const std::function<void(uint64_t ids)>& watcher) {
  uint64_t sent = 0;
  const auto count = [&](uint64_t ids) { watcher(sent += ids); };
  for (uint32_t i = 0; i < options_.segments; ++i) {
    for (const auto size : {SegmentIds::Size::kLarge, SegmentIds::Size::kSmall}) {
      const SegmentIds segment(options_, size, i);
      const absl::Status status = LoadOne(segment, count);
      if (!status.ok()) {
        return absl::Status(status.code(),
                            fmt::format("loading {}: {}", segment.name(), std::string(status.message())));
      }
    }
  }
  return absl::OkStatus();
}

void SegmentLoad::Start() {
  adds_ = std::make_unique<Line>();
  counts_ = std::make_unique<Line>();
  queries_ = std::make_unique<Line>();
  stopped_ = false;
  end_ = TimePoint::max();
  const TimePoint now = Clock::now();
  uint64_t seed = seed_ * 1'000'003 + ++starts_ * 1009;
  if (options_.adds > 0) {
    pacing_.emplace(now, options_.adds);
    for (size_t i = 0; i < kAdders; ++i) adders_.emplace_back([this, own = ++seed] { Add(own); });
  }
  for (const auto& client : asking_) {
    askers_.emplace_back([this, &client = *client, own = ++seed] { Ask(client, own); });
  }
  Count();
}

void SegmentLoad::Count() {
  counted_from_ = Clock::now();
  for (Line* const line : {adds_.get(), counts_.get(), queries_.get()}) {
    line->before = line->tally.latencies.Take();
    line->ids_before = line->tally.operations.load(std::memory_order_relaxed);
  }
}

SegmentResult SegmentLoad::Stop() {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(stopped_, true)) return {};
    end_ = Clock::now();
  }
  stopping_.notify_all();
  SegmentResult result;
  const auto take = [&](const char* name, const Line& line) {
    const Tally& tally = line.tally;
    result.push_back(
        {.name = name,
         .seconds = std::max(1e-9, std::chrono::duration<double>(Clock::now() - counted_from_).count()),
         .ids = tally.operations.load() - line.ids_before,
         .errors = tally.errors.load(),
         .wrong = tally.wrong.load(),
         .first_fault = tally.first_fault(),
         .latencies = tally.latencies.Take() - line.before});
  };
  for (std::thread& thread : std::exchange(askers_, {})) thread.join();
  if (options_.queries > 0) {
    take("segment count", *counts_);
    take("segment query", *queries_);
  }
  for (std::thread& thread : std::exchange(adders_, {})) thread.join();
  if (options_.adds > 0) {
    take("segment add", *adds_);
    std::ranges::rotate(result, result.end() - 1);
  }
  return result;
}

bool SegmentLoad::stopped() {
  const std::lock_guard lock(mutex_);
  return stopped_;
}

bool SegmentLoad::Failed(Line& line, const absl::Status& status, const std::string& what) {
  if (status.ok()) return false;
  line.tally.errors.fetch_add(1);
  line.tally.Note(fmt::format("{}: {}", what, status.ToString()));
  std::this_thread::sleep_for(kPauseAfterFailure);
  return true;
}

bool SegmentLoad::AwaitAdd(TimePoint& meant) {
  std::unique_lock lock(mutex_);
  meant = pacing_->next();
  if (meant >= end_) return false;
  pacing_->Take();
  while (meant < end_ && Clock::now() < meant) stopping_.wait_until(lock, meant);
  return meant < end_;
}

// A server that is not there any more would be waited for with each of the adds that are late.
void SegmentLoad::AddFailed() {
  const std::lock_guard lock(mutex_);
  if (!stopped_ || end_ == TimePoint::min()) return;
  adds_->tally.errors.fetch_add(pacing_->Overdue(end_));
  end_ = TimePoint::min();
}

void SegmentLoad::Add(uint64_t seed) {
  bench::RandomStream random(seed);
  for (TimePoint meant; AwaitAdd(meant);) {
    const auto size = random.Below(2) == 0 ? SegmentIds::Size::kLarge : SegmentIds::Size::kSmall;
    const SegmentIds segment(options_, size, static_cast<uint32_t>(random.Below(options_.segments)));
    std::array<uint64_t, kIdsOfAdd> ids;
    for (uint64_t& id : ids) id = segment.Addable(random.Below(segment.count()));
    const auto added = adding_->segments().Add(segment.name(), ids, {.timeout = kPatience});
    if (Failed(*adds_, added.status(), segment.name())) {
      AddFailed();
      continue;
    }
    adds_->tally.latencies.Add(Clock::now() - meant);
    adds_->tally.operations.fetch_add(ids.size());
  }
}

void SegmentLoad::Ask(Client& client, uint64_t seed) {
  bench::RandomStream random(seed);
  while (!stopped()) {
    const auto kind = static_cast<SegmentQuestion::Kind>(random.Below(SegmentQuestion::kKinds));
    const SegmentQuestion question = SegmentQuestion::Draw(options_, kind, random);
    if (random.Below(2) == 0) {
      AskCount(client, question);
    } else {
      AskIds(client, question);
    }
  }
}

void SegmentLoad::AskCount(Client& client, const SegmentQuestion& question) {
  const TimePoint start = Clock::now();
  const auto answer = client.segments().Count(question.expression(), {.fresh = true, .timeout = kPatience});
  if (Failed(*counts_, answer.status(), question.expression())) return;
  counts_->tally.latencies.Add(Clock::now() - start);
  counts_->tally.operations.fetch_add(answer->count);
  if (answer->count >= question.expected().size()) return;
  counts_->tally.wrong.fetch_add(1);
  counts_->tally.Note(fmt::format("{}: counts {} ids, but has at least {}", question.expression(),
                                  answer->count, question.expected().size()));
}

void SegmentLoad::AskIds(Client& client, const SegmentQuestion& question) {
  const TimePoint start = Clock::now();
  const auto reader = client.segments().Query(question.expression(), {.fresh = true, .timeout = kPatience});
  SegmentAnswer answer(question);
  for (std::span<const uint64_t> ids; reader->Next(ids);) {
    if (stopped()) return;
    answer.Take(ids);
  }
  if (Failed(*queries_, reader->status(), question.expression())) return;
  queries_->tally.latencies.Add(Clock::now() - start);
  queries_->tally.operations.fetch_add(answer.ids());
  const std::string fault = answer.Fault();
  if (fault.empty()) return;
  queries_->tally.wrong.fetch_add(1);
  queries_->tally.Note(fmt::format("{}: {}", question.expression(), fault));
}

}  // namespace thermocline::load
