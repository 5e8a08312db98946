#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "storage/log/format.h"

namespace thermocline::storage {

// Mixes a position's bits: positions of neighbours, or a multiple of a block apart, share nothing.
constexpr uint64_t HashOfPosition(Position position) {
  // The finalizer of MurmurHash3 (Appleby).
  uint64_t hash = position;
  hash = (hash ^ hash >> 33) * 0xff51afd7ed558ccd;
  hash = (hash ^ hash >> 33) * 0xc4ceb9fe1a85ec53;
  return hash ^ hash >> 33;
}

// Remembers which records were used a short while ago, two bytes each, so that only what is used again is
// let into the cache: a scan, or a record that is used once, stays outside. It is what S3-FIFO calls the
// ghost queue (Yang et al., SOSP 2023): four fingerprints share a word, and a new one pushes the oldest of
// its word out. So what is remembered ages by what is read, not by time. One in 16384 strangers is taken for
// known.
//
// Thread-safe, lock-free.
class Doorkeeper {
 public:
  // At most 2^32 words.
  explicit Doorkeeper(uint64_t words) : size_(words), words_(new std::atomic<uint64_t>[words] {}) {}

  static constexpr uint64_t kRecordsPerWord = 4;
  uint64_t bytes() const { return size_ * sizeof(uint64_t); }

  // True if the record was seen lately; it is forgotten. Else it is remembered.
  bool Seen(Position position) {
    const uint64_t hash = HashOfPosition(position);
    std::atomic<uint64_t>& word = words_[(hash >> 32) * size_ >> 32];
    const uint64_t print = (hash & kLane) == 0 ? 1 : hash & kLane;
    // Two at once may forget one of them.
    uint64_t prints = word.load(std::memory_order_relaxed);
    for (unsigned shift = 0; shift < 64; shift += kLaneBits) {
      if ((prints >> shift & kLane) != print) continue;
      prints &= ~(kLane << shift);
      word.store(prints, std::memory_order_relaxed);
      return true;
    }
    word.store(prints << kLaneBits | print, std::memory_order_relaxed);
    return false;
  }

 private:
  static constexpr unsigned kLaneBits = 16;
  static constexpr uint64_t kLane = 0xffff;

  const uint64_t size_;
  const std::unique_ptr<std::atomic<uint64_t>[]> words_;
};

}  // namespace thermocline::storage
