#include "server/status.h"

#include "grpcpp/support/status_code_enum.h"
#include "gtest/gtest.h"

namespace thermocline::server {
namespace {

TEST(WireCodeTest, KeepsTheCodesOfTheApi) {
  EXPECT_EQ(WireCode(absl::OkStatus()), grpc::OK);
  EXPECT_EQ(WireCode(absl::CancelledError("")), grpc::CANCELLED);
  EXPECT_EQ(WireCode(absl::InvalidArgumentError("")), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(WireCode(absl::ResourceExhaustedError("")), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(WireCode(absl::UnavailableError("")), grpc::UNAVAILABLE);
  EXPECT_EQ(WireCode(absl::UnknownError("")), grpc::UNKNOWN);
  EXPECT_EQ(WireCode(absl::DataLossError("")), grpc::DATA_LOSS);
  EXPECT_EQ(WireCode(absl::DeadlineExceededError("")), grpc::DEADLINE_EXCEEDED);
}

TEST(WireCodeTest, HidesCodesThatClientsWouldMisread) {
  EXPECT_EQ(WireCode(absl::NotFoundError("a block file")), grpc::INTERNAL);
  EXPECT_EQ(WireCode(absl::AlreadyExistsError("")), grpc::INTERNAL);
  EXPECT_EQ(WireCode(absl::PermissionDeniedError("")), grpc::INTERNAL);
  EXPECT_EQ(WireCode(absl::OutOfRangeError("")), grpc::INTERNAL);
  EXPECT_EQ(WireCode(absl::InternalError("")), grpc::INTERNAL);
}

}  // namespace
}  // namespace thermocline::server
