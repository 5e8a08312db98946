#include <algorithm>
#include <optional>
#include <thread>
#include <utility>

#include "client/client.h"
#include "client/conversion.h"
#include "client/scanner_impl.h"

namespace thermocline {

Scanner::Impl::Impl(transport::Transport& transport, ScanOptions options, std::chrono::milliseconds timeout)
    : transport_(transport), timeout_(timeout), remaining_(options.limit) {
  request_.set_prefix(std::move(options.prefix));
  request_.set_cursor(options.cursor);
  request_.set_no_values(!options.with_values);
  limited_ = options.limit > 0;
  cursor_ = std::move(options.cursor);
}

bool Scanner::Impl::Next() {
  if (!status_.ok()) return false;
  while (++position_ >= page_.entries_size()) {
    cursor_ = request_.cursor();
    if (finished_) return false;
    status_ = FetchPage();
    if (!status_.ok()) return false;
    position_ = -1;
  }
  v1::ScanResponse::Entry& entry = *page_.mutable_entries(position_);
  key_ = std::move(*entry.mutable_key());
  entry_ = conversion::ToEntry(entry);
  return true;
}

absl::Status Scanner::Impl::FetchPage() {
  transport::Backoff backoff;
  const transport::Deadline deadline = transport::After(timeout_);
  for (;;) {
    if (!stream_.has_value()) {
      request_.set_limit(remaining_);
      auto* calls = transport_.key_value().async();
      stream_.emplace(calls, &v1::KeyValue::StubInterface::async_interface::Scan, request_);
    }
    const absl::StatusOr<bool> page = stream_->Next(deadline, page_);
    if (page.ok()) return Accept(!*page);
    stream_.reset();
    const transport::Deadline next = std::chrono::system_clock::now() + backoff.Next();
    if (page.status().code() != absl::StatusCode::kUnavailable || next >= deadline) return page.status();
    std::this_thread::sleep_until(next);
  }
}

absl::Status Scanner::Impl::Accept(bool ended) {
  if (ended) {
    page_.Clear();
    finished_ = true;
    return absl::InternalError("the server ended the scan without saying that it is done");
  }
  request_.set_cursor(page_.cursor());
  finished_ = page_.done();
  if (limited_) {
    const auto received = static_cast<uint64_t>(page_.entries_size());
    remaining_ -= std::min(remaining_, received);
    finished_ = finished_ || remaining_ == 0;
  }
  return absl::OkStatus();
}

Scanner::Scanner(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Scanner::~Scanner() = default;

bool Scanner::Next() { return impl_->Next(); }
std::string& Scanner::key() { return impl_->key(); }
Entry& Scanner::entry() { return impl_->entry(); }
const absl::Status& Scanner::status() const { return impl_->status(); }
const std::string& Scanner::cursor() const { return impl_->cursor(); }

}  // namespace thermocline
