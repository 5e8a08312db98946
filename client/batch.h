#pragma once

#include <memory>
#include <vector>

#include "client/client.h"
#include "client/transport.h"

// Batches of any size, in as many messages as they take. Private to the client.
namespace thermocline::batch {

void Get(transport::Transport& transport, std::vector<std::string> keys, transport::Deadline deadline,
         Client::BatchGetDone done);

void Write(transport::Transport& transport, std::vector<thermocline::Write> writes, Durability durability,
           transport::Deadline deadline, Client::BatchWriteDone done);

}  // namespace thermocline::batch
