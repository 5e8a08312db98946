#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

// The bytes of the log. storage/log/README.md draws them. All numbers are little-endian.
namespace thermocline::storage {

// Where a byte of the log is: sequence number of its block * bytes of a block + offset in the block. Never 0
// for a record.
using Position = uint64_t;

inline constexpr uint32_t kFormatVersion = 2;
inline constexpr uint32_t kPageBytes = 4096;

// The first page of a block file. Written and synced before the block takes its first record, and never
// changed.
struct BlockHeader {
  uint64_t checksum;         // XXH3-64, seeded with the store's id, of the rest of this struct
  uint64_t magic;            // kMagic
  uint32_t format;           // kFormatVersion
  uint32_t block_bytes;      // of every block of this store
  uint64_t store_id;         // random, of the store
  uint64_t sequence;         // of this block, from 1
  uint64_t previous;         // sequence of the block before it in the log; 0: none
  uint64_t version_ceiling;  // every version given out while this block was the newest is below
  uint64_t relocated;        // 1: a block that compaction wrote, 0: one that writers append to

  static constexpr uint64_t kMagic = 0x4b434f4c424d4854;  // "THMBLOCK"
};
static_assert(sizeof(BlockHeader) == 64);

// Begins each chunk. Records follow, then zeros up to `bytes`, where the next chunk begins.
struct ChunkHeader {
  uint64_t checksum;  // XXH3-64, seeded with the store's id, of bytes 8 .. `bytes` of the chunk
  Position position;  // of this chunk itself: a chunk that was written elsewhere is not taken for this one
  Position horizon;   // everything before it was on the disk when this chunk was written
  uint64_t base_version;  // to which the records' versions are relative; the same in all chunks of a block
  uint32_t bytes;         // header, records and padding: a multiple of kChunkAlignment
  uint32_t records_last;  // records << 1 | 1 if nothing follows in this block

  uint32_t records() const { return records_last >> 1; }
  bool last() const { return (records_last & 1) != 0; }
};
static_assert(sizeof(ChunkHeader) == 40);

inline constexpr uint32_t kChunkAlignment = 8;
inline constexpr uint32_t kFirstChunkOffset = kPageBytes;

constexpr uint32_t AlignChunk(uint32_t offset) {
  return (offset + kChunkAlignment - 1) & ~(kChunkAlignment - 1);
}

// The largest record: a block holds its header, one chunk header, and always keeps room for an empty last
// chunk.
constexpr uint32_t MaxRecordBytes(uint32_t block_bytes) {
  return block_bytes - kFirstChunkOffset - 2 * sizeof(ChunkHeader) - kChunkAlignment;
}

// Checksums what follows the checksum field of a BlockHeader or ChunkHeader.
uint64_t ChecksumOf(std::string_view header_and_payload, uint64_t store_id);

// A record. On the disk:
//
//   flags   key bytes  value bytes     version             [expiry]   [displaced]   [behind]      key  value
//   u8      varint     varint          zigzag varint of    varint     varint        varint
//                      (not in a       the difference to   (ms since  (how far back (how far back
//                      tombstone)      the block's base,   1970)      in the log)   in the log)
//                                      at least 3 bytes
//
// A grave says that the record at `displaced` is dead, for what had superseded it is gone:
//
//   flags   displaced  hash of the dead record's key
//   u8      varint     8 bytes
struct Record {
  std::string_view key;  // of a grave: the 8 bytes of the hash
  std::string_view value;
  uint64_t version = 0;
  uint64_t expires_at_ms = 0;  // 0: never
  Position displaced = 0;      // whose slot in the index this record took; 0: it got a new one
  bool tombstone = false;
  // Nobody compared the key of what was displaced, or of what that had displaced: there may be live keys
  // behind it.
  bool unresolved = false;
  // Of an unresolved record: there may also be live keys behind what was displaced, if that says so itself.
  bool deep = false;
  // Of an unresolved record that displaced one of its own key: where the chain goes on, so that the chain of
  // a key does not get longer with every write. 0: at `displaced`.
  Position behind = 0;

  // What a reader of other keys looks at next, if this is unresolved.
  Position link() const { return behind != 0 ? behind : displaced; }
  bool grave = false;
};

std::string_view GraveKey(const uint64_t& hash);
uint64_t HashOfGrave(const Record& grave);

// The most bytes that a record with a key and value of these sizes can take.
constexpr uint64_t MaxEncodedBytes(uint64_t key_bytes, uint64_t value_bytes) {
  return 1 + 3 + 5 + 10 + 10 + 10 + 10 + key_bytes + value_bytes;
}

// Bytes of the record when it stands at `position` in a block with this base.
uint32_t EncodedBytes(const Record& record, Position position, uint64_t base_version);
// Writes EncodedBytes() bytes to `out`.
void EncodeRecord(const Record& record, Position position, uint64_t base_version, char* out);

struct DecodedRecord {
  Record record;  // views into the input
  uint32_t bytes = 0;
};
// nullopt if the bytes are not a whole record.
std::optional<DecodedRecord> DecodeRecord(std::string_view in, Position position, uint64_t base_version);

}  // namespace thermocline::storage
