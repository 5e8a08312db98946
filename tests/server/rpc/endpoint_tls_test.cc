// The endpoint over TLS: stock clients with and without certificates, and sockets that do it their own way.

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <openssl/ssl.h>
#include <poll.h>

#include "tests/server/rpc/certificates.h"
#include "tests/server/rpc/endpoint_fixture.h"
#include "tests/server/rpc/heap_bytes.h"
#include "tests/server/rpc/http2_wire.h"
#include "tests/server/rpc/raw_client.h"

namespace thermocline::server::rpc {
namespace {

using ::testing::HasSubstr;
using thermocline::testing::Bytes;
using thermocline::testing::DownloadRequest;
using thermocline::testing::Echo;

constexpr size_t kMiB = 1 << 20;

// A socket with OpenSSL's client on it, which need not behave.
class RawTlsClient {
 public:
  // `alpn`: as it goes over the wire; empty: none is offered.
  RawTlsClient(uint16_t port, const std::string& alpn, int receive_buffer = 0)
      : client_(port, receive_buffer), context_(SSL_CTX_new(TLS_client_method())), ssl_(SSL_new(context_)) {
    if (!alpn.empty()) {
      SSL_set_alpn_protos(ssl_, reinterpret_cast<const unsigned char*>(alpn.data()),
                          static_cast<unsigned>(alpn.size()));
    }
    SSL_set_fd(ssl_, client_.socket());
  }
  ~RawTlsClient() {
    SSL_free(ssl_);
    SSL_CTX_free(context_);
  }

  bool Handshake() {
    return Do([this] { return SSL_connect(ssl_); }) > 0;
  }
  bool Send(const std::string& bytes) {
    return Do([&] { return SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size())); }) > 0;
  }
  // "": closed.
  std::string Read() {
    std::string bytes(64 << 10, '\0');
    const int size = Do([&] { return SSL_read(ssl_, bytes.data(), static_cast<int>(bytes.size())); });
    bytes.resize(static_cast<size_t>(size > 0 ? size : 0));
    return bytes;
  }
  std::string Alpn() const {
    const unsigned char* chosen = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(ssl_, &chosen, &size);
    return std::string(reinterpret_cast<const char*>(chosen), size);
  }

 private:
  template <typename Act>
  int Do(Act act) {
    for (;;) {
      const int result = act();
      if (result > 0) return result;
      const int error = SSL_get_error(ssl_, result);
      if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) return result;
      pollfd poll = {client_.socket(), static_cast<short>(error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT),
                     0};
      if (::poll(&poll, 1, 60'000) != 1) return -1;
    }
  }

  RawClient client_;
  SSL_CTX* const context_;
  SSL* const ssl_;
};

class EndpointTlsTest : public EndpointFixture {
 protected:
  void StartTls(bool client_certificates, const std::function<void(Endpoint::Options&)>& change = nullptr) {
    Start([&](Endpoint::Options& options) {
      options.tls = TlsFiles{certificates_.certificate_file(), certificates_.key_file(),
                             client_certificates ? certificates_.authority_file() : ""};
      if (change != nullptr) change(options);
    });
  }

  std::unique_ptr<Stub> TlsStub(const Identity& authority, const Identity* own = nullptr) {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = authority.certificate;
    if (own != nullptr) {
      options.pem_cert_chain = own->certificate;
      options.pem_private_key = own->key;
    }
    grpc::ChannelArguments arguments = Arguments();
    arguments.SetSslTargetNameOverride("localhost");
    return Echo::NewStub(grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(endpoint_->port()),
                                                   grpc::SslCredentials(options), arguments));
  }

  Certificates certificates_;
};

const std::string kH2 = "\x02h2";

