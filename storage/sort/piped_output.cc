#include "storage/sort/piped_output.h"

#include <utility>

namespace thermocline::storage::sort {

PipedOutput::PipedOutput(ObjectWriter& output, size_t piece_bytes, std::atomic<uint64_t>& written)
    : output_(output), piece_bytes_(piece_bytes), written_(written), empty_(kPieces - 1) {
  piece_.reserve(piece_bytes);
  for (std::string& piece : empty_) piece.reserve(piece_bytes);
  thread_ = std::thread([this] { Write(); });
}

PipedOutput::~PipedOutput() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
}

absl::Status PipedOutput::Add(const SortedRecord& record) {
  ++records_;
  return AddText(record.text);
}

absl::Status PipedOutput::AddText(std::string_view text) {
  bytes_ += text.size();
  while (text.size() >= piece_bytes_ - piece_.size()) {
    const size_t fits = piece_bytes_ - piece_.size();
    piece_ += text.substr(0, fits);
    text.remove_prefix(fits);
    if (absl::Status status = Hand(); !status.ok()) return status;
  }
  piece_ += text;
  return absl::OkStatus();
}

// Gives the piece to the thread, and takes an empty one.
absl::Status PipedOutput::Hand() {
  MutexLock lock(mutex_);
  full_.push_back(std::move(piece_));
  changed_.NotifyAll();
  while (empty_.empty() && status_.ok()) changed_.Wait(mutex_);
  if (!status_.ok()) return status_;
  piece_ = std::move(empty_.back());
  empty_.pop_back();
  piece_.clear();
  return absl::OkStatus();
}

absl::Status PipedOutput::Finish() {
  if (!piece_.empty()) {
    if (absl::Status status = Hand(); !status.ok()) return status;
  }
  {
    MutexLock lock(mutex_);
    while ((writing_ || !full_.empty()) && status_.ok()) changed_.Wait(mutex_);
    if (!status_.ok()) return status_;
  }
  return output_.Finish();
}

void PipedOutput::Write() {
  MutexLock lock(mutex_);
  for (;;) {
    while (full_.empty() && !stopping_) changed_.Wait(mutex_);
    if (stopping_) return;
    std::string piece = std::move(full_.front());
    full_.pop_front();
    writing_ = true;
    mutex_.Unlock();
    absl::Status status = output_.Append(piece);
    written_.fetch_add(piece.size(), std::memory_order_relaxed);
    mutex_.Lock();
    writing_ = false;
    if (status_.ok()) status_ = std::move(status);
    empty_.push_back(std::move(piece));
    changed_.NotifyAll();
    if (!status_.ok()) return;
  }
}

}  // namespace thermocline::storage::sort
