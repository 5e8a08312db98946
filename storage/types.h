#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace thermocline::storage {

inline constexpr size_t kMaxKeyBytes = 64 << 10;
inline constexpr size_t kMaxValueBytes = 16 << 20;

// The number of an applied write; grows with every write to any key, also across restarts. 0 is never a
// version.
using Version = uint64_t;

// When a write counts as done. See proto/thermocline/v1/key_value.proto.
enum class Durability : uint8_t { kSync, kMemory };

// What must hold for a write to be applied; checked and applied as one step.
struct Condition {
  enum class Kind : uint8_t { kNone, kIfAbsent, kIfPresent, kIfVersion };
  Kind kind = Kind::kNone;
  Version version = 0;  // of kIfVersion
};

// The bytes of a value: its own copy, or a reference into a block that stays in memory as long as this lives.
// Keep it only as long as needed: a referenced block cannot leave memory.
// Must not outlive its engine.
class Value {
 public:
  Value() = default;
  explicit Value(std::string bytes) : bytes_(std::move(bytes)), view_(bytes_) {}
  // `view` lies in memory that `owner` keeps alive.
  Value(std::shared_ptr<const void> owner, std::string_view view) : owner_(std::move(owner)), view_(view) {}

  Value(Value&& other) noexcept { *this = std::move(other); }
  Value& operator=(Value&& other) noexcept {
    const bool own = other.owner_ == nullptr;
    bytes_ = std::move(other.bytes_);
    owner_ = std::move(other.owner_);
    view_ = own ? std::string_view(bytes_) : other.view_;  // a short string moves its bytes
    other.view_ = {};
    return *this;
  }

  std::string_view view() const { return view_; }
  // True if these bytes are a reference that keeps a block in memory.
  bool pinned() const { return owner_ != nullptr; }

 private:
  std::string bytes_;
  std::shared_ptr<const void> owner_;
  std::string_view view_;
};

// A live value and what goes with it.
struct Entry {
  Value value;
  Version version = 0;
  uint64_t expires_at_ms = 0;  // Clock::NowMs() at which it ceases to exist; 0: never
};

// One write. The views live for the call that takes it.
struct Write {
  std::string_view key;
  std::optional<std::string_view> value;  // absent: delete the key
  uint64_t expires_at_ms = 0;             // 0: never; ignored by a delete
  Condition condition;
  Durability durability = Durability::kSync;
};

struct WriteResult {
  bool applied = true;
  // Of this write if applied, else of the live value that was there (0: none).
  Version version = 0;
};

struct ScanRequest {
  std::string prefix;
  std::string cursor;          // empty: from the beginning
  size_t max_entries = 1024;   // of this page, at least 1
  size_t max_bytes = 1 << 20;  // of keys and values of this page; passed only by a first entry that is larger
  bool with_values = true;
};

struct ScanPage {
  struct Item {
    std::string key;
    Entry entry;
  };
  std::vector<Item> items;  // may be empty before the end
  std::string cursor;       // resumes after this page
  bool done = false;        // nothing follows
};

// What compaction that was asked for has done.
struct CompactionReport {
  uint64_t blocks_freed = 0;
  uint64_t bytes_scanned = 0;  // of those blocks
  uint64_t bytes_written = 0;  // of what lived in them, and so went to new blocks
  uint64_t records_moved = 0;
  uint64_t records_dropped = 0;
  uint64_t duration_ms = 0;
};

}  // namespace thermocline::storage