TEST_F(EndpointTlsTest, ServesStockClients) {
  StartTls(false);
  const auto stub = TlsStub(certificates_.authority());
  for (const size_t size : {size_t{0}, size_t{10}, size_t{16'384}, 10 * kMiB}) {
    const std::string bytes(size, 'x');
    std::string answer;
    const grpc::Status status = Say(*stub, bytes, &answer);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_TRUE(answer == bytes);
  }
  ExpectStopAtOnce();
}

TEST_F(EndpointTlsTest, AClientThatDoesNotTrustItLeaves) {
  StartTls(false);
  EXPECT_EQ(Say(*TlsStub(certificates_.stranger()), "x").error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(Say(*NewStub(), "x").error_code(), grpc::UNAVAILABLE);  // plain text
  EXPECT_TRUE(Say(*TlsStub(certificates_.authority()), "x").ok());
}

TEST_F(EndpointTlsTest, ClientsShowCertificatesIfTheyMust) {
  StartTls(true);
  EXPECT_TRUE(Say(*TlsStub(certificates_.authority(), &certificates_.client()), "x").ok());
  EXPECT_EQ(Say(*TlsStub(certificates_.authority()), "x").error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(Say(*TlsStub(certificates_.authority(), &certificates_.strange_client()), "x").error_code(),
            grpc::UNAVAILABLE);
  EXPECT_TRUE(Say(*TlsStub(certificates_.authority(), &certificates_.client()), "x").ok());
}

TEST_F(EndpointTlsTest, SpeaksHttp2Only) {
  StartTls(false);
  for (const std::string& alpn : {kH2, "\x08http/1.1" + kH2}) {
    RawTlsClient client(endpoint_->port(), alpn);
    ASSERT_TRUE(client.Handshake());
    EXPECT_EQ(client.Alpn(), "h2");
    client.Send(Greeting());
    EXPECT_NE(client.Read(), "");
  }
  for (const std::string& alpn : {std::string(), std::string("\x08http/1.1"), std::string("\x03h2c")}) {
    RawTlsClient client(endpoint_->port(), alpn);
    EXPECT_FALSE(client.Handshake()) << alpn;
  }
}

TEST_F(EndpointTlsTest, FilesThatAreOfNoUseAreNamed) {
  const auto refusal = [this](const TlsFiles& files) {
    Endpoint::Options options;
    options.host = "127.0.0.1";
    options.tls = files;
    const auto endpoint = Endpoint::Start(options, service_.NewMethods());
    EXPECT_EQ(endpoint.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(endpoint.status().message());
  };
  const std::string certificate = certificates_.certificate_file();
  const std::string key = certificates_.key_file();
  const std::string garbage = certificates_.garbage_file();
  EXPECT_THAT(refusal({garbage, key, ""}), HasSubstr(garbage));
  EXPECT_THAT(refusal({certificate, garbage, ""}), HasSubstr(garbage));
  EXPECT_THAT(refusal({certificate, key, garbage}), HasSubstr(garbage));
  EXPECT_THAT(refusal({"/none", key, ""}), HasSubstr("/none"));
  EXPECT_THAT(refusal({certificate, certificates_.other_key_file(), ""}),
              HasSubstr(certificates_.other_key_file()));
}

TEST_F(EndpointTlsTest, HalfOpenHandshakesEnd) {
  StartTls(false, [](Endpoint::Options& options) { options.greeting = std::chrono::seconds(1); });
  std::vector<RawClient> clients;
  // Nothing; the beginning of a ClientHello; no TLS at all.
  for (const std::string& bytes :
       {std::string(), std::string("\x16\x03\x01\x02\x00\x01", 6), std::string("GET / HTTP/1.1\r\n")}) {
    clients.emplace_back(endpoint_->port());
    clients.back().Send(bytes);
  }
  // The handshake, and not a word after it.
  RawTlsClient silent(endpoint_->port(), kH2);
  ASSERT_TRUE(silent.Handshake());
  EXPECT_TRUE(Say(*TlsStub(certificates_.authority()), "x").ok());
  for (RawClient& client : clients) client.ReadToEnd();
  while (!silent.Read().empty()) {
  }
}

// The stream of `messages` of `bytes_each`, and whether the client leaves as soon as it is answered.
std::string Download(uint32_t messages, uint32_t bytes_each, bool leaves) {
  DownloadRequest request;
  request.set_messages(messages);
  request.set_bytes_each(bytes_each);
  return Greeting({{Setting::kInitialWindowSize, 0x7fffffff}}) +
         WindowUpdateFrame(0, 0x7fffffff - kDefaultWindowBytes) +
         HeadersFrame(1, RequestBlock("/thermocline.testing.Echo/Download"), false) +
         DataFrame(1, Message(request.SerializeAsString()), true) +
         (leaves ? GoAwayFrame(0, Http2Error::kNoError) : "");
}

// Reads until the stream ends, with a pause before each record; returns the bytes of data, 0 if it has no
// end.
size_t ReadStream(RawTlsClient& client, std::chrono::microseconds pause) {
  size_t data = 0;
  std::string partial;
  for (;;) {
    std::this_thread::sleep_for(pause);
    const std::string bytes = client.Read();
    if (bytes.empty()) return 0;
    partial += bytes;
    for (const WireFrame& frame : TakeFrames(partial)) {
      if (frame.type == FrameType::kData) data += frame.payload.size();
      if (frame.type == FrameType::kHeaders && frame.has(kFlagEndStream)) return data;
    }
  }
}

// What is sealed and not sent must not pile up: a reader that is slow never lets the output run dry.
TEST_F(EndpointTlsTest, ASlowReaderOfABigStreamCostsLittle) {
  StartTls(false);
  RawTlsClient client(endpoint_->port(), kH2, 16'384);
  ASSERT_TRUE(client.Handshake());
  const HeapWatch heap;
  ASSERT_TRUE(client.Send(Download(200, 256 << 10, false)));
  EXPECT_GE(ReadStream(client, std::chrono::microseconds(300)), 200u * (256 << 10));
  EXPECT_LT(heap.Peak(), 8 * kMiB);
}

// An answer that is under way when the client takes its leave comes whole, wherever it waits by then: in the
// kernel, sealed, or not yet sealed.
TEST_F(EndpointTlsTest, WhatIsSealedLastIsSent) {
  StartTls(false);
  for (uint32_t size = 1 << 20; size < 6 << 20; size += 180'000) {
    RawTlsClient client(endpoint_->port(), kH2, 4096);
    ASSERT_TRUE(client.Handshake());
    ASSERT_TRUE(client.Send(Download(1, size, true)));
    EXPECT_GE(ReadStream(client, std::chrono::microseconds(0)), size);
  }
}

}  // namespace
}  // namespace thermocline::server::rpc
