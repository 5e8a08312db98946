#pragma once

#include <algorithm>
#include <cstdint>
#include <future>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/object_store.h"

namespace thermocline::testing {

// Bytes that are nowhere the same: of another object, or at another offset.
inline std::string ObjectBytes(uint64_t object, size_t bytes) {
  std::string content(bytes, 0);
  for (size_t i = 0; i < bytes; ++i) {
    content[i] = static_cast<char>(((object + 1) * 0x9e3779b97f4a7c15 + i * 131 + i / 251) >> (i % 8));
  }
  return content;
}

// Waits for the read.
inline absl::StatusOr<std::string> ReadObject(storage::Object& object, uint64_t offset, size_t bytes) {
  std::string out(bytes, '?');
  std::promise<absl::Status> done;
  object.Read(offset, std::span(out), [&](absl::Status status) { done.set_value(std::move(status)); });
  if (absl::Status status = done.get_future().get(); !status.ok()) return status;
  return out;
}

inline absl::StatusOr<std::string> ContentOf(storage::ObjectStore& store, const std::string& name) {
  absl::StatusOr<std::unique_ptr<storage::Object>> object = store.Open(name);
  if (!object.ok()) return object.status();
  return (*object)->size() == 0 ? std::string() : ReadObject(**object, 0, (*object)->size());
}

// Appends pieces of these bytes.
inline absl::Status AppendAll(storage::ObjectWriter& writer, std::string_view bytes, size_t piece) {
  while (!bytes.empty()) {
    if (absl::Status status = writer.Append(bytes.substr(0, piece)); !status.ok()) return status;
    bytes.remove_prefix(std::min(bytes.size(), piece));
  }
  return absl::OkStatus();
}

inline absl::Status WriteObject(storage::ObjectStore& store, const std::string& name, std::string_view bytes,
                                size_t piece = 100'000) {
  absl::StatusOr<std::unique_ptr<storage::ObjectWriter>> writer = store.Create(name);
  if (!writer.ok()) return writer.status();
  if (absl::Status status = AppendAll(**writer, bytes, piece); !status.ok()) return status;
  return (*writer)->Finish();
}

// Sizes by names.
using Listing = std::map<std::string, uint64_t>;

inline absl::StatusOr<Listing> ListObjects(storage::ObjectStore& store, const std::string& prefix = {}) {
  Listing listing;
  bool twice = false;
  absl::Status status = store.List(prefix, [&](storage::ObjectStore::Listed listed) {
    twice = twice || !listing.emplace(listed.name, listed.bytes).second;
    return true;
  });
  if (!status.ok()) return status;
  if (twice) return absl::InternalError("a name was listed twice");
  return listing;
}

}  // namespace thermocline::testing
