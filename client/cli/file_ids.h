#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/cli/byte_source.h"
#include "client/cli/id_reader.h"
#include "storage/id_source.h"

namespace thermocline::cli {

// The ids of a file, pipe or object; its rows are the ids. Errors beside those of IdSource: what reading the
// file says, and INVALID_ARGUMENT for a CSV without the column.
class FileIds final : public storage::IdSource {
 public:
  // `name` is for messages.
  FileIds(std::string name, std::unique_ptr<ByteSource> bytes, const IdShape& shape);

  absl::StatusOr<std::span<const uint64_t>> Next(Reject skip) override;
  void Cancel() override { bytes_->Cancel(); }
  uint64_t rows() const override { return rows_.load(std::memory_order_relaxed); }
  const std::string& name() const override { return name_; }

  // How much of the file was read, and how much there is if that is known. From any thread.
  uint64_t consumed() const { return bytes_->consumed(); }
  std::optional<uint64_t> size() const { return bytes_->size(); }

 private:
  const std::string name_;
  const std::unique_ptr<ByteSource> bytes_;
  const IdShape shape_;
  std::unique_ptr<IdReader> reader_;
  std::vector<uint64_t> ids_;
  std::atomic<uint64_t> rows_ = 0;
  absl::Status failure_;
};

}  // namespace thermocline::cli
