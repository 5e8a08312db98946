#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace thermocline::cli {

// How a record's key is made of its fields: the name of one field, "id", or a template with fields in braces,
// "place:{country}:{#}", where {#} is the record's number in the input (from 1) and {{ and }} stand for
// braces.
class KeyTemplate {
 public:
  // INVALID_ARGUMENT: empty, a brace without its partner, or nothing between braces.
  static absl::StatusOr<KeyTemplate> Parse(std::string_view text);

  // The value of the field with this name, as part of a key.
  using Field = std::function<absl::StatusOr<std::string>(const std::string& name)>;

  // The first failure of `field`, if it fails.
  absl::StatusOr<std::string> Key(uint64_t number, const Field& field) const;

 private:
  enum class Kind { kText, kField, kNumber };
  struct Part {
    Kind kind;
    std::string text;  // of kText; of kField its name
  };

  explicit KeyTemplate(std::vector<Part> parts) : parts_(std::move(parts)) {}

  std::vector<Part> parts_;
};

}  // namespace thermocline::cli
