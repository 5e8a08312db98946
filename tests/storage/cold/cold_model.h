#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "storage/cold/cold_store.h"

namespace thermocline::storage {

// An entry as a ColdStore must have it.
struct ModelEntry {
  std::string value;
  Version version = 0;
  uint64_t expires_at_ms = 0;

  bool operator==(const ModelEntry&) const = default;
};

inline std::ostream& operator<<(std::ostream& out, const ModelEntry& entry) {
  return out << fmt::format("{} bytes, version {}, expires {}", entry.value.size(), entry.version,
                            entry.expires_at_ms);
}

inline ModelEntry ToModel(const ColdEntry& entry) {
  return {entry.value, entry.version, entry.expires_at_ms};
}

// What a ColdStore should be, as a map. Batches are applied to both.
class ColdModel {
 public:
  using Entries = std::map<std::string, ModelEntry>;
  // Keys may repeat.
  using Records = std::vector<std::pair<std::string, ModelEntry>>;

  void Put(const Records& records) {
    for (const auto& [key, entry] : records) {
      const auto [found, added] = entries_.try_emplace(key, entry);
      if (!added && found->second.version < entry.version) found->second = entry;
    }
  }
  // By the records' versions.
  void Delete(const Records& records) {
    for (const auto& [key, entry] : records) {
      const auto found = entries_.find(key);
      if (found != entries_.end() && found->second.version <= entry.version) entries_.erase(found);
    }
  }
  uint64_t Expired(uint64_t now_ms) const {
    uint64_t expired = 0;
    for (const auto& [key, entry] : entries_) expired += IsExpired(entry, now_ms);
    return expired;
  }
  void RemoveExpired(uint64_t now_ms) {
    std::erase_if(entries_, [&](const auto& item) { return IsExpired(item.second, now_ms); });
  }

  const Entries& entries() const { return entries_; }
  uint64_t bytes() const {
    uint64_t bytes = 0;
    for (const auto& [key, entry] : entries_) bytes += key.size() + entry.value.size();
    return bytes;
  }

 private:
  static bool IsExpired(const ModelEntry& entry, uint64_t now_ms) {
    return entry.expires_at_ms != 0 && entry.expires_at_ms <= now_ms;
  }

  Entries entries_;
};

inline absl::Status Put(ColdStore& store, const ColdModel::Records& records) {
  std::vector<ColdRecord> batch;
  for (const auto& [key, entry] : records) {
    batch.push_back({key, entry.value, entry.version, entry.expires_at_ms});
  }
  return store.Put(batch);
}

inline absl::Status Delete(ColdStore& store, const ColdModel::Records& records) {
  std::vector<ColdRemoval> batch;
  for (const auto& [key, entry] : records) batch.push_back({key, entry.version});
  return store.Delete(batch);
}

// Everything a scan finds, page by page. Empty, and a failure of the test, if it fails.
inline ColdModel::Entries ScanAll(const ColdStore& store, std::string_view prefix = {},
                                  size_t max_entries = 1000) {
  ColdModel::Entries all;
  std::string after;
  for (;;) {
    const auto page = store.Scan({.after_key = after, .prefix = prefix, .max_entries = max_entries});
    EXPECT_TRUE(page.ok()) << page.status();
    if (!page.ok()) return {};
    for (const auto& [key, entry] : page->items) {
      EXPECT_LT(after, key);
      EXPECT_TRUE(all.emplace(key, ToModel(entry)).second);
      after = key;
    }
    if (page->done) return all;
  }
}

// The store holds what `model` does, and counts it right.
inline void ExpectIs(const ColdStore& store, const ColdModel& model) {
  EXPECT_EQ(ScanAll(store), model.entries());
  const ColdStats stats = store.Stats();
  EXPECT_EQ(stats.live_keys, model.entries().size());
  EXPECT_EQ(stats.live_bytes, model.bytes());
  EXPECT_LE(stats.memory_bytes, stats.memory_limit);
}

}  // namespace thermocline::storage
