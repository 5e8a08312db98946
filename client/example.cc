// A first session with the client: set, get, a condition, a time to live, a batch, a scan.
// Usage: thermocline-example [host:port]

#include <iostream>

#include "client/client.h"

namespace {

absl::Status Run(const std::string& server) {
  auto client = thermocline::Client::Connect({.server = server});
  if (!client.ok()) return client.status();

  // A write returns when it is on the disk; every write and read tells the version.
  auto written = (*client)->Set("user:42", R"({"name": "Ada"})");
  if (!written.ok()) return written.status();

  auto user = (*client)->Get("user:42");
  if (!user.ok()) return user.status();
  if (user->has_value()) std::cout << "user:42 is " << (*user)->value << "\n";

  // Change it only if nobody else has in the meantime.
  auto changed = (*client)->Set("user:42", R"({"name": "Ada Lovelace"})",
                                {.condition = thermocline::Condition::IfVersion(written->version)});
  if (!changed.ok()) return changed.status();
  std::cout << (changed->applied ? "changed" : "somebody was faster") << "\n";

  // A session that expires, acknowledged before it is on the disk.
  auto session =
      (*client)->Set("session:7", "user:42",
                     {.ttl = std::chrono::minutes(30), .durability = thermocline::Durability::kMemory});
  if (!session.ok()) return session.status();

  // Each write of a batch has its own result.
  using thermocline::Write;
  for (const auto& result :
       (*client)->BatchWrite({Write::Set("user:43", "Grace"), Write::Delete("user:41")})) {
    if (!result.ok()) return result.status();
  }

  auto scan = (*client)->Scan({.prefix = "user:"});
  while (scan->Next()) std::cout << scan->key() << " = " << scan->entry().value << "\n";
  return scan->status();
}

}  // namespace

int main(int argc, char** argv) {
  const absl::Status status = Run(argc > 1 ? argv[1] : "127.0.0.1:7070");
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? 0 : 1;
}
