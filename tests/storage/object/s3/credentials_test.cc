// Where credentials come from, and that they stay valid.

#include "storage/object/s3/credentials.h"

#include <atomic>
#include <future>
#include <map>
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/scripted_http_server.h"

namespace thermocline::storage::s3 {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using thermocline::testing::ScriptedAnswer;
using thermocline::testing::ScriptedHttpServer;
using thermocline::testing::ScriptedRequest;

class CredentialsTest : public ::testing::Test {
 protected:
  CredentialsTest() {
    places_.variable = [this](const std::string& name) -> std::optional<std::string> {
      const auto found = variables_.find(name);
      return found == variables_.end() ? std::nullopt : std::optional(found->second);
    };
    places_.file = [this](const std::string& path) -> std::optional<std::string> {
      const auto found = files_.find(path);
      return found == files_.end() ? std::nullopt : std::optional(found->second);
    };
    places_.fetch = [this](HttpRequest request) { return http_->Fetch(std::move(request)); };
    variables_["AWS_EC2_METADATA_DISABLED"] = "true";
  }

  std::string Error() {
    const auto found = FindCredentials(places_);
    EXPECT_TRUE(absl::IsPermissionDenied(found.status())) << found.status();
    return std::string(found.status().message());
  }

  std::map<std::string, std::string> variables_;
  std::map<std::string, std::string> files_;
  CredentialPlaces places_;
  std::unique_ptr<HttpClient> http_ = HttpClient::Open({}).value();
};

std::string Json(const std::string& key, const std::string& expiration) {
  return fmt::format(R"({{"AccessKeyId": "{}", "SecretAccessKey": "s", "Token": "t", "Expiration": "{}"}})",
                     key, expiration);
}

TEST_F(CredentialsTest, TheChainInItsOrder) {
  EXPECT_THAT(Error(), HasSubstr("set AWS_ACCESS_KEY_ID"));
  variables_["HOME"] = "/home/u";
  files_["/home/u/.aws/credentials"] =
      "[other]\naws_access_key_id = no\n\n# x\n [default] \naws_access_key_id=FILE\naws_secret_access_key = "
      "a/b=c \r\n";
  auto found = FindCredentials(places_).value();
  EXPECT_EQ(found.credentials.access_key, "FILE");
  EXPECT_EQ(found.credentials.secret, "a/b=c");
  EXPECT_TRUE(found.may_change);
  variables_["AWS_ACCESS_KEY_ID"] = "ENV";
  EXPECT_THAT(Error(), HasSubstr("must both be set"));
  variables_["AWS_SECRET_ACCESS_KEY"] = "secret";
  variables_["AWS_SESSION_TOKEN"] = "token";
  found = FindCredentials(places_).value();
  EXPECT_EQ(found.credentials.access_key, "ENV");
  EXPECT_EQ(found.credentials.session_token, "token");
  EXPECT_FALSE(found.may_change);
  places_.given = S3Credentials{"GIVEN", "x", ""};
  EXPECT_EQ(FindCredentials(places_)->credentials.access_key, "GIVEN");
  places_.given = S3Credentials{"GIVEN", "two words", ""};
  EXPECT_THAT(Error(), Not(HasSubstr("two words")));
}

TEST_F(CredentialsTest, ProfilesOfTheFile) {
  variables_["AWS_SHARED_CREDENTIALS_FILE"] = "/f";
  EXPECT_THAT(Error(), HasSubstr("/f cannot be read"));
  files_["/f"] =
      "[a]\naws_access_key_id=A\naws_secret_access_key=1\naws_session_token=T\n[b]\naws_access_key_id=B\n";
  variables_["AWS_PROFILE"] = "a";
  EXPECT_EQ(FindCredentials(places_)->credentials.session_token, "T");
  places_.profile = "b";
  EXPECT_THAT(Error(), HasSubstr("for the profile b"));
  for (const std::string text :
       {"", "[", "]", "[b", "=", "[b]\n=\naws_access_key_id", "[b]aws_access_key_id=1"}) {
    files_["/f"] = text;
    Error();
  }
}

TEST_F(CredentialsTest, TheContainersEndpoint) {
  std::string authorization;
  const ScriptedHttpServer server([&](const ScriptedRequest& request) {
    const auto found = request.headers.find("authorization");
    authorization = found == request.headers.end() ? "" : found->second;
    ScriptedAnswer answer;
    answer.status = request.target == "/role?x=1" ? 200 : 404;
    answer.body = Json("CONTAINER", "2031-02-03T04:05:06Z");
    return answer;
  });
  variables_["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = server.url() + "/role?x=1";
  variables_["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = "Basic abc";
  const auto found = FindCredentials(places_);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->credentials.access_key, "CONTAINER");
  EXPECT_EQ(found->expires, ParseUtcTime("2031-02-03T04:05:06Z"));
  EXPECT_EQ(authorization, "Basic abc");
  variables_["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = "/token";
  EXPECT_THAT(Error(), HasSubstr("/token cannot be read"));
  files_["/token"] = "from file\n";
  EXPECT_TRUE(FindCredentials(places_).ok());
  EXPECT_EQ(authorization, "from file");
  variables_["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = server.url() + "/none";
  EXPECT_THAT(Error(), ::testing::AllOf(HasSubstr("answered 404"), Not(HasSubstr("/none"))));
  for (const std::string url :
       {"http://example.com/", "http://127.0.0.1@example.com/", "ftp://localhost/", "x"}) {
    variables_["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = url;
    EXPECT_THAT(Error(), HasSubstr("must be https")) << url;
  }
}

TEST_F(CredentialsTest, TheInstancesEndpoint) {
  std::string answer_of_role = Json("INSTANCE", "2031-02-03T04:05:06.123Z");
  const ScriptedHttpServer server([&](const ScriptedRequest& request) {
    ScriptedAnswer answer;
    const bool has_token = request.headers.contains("x-aws-ec2-metadata-token") &&
                           request.headers.at("x-aws-ec2-metadata-token") == "TOKEN";
    if (request.method == "PUT" && request.target == "/latest/api/token") {
      answer.body = "TOKEN";
    } else if (!has_token) {
      answer.status = 401;
    } else if (request.target == "/latest/meta-data/iam/security-credentials/") {
      answer.body = "role\n";
    } else if (request.target == "/latest/meta-data/iam/security-credentials/role") {
      answer.body = answer_of_role;
    } else {
      answer.status = 404;
    }
    return answer;
  });
  variables_["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = server.url() + "/";
  EXPECT_THAT(Error(), HasSubstr("set AWS_ACCESS_KEY_ID")) << "it is disabled";
  variables_.erase("AWS_EC2_METADATA_DISABLED");
  EXPECT_EQ(FindCredentials(places_)->credentials.access_key, "INSTANCE");
  for (const std::string text : {"", "{", "[]", "{\"AccessKeyId\": 7}", "{\"AccessKeyId\": \"a\"}"}) {
    answer_of_role = text;
    Error();
  }
}

TEST_F(CredentialsTest, ReadsTimes) {
  EXPECT_EQ(ParseUtcTime("1970-01-02T00:00:01Z"),
            std::chrono::system_clock::time_point(std::chrono::seconds(86401)));
  for (const std::string text :
       {"", "2026-01-02", "2026-13-02T00:00:00Z", "2026-01-02T00:00:00+01:00", "2026-01-02T25:00:00Z"}) {
    EXPECT_EQ(ParseUtcTime(text), std::nullopt) << text;
  }
}

TEST_F(CredentialsTest, RenewsWhatWasRefused) {
  std::atomic<int> asked = 0;
  std::atomic<bool> fails = false;
  const ScriptedHttpServer server([&](const ScriptedRequest&) {
    ScriptedAnswer answer;
    answer.status = fails ? 500 : 200;
    answer.body = Json(fmt::format("KEY{}", ++asked), "2099-01-01T00:00:00Z");
    return answer;
  });
  variables_["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = server.url() + "/";
  const auto source = CredentialSource::Open(places_).value();
  const auto renew = [&](uint64_t generation) {
    std::promise<bool> done;
    source->Renew(generation, [&](bool newer) { done.set_value(newer); });
    return done.get_future().get();
  };
  EXPECT_EQ(source->current()->credentials.access_key, "KEY1");
  EXPECT_TRUE(renew(1));
  EXPECT_EQ(source->current()->credentials.access_key, "KEY2");
  EXPECT_TRUE(renew(1)) << "somebody else has renewed them already";
  EXPECT_EQ(asked, 2);
  EXPECT_FALSE(renew(2)) << "not again at once";
  EXPECT_EQ(source->current()->credentials.access_key, "KEY2");
}

TEST_F(CredentialsTest, WhatCannotChangeIsNotRenewed) {
  places_.given = S3Credentials{"GIVEN", "x", ""};
  const auto source = CredentialSource::Open(places_).value();
  std::promise<bool> done;
  source->Renew(1, [&](bool newer) { done.set_value(newer); });
  EXPECT_FALSE(done.get_future().get());
}

}  // namespace
}  // namespace thermocline::storage::s3
