#include "client/cli/id_inputs.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"

#include "client/cli/file_ids.h"
#include "client/cli/progress.h"
#include "client/cli/text.h"
#include "storage/row_source.h"

namespace thermocline::cli {
namespace {

std::string PerSecond(uint64_t count, std::chrono::milliseconds elapsed) {
  const auto ms = std::max<int64_t>(1, elapsed.count());
  return FormatCount(count * 1000 / static_cast<uint64_t>(ms));
}

// What is behind `mark`; all of it if there is none.
std::string Behind(const std::string& text, std::string_view mark) {
  const size_t at = text.rfind(mark);
  return at == std::string::npos ? text : text.substr(at + mark.size());
}

std::string ShortName(const IdInput& input) {
  if (input.place == "-") return "standard input";
  if (IsDatabase(input)) return Behind(Behind(storage::ShownUrl(input.place), "://"), "@");
  return Behind(input.place, "/");
}

}  // namespace

bool IsDatabase(const IdInput& input) { return storage::IsDatabaseUrl(input.place); }

absl::StatusOr<std::unique_ptr<storage::IdSource>> OpenIds(const IdInput& input, int standard_input,
                                                           S3Access& s3) {
  if (!IsDatabase(input)) {
    auto bytes = OpenBytes(input.place, standard_input, s3);
    if (!bytes.ok()) return bytes.status();
    return std::make_unique<FileIds>(input.place == "-" ? "standard input" : input.place, *std::move(bytes),
                                     input.shape);
  }
  absl::StatusOr<std::unique_ptr<storage::RowSource>> rows =
      storage::OpenRowSource({.url = input.place,
                              .query = input.query,
                              .parameters = input.parameters,
                              .idle_timeout = input.longest_silence});
  if (!rows.ok()) return rows.status();
  return storage::MakeIdSource(*std::move(rows), input.shape.field);
}

std::vector<std::string> ShortNames(const std::vector<IdInput>& inputs) {
  std::vector<std::string> names;
  for (const IdInput& input : inputs) names.push_back(ShortName(input));
  const std::vector<std::string> plain = names;
  size_t queries = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const bool database = IsDatabase(inputs[i]);
    queries += database ? 1 : 0;
    if (std::count(plain.begin(), plain.end(), plain[i]) == 1) continue;
    names[i] = database ? fmt::format("{} (query {})", plain[i], queries) : inputs[i].place;
  }
  return names;
}

std::string InputsLine(const std::vector<std::unique_ptr<storage::IdSource>>& sources,
                       const std::vector<std::string>& names, uint64_t sent,
                       std::chrono::milliseconds elapsed) {
  const auto* file = sources.size() == 1 ? dynamic_cast<const FileIds*>(sources[0].get()) : nullptr;
  if (file != nullptr) return ProgressLine({sent, file->consumed(), file->size(), elapsed, "ids"});
  std::string line = fmt::format("{} ids  {}/s", FormatCount(sent), PerSecond(sent, elapsed));
  for (size_t i = 0; i < sources.size(); ++i) {
    const uint64_t rows = sources[i]->rows();
    line += fmt::format("{} {} {} rows {}/s", i == 0 ? ":" : ",", names[i], FormatCount(rows),
                        PerSecond(rows, elapsed));
  }
  return line;
}

}  // namespace thermocline::cli
