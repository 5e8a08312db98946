#include "tests/load/messages.h"

#include <cstring>

namespace thermocline::load {
namespace {

constexpr uint64_t kSync = 1;  // thermocline.v1.Durability
constexpr uint64_t kMemory = 2;
constexpr uint64_t kMaxBatchBytes = 16 << 20;  // BatchGetRequest.max_bytes
constexpr uint64_t kMissing = 0;               // BatchGetResponse.Entry.State
constexpr uint64_t kFound = 1;

enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

size_t VarintBytes(uint64_t number) {
  size_t bytes = 1;
  for (; number >= 0x80; number >>= 7) ++bytes;
  return bytes;
}

void AppendVarint(uint64_t number, std::string& out) {
  for (; number >= 0x80; number >>= 7) out.push_back(static_cast<char>(number | 0x80));
  out.push_back(static_cast<char>(number));
}

// Field numbers are below 16 throughout: a tag is one byte.
void AppendTag(uint32_t field, WireType type, std::string& out) {
  out.push_back(static_cast<char>(field << 3 | type));
}

void AppendNumber(uint32_t field, uint64_t number, std::string& out) {
  AppendTag(field, kVarint, out);
  AppendVarint(number, out);
}

void AppendLength(uint32_t field, size_t length, std::string& out) {
  AppendTag(field, kBytes, out);
  AppendVarint(length, out);
}

void AppendBytes(uint32_t field, std::string_view bytes, std::string& out) {
  AppendLength(field, bytes.size(), out);
  out.append(bytes);
}

size_t BytesField(size_t length) { return 1 + VarintBytes(length) + length; }

// GetRequest, SetRequest or DeleteRequest.
size_t SingleBytes(const Call& call, const Item& item) {
  switch (call.verb) {
    case Call::Verb::kGet:
      return BytesField(item.key.size());
    case Call::Verb::kSet:
      return BytesField(item.key.size()) + (item.value.empty() ? 0 : BytesField(item.value.size())) + 2;
    case Call::Verb::kDelete:
      break;
  }
  return BytesField(item.key.size()) + 2;
}

void AppendSingle(const Call& call, const Item& item, std::string& out) {
  AppendBytes(1, item.key, out);
  const uint64_t durability = call.sync ? kSync : kMemory;
  if (call.verb == Call::Verb::kSet) {
    if (!item.value.empty()) AppendBytes(2, item.value, out);
    AppendNumber(5, durability, out);
  } else if (call.verb == Call::Verb::kDelete) {
    AppendNumber(3, durability, out);
  }
}

// The fields of a message, one after the other.
class Reader {
 public:
  explicit Reader(std::string_view message) : at_(message.data()), end_(message.data() + message.size()) {}

  // Steps to the next field. False at the end, or if the message is malformed.
  bool Next() {
    uint64_t tag = 0;
    if (at_ == end_ || !ok_ || !ReadVarint(tag)) return false;
    field = static_cast<uint32_t>(tag >> 3);
    number = 0;
    bytes = {};
    switch (tag & 7) {
      case kVarint:
        return ReadVarint(number);
      case kBytes:
        return ReadVarint(number) && Take(number);
      case kFixed64:
        return Take(8);
      case kFixed32:
        return Take(4);
      default:
        return ok_ = false;
    }
  }
  bool ok() const { return ok_; }

  uint32_t field = 0;
  uint64_t number = 0;     // of a varint
  std::string_view bytes;  // of anything else

 private:
  bool ReadVarint(uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 64 && at_ != end_; shift += 7) {
      const auto byte = static_cast<unsigned char>(*at_++);
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return true;
    }
    return ok_ = false;
  }
  bool Take(uint64_t length) {
    if (length > static_cast<uint64_t>(end_ - at_)) return ok_ = false;
    bytes = {at_, static_cast<size_t>(length)};
    at_ += length;
    return true;
  }

