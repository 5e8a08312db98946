#include "client/batch.h"

#include <algorithm>
#include <string>
#include <utility>

#include "fmt/format.h"

#include "client/conversion.h"

namespace thermocline::batch {
namespace {

constexpr int kMaxItems = 65'536;
// The server takes messages of 16 MiB and 256 KiB. Some room is left for what surrounds the items.
constexpr size_t kMaxMessageBytes = (16 << 20) + (192 << 10);
// Tag and length of an item, at most.
constexpr size_t kItemFramingBytes = 6;
constexpr uint32_t kMaxReplyBytes = 8 << 20;

// One BatchGet: asks for the next keys until each has its result. Deletes itself after `done`.
class Reader {
 public:
  Reader(transport::Transport& transport, std::vector<std::string> keys, transport::Deadline deadline,
         Client::BatchGetDone done)
      : transport_(transport),
        keys_(std::move(keys)),
        deadline_(deadline),
        done_(std::move(done)),
        results_(keys_.size(), std::optional<Entry>()) {
    for (size_t i = 0; i < keys_.size(); ++i) {
      if (absl::Status status = conversion::CheckKey(keys_[i]); !status.ok()) {
        results_[i] = std::move(status);
      } else {
        waiting_.push_back(i);
      }
    }
    // Asked for from the back: what did not fit into a reply is put there again.
    std::reverse(waiting_.begin(), waiting_.end());
  }

  void Ask() {
    if (waiting_.empty()) return Finish();
    v1::BatchGetRequest request;
    request.set_max_bytes(kMaxReplyBytes);
    size_t bytes = 0;
    asked_.clear();
    while (!waiting_.empty() && asked_.size() < next_items_) {
      const std::string& key = keys_[waiting_.back()];
      bytes += key.size() + kItemFramingBytes;
      if (bytes > kMaxMessageBytes) break;
      request.add_keys(key);
      asked_.push_back(waiting_.back());
      waiting_.pop_back();
    }
    transport_.BatchGet(std::move(request), deadline_, [this](absl::StatusOr<v1::BatchGetResponse> response) {
      const absl::Status status = response.ok() ? Accept(*response) : response.status();
      if (status.ok()) return Ask();
      for (const size_t i : asked_) results_[i] = status;
      for (const size_t i : waiting_) results_[i] = status;
      Finish();
    });
  }

 private:
  absl::Status Accept(v1::BatchGetResponse& response) {
    if (static_cast<size_t>(response.entries_size()) != asked_.size()) {
      return absl::InternalError(
          fmt::format("the server answered {} keys with {} entries", asked_.size(), response.entries_size()));
    }
    std::vector<size_t> too_large;
    for (size_t i = 0; i < asked_.size(); ++i) {
      v1::BatchGetResponse::Entry& entry = *response.mutable_entries(static_cast<int>(i));
      if (entry.state() == v1::BatchGetResponse::Entry::TOO_LARGE) {
        too_large.push_back(asked_[i]);
      } else {
        results_[asked_[i]] = ToResult(entry);
      }
    }
    const size_t answered = asked_.size() - too_large.size();
    if (answered == 0) return absl::InternalError("the server found all values of a batch too large to send");
    // The next message asks for about as much as will fit, so that values are not read in vain.
    next_items_ = too_large.empty() ? kMaxItems : 2 * answered;
    waiting_.insert(waiting_.end(), too_large.rbegin(), too_large.rend());
    asked_.clear();
    return absl::OkStatus();
  }

  static Client::GetResult ToResult(v1::BatchGetResponse::Entry& entry) {
    switch (entry.state()) {
      case v1::BatchGetResponse::Entry::FOUND:
        return std::optional<Entry>(conversion::ToEntry(entry));
      case v1::BatchGetResponse::Entry::MISSING:
        return std::optional<Entry>();
      default:
        return conversion::ToStatus(entry.error());
    }
  }

  void Finish() {
    done_(std::move(results_));
    delete this;
  }

  transport::Transport& transport_;
  const std::vector<std::string> keys_;
  const transport::Deadline deadline_;
  Client::BatchGetDone done_;
  std::vector<Client::GetResult> results_;
  std::vector<size_t> waiting_;  // indexes of keys without a result, the next one last
  std::vector<size_t> asked_;    // those of the message under way
  size_t next_items_ = kMaxItems;
};

// One BatchWrite: sends message after message. Deletes itself after `done`.
class Writer {
 public:
  Writer(transport::Transport& transport, size_t writes, transport::Deadline deadline,
         Client::BatchWriteDone done)
      : transport_(transport),
        deadline_(deadline),
        done_(std::move(done)),
        results_(writes, absl::AbortedError("not sent: an earlier message of the batch failed")) {}

  void Add(size_t i, thermocline::Write write, Durability durability) {
    absl::Status status = write.value.has_value() ? conversion::CheckValue(write.key, *write.value)
                                                  : conversion::CheckKey(write.key);
    if (!status.ok()) {
      results_[i] = std::move(status);
      return;
    }
    v1::BatchWriteRequest::Write wire = conversion::ToWrite(std::move(write), durability);
    const size_t bytes = wire.ByteSizeLong() + kItemFramingBytes;
    if (messages_.empty() || messages_.back().bytes + bytes > kMaxMessageBytes ||
        messages_.back().indexes.size() == kMaxItems) {
      messages_.emplace_back();
    }
    Message& message = messages_.back();
    *message.request.add_writes() = std::move(wire);
    message.indexes.push_back(i);
    message.bytes += bytes;
  }

  void Send() {
    if (next_ == messages_.size()) return Finish();
    transport_.BatchWrite(std::move(messages_[next_].request), deadline_,
                          [this](const absl::StatusOr<v1::BatchWriteResponse>& response) {
                            const bool ok = Accept(messages_[next_].indexes, response);
                            ++next_;
                            ok ? Send() : Finish();
                          });
  }

 private:
  struct Message {
    v1::BatchWriteRequest request;
    std::vector<size_t> indexes;
    size_t bytes = 0;
  };

  bool Accept(const std::vector<size_t>& indexes, const absl::StatusOr<v1::BatchWriteResponse>& response) {
    absl::Status status = response.status();
    if (status.ok() && static_cast<size_t>(response->results_size()) != indexes.size()) {
      status = absl::InternalError(fmt::format("the server answered {} writes with {} results",
                                               indexes.size(), response->results_size()));
    }
    for (size_t i = 0; i < indexes.size(); ++i) {
      if (status.ok()) {
        results_[indexes[i]] = conversion::ToResult(response->results(static_cast<int>(i)));
      } else {
        results_[indexes[i]] = status;
      }
    }
    return status.ok();
  }

  void Finish() {
    done_(std::move(results_));
    delete this;
  }

  transport::Transport& transport_;
  const transport::Deadline deadline_;
  Client::BatchWriteDone done_;
  Client::WriteResults results_;
  std::vector<Message> messages_;
  size_t next_ = 0;
};

}  // namespace

void Get(transport::Transport& transport, std::vector<std::string> keys, transport::Deadline deadline,
         Client::BatchGetDone done) {
  (new Reader(transport, std::move(keys), deadline, std::move(done)))->Ask();
}

void Write(transport::Transport& transport, std::vector<thermocline::Write> writes, Durability durability,
           transport::Deadline deadline, Client::BatchWriteDone done) {
  auto* writer = new Writer(transport, writes.size(), deadline, std::move(done));
  for (size_t i = 0; i < writes.size(); ++i) writer->Add(i, std::move(writes[i]), durability);
  writer->Send();
}

}  // namespace thermocline::batch
