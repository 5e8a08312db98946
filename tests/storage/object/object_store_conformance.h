#pragma once

#include <atomic>
#include <cstdint>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/object_store.h"
#include "tests/storage/object/object_calls.h"

// What every object store must do. To ask it of one:
//   class OnMyStore { public: ObjectStore& store(); };  // empty when it is made
//   INSTANTIATE_TYPED_TEST_SUITE_P(MyStore, ObjectStoreConformance, OnMyStore);
namespace thermocline::testing {

template <typename Place>
class ObjectStoreConformance : public ::testing::Test {
 protected:
  storage::ObjectStore& store() { return place_.store(); }

 private:
  Place place_;
};

TYPED_TEST_SUITE_P(ObjectStoreConformance);

TYPED_TEST_P(ObjectStoreConformance, ReadsWhatWasWritten) {
  uint64_t number = 0;
  for (const size_t bytes : {1, 1000, 262'143, 262'144, 262'145, 1'000'000}) {
    for (const size_t piece : {999'999, 262'144, 100'000, 777}) {
      const std::string name = "objects/" + std::to_string(++number);
      const std::string content = ObjectBytes(number, bytes);
      ASSERT_TRUE(WriteObject(this->store(), name, content, piece).ok());
      const auto object = this->store().Open(name).value();
      EXPECT_EQ(object->size(), bytes);
      EXPECT_TRUE(ReadObject(*object, 0, bytes).value() == content) << bytes << " in pieces of " << piece;
    }
  }
}

TYPED_TEST_P(ObjectStoreConformance, ReadsRanges) {
  const std::string content = ObjectBytes(1, 300'000);
  ASSERT_TRUE(WriteObject(this->store(), "object", content).ok());
  const auto object = this->store().Open("object").value();
  for (const auto& [offset, bytes] : std::vector<std::pair<uint64_t, size_t>>{
           {0, 1}, {299'999, 1}, {4095, 2}, {1, 299'999}, {262'140, 10}, {100'000, 65'536}}) {
    EXPECT_EQ(ReadObject(*object, offset, bytes).value(), content.substr(offset, bytes));
  }
  for (const auto& [offset, bytes] : std::vector<std::pair<uint64_t, size_t>>{
           {0, 300'001}, {299'999, 2}, {300'000, 1}, {400'000, 1}, {UINT64_MAX, 1}, {UINT64_MAX - 3, 10}}) {
    const absl::Status status = ReadObject(*object, offset, bytes).status();
    EXPECT_TRUE(absl::IsOutOfRange(status)) << status;
  }
}

TYPED_TEST_P(ObjectStoreConformance, ReadsManyAtOnce) {
  constexpr size_t kReads = 200;
  constexpr size_t kBytes = 1000;
  const std::string content = ObjectBytes(1, kReads * kBytes);
  ASSERT_TRUE(WriteObject(this->store(), "object", content).ok());
  const auto object = this->store().Open("object").value();
  std::string out(content.size(), '?');
  std::atomic<size_t> failed = 0;
  std::atomic<size_t> left = kReads;
  std::promise<void> all;
  for (size_t i = 0; i < kReads; ++i) {
    const size_t at = i * 7 % kReads * kBytes;
    object->Read(at, std::span(out).subspan(at, kBytes), [&](absl::Status status) {
      if (!status.ok()) ++failed;
      if (--left == 0) all.set_value();
    });
  }
  all.get_future().get();
  EXPECT_EQ(failed, 0u);
  EXPECT_TRUE(out == content);
}

TYPED_TEST_P(ObjectStoreConformance, AnObjectMayBeEmpty) {
  ASSERT_TRUE(WriteObject(this->store(), "empty", "").ok());
  const auto object = this->store().Open("empty").value();
  EXPECT_EQ(object->size(), 0u);
  EXPECT_TRUE(absl::IsOutOfRange(ReadObject(*object, 0, 1).status()));
  EXPECT_EQ(ListObjects(this->store()).value(), (Listing{{"empty", 0}}));
}

TYPED_TEST_P(ObjectStoreConformance, NobodySeesWhatIsNotFinished) {
  {
    const auto writer = this->store().Create("a/object").value();
    ASSERT_TRUE(writer->Append(ObjectBytes(1, 1'000'000)).ok());
    EXPECT_TRUE(absl::IsNotFound(this->store().Open("a/object").status()));
    EXPECT_EQ(ListObjects(this->store()).value(), Listing());
  }
  EXPECT_TRUE(absl::IsNotFound(this->store().Open("a/object").status()));
  EXPECT_EQ(ListObjects(this->store()).value(), Listing());
  EXPECT_TRUE(WriteObject(this->store(), "a/object", "whole").ok()) << "the name is still free";
  EXPECT_EQ(ContentOf(this->store(), "a/object").value(), "whole");
}

TYPED_TEST_P(ObjectStoreConformance, ThereIsOneObjectOfAName) {
  auto first = this->store().Create("object").value();
  auto second = this->store().Create("object").value();
  ASSERT_TRUE(first->Append("first").ok());
  ASSERT_TRUE(second->Append("the second").ok());
  EXPECT_TRUE(first->Finish().ok());
  const absl::Status late = second->Finish();
  EXPECT_TRUE(absl::IsAlreadyExists(late)) << late;
  first.reset();
  second.reset();
  const absl::Status again = WriteObject(this->store(), "object", "the third");
  EXPECT_TRUE(absl::IsAlreadyExists(again)) << again;
  EXPECT_EQ(ContentOf(this->store(), "object").value(), "first");
  EXPECT_EQ(ListObjects(this->store()).value(), (Listing{{"object", 5}}));
}

TYPED_TEST_P(ObjectStoreConformance, OneOfManyThreadsGetsAName) {
  constexpr int kThreads = 4;
  for (int round = 0; round < 10; ++round) {
    const std::string name = "race/" + std::to_string(round);
    std::atomic<int> winner = -1;
    std::atomic<int> winners = 0;
    std::atomic<int> late = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        const absl::Status status = WriteObject(this->store(), name, ObjectBytes(i, 1000 + i));
        if (status.ok()) winner = i;
        if (status.ok()) ++winners;
        if (absl::IsAlreadyExists(status)) ++late;
      });
    }
    for (std::thread& thread : threads) thread.join();
    ASSERT_EQ(winners, 1);
    ASSERT_EQ(late, kThreads - 1);
    EXPECT_EQ(ContentOf(this->store(), name).value(), ObjectBytes(winner, 1000 + winner));
  }
}

TYPED_TEST_P(ObjectStoreConformance, WritesManyAtOnce) {
  Listing expected;
  std::vector<std::unique_ptr<storage::ObjectWriter>> writers;
  for (uint64_t i = 0; i < 10; ++i)
    writers.push_back(this->store().Create("many/" + std::to_string(i)).value());
  for (uint64_t part = 0; part < 5; ++part) {
    for (uint64_t i = 0; i < writers.size(); ++i) {
      ASSERT_TRUE(writers[i]->Append(ObjectBytes(i * 100 + part, 1000 * i)).ok());
    }
  }
  for (auto& writer : writers) ASSERT_TRUE(writer->Finish().ok());
  for (uint64_t i = 0; i < writers.size(); ++i) {
    std::string content;
    for (uint64_t part = 0; part < 5; ++part) content += ObjectBytes(i * 100 + part, 1000 * i);
    EXPECT_TRUE(ContentOf(this->store(), "many/" + std::to_string(i)).value() == content);
    expected["many/" + std::to_string(i)] = content.size();
  }
  EXPECT_EQ(ListObjects(this->store()).value(), expected);
}

TYPED_TEST_P(ObjectStoreConformance, Removes) {
  EXPECT_TRUE(this->store().Remove("none").ok());
  EXPECT_TRUE(this->store().Remove("nowhere/none").ok());
  const std::string content = ObjectBytes(1, 10'000);
  ASSERT_TRUE(WriteObject(this->store(), "a/object", content).ok());
  ASSERT_TRUE(WriteObject(this->store(), "a/other", "other").ok());
  const auto open = this->store().Open("a/object").value();
  EXPECT_TRUE(this->store().Remove("a/object").ok());
  EXPECT_TRUE(this->store().Remove("a/object").ok());
  EXPECT_TRUE(absl::IsNotFound(this->store().Open("a/object").status()));
  EXPECT_EQ(ListObjects(this->store()).value(), (Listing{{"a/other", 5}}));

  const absl::StatusOr<std::string> still = ReadObject(*open, 0, content.size());
  EXPECT_TRUE(still.ok() ? *still == content : absl::IsNotFound(still.status())) << still.status();
}

TYPED_TEST_P(ObjectStoreConformance, ListsByPrefix) {
  Listing all;
  for (const std::string name : {"a", "ab", "b/1", "b/12", "b/2", "b/c/1", "b/c/d", "bb/1", "c.d-e_f", "z"}) {
    all[name] = name.size();
    ASSERT_TRUE(WriteObject(this->store(), name, name).ok()) << name;
  }
  for (const std::string prefix :
       {"",       "a",  "ab", "abc", "b",     "b/", "b/1", "b/12", "b/c", "b/c/",      "b/c/1",
        "b/c/1/", "bb", "/",  "b//", "b/../", "..", "a/",  "c.",   "A",   "none/none/"}) {
    Listing expected;
    for (const auto& [name, bytes] : all) {
      if (name.starts_with(prefix)) expected[name] = bytes;
    }
    EXPECT_EQ(ListObjects(this->store(), prefix).value(), expected) << prefix;
  }
}

TYPED_TEST_P(ObjectStoreConformance, ListsUntilTold) {
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(WriteObject(this->store(), "a/" + std::to_string(i), "x").ok());
    ASSERT_TRUE(WriteObject(this->store(), "b/" + std::to_string(i), "x").ok());
  }
  for (const int most : {1, 3, 7}) {
    int visits = 0;
    EXPECT_TRUE(this->store().List("", [&](storage::ObjectStore::Listed) { return ++visits < most; }).ok());
    EXPECT_EQ(visits, most);
  }
}

TYPED_TEST_P(ObjectStoreConformance, TakesNamesThatAreNames) {
  const std::string part(200, 'x');
  std::string longest;
  while (longest.size() + 201 < storage::kMaxObjectNameBytes) longest += part + "/";
  longest += std::string(storage::kMaxObjectNameBytes - longest.size(), 'y');
  for (const std::string& name : {std::string("a"), std::string("0"), std::string("_"), std::string("-"),
                                  std::string("a..b"), std::string("-x/_y/z."), part, longest}) {
    EXPECT_TRUE(storage::IsObjectName(name)) << name;
    EXPECT_TRUE(WriteObject(this->store(), name, name).ok()) << name;
    EXPECT_EQ(ContentOf(this->store(), name).value(), name);
    EXPECT_EQ(ListObjects(this->store(), name).value().count(name), 1u);
    EXPECT_TRUE(this->store().Remove(name).ok());
  }
  EXPECT_EQ(ListObjects(this->store()).value(), Listing());

  using std::string_literals::operator""s;
  for (const std::string& name : {""s,          "."s,         ".."s,     "/"s,       "/a"s,
                                  "a/"s,        "a//b"s,      "a/../b"s, "a/.b"s,    ".a"s,
                                  "A"s,         "a b"s,       "a\\b"s,   "LOCK"s,    "UNFINISHED/0"s,
                                  "a\0b"s,      "caf\u00e9"s, "a\n"s,    part + "x", "a/" + part + "x",
                                  longest + "y"}) {
    EXPECT_FALSE(storage::IsObjectName(name)) << name;
    for (const absl::Status& status : {this->store().Open(name).status(), this->store().Create(name).status(),
                                       this->store().Remove(name)}) {
      EXPECT_TRUE(absl::IsInvalidArgument(status)) << name << ": " << status;
    }
  }
}

REGISTER_TYPED_TEST_SUITE_P(ObjectStoreConformance, ReadsWhatWasWritten, ReadsRanges, ReadsManyAtOnce,
                            AnObjectMayBeEmpty, NobodySeesWhatIsNotFinished, ThereIsOneObjectOfAName,
                            OneOfManyThreadsGetsAName, WritesManyAtOnce, Removes, ListsByPrefix,
                            ListsUntilTold, TakesNamesThatAreNames);

}  // namespace thermocline::testing
