#include "storage/sort/merge.h"

#include <utility>

namespace thermocline::storage::sort {
namespace {

constexpr uint64_t kAskEvery = 4096;

class LoserTree {
 public:
  LoserTree(std::vector<std::unique_ptr<SortedRecords>> sources, bool descending)
      : sources_(std::move(sources)),
        descending_(descending),
        heads_(sources_.size()),
        losers_(sources_.size()) {}

  // Reads the first record of each source.
  absl::Status Begin() {
    for (size_t i = 0; i < sources_.size(); ++i) {
      if (absl::Status status = Read(i); !status.ok()) return status;
    }
    winner_ = sources_.empty() ? 0 : Play(1);
    return absl::OkStatus();
  }

  // Null at the end.
  const SortedRecord* top() const {
    return heads_.empty() || heads_[winner_].ended ? nullptr : &heads_[winner_].record;
  }

  absl::Status Pop() {
    if (absl::Status status = Read(winner_); !status.ok()) return status;
    for (size_t node = (winner_ + heads_.size()) / 2; node > 0; node /= 2) {
      if (Before(losers_[node], winner_)) std::swap(losers_[node], winner_);
    }
    return absl::OkStatus();
  }

 private:
  struct Head {
    SortedRecord record;
    bool ended = false;
  };

  absl::Status Read(size_t source) {
    const absl::StatusOr<bool> more = sources_[source]->Next(heads_[source].record);
    if (!more.ok()) return more.status();
    heads_[source].ended = !*more;
    return absl::OkStatus();
  }

  // The winner below a node; its children are 2 * node and 2 * node + 1, and leaves stand behind the nodes.
  size_t Play(size_t node) {
    if (node >= heads_.size()) return node - heads_.size();
    const size_t left = Play(2 * node);
    const size_t right = Play(2 * node + 1);
    const bool right_wins = Before(right, left);
    losers_[node] = right_wins ? left : right;
    return right_wins ? right : left;
  }

  bool Before(size_t a, size_t b) const {
    const Head& left = heads_[a];
    const Head& right = heads_[b];
    if (left.ended || right.ended) return !left.ended;
    if (left.record.prefix != right.record.prefix) return left.record.prefix < right.record.prefix;
    const int rest = CompareRest(left.record.key, right.record.key, descending_);
    return rest != 0 ? rest < 0 : a < b;
  }

  std::vector<std::unique_ptr<SortedRecords>> sources_;
  const bool descending_;
  std::vector<Head> heads_;
  std::vector<size_t> losers_;
  size_t winner_ = 0;
};

}  // namespace

absl::StatusOr<uint64_t> Merge(std::vector<std::unique_ptr<SortedRecords>> sources, const MergeOrder& order,
                               RecordSink& sink, absl::FunctionRef<bool()> goes_on) {
  LoserTree tree(std::move(sources), order.descending);
  if (absl::Status status = tree.Begin(); !status.ok()) return status;
  uint64_t dropped = 0;
  bool first = true;
  std::string last_key;
  for (uint64_t count = 0; tree.top() != nullptr; ++count) {
    if (count % kAskEvery == 0 && !goes_on()) return absl::CancelledError("cancelled");
    const SortedRecord& record = *tree.top();
    if (order.unique && !first && record.key == last_key) {
      ++dropped;
    } else {
      if (absl::Status status = sink.Add(record); !status.ok()) return status;
      if (order.unique) last_key = record.key;
      first = false;
    }
    if (absl::Status status = tree.Pop(); !status.ok()) return status;
  }
  return dropped;
}

}  // namespace thermocline::storage::sort
