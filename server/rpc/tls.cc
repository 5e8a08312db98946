#include "server/rpc/tls.h"

#include <new>
#include <utility>

#include "absl/status/status.h"
#include "fmt/format.h"
#include <openssl/err.h>
#include <openssl/ssl.h>

namespace thermocline::server::rpc {
namespace {

constexpr unsigned char kH2[] = {2, 'h', '2'};
constexpr size_t kReadStep = 16 << 10;   // a record's
constexpr size_t kMaxTaken = 256 << 10;  // of the output, until what is left moves to the front

std::string LastError() {
  const unsigned long error = ERR_get_error();
  ERR_clear_error();
  if (error == 0) return "no reason is known";
  char text[256];
  ERR_error_string_n(error, text, sizeof text);
  return text;
}

absl::Status Refuse(std::string_view what, const std::string& file) {
  return absl::InvalidArgumentError(fmt::format("{} {}: {}", what, file, LastError()));
}

int SelectH2(SSL*, const unsigned char** chosen, unsigned char* chosen_size, const unsigned char* offered,
             unsigned int offered_size, void*) {
  unsigned char* out = nullptr;
  if (SSL_select_next_proto(&out, chosen_size, kH2, sizeof kH2, offered, offered_size) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *chosen = out;
  return SSL_TLSEXT_ERR_OK;
}

// Clients of other protocols do not get as far as to an error that they cannot read.
int RequireAlpn(SSL* ssl, int* alert, void*) {
  const unsigned char* extension = nullptr;
  size_t size = 0;
  if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation, &extension, &size) ==
      1) {
    return SSL_CLIENT_HELLO_SUCCESS;
  }
  *alert = SSL_AD_NO_APPLICATION_PROTOCOL;
  return SSL_CLIENT_HELLO_ERROR;
}

absl::Status Configure(SSL_CTX* context, const TlsFiles& files) {
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_alpn_select_cb(context, SelectH2, nullptr);
  SSL_CTX_set_client_hello_cb(context, RequireAlpn, nullptr);
  if (SSL_CTX_use_certificate_chain_file(context, files.certificate.c_str()) != 1) {
    return Refuse("cannot use the TLS certificate", files.certificate);
  }
  if (SSL_CTX_use_PrivateKey_file(context, files.key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return Refuse("cannot use the TLS key", files.key);
  }
  if (SSL_CTX_check_private_key(context) != 1) {
    return Refuse("the TLS key does not belong to the certificate:", files.key);
  }
  if (files.client_ca.empty()) return absl::OkStatus();
  if (SSL_CTX_load_verify_locations(context, files.client_ca.c_str(), nullptr) != 1) {
    return Refuse("cannot use the certificates of those who sign for clients,", files.client_ca);
  }
  SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(files.client_ca.c_str()));
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  constexpr unsigned char kName[] = "thermocline";
  SSL_CTX_set_session_id_context(context, kName, sizeof kName - 1);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const TlsContext>> TlsContext::Load(const TlsFiles& files) {
  ERR_clear_error();
  SSL_CTX* const context = SSL_CTX_new(TLS_server_method());
  if (context == nullptr) throw std::bad_alloc();
  std::shared_ptr<const TlsContext> owner(new TlsContext(context));
  if (absl::Status status = Configure(context, files); !status.ok()) return status;
  return owner;
}

TlsContext::~TlsContext() { SSL_CTX_free(context_); }

std::unique_ptr<TlsSession> TlsContext::NewSession() const { return std::make_unique<TlsSession>(context_); }

TlsSession::TlsSession(SSL_CTX* context) : ssl_(SSL_new(context)) {
  BIO* const in = BIO_new(BIO_s_mem());
  BIO* const out = BIO_new(BIO_s_mem());
  if (ssl_ == nullptr || in == nullptr || out == nullptr) throw std::bad_alloc();
  SSL_set_bio(ssl_, in, out);  // which owns them
  SSL_set_accept_state(ssl_);
}

TlsSession::~TlsSession() { SSL_free(ssl_); }

bool TlsSession::ready() const { return SSL_is_init_finished(ssl_) == 1; }

bool TlsSession::Receive(std::string_view sealed, std::string& plain) {
  ERR_clear_error();
  // A memory BIO takes everything.
  BIO_write(SSL_get_rbio(ssl_), sealed.data(), static_cast<int>(sealed.size()));
  for (;;) {
    const size_t before = plain.size();
    plain.resize(before + kReadStep);
    const int read = SSL_read(ssl_, plain.data() + before, static_cast<int>(kReadStep));
    plain.resize(before + static_cast<size_t>(read > 0 ? read : 0));
    if (read > 0) continue;
    const bool goes_on = SSL_get_error(ssl_, read) == SSL_ERROR_WANT_READ;
    ERR_clear_error();
    Collect();
    return goes_on;
  }
}

bool TlsSession::Send(std::string_view plain) {
  ERR_clear_error();
  const bool sent = plain.empty() || SSL_write(ssl_, plain.data(), static_cast<int>(plain.size())) > 0;
  ERR_clear_error();
  Collect();
  return sent;
}

void TlsSession::Shutdown() {
  if (!ready()) return;
  SSL_shutdown(ssl_);
  ERR_clear_error();
  Collect();
}

void TlsSession::Collect() {
  BIO* const out = SSL_get_wbio(ssl_);
  const size_t pending = BIO_ctrl_pending(out);
  if (pending == 0) return;
  const size_t before = output_.size();
  output_.resize(before + pending);
  BIO_read(out, output_.data() + before, static_cast<int>(pending));
}

std::string_view TlsSession::output() { return std::string_view(output_).substr(output_begin_); }

void TlsSession::Sent(size_t bytes) {
  output_begin_ += bytes;
  if (output_begin_ < output_.size()) {
    // A slow reader never takes the last byte: there is always more.
    if (output_begin_ >= kMaxTaken) output_.erase(0, std::exchange(output_begin_, 0));
    return;
  }
  output_.clear();
  output_begin_ = 0;
  if (output_.capacity() > 4 * kReadStep) output_.shrink_to_fit();
}

}  // namespace thermocline::server::rpc
