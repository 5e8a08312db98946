#include "client/cli/id_output.h"

#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace thermocline::cli {
namespace {

std::string Written(const std::vector<uint64_t>& ids, bool json) {
  std::ostringstream out;
  IdOutput(out, json).Write(ids);
  return out.str();
}

TEST(IdOutput, WritesIdsOfEveryLength) {
  std::vector<uint64_t> ids = {0, 7, 10, 99, 100, 9'999};
  for (uint64_t power = 10'000; power < 10'000'000'000'000'000'000U; power *= 10) {
    for (const uint64_t id : {power - 1, power, power + 1, power + 9'999, power + 10'000}) ids.push_back(id);
  }
  ids.push_back(~uint64_t{0} - 1);
  ids.push_back(~uint64_t{0});
  ids.push_back(3);  // ascending is fast, but anything is right
  std::string plain;
  std::string json;
  for (const uint64_t id : ids) {
    plain += std::to_string(id) + "\n";
    json += "{\"id\":" + std::to_string(id) + "}\n";
  }
  EXPECT_EQ(Written(ids, false), plain);
  EXPECT_EQ(Written(ids, true), json);
}

// More than a buffer holds, in parts whose heads stay and change.
TEST(IdOutput, WritesManyIds) {
  std::mt19937_64 random(3);
  std::vector<uint64_t> ids;
  for (uint64_t id = 0; ids.size() < 200'000; id += random() % 100 == 0 ? random() >> 25 : random() % 7 + 1)
    ids.push_back(id);
  for (const bool json : {false, true}) {
    std::string expected;
    for (const uint64_t id : ids)
      expected += json ? "{\"id\":" + std::to_string(id) + "}\n" : std::to_string(id) + "\n";
    EXPECT_TRUE(Written(ids, json) == expected) << json;
  }
}

TEST(IdOutput, WritesNoFurtherAfterAFailure) {
  std::ostringstream out;
  out.setstate(std::ios::badbit);
  IdOutput(out, false).Write(std::vector<uint64_t>(200'000, 1));
  EXPECT_EQ(out.str(), "");
}

}  // namespace
}  // namespace thermocline::cli
