// The whole KeyValue API and Admin, with every field.

#include <map>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "gmock/gmock.h"

#include "tests/conformance/cpp/connection.h"

namespace thermocline::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;
using Entry = v1::BatchGetResponse::Entry;

constexpr int64_t kDayMs = 24 * 3600 * 1000;

v1::Condition IfAbsent(bool value = true) {
  v1::Condition condition;
  condition.set_if_absent(value);
  return condition;
}

v1::Condition IfPresent(bool value = true) {
  v1::Condition condition;
  condition.set_if_present(value);
  return condition;
}

v1::Condition IfVersion(uint64_t version) {
  v1::Condition condition;
  condition.set_if_version(version);
  return condition;
}

v1::SetRequest ASet(const std::string& key, const std::string& value = "v") {
  v1::SetRequest request;
  request.set_key(key);
  request.set_value(value);
  return request;
}

v1::SetRequest ASet(const std::string& key, const std::string& value, const v1::Condition& condition) {
  v1::SetRequest request = ASet(key, value);
  *request.mutable_condition() = condition;
  return request;
}

v1::DeleteRequest ADelete(const std::string& key) {
  v1::DeleteRequest request;
  request.set_key(key);
  return request;
}

v1::DeleteRequest ADelete(const std::string& key, const v1::Condition& condition) {
  v1::DeleteRequest request = ADelete(key);
  *request.mutable_condition() = condition;
  return request;
}

class KeyValueConformanceTest : public ConformanceTest {
 protected:
  // The response of a unary call that must succeed.
  template <typename Response, typename Request, typename Stub>
  Response Call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                const Request& request) {
    grpc::ClientContext context;
    Response response;
    const grpc::Status status = (stub.*method)(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_code() << ": " << status.error_message();
    return response;
  }

  v1::GetResponse Get(const std::string& key, bool no_value = false) {
    v1::GetRequest request;
    request.set_key(key);
    request.set_no_value(no_value);
    return Call(*key_value_, &v1::KeyValue::Stub::Get, request);
  }
  v1::WriteResponse Set(const v1::SetRequest& request) {
    return Call(*key_value_, &v1::KeyValue::Stub::Set, request);
  }
  v1::WriteResponse Delete(const v1::DeleteRequest& request) {
    return Call(*key_value_, &v1::KeyValue::Stub::Delete, request);
  }

  std::vector<v1::ScanResponse> Scan(const v1::ScanRequest& request, grpc::Status* status = nullptr) {
    grpc::ClientContext context;
    const auto reader = key_value_->Scan(&context, request);
    std::vector<v1::ScanResponse> pages;
    for (v1::ScanResponse page; reader->Read(&page);) pages.push_back(page);
    const grpc::Status finished = reader->Finish();
    if (status != nullptr) {
      *status = finished;
    } else {
      EXPECT_TRUE(finished.ok()) << finished.error_message();
    }
    return pages;
  }

  // What a set fails with.
  grpc::Status Failure(const v1::SetRequest& request) {
    grpc::ClientContext context;
    v1::WriteResponse response;
    return key_value_->Set(&context, request, &response);
  }
};

MATCHER_P2(FailsWith, code, part, "") {
  *result_listener << arg.error_code() << ": " << arg.error_message();
  return arg.error_code() == code && arg.error_message().find(part) != std::string::npos;
}

MATCHER_P2(IsWritten, applied, version, "") { return arg.applied() == applied && arg.version() == version; }

TEST_P(KeyValueConformanceTest, SetGetDelete) {
  std::string key = NewKey();
  for (int i = 0; i < 256; ++i) key.push_back(static_cast<char>(i));
  EXPECT_FALSE(Get(key).found());
  const v1::WriteResponse first = Set(ASet(key, key));
  EXPECT_TRUE(first.applied());
  EXPECT_EQ(Get(key).value(), key);
  EXPECT_EQ(Get(key).version(), first.version());
  EXPECT_FALSE(Get(key).has_ttl_ms());
  EXPECT_TRUE(Get(key, true).found());
  EXPECT_EQ(Get(key, true).value(), "");
  const v1::WriteResponse second = Set(ASet(key, ""));
  EXPECT_GT(second.version(), first.version());
  EXPECT_TRUE(Get(key).found());
  const v1::WriteResponse deleted = Delete(ADelete(key));
  EXPECT_TRUE(deleted.applied());
  EXPECT_GT(deleted.version(), second.version());
  EXPECT_FALSE(Get(key).found());
  EXPECT_TRUE(Delete(ADelete(key)).applied());
}

