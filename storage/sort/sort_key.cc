#include "storage/sort/sort_key.h"

#include <cmath>
#include <limits>

namespace thermocline::storage::sort {
namespace {

// Tags, in the order of SortOptions. Numbers of all kinds have one.
enum Tag : char { kMissing = 1, kNull, kFalse, kTrue, kNumber, kString, kArray, kObject };

void AppendBigEndian(uint64_t word, std::string& key) {
  word = __builtin_bswap64(word);
  key.append(reinterpret_cast<const char*>(&word), sizeof(word));
}

// A number is the next double below it and what it is more than that: less than 2048, for 64-bit numbers.
void AppendNumber(double real, uint64_t more, std::string& key) {
  if (real == 0) real = 0;  // there is a negative zero
  const auto bits = std::bit_cast<uint64_t>(real);
  constexpr uint64_t kSign = uint64_t{1} << 63;
  key += kNumber;
  AppendBigEndian((bits & kSign) != 0 ? ~bits : bits | kSign, key);
  key += static_cast<char>(more >> 8);
  key += static_cast<char>(more & 0xff);
}

__extension__ using Wide = __int128;

void AppendWhole(Wide number, std::string& key) {
  auto real = static_cast<double>(number);
  if (static_cast<Wide>(real) > number) real = std::nextafter(real, -std::numeric_limits<double>::infinity());
  AppendNumber(real, static_cast<uint64_t>(number - static_cast<Wide>(real)), key);
}

// A zero byte becomes 0 255, and 0 1 ends the text: what goes on sorts behind what ends.
void AppendText(Tag tag, std::string_view text, std::string& key) {
  key += tag;
  for (size_t zero = text.find('\0'); zero != std::string_view::npos; zero = text.find('\0')) {
    key += text.substr(0, zero + 1);
    key += '\xff';
    text.remove_prefix(zero + 1);
  }
  key += text;
  key += '\0';
  key += '\1';
}

}  // namespace

void AppendKey(std::span<const Field> fields, std::string& key) {
  for (const Field& field : fields) {
    switch (field.kind) {
      case Field::Kind::kMissing:
        key += kMissing;
        break;
      case Field::Kind::kNull:
        key += kNull;
        break;
      case Field::Kind::kFalse:
        key += kFalse;
        break;
      case Field::Kind::kTrue:
        key += kTrue;
        break;
      case Field::Kind::kSigned:
        AppendWhole(field.number, key);
        break;
      case Field::Kind::kUnsigned:
        AppendWhole(field.natural, key);
        break;
      case Field::Kind::kDouble:
        AppendNumber(field.real, 0, key);
        break;
      case Field::Kind::kString:
        AppendText(kString, field.text, key);
        break;
      case Field::Kind::kArray:
        AppendText(kArray, field.text, key);
        break;
      case Field::Kind::kObject:
        AppendText(kObject, field.text, key);
        break;
    }
  }
}

}  // namespace thermocline::storage::sort
