#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "client/server_stats.h"

namespace thermocline {

// Limits of the server. A key or value beyond them is refused here, with INVALID_ARGUMENT, before anything is
// sent.
inline constexpr size_t kMaxKeyBytes = 64 << 10;  // and at least 1
inline constexpr size_t kMaxValueBytes =
    16 << 20;  // less on a server with very little memory: its error says so

// The number of an applied write: greater than that of every write the server applied before, to any key.
// Never 0.
using Version = uint64_t;

// When a write is acknowledged.
enum class Durability {
  kSync,    // when it is on the disk; survives any crash
  kMemory,  // when it is readable; a crash within the server's flush interval loses it
};

// What must hold for a write to be applied; checked and applied as one step. The default always holds.
struct Condition {
  enum class Kind { kNone, kIfAbsent, kIfPresent, kIfVersion };

  static Condition IfAbsent() { return {Kind::kIfAbsent}; }
  static Condition IfPresent() { return {Kind::kIfPresent}; }
  // The key's value has exactly this version, as a read or write has told.
  static Condition IfVersion(Version version) { return {Kind::kIfVersion, version}; }

  Kind kind = Kind::kNone;
  Version version = 0;
};

// A value and what goes with it.
struct Entry {
  std::string value;
  Version version = 0;
  std::optional<std::chrono::milliseconds> ttl;  // from when the server answered; nullopt: never expires
};

struct WriteResult {
  // False only if there was a condition and it did not hold: nothing was written.
  bool applied = false;
  // Of this write if applied, else of the value that is there (0: there is none).
  Version version = 0;
};

// One write of a batch.
struct Write {
  static Write Set(std::string key, std::string value) { return {std::move(key), std::move(value)}; }
  static Write Delete(std::string key) { return {std::move(key), std::nullopt}; }

  std::string key;
  std::optional<std::string> value;  // nullopt: delete the key
  Condition condition;
  std::optional<std::chrono::milliseconds> ttl;  // of a set; nullopt: never expires
};

// In all options, `timeout` bounds the whole call with its repetitions; nullopt: Options::timeout, but for
// CompactOptions.
struct CallOptions {
  std::optional<std::chrono::milliseconds> timeout;
};

struct GetOptions {
  bool with_value = true;  // false: only existence, version and time to live; Entry::value stays empty
  std::optional<std::chrono::milliseconds> timeout;
};

struct SetOptions {
  Condition condition;
  // At least 1 ms. nullopt: never expires, and an earlier expiry is removed.
  std::optional<std::chrono::milliseconds> ttl;
  Durability durability = Durability::kSync;
  std::optional<std::chrono::milliseconds> timeout;
};

struct DeleteOptions {
  Condition condition;
  Durability durability = Durability::kSync;
  std::optional<std::chrono::milliseconds> timeout;
};

struct BatchWriteOptions {
  Durability durability = Durability::kSync;
  std::optional<std::chrono::milliseconds> timeout;
};

struct CompactOptions {
  std::optional<std::chrono::milliseconds> timeout;  // nullopt: as long as it takes
};

struct ScanOptions {
  std::string prefix;       // only keys that begin with it; the server reads its whole log all the same
  std::string cursor;       // Scanner::cursor() of an earlier scan; empty: from the beginning
  uint64_t limit = 0;       // stop after so many entries; 0: none
  bool with_values = true;  // false: Entry::value stays empty
  std::optional<std::chrono::milliseconds> timeout;  // the longest wait for the next part of the scan
};

// A walk over the live keys, in no useful order. Every key that exists from its start to its end comes at
// least once; one that is written meanwhile may come again or with its newer value.
//
//   auto scan = client->Scan({.prefix = "user:"});
//   while (scan->Next()) Use(scan->key(), scan->entry());
//   if (!scan->status().ok()) ...
//
// A broken connection is made again and the scan goes on where it was; keys do not come twice for that. For
// one thread at a time. Must not outlive its Client.
class Scanner {
 public:
  ~Scanner();

  // Steps to the next entry, waiting for the server where needed. False at the end, at the limit or on
  // failure: see status().
  bool Next();

  // The current entry; valid until the next call of Next(), and only after it returned true. May be moved
  // from.
  std::string& key();
  Entry& entry();

  // OK unless Next() returned false because of a failure. UNAVAILABLE if the server could not be reached
  // again within the timeout, DEADLINE_EXCEEDED if it sent nothing for so long, INVALID_ARGUMENT for a bad
  // prefix or cursor.
  const absl::Status& status() const;

  // Where a later scan goes on without missing anything. Entries come in pages and only those have cursors,
  // so up to a page (1 MiB) of entries that were already seen may come again.
  const std::string& cursor() const;