TEST_P(KeyValueConformanceTest, Conditions) {
  const std::string key = NewKey();
  EXPECT_THAT(Set(ASet(key, "0", IfPresent())), IsWritten(false, 0u));
  EXPECT_THAT(Delete(ADelete(key, IfPresent())), IsWritten(false, 0u));
  const v1::WriteResponse first = Set(ASet(key, "1", IfAbsent()));
  EXPECT_TRUE(first.applied());
  EXPECT_THAT(Set(ASet(key, "2", IfAbsent())), IsWritten(false, first.version()));
  EXPECT_THAT(Set(ASet(key, "2", IfVersion(first.version() + 1))), IsWritten(false, first.version()));
  EXPECT_THAT(Delete(ADelete(key, IfVersion(first.version() + 1))), IsWritten(false, first.version()));
  EXPECT_EQ(Get(key).value(), "1");
  EXPECT_TRUE(Set(ASet(key, "3", IfVersion(first.version()))).applied());
  const v1::WriteResponse third = Set(ASet(key, "4", IfPresent()));
  EXPECT_TRUE(third.applied());
  EXPECT_TRUE(Delete(ADelete(key, IfVersion(third.version()))).applied());
  EXPECT_FALSE(Get(key).found());
}

TEST_P(KeyValueConformanceTest, TtlAndDurability) {
  const std::string key = NewKey();
  v1::SetRequest set = ASet(key);
  set.set_ttl_ms(kDayMs);
  for (const v1::Durability durability : {v1::DURABILITY_UNSPECIFIED, v1::SYNC, v1::MEMORY}) {
    set.set_durability(durability);
    const v1::WriteResponse written = Set(set);
    const v1::GetResponse found = Get(key, true);
    EXPECT_EQ(found.version(), written.version());
    EXPECT_GT(found.ttl_ms(), static_cast<uint64_t>(kDayMs / 2));
    EXPECT_LE(found.ttl_ms(), static_cast<uint64_t>(kDayMs));
    v1::DeleteRequest remove = ADelete(key);
    remove.set_durability(durability);
    EXPECT_TRUE(Delete(remove).applied());
  }
  Set(set);
  Set(ASet(key));
  EXPECT_FALSE(Get(key).has_ttl_ms());
  set.set_ttl_ms(1);
  Set(set);
  EXPECT_TRUE(Until([&] { return !Get(key).found(); }));
}

