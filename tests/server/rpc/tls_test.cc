#include "server/rpc/tls.h"

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <openssl/ssl.h>

#include "tests/server/rpc/certificates.h"
#include "tests/server/rpc/heap_bytes.h"

namespace thermocline::server::rpc {
namespace {

// A client in memory.
class TlsClient {
 public:
  TlsClient() : context_(SSL_CTX_new(TLS_client_method())), ssl_(SSL_new(context_)) {
    SSL_set_bio(ssl_, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(ssl_);
    SSL_set_alpn_protos(ssl_, reinterpret_cast<const unsigned char*>("\x02h2"), 3);
  }
  ~TlsClient() {
    SSL_free(ssl_);
    SSL_CTX_free(context_);
  }

  void Take(std::string_view sealed) {
    BIO_write(SSL_get_rbio(ssl_), sealed.data(), static_cast<int>(sealed.size()));
  }
  std::string Sealed() {
    std::string bytes(BIO_ctrl_pending(SSL_get_wbio(ssl_)), '\0');
    BIO_read(SSL_get_wbio(ssl_), bytes.data(), static_cast<int>(bytes.size()));
    return bytes;
  }
  void Handshake() { SSL_do_handshake(ssl_); }
  void Write(const std::string& plain) { SSL_write(ssl_, plain.data(), static_cast<int>(plain.size())); }
  std::string Read() {
    std::string plain;
    char buffer[16 << 10];
    for (int size = SSL_read(ssl_, buffer, sizeof buffer); size > 0;
         size = SSL_read(ssl_, buffer, sizeof buffer)) {
      plain.append(buffer, static_cast<size_t>(size));
    }
    return plain;
  }
  bool ended() const { return (SSL_get_shutdown(ssl_) & SSL_RECEIVED_SHUTDOWN) != 0; }

 private:
  SSL_CTX* const context_;
  SSL* const ssl_;
};

class TlsSessionTest : public ::testing::Test {
 protected:
  void Shake() {
    std::string plain;
    while (!server_->ready()) {
      client_.Handshake();
      ASSERT_TRUE(server_->Receive(client_.Sealed(), plain));
      TakeAll();
    }
    client_.Handshake();
    client_.Read();  // tickets
  }
  void TakeAll() {
    client_.Take(server_->output());
    server_->Sent(server_->output().size());
  }

  Certificates certificates_;
  std::shared_ptr<const TlsContext> context_ =
      *TlsContext::Load({certificates_.certificate_file(), certificates_.key_file(), ""});
  std::unique_ptr<TlsSession> server_ = context_->NewSession();
  TlsClient client_;
};

TEST_F(TlsSessionTest, CarriesBytesInPieces) {
  Shake();
  std::string plain;
  client_.Write(std::string(40'000, 'a'));
  const std::string sealed = client_.Sealed();
  for (size_t at = 0; at < sealed.size(); at += 77)
    ASSERT_TRUE(server_->Receive(sealed.substr(at, 77), plain));
  EXPECT_EQ(plain, std::string(40'000, 'a'));
  ASSERT_TRUE(server_->Send(std::string(40'000, 'b')));
  std::string got;
  while (!server_->output().empty()) {
    const std::string_view piece = server_->output().substr(0, 91);
    client_.Take(piece);
    server_->Sent(piece.size());
    got += client_.Read();
  }
  EXPECT_EQ(got, std::string(40'000, 'b'));
}

TEST_F(TlsSessionTest, SaysGoodbye) {
  Shake();
  server_->Send("last words");
  server_->Shutdown();
  TakeAll();
  EXPECT_EQ(client_.Read(), "last words");
  EXPECT_TRUE(client_.ended());
}

TEST_F(TlsSessionTest, GarbageEndsIt) {
  std::string plain;
  EXPECT_FALSE(server_->Receive("GET / HTTP/1.1\r\n\r\n", plain));
  EXPECT_EQ(plain, "");
  server_->Shutdown();  // before the handshake: nothing to say goodbye to
}

// The output never runs dry, and yet what was sent goes.
TEST_F(TlsSessionTest, WhatIsSentIsForgotten) {
  Shake();
  const std::string plain(64 << 10, 'x');
  const size_t before = HeapBytes();
  for (int i = 0; i < 4; ++i) server_->Send(plain);
  size_t taken = 0;
  for (int i = 0; i < 1000; ++i) {
    client_.Take(server_->output().substr(0, plain.size()));
    server_->Sent(plain.size());
    taken += client_.Read().size();
    server_->Send(plain);
  }
  EXPECT_GT(taken, 900 * plain.size());
  EXPECT_LT(HeapBytes(), before + (4 << 20));
}

}  // namespace
}  // namespace thermocline::server::rpc
