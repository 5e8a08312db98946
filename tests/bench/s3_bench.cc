// How fast one object goes up and comes down: s3_bench ENDPOINT BUCKET [MIB [PARTS_IN_FLIGHT]]. Credentials
// come from the environment, as always. Prints MiB/s and this process's peak memory.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <string>
#include <sys/resource.h>
#include <vector>

#include <fmt/format.h>

#include "storage/s3_client.h"

namespace {

using namespace thermocline::storage;
using Clock = std::chrono::steady_clock;

constexpr size_t kMiB = 1 << 20;
constexpr char kKey[] = "bench/object";

void Report(const char* what, size_t mib, Clock::time_point begin) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  fmt::print("{:8} {:6.0f} MiB/s   peak memory {} MiB\n", what, static_cast<double>(mib) / seconds,
             usage.ru_maxrss >> 10);
}

absl::Status Upload(S3Client& client, const std::string& bucket, size_t mib) {
  const std::string piece(kMiB, 'x');
  auto writer = client.CreateObject(bucket, kKey, true);
  if (!writer.ok()) return writer.status();
  for (size_t i = 0; i < mib; ++i) {
    if (absl::Status status = (*writer)->Append(piece); !status.ok()) return status;
  }
  return (*writer)->Finish();
}

// In sequence, as somebody reads who passes the object on: so many parts at a time.
absl::Status Download(S3Client& client, const std::string& bucket, size_t window) {
  auto object = client.OpenObject(bucket, kKey);
  if (!object.ok()) return object.status();
  std::vector<char> memory(window);
  for (uint64_t offset = 0; offset < (*object)->size(); offset += window) {
    const std::span<char> out =
        std::span(memory).first(std::min<uint64_t>(window, (*object)->size() - offset));
    std::promise<absl::Status> read;
    (*object)->Read(offset, out, [&](absl::Status status) { read.set_value(std::move(status)); });
    if (absl::Status status = read.get_future().get(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "s3_bench ENDPOINT BUCKET [MIB [PARTS_IN_FLIGHT]]\n");
    return 2;
  }
  const size_t mib = argc > 3 ? std::strtoul(argv[3], nullptr, 10) : 1024;
  S3Options options;
  options.endpoint = argv[1];
  if (argc > 4) options.parts_in_flight = std::atoi(argv[4]);
  auto client = S3Client::Open(options);
  absl::Status status = client.status();
  if (status.ok()) status = (*client)->CreateBucket(argv[2]);
  auto begin = Clock::now();
  if (status.ok()) status = Upload(**client, argv[2], mib);
  if (status.ok()) Report("up", mib, begin);
  begin = Clock::now();
  const size_t window = options.part_bytes * static_cast<size_t>(options.parts_in_flight);
  if (status.ok()) status = Download(**client, argv[2], window);
  if (status.ok()) Report("down", mib, begin);
  if (status.ok()) status = (*client)->Remove(argv[2], kKey);
  if (status.ok()) return 0;
  fmt::print(stderr, "{}\n", status.ToString());
  return 1;
}