  const char* at_;
  const char* end_;
  bool ok_ = true;
};

bool ParseError(std::string_view message, ItemAnswer& answer) {
  Reader reader(message);
  answer.error = "an error without a message";
  while (reader.Next()) {
    if (reader.field == 2 && !reader.bytes.empty()) answer.error = reader.bytes;
  }
  return reader.ok();
}

bool ParseGetResponse(std::string_view message, ItemAnswer& answer) {
  Reader reader(message);
  bool found = false;
  std::string_view value;
  while (reader.Next()) {
    if (reader.field == 1) found = reader.number != 0;
    if (reader.field == 2) value = reader.bytes;
  }
  answer.read = true;
  if (found) answer.value = value;
  return reader.ok();
}

bool ParseWriteResponse(std::string_view message, ItemAnswer& answer) {
  Reader reader(message);
  bool applied = false;
  while (reader.Next()) {
    if (reader.field == 1) applied = reader.number != 0;
  }
  if (!applied) answer.error = "an unconditional write was not applied";
  return reader.ok();
}

bool ParseBatchGetEntry(std::string_view message, ItemAnswer& answer) {
  Reader reader(message);
  uint64_t state = kMissing;
  std::string_view value;
  while (reader.Next()) {
    if (reader.field == 1) state = reader.number;
    if (reader.field == 2) value = reader.bytes;
    if (reader.field == 5 && !ParseError(reader.bytes, answer)) return false;
  }
  answer.read = true;
  if (state == kFound) answer.value = value;
  if (state > kFound && answer.error.empty()) answer.error = "an entry too large for its batch";
  return reader.ok();
}

bool ParseBatchWriteResult(std::string_view message, ItemAnswer& answer) {
  Reader reader(message);
  bool ok = true;
  while (reader.Next()) {
    if (reader.field == 1) ok = ok && ParseWriteResponse(reader.bytes, answer);
    if (reader.field == 2) ok = ok && ParseError(reader.bytes, answer);
  }
  return ok && reader.ok();
}

bool ParsePipelineAnswer(std::string_view message, ItemAnswer& answer) {
  Reader reader(message);
  bool ok = true;
  answer.index = 0;  // an id of 0 is left out
  while (reader.Next()) {
    if (reader.field == 1) answer.index = reader.number;
    if (reader.field == 2) ok = ok && ParseGetResponse(reader.bytes, answer);
    if (reader.field == 3) ok = ok && ParseWriteResponse(reader.bytes, answer);
    if (reader.field == 4) ok = ok && ParseError(reader.bytes, answer);
  }
  return ok && reader.ok();
}

// Entries, results or answers: all are field 1 of their message.
template <typename ParseItem>
bool ParseItems(std::string_view message, ParseItem parse,
                absl::FunctionRef<void(const ItemAnswer&)> answer) {
  Reader reader(message);
  for (uint64_t index = 0; reader.Next();) {
    if (reader.field != 1) continue;
    ItemAnswer item{.index = index++};
    if (!parse(reader.bytes, item)) return false;
    answer(item);
  }
  return reader.ok();
}

}  // namespace

void AppendRequest(const Call& call, std::string& out) {
  if (!call.batch) return AppendSingle(call, call.items.front(), out);
  if (call.verb == Call::Verb::kGet) {
    for (const Item& item : call.items) AppendBytes(1, item.key, out);
    return AppendNumber(2, kMaxBatchBytes, out);
  }
  for (const Item& item : call.items) {
    const size_t single = SingleBytes(call, item);
    AppendLength(1, BytesField(single), out);
    AppendLength(call.verb == Call::Verb::kSet ? 1 : 2, single, out);
    AppendSingle(call, item, out);
  }
}

void AppendOperations(const Call& call, uint64_t first_id, std::string& out) {
  const uint32_t field = call.verb == Call::Verb::kGet ? 2 : call.verb == Call::Verb::kSet ? 3 : 4;
  for (const Item& item : call.items) {
    const uint64_t id = first_id++;
    const size_t single = SingleBytes(call, item);
    AppendLength(1, (id == 0 ? 0 : 1 + VarintBytes(id)) + BytesField(single), out);
    if (id != 0) AppendNumber(1, id, out);
    AppendLength(field, single, out);
    AppendSingle(call, item, out);
  }
}

bool ParseResponse(Call::Verb verb, bool batch, std::string_view message,
                   absl::FunctionRef<void(const ItemAnswer&)> answer) {
  const bool get = verb == Call::Verb::kGet;
  if (batch) return ParseItems(message, get ? ParseBatchGetEntry : ParseBatchWriteResult, answer);
  ItemAnswer item;
  if (!(get ? ParseGetResponse : ParseWriteResponse)(message, item)) return false;
  answer(item);
  return true;
}

bool ParsePipelineResponse(std::string_view message, absl::FunctionRef<void(const ItemAnswer&)> answer) {
  return ParseItems(message, ParsePipelineAnswer, answer);
}

}  // namespace thermocline::load
