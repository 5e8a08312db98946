#include "tests/load/header_blocks.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <fmt/format.h>
#include <nghttp2/nghttp2.h>

namespace thermocline::load {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// The peer: "name: value" of each field.
class Inflater {
 public:
  Inflater() { nghttp2_hd_inflate_new(&inflater_); }
  ~Inflater() { nghttp2_hd_inflate_del(inflater_); }

  void SetTableSize(size_t bytes) { nghttp2_hd_inflate_change_table_size(inflater_, bytes); }
  std::vector<std::string> Fields(const std::string& block) {
    std::vector<std::string> fields;
    const auto* at = reinterpret_cast<const uint8_t*>(block.data());
    size_t left = block.size();
    for (int flags = 0; (flags & NGHTTP2_HD_INFLATE_FINAL) == 0;) {
      nghttp2_nv field;
      flags = 0;
      const ssize_t used = nghttp2_hd_inflate_hd2(inflater_, &field, &flags, at, left, 1);
      if (used < 0) return {"malformed"};
      at += used;
      left -= static_cast<size_t>(used);
      if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0) continue;
      fields.push_back(fmt::format("{}: {}", reinterpret_cast<const char*>(field.name),
                                   reinterpret_cast<const char*>(field.value)));
    }
    nghttp2_hd_inflate_end_headers(inflater_);
    return fields;
  }

 private:
  nghttp2_hd_inflater* inflater_ = nullptr;
};

const std::string kLongPath = "/" + std::string(150, 'p');

std::string BlockOf(RequestHeaders& headers, size_t method) {
  std::string block;
  headers.Append(method, block);
  return block;
}

auto FieldsOf(const std::string& path) {
  return ElementsAre(":method: POST", ":scheme: http", ":path: " + path, ":authority: host:1",
                     "content-type: application/grpc", "te: trailers");
}

TEST(RequestHeadersTest, PeersReadThemAndTheyBecomeConstants) {
  RequestHeaders headers("host:1", {"/s/Get", "/s/Set", kLongPath});
  Inflater peer;
  for (const size_t method : {0, 0, 1, 0, 1, 2, 0, 1, 2, 2}) {
    const std::string path = method == 0 ? "/s/Get" : method == 1 ? "/s/Set" : kLongPath;
    EXPECT_THAT(peer.Fields(BlockOf(headers, method)), FieldsOf(path));
  }
  for (const size_t method : {0, 1, 2}) {
    EXPECT_EQ(BlockOf(headers, method).size(), 6u);
    EXPECT_EQ(BlockOf(headers, method), BlockOf(headers, method));
  }
}

TEST(RequestHeadersTest, SpellsEverythingOutForAPeerWithoutATable) {
  RequestHeaders headers("host:1", {"/s/Get", kLongPath});
  Inflater peer;
  EXPECT_THAT(peer.Fields(BlockOf(headers, 0)), FieldsOf("/s/Get"));
  headers.LimitTable(4096);
  EXPECT_EQ(BlockOf(headers, 0).size(), 6u);
  headers.LimitTable(0);
  peer.SetTableSize(0);
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(peer.Fields(BlockOf(headers, 0)), FieldsOf("/s/Get"));
    EXPECT_THAT(peer.Fields(BlockOf(headers, 1)), FieldsOf(kLongPath));
  }
}

// The server: blocks as nghttp2 compresses them.
class Deflater {
 public:
  Deflater() { nghttp2_hd_deflate_new(&deflater_, 4096); }
  ~Deflater() { nghttp2_hd_deflate_del(deflater_); }

  std::string Block(std::vector<std::pair<std::string, std::string>> fields) {
    std::vector<nghttp2_nv> entries;
    for (auto& [name, value] : fields) {
      entries.push_back({reinterpret_cast<uint8_t*>(name.data()), reinterpret_cast<uint8_t*>(value.data()),
                         name.size(), value.size(), NGHTTP2_NV_FLAG_NONE});
    }
    std::string block(4096, '\0');
    const ssize_t size = nghttp2_hd_deflate_hd(deflater_, reinterpret_cast<uint8_t*>(block.data()),
                                               block.size(), entries.data(), entries.size());
    block.resize(static_cast<size_t>(size));
    return block;
  }

 private:
  nghttp2_hd_deflater* deflater_ = nullptr;
};

TEST(ResponseHeadersTest, ReadsWhatTheServerSays) {
  Deflater server;
  ResponseHeaders headers;
  for (int i = 0; i < 5; ++i) {
    const auto* block =
        headers.Read(server.Block({{":status", "200"}, {"content-type", "application/grpc"}}));
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(block->http_status, 200);
    EXPECT_EQ(block->grpc_status, std::nullopt);
    block = headers.Read(server.Block({{"grpc-status", "0"}}));
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(block->http_status, 0);
    EXPECT_EQ(block->grpc_status, 0);
  }
}

// The same byte means another field after the table has changed.
TEST(ResponseHeadersTest, AKnownBlockIsReadAgainWhenTheTableHasChanged) {
  Deflater server;
  ResponseHeaders headers;
  for (int status = 0; status < 40; ++status) {
    for (int i = 0; i < 3; ++i) {
      const auto* block = headers.Read(server.Block({{"grpc-status", fmt::format("{}", status)}}));
      ASSERT_NE(block, nullptr);
      EXPECT_EQ(block->grpc_status, status);
      block =
          headers.Read(server.Block({{"grpc-status", "0"}, {"grpc-message", fmt::format("m{}", status)}}));
      ASSERT_NE(block, nullptr);
      EXPECT_EQ(block->grpc_message, fmt::format("m{}", status));
    }
  }
}

TEST(ResponseHeadersTest, SeesWhatIsMalformed) {
  ResponseHeaders headers;
  EXPECT_EQ(headers.Read("\xfe"), nullptr);
  EXPECT_EQ(ResponseHeaders().Read(std::string("\x40\x05grp", 5)), nullptr);
  EXPECT_NE(ResponseHeaders().Read(""), nullptr);
}

}  // namespace
}  // namespace thermocline::load
