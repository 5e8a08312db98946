#pragma once

#include <string>
#include <vector>

#include "tests/bench/blocks_run.h"
#include "tests/bench/report.h"
#include "tests/bench/svg.h"

namespace thermocline::bench {

// The columns of table and file: the one place to add a number to.
std::vector<Field<BlocksRow>> BlocksFields();

struct BlocksRun {
  std::string name;  // of the engine
  std::vector<BlocksRow> rows;
};

// A few lines for the end: what matters most, of one engine.
std::string BlocksSummary(const BlocksRun& run);

// The curves of one or several engines over the keys inserted.
Chart BlocksChart(const std::vector<BlocksRun>& runs, const std::string& subtitle);

}  // namespace thermocline::bench
