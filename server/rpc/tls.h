#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_st SSL;

namespace thermocline::server::rpc {

// PEM files.
struct TlsFiles {
  std::string certificate;  // with its chain
  std::string key;
  std::string client_ca;  // clients must show a certificate that it has signed; empty: they need none
};

class TlsSession;

// What all TLS connections of a server share. Thread-safe.
class TlsContext {
 public:
  // INVALID_ARGUMENT, naming the file and what is wrong with it.
  static absl::StatusOr<std::shared_ptr<const TlsContext>> Load(const TlsFiles& files);
  ~TlsContext();

  std::unique_ptr<TlsSession> NewSession() const;

 private:
  explicit TlsContext(SSL_CTX* context) : context_(context) {}

  SSL_CTX* const context_;
};

// The server's side of one connection's TLS (1.2 or 1.3, and only for HTTP/2: ALPN "h2"); it knows no
// sockets. Not thread-safe. Must not outlive its context.
class TlsSession {
 public:
  explicit TlsSession(SSL_CTX* context);
  ~TlsSession();

  // Takes what came from the client and appends what it means. False if the connection is over: send what
  // output() holds (an alert, perhaps), and close.
  bool Receive(std::string_view sealed, std::string& plain);

  // Takes what is to be sent. Before the handshake is over it must wait: see ready().
  bool Send(std::string_view plain);
  bool ready() const;

  // Says goodbye.
  void Shutdown();

  // To be sent, oldest first; Sent() removes it from the front. The view lives until the session is used.
  std::string_view output();
  void Sent(size_t bytes);

 private:
  void Collect();

  SSL* const ssl_;
  std::string output_;
  size_t output_begin_ = 0;
};

}  // namespace thermocline::server::rpc
