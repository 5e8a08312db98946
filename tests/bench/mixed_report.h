#pragma once

#include <string>
#include <vector>

#include "tests/bench/mixed_run.h"
#include "tests/bench/report.h"
#include "tests/bench/svg.h"

namespace thermocline::bench {

// The columns of table and file: the one place to add a number to.
std::vector<Field<MixedRow>> MixedFields();

// One engine at one ratio.
struct MixedRun {
  std::string name;            // "thermocline, 4x"
  std::vector<MixedRow> rows;  // the last is of all seconds
};

// The curves of all runs over the seconds of the measurement.
Chart MixedChart(const std::vector<MixedRun>& runs, const std::string& subtitle);

}  // namespace thermocline::bench
