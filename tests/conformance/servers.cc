#include "tests/conformance/servers.h"

#include <fstream>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "fmt/format.h"

#include "tests/conformance/command.h"

namespace thermocline::testing {
namespace {

// Of its own, for what the system's says is added to it.
constexpr char kOpensslConfig[] = R"(
[req]
distinguished_name = name
prompt = no
[name]
CN = thermocline conformance
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
subjectAltName = DNS:localhost, IP:127.0.0.1
)";

class CertificateMaker {
 public:
  explicit CertificateMaker(const TempDirectory& directory) : directory_(directory) {
    std::ofstream(directory.Path("openssl.cnf")) << kOpensslConfig;
  }

  absl::Status MakeAll(Certificates& made) {
    made.ca = directory_.Path("ca.pem");
    made.server = directory_.Path("server.pem");
    made.server_key = directory_.Path("server.key");
    made.client = directory_.Path("client.pem");
    made.client_key = directory_.Path("client.key");
    made.other_ca = directory_.Path("other_ca.pem");
    made.stranger = directory_.Path("stranger.pem");
    made.stranger_key = directory_.Path("stranger.key");
    for (const auto& [name, signer] : std::vector<std::pair<std::string, std::string>>{
             {"ca", ""}, {"server", "ca"}, {"client", "ca"}, {"other_ca", ""}, {"stranger", "other_ca"}}) {
      if (absl::Status status = Make(name, signer); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

 private:
  // `signer` empty: signed by itself.
  absl::Status Make(const std::string& name, const std::string& signer) {
    Command command;
    command.output = directory_.Path("openssl.log");
    command.arguments = {"openssl",     "req",
                         "-x509",       "-nodes",
                         "-newkey",     "ec",
                         "-pkeyopt",    "ec_paramgen_curve:P-256",
                         "-days",       "2",
                         "-config",     directory_.Path("openssl.cnf"),
                         "-extensions", signer.empty() ? "ca" : "leaf",
                         "-subj",       "/CN=thermocline conformance " + name,
                         "-out",        directory_.Path(name + ".pem"),
                         "-keyout",     directory_.Path(name + ".key")};
    if (!signer.empty()) {
      command.arguments.insert(command.arguments.end(), {"-CA", directory_.Path(signer + ".pem"), "-CAkey",
                                                         directory_.Path(signer + ".key")});
    }
    const absl::StatusOr<int> code = Run(command);
    if (!code.ok()) return code.status();
    if (*code == 0) return absl::OkStatus();
    std::ifstream log(command.output);
    return absl::InternalError(fmt::format("openssl exits with {}: {}", *code,
                                           std::string(std::istreambuf_iterator<char>(log), {})));
  }

  const TempDirectory& directory_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Servers>> Servers::Start(Security security) {
  std::unique_ptr<Servers> servers(new Servers(security));
  if (absl::Status status = servers->StartAll(); !status.ok()) return status;
  return servers;
}

absl::Status Servers::StartAll() {
  // A block must hold a value of 16 MiB; clients that connect are shared out to two loops.
  ServerProcess::Options options{
      .flags = {"--memory", "256MiB", "--block-size", "32MiB", "--io-threads", "2"}};
  std::optional<server::rpc::TlsFiles> tls;
  if (security_ != Security::kPlain) {
    if (absl::Status status = CertificateMaker(directory_).MakeAll(certificates_); !status.ok())
      return status;
    tls = {.certificate = certificates_.server, .key = certificates_.server_key};
    options.flags.insert(options.flags.end(),
                         {"--tls-cert", certificates_.server, "--tls-key", certificates_.server_key});
  }
  if (security_ == Security::kMutualTls) {
    tls->client_ca = certificates_.ca;
    options.flags.insert(options.flags.end(), {"--tls-client-ca", certificates_.ca});
  }
  absl::StatusOr<std::unique_ptr<ServerProcess>> server = ServerProcess::Start(std::move(options));
  if (!server.ok()) return absl::InternalError(server.status().ToString());
  server_ = *std::move(server);
  absl::StatusOr<std::unique_ptr<EchoServer>> echo = EchoServer::Start(std::move(tls));
  if (!echo.ok()) return absl::InternalError(echo.status().ToString());
  echo_ = *std::move(echo);
  return absl::OkStatus();
}

absl::Status Servers::Restart() {
  if (absl::Status status = Stop(); !status.ok()) return status;
  return server_->Restart();
}

absl::Status Servers::Stop() {
  const std::optional<int> code = server_->Terminate();
  if (code == 0) return absl::OkStatus();
  return absl::InternalError(fmt::format("the server {}; it printed: {}",
                                         code ? fmt::format("exits with {}", *code) : "does not exit",
                                         server_->Log()));
}

}  // namespace thermocline::testing
