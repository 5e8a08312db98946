#include "storage/source/copy_text.h"

namespace thermocline::storage::source {
namespace {

char Unescaped(char c) {
  switch (c) {
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'v':
      return '\v';
    default:
      return c;
  }
}

void AddField(std::string_view field, RowBatch& batch) {
  if (field == "\\N") return batch.AddNull();
  std::string& text = batch.text();
  for (size_t escape; (escape = field.find('\\')) != std::string_view::npos && escape + 1 < field.size();) {
    text.append(field, 0, escape);
    text += Unescaped(field[escape + 1]);
    field.remove_prefix(escape + 2);
  }
  text.append(field);
  batch.EndField();
}

}  // namespace

bool AddCopyRow(std::string_view line, RowBatch& batch) {
  size_t columns = 1;
  // A tab within a value is written as an escape.
  for (size_t tab; (tab = line.find('\t')) != std::string_view::npos; ++columns) {
    AddField(line.substr(0, tab), batch);
    line.remove_prefix(tab + 1);
  }
  AddField(line, batch);
  if (columns != batch.columns()) return false;
  batch.EndRow();
  return true;
}

}  // namespace thermocline::storage::source
