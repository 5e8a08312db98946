#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"

#include "tests/load/call.h"

namespace thermocline::load {

// The messages of thermocline.v1.KeyValue, written and read on the wire format: what a client that is made
// for speed would do. messages_test holds them to the generated code.

// Appends GetRequest, SetRequest or DeleteRequest (`call` has one item), BatchGetRequest or
// BatchWriteRequest.
void AppendRequest(const Call& call, std::string& out);
// Appends the operations of `call` to a PipelineRequest; item i has the id `first_id` + i.
void AppendOperations(const Call& call, uint64_t first_id, std::string& out);

// What a response says about one item.
struct ItemAnswer {
  uint64_t index = 0;                     // of the item; in a PipelineResponse its id
  bool read = false;                      // the answer to a get, else to a write
  std::optional<std::string_view> value;  // of a get; nullopt: the key is not there
  std::string_view error;                 // not empty: the item failed
};

// Reads the response to `call`-like requests and calls `answer` for each item in it. False if it is
// malformed, or not the response to that kind of call; items may have been told before that shows.
bool ParseResponse(Call::Verb verb, bool batch, std::string_view message,
                   absl::FunctionRef<void(const ItemAnswer&)> answer);
bool ParsePipelineResponse(std::string_view message, absl::FunctionRef<void(const ItemAnswer&)> answer);

}  // namespace thermocline::load
