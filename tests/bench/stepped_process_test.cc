#include "tests/bench/stepped_process.h"

#include <atomic>
#include <chrono>
#include <signal.h>
#include <string>
#include <thread>
#include <unistd.h>

#include "gtest/gtest.h"

namespace thermocline::bench {
namespace {

TEST(SteppedProcessTest, HandsOverEachResult) {
  auto process = SteppedProcess::Start([](SteppedProcess::Yield yield) {
    yield("one");
    yield(std::string(100'000, 'x'));
    yield("");
    return absl::OkStatus();
  });
  ASSERT_TRUE(process.ok());
  EXPECT_EQ((*process)->Next().value(), "one");
  EXPECT_EQ((*process)->Next().value(), std::string(100'000, 'x'));
  EXPECT_EQ((*process)->Next().value(), "");
  EXPECT_EQ((*process)->Next().value(), std::nullopt);
  EXPECT_EQ((*process)->Next().value(), std::nullopt);
}

TEST(SteppedProcessTest, SaysWhatWentWrong) {
  auto failing =
      SteppedProcess::Start([](SteppedProcess::Yield) { return absl::DataLossError("no such key"); });
  const auto result = (*failing)->Next();
  EXPECT_EQ(result.status().code(), absl::StatusCode::kAborted);
  EXPECT_NE(result.status().message().find("no such key"), std::string::npos);

  auto dying = SteppedProcess::Start([](SteppedProcess::Yield yield) {
    yield("alive");
    raise(SIGKILL);
    return absl::OkStatus();
  });
  EXPECT_EQ((*dying)->Next().value(), "alive");
  EXPECT_NE((*dying)->Next().status().message().find("signal 9"), std::string::npos);
}

// Its threads count up all the time; what they have counted stays the same between two steps.
TEST(SteppedProcessTest, StandsStillBetweenSteps) {
  auto process = SteppedProcess::Start([](SteppedProcess::Yield yield) {
    std::atomic<bool> stop{false};
    std::thread background([&] {
      while (!stop) std::this_thread::yield();
    });
    yield(std::to_string(getpid()));
    stop = true;
    background.join();
    return absl::OkStatus();
  });
  const std::string pid = (*process)->Next().value().value();
  const auto state = [&] {
    FILE* const file = fopen(("/proc/" + pid + "/stat").c_str(), "r");
    char letter = 0;
    EXPECT_EQ(fscanf(file, "%*d (%*[^)]) %c", &letter), 1);
    fclose(file);
    return letter;
  };
  while (state() != 'T') std::this_thread::yield();
  EXPECT_EQ((*process)->Next().value(), std::nullopt);
}

TEST(SteppedProcessTest, IsKilledWhenNobodyWantsIt) {
  auto process = SteppedProcess::Start([](SteppedProcess::Yield yield) {
    yield(std::to_string(getpid()));
    return absl::OkStatus();
  });
  const pid_t pid = std::stoi((*process)->Next().value().value());
  process->reset();
  EXPECT_EQ(kill(pid, 0), -1);
}

}  // namespace
}  // namespace thermocline::bench
