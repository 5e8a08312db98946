#include <algorithm>

#include "storage/object_store.h"

namespace thermocline::storage {
namespace {

constexpr size_t kMaxPartBytes = 200;

bool IsPart(std::string_view part) {
  const bool characters = std::all_of(part.begin(), part.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  });
  return characters && !part.empty() && part.size() <= kMaxPartBytes && part[0] != '.';
}

}  // namespace

bool IsObjectName(std::string_view name) {
  if (name.size() > kMaxObjectNameBytes) return false;
  for (;;) {
    const std::string_view part = name.substr(0, name.find('/'));
    if (!IsPart(part)) return false;
    if (part.size() == name.size()) return true;
    name.remove_prefix(part.size() + 1);
  }
}

}  // namespace thermocline::storage
