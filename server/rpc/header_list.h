#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace thermocline::server::rpc {

// Header fields in the order in which they came. Keeps its memory when it is cleared.
class HeaderList {
 public:
  void Add(std::string_view name, std::string_view value) {
    fields_.push_back({static_cast<uint32_t>(bytes_.size()), static_cast<uint32_t>(name.size()),
                       static_cast<uint32_t>(value.size())});
    bytes_.append(name).append(value);
  }
  void Clear() {
    fields_.clear();
    bytes_.clear();
  }

  size_t size() const { return fields_.size(); }
  // Views live until the list changes.
  std::string_view name(size_t i) const { return View(fields_[i].at, fields_[i].name_bytes); }
  std::string_view value(size_t i) const {
    return View(fields_[i].at + fields_[i].name_bytes, fields_[i].value_bytes);
  }

 private:
  struct Field {
    uint32_t at;
    uint32_t name_bytes;
    uint32_t value_bytes;
  };

  std::string_view View(uint32_t at, uint32_t size) const {
    return std::string_view(bytes_).substr(at, size);
  }

  std::vector<Field> fields_;
  std::string bytes_;
};

}  // namespace thermocline::server::rpc