TEST_P(KeyValueConformanceTest, Batches) {
  const std::string key = NewKey();
  v1::BatchWriteRequest writes;
  *writes.add_writes()->mutable_set() = ASet(key + "a", "1");
  writes.mutable_writes(0)->mutable_set()->set_ttl_ms(kDayMs);
  *writes.add_writes()->mutable_set() = ASet(key + "b", std::string(1000, '2'));
  *writes.add_writes()->mutable_set() = ASet(key + "a", "3", IfAbsent());
  *writes.add_writes()->mutable_delete_() = ADelete(key + "c", IfPresent());
  *writes.add_writes()->mutable_set() = ASet("");
  writes.add_writes();
  const v1::BatchWriteResponse written = Call(*key_value_, &v1::KeyValue::Stub::BatchWrite, writes);
  ASSERT_EQ(written.results_size(), 6);
  const uint64_t first = written.results(0).written().version();
  const uint64_t second = written.results(1).written().version();
  EXPECT_TRUE(written.results(0).written().applied());
  EXPECT_TRUE(written.results(1).written().applied());
  EXPECT_THAT(written.results(2).written(), IsWritten(false, first));
  EXPECT_THAT(written.results(3).written(), IsWritten(false, 0u));
  EXPECT_EQ(written.results(4).error().code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(written.results(4).error().message(), HasSubstr("key is empty"));
  EXPECT_THAT(written.results(5).error().message(), HasSubstr("neither set nor delete"));

  v1::BatchGetRequest keys;
  for (const char* name : {"b", "a", "missing", "b"}) keys.add_keys(key + name);
  const v1::BatchGetResponse found = Call(*key_value_, &v1::KeyValue::Stub::BatchGet, keys);
  ASSERT_EQ(found.entries_size(), 4);
  EXPECT_EQ(found.entries(0).value(), std::string(1000, '2'));
  EXPECT_EQ(found.entries(1).value(), "1");
  EXPECT_TRUE(found.entries(1).has_ttl_ms());
  EXPECT_EQ(found.entries(2).state(), Entry::MISSING);
  EXPECT_EQ(found.entries(3).version(), second);
  keys.set_max_bytes(1500);
  const v1::BatchGetResponse some = Call(*key_value_, &v1::KeyValue::Stub::BatchGet, keys);
  ASSERT_EQ(some.entries_size(), 4);
  EXPECT_THAT((std::vector<int>{some.entries(0).state(), some.entries(3).state()}),
              UnorderedElementsAre(Entry::FOUND, Entry::TOO_LARGE));
}

TEST_P(KeyValueConformanceTest, Scans) {
  const std::string key = NewKey();
  std::map<std::string, uint64_t> versions;
  for (int i = 0; i < 100; ++i) {
    v1::SetRequest set = ASet(key + std::to_string(i), "value");
    set.set_durability(v1::MEMORY);
    versions[set.key()] = Set(set).version();
  }
  v1::ScanRequest request;
  request.set_prefix(key);
  std::map<std::string, uint64_t> seen;
  const std::vector<v1::ScanResponse> pages = Scan(request);
  for (const v1::ScanResponse& page : pages) {
    EXPECT_EQ(page.done(), &page == &pages.back());
    for (const auto& entry : page.entries()) {
      EXPECT_EQ(entry.value(), "value");
      seen[entry.key()] = entry.version();
    }
  }
  EXPECT_EQ(seen, versions);

  seen.clear();
  request.set_limit(30);
  request.set_no_values(true);
  for (bool done = false; !done;) {
    for (const v1::ScanResponse& page : Scan(request)) {
      for (const auto& entry : page.entries()) {
        EXPECT_EQ(entry.value(), "");
        seen[entry.key()] = entry.version();
      }
      request.set_cursor(page.cursor());
      done = page.done();
    }
  }
  EXPECT_EQ(seen, versions);

  request.set_cursor("no cursor");
  grpc::Status status;
  EXPECT_THAT(Scan(request, &status), SizeIs(0));
  EXPECT_THAT(status, FailsWith(grpc::INVALID_ARGUMENT, "cursor"));
}

TEST_P(KeyValueConformanceTest, Errors) {
  const std::string key = NewKey();
  const auto with_ttl = [&](int64_t ttl_ms) {
    v1::SetRequest request = ASet(key);
    request.set_ttl_ms(ttl_ms);
    return request;
  };
  v1::SetRequest durable = ASet(key);
  durable.set_durability(static_cast<v1::Durability>(3));
  for (const auto& [request, part] : std::vector<std::pair<v1::SetRequest, std::string>>{
           {ASet(""), "key is empty; a key has 1 to 65536 bytes"},
           {ASet(std::string(65'537, 'k')), "key has 65537 bytes; the limit is 65536"},
           {with_ttl(0), "ttl_ms is 0"},
           {with_ttl(3'153'600'000'001), "ttl_ms is 3153600000001"},
           {durable, "durability is 3"},
           {ASet(key, "", IfAbsent(false)), "if_absent is false"},
           {ASet(key, "", IfPresent(false)), "if_present is false"},
           {ASet(key, "", IfVersion(0)), "if_version is 0"},
           {ASet(key, "", v1::Condition()), "no kind"},
       }) {
    EXPECT_THAT(Failure(request), FailsWith(grpc::INVALID_ARGUMENT, part));
  }
  EXPECT_FALSE(Get(key).found());
}

TEST_P(KeyValueConformanceTest, LargestKeyAndValues) {
  std::string key = NewKey();
  key.resize(65'536, 'k');
  std::string value(16 << 20, '\0');
  for (size_t i = 0; i < value.size(); ++i) value[i] = static_cast<char>(i * 7 + (i >> 10));
  Set(ASet(key, value));
  EXPECT_TRUE(Get(key).value() == value);
  v1::BatchGetRequest keys;
  keys.add_keys(key);
  keys.set_max_bytes(16 << 20);
  EXPECT_TRUE(Call(*key_value_, &v1::KeyValue::Stub::BatchGet, keys).entries(0).value() == value);
  v1::ScanRequest scan;
  scan.set_prefix(key);
  int scanned = 0;
  for (const v1::ScanResponse& page : Scan(scan)) {
    for (const auto& entry : page.entries()) scanned += entry.value() == value ? 1 : -1;
  }
  EXPECT_EQ(scanned, 1);
  EXPECT_THAT(Failure(ASet(key, value + "1")),
              FailsWith(grpc::INVALID_ARGUMENT, "value has 16777217 bytes; the limit is 16777216"));
  EXPECT_THAT(Failure(ASet(key, std::string(17 << 20, 'v'))),
              FailsWith(grpc::RESOURCE_EXHAUSTED, "the limit is 17039360"));
  EXPECT_TRUE(Get(key).value() == value);
  Delete(ADelete(key));
}

TEST_P(KeyValueConformanceTest, Admin) {
  const v1::StatsResponse before = Call(*admin_, &v1::Admin::Stub::Stats, {});
  Set(ASet(NewKey(), std::string(1000, 'v')));
  Call(*admin_, &v1::Admin::Stub::Flush, {});
  const v1::StatsResponse after = Call(*admin_, &v1::Admin::Stub::Stats, {});
  EXPECT_EQ(after.memory().limit_bytes(), 256u << 20);
  EXPECT_EQ(after.operations().sets(), before.operations().sets() + 1);
  EXPECT_TRUE(after.log().accepts_writes());
  Call(*admin_, &v1::Admin::Stub::Compact, {});
}

INSTANTIATE_CONFORMANCE_TEST(KeyValueConformanceTest);

}  // namespace
}  // namespace thermocline::testing
