#include <chrono>
#include <optional>
#include <span>
#include <string>

#include "fmt/format.h"

#include "client/cli/entry_json.h"
#include "client/cli/id_output.h"
#include "client/cli/progress.h"
#include "client/cli/segment_commands.h"
#include "client/cli/segment_text.h"
#include "client/cli/text.h"

namespace thermocline::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

milliseconds Since(steady_clock::time_point begin) {
  return std::chrono::duration_cast<milliseconds>(steady_clock::now() - begin);
}

// Shows how far the query of `reader` is while its ids go somewhere else than to the terminal.
template <class Reader>
void ShowProgress(std::optional<Progress>& display, const Reader& reader, steady_clock::time_point begin,
                  const Context& context) {
  if (context.io.out_is_terminal) return;
  display.emplace(context.io.err, context.io.err_is_terminal,
                  [&reader, begin] { return QueryProgressLine(reader.progress(), Since(begin)); });
}

// "user:{id}" with the id in its places.
std::string KeyOf(std::string pattern, uint64_t id) {
  constexpr std::string_view kPlace = "{id}";
  const std::string digits = std::to_string(id);
  for (size_t at = pattern.find(kPlace); at != std::string::npos;
       at = pattern.find(kPlace, at + digits.size()))
    pattern.replace(at, kPlace.size(), digits);
  return pattern;
}

std::string ValueJson(const SegmentValue& item) {
  nlohmann::ordered_json object;
  object["id"] = item.id;
  if (item.value.has_value()) {
    PutBytes(object, "value", *item.value);
  } else {
    object["found"] = item.too_large;
    if (item.too_large) object["too_large"] = true;
  }
  return object.dump();
}

std::string ValueText(const SegmentValue& item, const std::string& key_pattern) {
  std::string line = std::to_string(item.id) + '\t';
  if (item.value.has_value()) return line + FormatText(*item.value, kShownValueBytes);
  if (!item.too_large) return line + "(not found)";
  return line + fmt::format("(more than 1 MiB: thermocline get '{}')", KeyOf(key_pattern, item.id));
}

}  // namespace

ExitCode Execute(const SegmentQueryCommand& command, Context& context) {
  Io& io = context.io;
  const auto begin = steady_clock::now();
  uint64_t count = 0;
  const auto reader = context.client.segments().Query(command.expression, command.options);
  std::optional<Progress> display;
  ShowProgress(display, *reader, begin, context);
  IdOutput output(io.out, context.json);
  for (std::span<const uint64_t> ids; io.out && reader->Next(ids);) {
    output.Write(ids);
    count += ids.size();
  }
  io.out.flush();
  display.reset();
  if (!reader->status().ok()) return FailCall(reader->status(), io);
  if (io.out && !context.json) io.err << QuerySummary(count, Since(begin), reader->progress()) << "\n";
  return kOk;
}

ExitCode Execute(const SegmentValuesCommand& command, Context& context) {
  Io& io = context.io;
  const auto begin = steady_clock::now();
  uint64_t count = 0;
  uint64_t missing = 0;
  const auto reader =
      context.client.segments().QueryValues(command.expression, command.key_pattern, command.options);
  std::optional<Progress> display;
  ShowProgress(display, *reader, begin, context);
  while (io.out && reader->Next()) {
    const SegmentValue& item = reader->item();
    const bool found = item.value.has_value() || item.too_large;
    ++count;
    if (!found) ++missing;
    if (!found && command.only_found) continue;
    io.out << (context.json ? ValueJson(item) : ValueText(item, command.key_pattern)) << '\n';
  }
  io.out.flush();
  display.reset();
  if (!reader->status().ok()) return FailCall(reader->status(), io);
  if (io.out && !context.json) {
    io.err << QuerySummary(count, Since(begin), reader->progress());
    if (missing > 0) io.err << ", " << FormatCount(missing) << " of them not found";
    io.err << "\n";
  }
  return kOk;
}

}  // namespace thermocline::cli
