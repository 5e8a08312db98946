#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "storage/timeline.h"

namespace thermocline::cli {

// A picture of how many intervals run over time, as wide as the paper however many changes there are: a
// column of it shows the least and the most of its time, so that no peak is lost.
class TimelinePicture {
 public:
  // From the first change (`first`) to the last one; `running` before it.
  TimelinePicture(storage::Moment first, storage::Moment last, uint64_t running);

  // So many run from `at` on, until the next call says otherwise. In the order of time.
  void Add(storage::Moment at, uint64_t running);

  // An SVG document that needs nothing else, light or dark as the viewer is.
  std::string Render(const std::string& title) const;

  static constexpr size_t kColumns = 960;

 private:
  struct Column {
    bool seen = false;
    uint64_t least = 0;
    uint64_t most = 0;
    uint64_t last = 0;
  };

  size_t ColumnOf(storage::Moment at) const;
  double Share(storage::Moment at) const;
  std::string Area(double high) const;
  std::string TimeAxis() const;

  const storage::Moment first_;
  const storage::Moment last_;
  const uint64_t running_before_;
  std::vector<Column> columns_;
};

}  // namespace thermocline::cli
