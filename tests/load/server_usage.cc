#include "tests/load/server_usage.h"

#include <charconv>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <system_error>
#include <unistd.h>

#include <fmt/format.h>

namespace thermocline::load {
namespace {

namespace fs = std::filesystem;

// Inodes of the sockets that listen on `port`, as they are linked in /proc/<pid>/fd.
std::set<std::string> ListeningSockets(uint16_t port) {
  constexpr const char* kListen = "0A";
  std::set<std::string> sockets;
  for (const char* const table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream file(table);
    std::string line;
    std::getline(file, line);
    while (std::getline(file, line)) {
      std::istringstream fields(line);
      std::string number, local, remote, state, queues, timer, retransmits, user, timeout, inode;
      fields >> number >> local >> remote >> state >> queues >> timer >> retransmits >> user >> timeout >>
          inode;
      if (state == kListen && local.ends_with(fmt::format(":{:04X}", port))) {
        sockets.insert(fmt::format("socket:[{}]", inode));
      }
    }
  }
  return sockets;
}

bool Holds(const fs::path& process, const std::set<std::string>& sockets) {
  std::error_code error;
  for (fs::directory_iterator entry(process / "fd", error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code unreadable;
    if (sockets.contains(fs::read_symlink(entry->path(), unreadable).string())) return true;
  }
  return false;
}

}  // namespace

std::optional<pid_t> FindListener(uint16_t port) {
  const std::set<std::string> sockets = ListeningSockets(port);
  if (sockets.empty()) return std::nullopt;
  std::error_code error;
  for (fs::directory_iterator entry("/proc", error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    pid_t pid = 0;
    const auto [last, fault] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (fault != std::errc() || last != name.data() + name.size()) continue;
    if (Holds(entry->path(), sockets)) return pid;
  }
  return std::nullopt;
}

std::optional<ServerUsage> UsageOf(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  // The name, in parentheses, may hold anything; the fields after it are numbers, the third of all is the
  // first.
  const size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(line.substr(name_end + 1));
  std::string skipped;
  for (int field = 3; field < 14; ++field) fields >> skipped;
  double user = 0, system = 0;
  fields >> user >> system;
  for (int field = 16; field < 24; ++field) fields >> skipped;
  uint64_t pages = 0;
  fields >> pages;
  if (!fields) return std::nullopt;
  return ServerUsage{(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK)),
                     pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE))};
}

}  // namespace thermocline::load
