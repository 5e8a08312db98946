#include "tests/load/traffic.h"

#include <algorithm>

#include <fmt/format.h>

namespace thermocline::load {

void Tally::Note(std::string_view fault) {
  const std::lock_guard lock(mutex_);
  if (first_fault_.empty()) first_fault_ = fault;
}

std::string Tally::first_fault() const {
  const std::lock_guard lock(mutex_);
  return first_fault_;
}

Traffic::Traffic(const TrafficPlan& plan, uint32_t tickets, uint64_t seed, Tally& tally)
    : plan_(plan),
      tally_(tally),
      max_items_(std::max(plan.batch, plan.mix.range_reads > 0 ? Mix::kMaxRange : 1)),
      random_(seed),
      now_(plan.start),
      left_(plan.calls),
      revision_(static_cast<uint32_t>(random_.Next())),
      pending_(tickets),
      numbers_(size_t{tickets} * max_items_),
      items_(max_items_) {
  if (plan.calls_per_second > 0) pacing_.emplace(plan.start, plan.calls_per_second);
  keys_.resize(size_t{max_items_} * plan.records.key_bytes());
  values_.resize(size_t{max_items_} * plan.records.shape().max_value_bytes);
}

TimePoint Traffic::due() const {
  if (!second_halves_.empty()) return TimePoint::min();
  if (left_ == 0) return TimePoint::max();
  const TimePoint next = pacing_ ? pacing_->next() : now_;
  return next < plan_.end ? next : TimePoint::max();
}

Traffic::Kind Traffic::Draw() {
  const Mix& mix = plan_.mix;
  double at = random_.Fraction();
  if ((at -= mix.reads) < 0) return Kind::kRead;
  if ((at -= mix.updates) < 0) return Kind::kUpdate;
  if ((at -= mix.inserts) < 0) return Kind::kInsert;
  if ((at -= mix.read_modify_writes) < 0) return Kind::kReadOfModify;
  if ((at -= mix.range_reads) < 0) return Kind::kRangeRead;
  if ((at -= mix.deletes) < 0) return Kind::kDelete;
  // Shares whose sum is a rounding error below 1.
  return mix.updates > 0 ? Kind::kUpdate : mix.inserts > 0 ? Kind::kInsert : Kind::kRead;
}

// The keys of a call.
void Traffic::Choose(uint32_t ticket, Pending& pending) {
  uint64_t* const numbers = NumbersOf(ticket);
  pending.items = pending.kind == Kind::kReadOfModify ? 1 : plan_.batch;
  if (pending.kind == Kind::kInsert) {
    for (uint32_t i = 0; i < pending.items; ++i) numbers[i] = plan_.space.Begin();
    return;
  }
  const uint64_t readable = plan_.space.readable();
  if (pending.kind == Kind::kRangeRead) {
    const uint64_t first = plan_.choice.Draw(random_, readable);
    pending.items =
        static_cast<uint32_t>(std::min<uint64_t>(1 + random_.Below(Mix::kMaxRange), readable - first));
    for (uint32_t i = 0; i < pending.items; ++i) numbers[i] = first + i;
    return;
  }
  for (uint32_t i = 0; i < pending.items; ++i) numbers[i] = plan_.choice.Draw(random_, readable);
}

const Call* Traffic::Next(uint32_t ticket) {
  Pending& pending = pending_[ticket];
  if (!second_halves_.empty()) {
    pending.kind = Kind::kWriteOfModify;
    pending.start = second_halves_.back().start;
    pending.items = 1;
    *NumbersOf(ticket) = second_halves_.back().number;
    second_halves_.pop_back();
    ++under_way_;
    return Build(ticket, pending);
  }
  const TimePoint start = due();
  if (start > now_) return nullptr;
  if (pacing_) pacing_->Take();
  --left_;
  ++under_way_;
  pending.start = start;
  pending.kind = Draw();
  Choose(ticket, pending);
  return Build(ticket, pending);
}

const Call* Traffic::Build(uint32_t ticket, const Pending& pending) {
  const bool reads =
      pending.kind == Kind::kRead || pending.kind == Kind::kReadOfModify || pending.kind == Kind::kRangeRead;
  call_.verb = reads                           ? Call::Verb::kGet
               : pending.kind == Kind::kDelete ? Call::Verb::kDelete
                                               : Call::Verb::kSet;
  call_.batch = plan_.batch > 1 || pending.kind == Kind::kRangeRead;
  call_.sync = plan_.sync;
  const uint64_t* const numbers = NumbersOf(ticket);
  char* key = keys_.data();
  char* value = values_.data();
  for (uint32_t i = 0; i < pending.items; ++i) {
    plan_.records.WriteKey(numbers[i], key);
    items_[i] = {{key, plan_.records.key_bytes()}, {}};
    key += items_[i].key.size();
    if (call_.verb != Call::Verb::kSet) continue;
    plan_.records.WriteValue(numbers[i], revision_++, value);
    items_[i].value = {value, plan_.records.ValueBytes(numbers[i])};
    value += items_[i].value.size();
  }
  call_.items = {items_.data(), pending.items};
  return &call_;
}

void Traffic::Fault(uint64_t number, std::string_view what) {
  tally_.wrong.fetch_add(1, std::memory_order_relaxed);
  tally_.Note(fmt::format("key number {} {}", number, what));
}

void Traffic::OnValue(uint32_t ticket, uint32_t index, std::optional<std::string_view> value) {
  const Pending& pending = pending_[ticket];
  if (index >= pending.items) return Fault(0, "was answered, and not asked for");
  const uint64_t number = NumbersOf(ticket)[index];
  if (value && plan_.records.IsValueOf(number, *value)) return;
  if (!value) tally_.missing.fetch_add(1, std::memory_order_relaxed);
  if (!value && (plan_.misses_allowed || plan_.mix.deletes > 0 || !plan_.space.complete())) return;
  Fault(number, value ? fmt::format("has {} bytes that are none of its values", value->size())
                      : "was written and is not there");
}

void Traffic::EndInserts(uint32_t ticket, const Pending& pending, bool acknowledged) {
  const uint64_t* const numbers = NumbersOf(ticket);
  for (uint32_t i = 0; i < pending.items; ++i) plan_.space.End(numbers[i], acknowledged);
}

void Traffic::OnEnd(uint32_t ticket, std::string_view error) {
  --under_way_;
  ++ended_;
  const Pending& pending = pending_[ticket];
  if (pending.kind == Kind::kInsert) EndInserts(ticket, pending, error.empty());
  if (!error.empty()) {
    tally_.errors.fetch_add(1, std::memory_order_relaxed);
    tally_.Note(error);
    return;
  }
  if (pending.kind == Kind::kReadOfModify) {
    second_halves_.push_back({*NumbersOf(ticket), pending.start});
    return;
  }
  tally_.latencies.Add(now_ - pending.start);
  tally_.operations.fetch_add(pending.items, std::memory_order_relaxed);
}

void Traffic::Abandon(std::string_view why) {
  uint64_t unsent = second_halves_.size();
  second_halves_.clear();
  if (pacing_) unsent += std::min(left_, pacing_->Overdue(std::min(now_, plan_.end)));
  left_ = 0;
  if (unsent == 0) return;
  tally_.errors.fetch_add(unsent, std::memory_order_relaxed);
  tally_.Note(why);
}

}  // namespace thermocline::load
