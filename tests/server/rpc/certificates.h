#pragma once

#include <string>

#include "tests/support/temp_directory.h"

namespace thermocline::server::rpc {

// PEM, of one certificate and its key.
struct Identity {
  std::string certificate;
  std::string key;
};

// Certificates for a test, made when this is made; the server's are also files.
class Certificates {
 public:
  Certificates();

  // Who signs; and somebody else who does.
  const Identity& authority() const { return authority_; }
  const Identity& stranger() const { return stranger_; }
  // Signed by the authority: a server "localhost", a client.
  const Identity& server() const { return server_; }
  const Identity& client() const { return client_; }
  // Signed by the stranger.
  const Identity& strange_client() const { return strange_client_; }

  std::string certificate_file() const { return directory_.Path("server.crt"); }
  std::string key_file() const { return directory_.Path("server.key"); }
  std::string authority_file() const { return directory_.Path("ca.crt"); }
  std::string other_key_file() const { return directory_.Path("other.key"); }
  std::string garbage_file() const { return directory_.Path("garbage"); }

 private:
  thermocline::testing::TempDirectory directory_;
  Identity authority_, stranger_, server_, client_, strange_client_;
};

}  // namespace thermocline::server::rpc
