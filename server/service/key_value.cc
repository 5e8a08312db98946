#include "server/service/key_value.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "fmt/format.h"

#include "server/service/batch_get.h"
#include "server/service/batch_write.h"
#include "server/service/requests.h"

namespace thermocline::server {
namespace {

constexpr size_t kScanPageEntries = 8192;
constexpr size_t kScanPageBytes = 1 << 20;
constexpr int kMaxBatch = 65'536;

absl::Status CheckBatchSize(std::string_view what, int size) {
  if (size <= kMaxBatch) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("the batch has {} {}; the limit is {}", size, what, kMaxBatch));
}

}  // namespace

void KeyValueService::Get(const v1::GetRequest& request, v1::GetResponse* response, Done done) {
  if (absl::Status status = CheckKey(request.key()); !status.ok()) return done(std::move(status));
  engine_.Get(request.key(), [this, no_value = request.no_value(), response, done = std::move(done)](
                                 absl::StatusOr<std::optional<storage::Entry>> result) mutable {
    if (!result.ok()) return done(std::move(result).status());
    response->set_found(result->has_value());
    if (result->has_value()) {
      const storage::Entry& entry = **result;
      if (!no_value) response->set_value(entry.value.view().data(), entry.value.view().size());
      response->set_version(entry.version);
      if (auto ttl = RemainingMs(entry.expires_at_ms, clock_.NowMs())) response->set_ttl_ms(*ttl);
      // The value pins a block, and what comes after `done` may take long.
      *result = std::nullopt;
    }
    done(absl::OkStatus());
  });
}

void KeyValueService::Set(const v1::SetRequest& request, v1::WriteResponse* response, Done done) {
  Apply(ToWrite(request, engine_, clock_.NowMs()), response, std::move(done));
}

void KeyValueService::Delete(const v1::DeleteRequest& request, v1::WriteResponse* response, Done done) {
  Apply(ToWrite(request), response, std::move(done));
}

void KeyValueService::Apply(const absl::StatusOr<storage::Write>& write, v1::WriteResponse* response,
                            Done done) {
  if (!write.ok()) return done(write.status());
  engine_.Apply(*write,
                [response, done = std::move(done)](absl::StatusOr<storage::WriteResult> result) mutable {
                  if (!result.ok()) return done(std::move(result).status());
                  response->set_applied(result->applied);
                  response->set_version(result->version);
                  done(absl::OkStatus());
                });
}

void KeyValueService::BatchGet(const v1::BatchGetRequest& request, v1::BatchGetResponse* response,
                               Done done) {
  if (absl::Status status = CheckBatchSize("keys", request.keys_size()); !status.ok())
    return done(std::move(status));
  if (request.max_bytes() > storage::kMaxValueBytes) {
    return done(
        absl::InvalidArgumentError(fmt::format("max_bytes is {}; allowed are 1 to {}, or 0 for the default",
                                               request.max_bytes(), storage::kMaxValueBytes)));
  }
  RunBatchGet(engine_, clock_, request, response, std::move(done));
}

void KeyValueService::BatchWrite(const v1::BatchWriteRequest& request, v1::BatchWriteResponse* response,
                                 Done done) {
  if (absl::Status status = CheckBatchSize("writes", request.writes_size()); !status.ok()) {
    return done(std::move(status));
  }
  RunBatchWrite(engine_, clock_, request, response, std::move(done));
}

absl::StatusOr<ScanReader> KeyValueService::Scan(const v1::ScanRequest& request) {
  if (request.prefix().size() > storage::kMaxKeyBytes) {
    return absl::InvalidArgumentError(fmt::format("prefix has {} bytes; no key has more than {}",
                                                  request.prefix().size(), storage::kMaxKeyBytes));
  }
  return ScanReader(engine_, clock_, request);
}

ScanReader::ScanReader(storage::Engine& engine, storage::Clock& clock, const v1::ScanRequest& request)
    : engine_(engine), clock_(clock), limited_(request.limit() != 0), remaining_(request.limit()) {
  next_.prefix = request.prefix();
  next_.cursor = request.cursor();
  next_.max_bytes = kScanPageBytes;
  next_.with_values = !request.no_values();
}

void ScanReader::Next(v1::ScanResponse* response, PageDone done) {
  next_.max_entries = limited_ ? std::min<uint64_t>(remaining_, kScanPageEntries) : kScanPageEntries;
  engine_.Scan(next_,
               [this, response, done = std::move(done)](absl::StatusOr<storage::ScanPage> page) mutable {
                 if (!page.ok()) return done(page.status());
                 done(Fill(*std::move(page), response));
               });
}

bool ScanReader::Fill(storage::ScanPage page, v1::ScanResponse* response) {
  const uint64_t now_ms = clock_.NowMs();
  response->mutable_entries()->Reserve(static_cast<int>(page.items.size()));
  for (storage::ScanPage::Item& item : page.items) {
    v1::ScanResponse::Entry& entry = *response->add_entries();
    entry.set_key(std::move(item.key));
    entry.set_value(item.entry.value.view().data(), item.entry.value.view().size());
    entry.set_version(item.entry.version);
    if (auto ttl = RemainingMs(item.entry.expires_at_ms, now_ms)) entry.set_ttl_ms(*ttl);
  }
  response->set_cursor(page.cursor);
  response->set_done(page.done);
  next_.cursor = std::move(page.cursor);
  if (limited_) remaining_ -= page.items.size();
  return !page.done && !(limited_ && remaining_ == 0);
}

}  // namespace thermocline::server
