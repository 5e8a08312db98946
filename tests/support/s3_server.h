#pragma once

#include <string>

#include "storage/s3_client.h"

namespace thermocline::testing {

// A real S3 server (radosgw, objects in memory), started by s3_server.sh once for a test program, and ended
// with it, however that ends. Link `thermocline_s3_server` (never together with a test that must run without
// it).
//
// Where it is not installed, or does not start, all tests of the program are skipped, with a message that
// says why: put
//   const auto* const kServer = testing::UseS3Server();
// into the program once.
class S3Server {
 public:
  // What a client needs; retries are quick.
  storage::S3Options options() const;
  const std::string& endpoint() const { return endpoint_; }

  // kill -9 of the server, and its return at the same endpoint, with what it had.
  void Kill();
  void Restart();

 private:
  friend class S3ServerEnvironment;

  std::string directory_;
  std::string endpoint_;
  int guard_ = -1;  // its end ends the server
};

S3Server* UseS3Server();

// A name that no other bucket of this server has.
std::string FreshBucket();

}  // namespace thermocline::testing