 private:
  friend class Client;
  class Impl;
  explicit Scanner(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

// How to trust and be trusted; PEM files.
struct TlsOptions {
  std::string ca_file;           // of those who may have signed the server's certificate; empty: the system's
  std::string certificate_file;  // with its chain, for a server that asks clients for one; empty: none
  std::string key_file;          // of the certificate
};

class Segments;

// A connection to one Thermocline server. Thread-safe: share one between all threads, and it is as cheap as
// it gets: what they ask for at the same time travels together.
//
// A miss is a value (nullopt), and so is an unmet condition (WriteResult::applied == false). Errors are those
// of the server (see proto/thermocline/v1/key_value.proto) with its message, and
//   DEADLINE_EXCEEDED  no answer within the timeout
//   UNAVAILABLE        the server could not be reached, or the connection broke
//
// What is repeated. Reads (and Stats, Flush, Scan) have no effect, so on UNAVAILABLE they are repeated, with
// growing and jittered pauses, until their timeout; Compact too, but at most for Options::timeout. A write is
// repeated only as long as its request certainly did not reach the server: it waits for a connection, until
// its timeout, and is sent once. When a connection breaks under a write, or its timeout passes, nobody knows
// whether the write was applied, and it is not sent again even if it is unconditional: another client may
// have written the key in between, and a repeated set would put the older value over the newer one. The
// caller, who knows what the key means, may repeat it; a condition (IfVersion) makes that safe.
//
// The asynchronous methods return at once and call `done` exactly once, on a thread of the client (or, for
// what is refused without asking the server, before they return). `done` should be short and must not call
// blocking methods of a Client; it may call asynchronous ones. With some thousands of operations under way,
// the asynchronous methods wait until there are fewer (but not in a `done`), so that memory stays bounded.
class Client {
 public:
  struct Options {
    std::string server = "127.0.0.1:7070";      // host:port
    std::chrono::milliseconds timeout{10'000};  // of each call that does not say otherwise, but for Compact
    // How long Connect goes on trying. Zero: once.
    std::chrono::milliseconds connect_timeout{0};
    std::optional<TlsOptions> tls;  // nullopt: plain text
  };

  // Connects and asks the server for a sign of life. UNAVAILABLE, with the reason, if it cannot be reached;
  // INVALID_ARGUMENT for TLS files that cannot be read.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(const Options& options);

  // Waits for the calls that are under way. Must not be called from a `done`.
  ~Client();

  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // The value of `key`, or nullopt.
  using GetResult = absl::StatusOr<std::optional<Entry>>;
  GetResult Get(std::string_view key, const GetOptions& options = {});

  // Writes one value.
  absl::StatusOr<WriteResult> Set(std::string_view key, std::string_view value,
                                  const SetOptions& options = {});

  // Removes one key. Deleting a key that does not exist is applied as well, unless a condition forbids it.
  absl::StatusOr<WriteResult> Delete(std::string_view key, const DeleteOptions& options = {});

  // Reads many keys; one result for each, in their order. Any number of keys: they are asked for in as many
  // messages as it takes, within one timeout. All values are held in memory at once.
  std::vector<GetResult> BatchGet(std::vector<std::string> keys, const CallOptions& options = {});

  // Applies many writes; one result for each, in their order. NOT a transaction: each succeeds or fails
  // alone. Writes to the same key take effect in their order. Any number of writes: they are sent in as many
  // messages as it takes (16 MiB or 65 536 writes each), one after the other, within one timeout. When a
  // message fails as a whole, each of its writes has that error, and those after it are not sent: ABORTED.
  using WriteResults = std::vector<absl::StatusOr<WriteResult>>;
  WriteResults BatchWrite(std::vector<Write> writes, const BatchWriteOptions& options = {});

  // Starts a scan; the first message is sent by the first Next().
  std::unique_ptr<Scanner> Scan(ScanOptions options = {});

  // What the server holds and has done.
  absl::StatusOr<ServerStats> Stats(const CallOptions& options = {});

  // Returns when every write that was acknowledged before the call is on the disk.
  absl::Status Flush(const CallOptions& options = {});

  // Has the server give back the disk space of all that was overwritten, deleted or has expired; returns when
  // that is over, perhaps after hours. After a timeout, or if the connection breaks, the server goes on; see
  // ServerStats::Compaction. It gives space back by itself too: ask only if it should happen now.
  absl::StatusOr<CompactionReport> Compact(const CompactOptions& options = {});

  // The same, asynchronously.
  using GetDone = absl::AnyInvocable<void(GetResult)>;
  void GetAsync(std::string_view key, GetDone done, const GetOptions& options = {});

  using WriteDone = absl::AnyInvocable<void(absl::StatusOr<WriteResult>)>;
  void SetAsync(std::string_view key, std::string_view value, WriteDone done, const SetOptions& options = {});
  void DeleteAsync(std::string_view key, WriteDone done, const DeleteOptions& options = {});

  using BatchGetDone = absl::AnyInvocable<void(std::vector<GetResult>)>;
  void BatchGetAsync(std::vector<std::string> keys, BatchGetDone done, const CallOptions& options = {});

  using BatchWriteDone = absl::AnyInvocable<void(WriteResults)>;
  void BatchWriteAsync(std::vector<Write> writes, BatchWriteDone done, const BatchWriteOptions& options = {});

  // Named sets of ids; client/segments.h. Valid as long as this.
  Segments& segments();

 private:
  class Impl;
  explicit Client(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace thermocline
