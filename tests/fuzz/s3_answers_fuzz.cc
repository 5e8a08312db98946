// What an S3 store answers in XML. Whatever is taken for a good answer has only what such an answer may have;
// the rest is refused.

#include <cctype>
#include <string>

#include "storage/object/s3/answers.h"
#include "storage/object/s3/sigv4.h"
#include "tests/fuzz/fuzz_target.h"

namespace {

using namespace thermocline::storage::s3;
using thermocline::fuzz::Require;

bool IsPrintable(const std::string& text) {
  for (const unsigned char c : text) {
    if (c < 0x20 || c == 0x7f) return false;
  }
  return true;
}

bool IsPlain(const std::string& text) { return IsPrintable(text) && text.find(' ') == std::string::npos; }

void CheckError(std::string_view input) {
  const ErrorAnswer error = ParseError(input);
  Require(error.code.size() <= 100 && IsPlain(error.code), "codes");
  Require(error.region.size() <= 100 && IsPlain(error.region), "regions");
  Require(error.message.size() <= 310 && IsPrintable(error.message), "messages");
  Require(IsErrorAnswer(input) || (error.code.empty() && error.message.empty()),
          "errors have errors as roots");
}

void CheckList(std::string_view input) {
  const auto list = ParseList(input);
  if (!list.ok()) return;
  for (const ListAnswer::Entry& entry : list->entries) {
    Require(!entry.key.empty() && entry.key.size() <= 4096, "keys");
    // Planted: as if no object had a size of seven digits.
    Require(!thermocline::fuzz::canary || entry.bytes < 1'000'000, "the canary");
  }
  Require(!IsErrorAnswer(input), "a list is no error");
}

void CheckUploads(std::string_view input) {
  if (const auto id = ParseUploadId(input); id.ok()) Require(!id->empty() && IsPlain(*id), "ids");
  const auto uploads = ParseUploads(input);
  if (!uploads.ok()) return;
  for (const UploadsAnswer::Entry& entry : uploads->entries) {
    Require(!entry.key.empty() && !entry.upload_id.empty() && IsPlain(entry.upload_id), "uploads");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input = thermocline::fuzz::Input(data, size);
  CheckError(input);
  CheckList(input);
  CheckUploads(input);
  if (const auto failures = ParseDeleted(input); failures.ok()) {
    for (const DeleteFailure& failure : *failures) Require(IsPrintable(failure.key), "failures");
  }
  Require(!ParseCompleted(input).ok() || !IsErrorAnswer(input), "a completion is no error");
  // What is written as XML is read as what it was, where XML has it at all.
  const std::string text(input.substr(0, 200));
  if (IsPrintable(text) && !text.empty()) {
    const auto failures =
        ParseDeleted("<DeleteResult><Error><Key>" + XmlEscape(text) + "</Key></Error></DeleteResult>");
    const bool blank = text.find_first_not_of(' ') == std::string::npos;
    const bool same = failures.ok() && (failures->at(0).key == text || blank);
    Require(same, "the text");
  }
  Require(PercentDecode(PercentEncode(input)) == input, "percent signs");
  return 0;
}
