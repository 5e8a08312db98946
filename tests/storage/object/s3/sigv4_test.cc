// Signatures against what AWS has published: the examples of the S3 documentation, and cases of the test
// suite of Signature Version 4.

#include "storage/object/s3/sigv4.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace thermocline::storage::s3 {
namespace {

using ::testing::EndsWith;
using ::testing::StartsWith;

const std::string kEmptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

std::string S3Signature(const std::string& method, const std::string& path, const Fields& query,
                        Fields headers, const std::string& payload_hash) {
  const S3Credentials credentials{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""};
  headers.emplace_back("host", "examplebucket.s3.amazonaws.com");
  headers.emplace_back("x-amz-content-sha256", payload_hash);
  headers.emplace_back("x-amz-date", "20130524T000000Z");
  const std::string query_text = QueryText(query);
  return Authorization({method, path, query_text, headers, payload_hash}, credentials, "us-east-1", "s3",
                       "20130524T000000Z");
}

TEST(SigV4Test, GetObject) {
  EXPECT_EQ(S3Signature("GET", "/test.txt", {}, {{"range", "bytes=0-9"}}, kEmptyHash),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
            "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
            "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST(SigV4Test, PutObject) {
  const std::string hash = Sha256Hex("Welcome to Amazon S3.");
  EXPECT_EQ(hash, "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072");
  EXPECT_EQ(PercentEncode("/test$file.text", true), "/test%24file.text");
  EXPECT_THAT(
      S3Signature("PUT", "/test%24file.text", {},
                  {{"date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
                  hash),
      EndsWith("SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,"
               "Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"));
}

TEST(SigV4Test, GetBucketLifecycle) {
  EXPECT_THAT(S3Signature("GET", "/", {{"lifecycle", ""}}, {}, kEmptyHash),
              EndsWith("Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"));
}

TEST(SigV4Test, ListObjects) {
  for (const Fields& query :
       {Fields{{"max-keys", "2"}, {"prefix", "J"}}, Fields{{"prefix", "J"}, {"max-keys", "2"}}}) {
    EXPECT_THAT(S3Signature("GET", "/", query, {}, kEmptyHash),
                EndsWith("Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"));
  }
}

// The suite, as far as it is about what S3 does as well.
std::string SuiteSignature(const std::string& method, const std::string& path, const Fields& query,
                           Fields headers = {}) {
  const S3Credentials credentials{"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", ""};
  headers.emplace_back("host", "example.amazonaws.com");
  headers.emplace_back("x-amz-date", "20150830T123600Z");
  const std::string query_text = QueryText(query);
  const std::string value = Authorization({method, path, query_text, headers, kEmptyHash}, credentials,
                                          "us-east-1", "service", "20150830T123600Z");
  EXPECT_THAT(value,
              StartsWith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request,"));
  return value.substr(value.rfind('=') + 1);
}

TEST(SigV4Test, GetVanilla) {
  EXPECT_EQ(SuiteSignature("GET", "/", {}),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
}

TEST(SigV4Test, PostVanilla) {
  EXPECT_EQ(SuiteSignature("POST", "/", {}),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
}

TEST(SigV4Test, QueriesInTheOrderOfTheirKeys) {
  EXPECT_EQ(SuiteSignature("GET", "/", {{"Param2", "value2"}, {"Param1", "value1"}}),
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
  EXPECT_EQ(SuiteSignature("GET", "/", {{"Param1", "value1"}}),
            "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb");
}

TEST(SigV4Test, UnreservedAndUtf8) {
  const std::string unreserved = "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  EXPECT_EQ(PercentEncode(unreserved, true), unreserved);
  EXPECT_EQ(SuiteSignature("GET", unreserved, {}),
            "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f");
  EXPECT_EQ(PercentEncode("/\u1234", true), "/%E1%88%B4");
  EXPECT_EQ(SuiteSignature("GET", "/%E1%88%B4", {}),
            "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85");
}

TEST(SigV4Test, HeaderValuesAreTrimmed) {
  EXPECT_EQ(SuiteSignature("GET", "/", {}, {{"my-header1", " value1"}, {"my-header2", " \"a   b   c\""}}),
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736");
}

TEST(SigV4Test, Encodes) {
  EXPECT_EQ(PercentEncode("a/b c+d%\n"), "a%2Fb%20c%2Bd%25%0A");
  EXPECT_EQ(PercentEncode("a/b c", true), "a/b%20c");
  EXPECT_EQ(PercentDecode("a%2Fb%20c%2bd+e%zz%4"), "a/b c+d e%zz%4");
  EXPECT_EQ(QueryText({{"uploads", ""}, {"a b", "/"}}), "a%20b=%2F&uploads=");
  EXPECT_EQ(Md5Base64("abc"), "kAFQmDzST7DWlj99KOF/cg==");
}

}  // namespace
}  // namespace thermocline::storage::s3
