#include "tests/support/database_server.h"

#include <algorithm>
#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>
#include <signal.h>
#include <sstream>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "fmt/format.h"
#include <pwd.h>

#include "storage/row_source.h"

namespace thermocline::testing {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kPatience{60'000};
constexpr milliseconds kPoll{10};
constexpr const char* kPostgresPrograms = "/usr/lib/postgresql/15/bin/";
constexpr const char* kMariadbServer = "/usr/sbin/mariadbd";
constexpr const char* kMariadbInstaller = "/usr/bin/mariadb-install-db";

// Below the system's ephemeral range, so that no outgoing connection takes it between a kill and a restart.
int PickPort() {
  static std::mt19937 random(std::random_device{}());
  return std::uniform_int_distribution<int>(20000, 32000)(random);
}

// Whom a server that refuses to be root's runs as; nullptr: whoever we are.
const passwd* User() {
  if (geteuid() != 0) return nullptr;
  for (const char* name : {"postgres", "mysql", "nobody"}) {
    if (const passwd* user = getpwnam(name); user != nullptr) return user;
  }
  return nullptr;
}

std::optional<int> Reap(pid_t child, milliseconds patience) {
  const auto deadline = steady_clock::now() + patience;
  for (;;) {
    int status = 0;
    if (waitpid(child, &status, WNOHANG) == child)
      return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    if (steady_clock::now() >= deadline) return std::nullopt;
    std::this_thread::sleep_for(kPoll);
  }
}

std::string Encoded(const std::string& text) {
  std::string encoded;
  for (const char c : text) encoded += c == ':' ? "%3A" : std::string(1, c);
  return encoded;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DatabaseServer>> DatabaseServer::Start(Kind kind) {
  const bool postgres = kind == Kind::kPostgres;
  if (!fs::exists(postgres ? std::string(kPostgresPrograms) + "postgres" : kMariadbServer)) {
    return absl::NotFoundError(postgres ? "PostgreSQL is not installed; it is in the package postgresql-15"
                                        : "MariaDB is not installed; it is in the package mariadb-server");
  }
  std::unique_ptr<DatabaseServer> server(new DatabaseServer(kind, PickPort()));
  if (absl::Status installed = server->Install(); !installed.ok()) return installed;
  if (absl::Status started = server->Restart(); !started.ok()) return started;
  return server;
}

DatabaseServer::~DatabaseServer() { Kill(); }

std::string DatabaseServer::Url(const std::string& user, const std::string& password) const {
  return fmt::format("{}://{}:{}@127.0.0.1:{}/{}", kind_ == Kind::kPostgres ? "postgresql" : "mysql",
                     Encoded(user), Encoded(password), port_,
                     kind_ == Kind::kPostgres ? "postgres" : "mysql");
}

absl::Status DatabaseServer::Install() {
  const std::string data = directory_.Path("data");
  std::vector<std::string> command;
  if (kind_ == Kind::kPostgres) {
    std::ofstream(directory_.Path("password")) << kPassword << "\n";
    command = {std::string(kPostgresPrograms) + "initdb",
               "--pgdata=" + data,
               "--no-sync",
               "--username",
               kUser,
               "--auth=scram-sha-256",
               "--pwfile=" + directory_.Path("password"),
               "--encoding=UTF8",
               "--locale=C"};
  } else {
    std::ofstream(directory_.Path("users")) << fmt::format(
        "CREATE USER IF NOT EXISTS '{0}'@'%' IDENTIFIED BY '{1}';\nGRANT ALL ON *.* TO '{0}'@'%';\n", kUser,
        kPassword);
    command = {kMariadbInstaller,
               "--no-defaults",
               "--datadir=" + data,
               "--skip-test-db",
               "--auth-root-authentication-method=normal",
               "--innodb-log-file-size=16M"};
  }
  if (const passwd* user = User(); user != nullptr) {
    for (const std::string& path :
         {directory_.path(), directory_.Path("password"), directory_.Path("users")}) {
      if (fs::exists(path) && chown(path.c_str(), user->pw_uid, user->pw_gid) != 0)
        return absl::ErrnoToStatus(errno, "cannot give " + path + " to the database's user");
    }
  }
  const pid_t installer = Spawn(command);
  const std::optional<int> code = installer < 0 ? std::nullopt : Reap(installer, kPatience);
  if (code == 0) return absl::OkStatus();
  if (installer > 0 && !code.has_value()) {
    kill(installer, SIGKILL);
    Reap(installer, kPatience);
  }
  return absl::FailedPreconditionError("the database could not be installed; it printed: " + Log());
}

std::vector<std::string> DatabaseServer::Command() const {
  const std::string data = directory_.Path("data");
  if (kind_ == Kind::kPostgres) {
    return {std::string(kPostgresPrograms) + "postgres",
            "-D",
            data,
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            fmt::format("port={}", port_),
            "-c",
            "unix_socket_directories=",
            "-c",
            "fsync=off",
            "-c",
            "full_page_writes=off",
            "-c",
            "shared_buffers=32MB",
            "-c",
            "max_connections=50"};
  }
  return {kMariadbServer,
          "--no-defaults",
          "--datadir=" + data,
          "--socket=" + directory_.Path("socket"),
          "--pid-file=" + directory_.Path("pid"),
          "--bind-address=127.0.0.1",
          fmt::format("--port={}", port_),
          "--skip-name-resolve",
          "--innodb-buffer-pool-size=32M",
          "--innodb-log-file-size=16M",
          "--innodb-flush-log-at-trx-commit=0",
          "--max-allowed-packet=64M",
          "--init-file=" + directory_.Path("users")};
}

pid_t DatabaseServer::Spawn(const std::vector<std::string>& command) const {
  const int log = open(directory_.Path("log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (log < 0) return -1;
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const passwd* user = User();
  const pid_t child = fork();
  if (child == 0) {
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    if (user != nullptr && (setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0)) _exit(126);
    // A test that is killed must not leave its server behind; this one ends those of its sessions as well.
    prctl(PR_SET_PDEATHSIG, kind_ == Kind::kPostgres ? SIGQUIT : SIGKILL);
    if (chdir(directory_.path().c_str()) != 0) _exit(126);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(log);
  return child;
}

void DatabaseServer::Kill() {
  if (pid_ < 0) return;
  kill(pid_, kind_ == Kind::kPostgres ? SIGQUIT : SIGKILL);
  if (!Reap(pid_, kPatience).has_value()) {
    kill(pid_, SIGKILL);
    Reap(pid_, kPatience);
  }
  pid_ = -1;
}

absl::Status DatabaseServer::Restart() {
  pid_ = Spawn(Command());
  if (pid_ < 0) return absl::InternalError("cannot start a process");
  return AwaitServing();
}

absl::Status DatabaseServer::AwaitServing() {
  const auto deadline = steady_clock::now() + kPatience;
  absl::Status refused;
  while (steady_clock::now() < deadline) {
    if (const std::optional<int> code = Reap(pid_, milliseconds(0))) {
      pid_ = -1;
      return absl::FailedPreconditionError(
          fmt::format("the database has exited with code {}; it printed: {}", *code, Log()));
    }
    auto rows = storage::OpenRowSource({.url = Url(), .query = "select 1"});
    if (!rows.ok()) return rows.status();
    storage::RowBatch batch;
    if (refused = (*rows)->Next(batch); refused.ok()) return absl::OkStatus();
    std::this_thread::sleep_for(kPoll);
  }
  return absl::DeadlineExceededError(std::string(refused.message()) + "; it printed: " + Log());
}

std::string DatabaseServer::Log() const {
  std::ifstream file(directory_.Path("log"), std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

}  // namespace thermocline::testing
