// What stores say in XML, and what they never should.

#include "storage/object/s3/answers.h"

#include <string>

#include <gtest/gtest.h>

namespace thermocline::storage::s3 {
namespace {

std::string List(const std::string& inside) {
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
         "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name>" +
         inside + "</ListBucketResult>";
}

TEST(AnswersTest, Lists) {
  const auto list =
      ParseList(List("<IsTruncated>true</IsTruncated><NextContinuationToken>1/a+=</NextContinuationToken>"
                     "<Contents><Key>a%2Fb+c</Key><LastModified>x</LastModified><Size>0</Size></Contents>"
                     "<Contents><Key>d&amp;e</Key><Size>18446744073709551615</Size></Contents>"));
  ASSERT_TRUE(list.ok()) << list.status();
  ASSERT_EQ(list->entries.size(), 2u);
  EXPECT_EQ(list->entries[0].key, "a/b c");
  EXPECT_EQ(list->entries[0].bytes, 0u);
  EXPECT_EQ(list->entries[1].key, "d&e");
  EXPECT_EQ(list->entries[1].bytes, UINT64_MAX);
  EXPECT_EQ(list->next_token, "1/a+=");
  EXPECT_EQ(ParseList(List("<IsTruncated>false</IsTruncated>"))->next_token, "");
  EXPECT_EQ(
      ParseList("<s3:ListBucketResult xmlns:s3=\"x\"><s3:Contents><s3:Key>a</s3:Key><s3:Size>1</s3:Size>"
                "</s3:Contents></s3:ListBucketResult>")
          ->entries.size(),
      1u);
}

TEST(AnswersTest, RefusesWhatIsNoList) {
  std::string deep;
  for (int i = 0; i < 100; ++i) deep += "<a>";
  std::string many;
  for (size_t i = 0; i <= kMaxAnswerElements; ++i) many += "<a/>";
  std::string attributes = "<ListBucketResult";
  for (size_t i = 0; i <= kMaxAnswerElements; ++i) attributes += " a=''";
  const std::string entry = "<Contents><Key>a</Key><Size>1</Size></Contents>";
  for (const std::string& xml :
       {std::string(), std::string("<"), std::string("<html></html>"), List("<Contents>"),
        List(entry).substr(0, 120), List("<Contents><Key>a</Key><Size>-1</Size></Contents>"),
        List("<Contents><Key>a</Key><Size>18446744073709551616</Size></Contents>"),
        List("<Contents><Key>a</Key><Size>1x</Size></Contents>"), List("<Contents><Key>a</Key></Contents>"),
        List("<Contents><Size>1</Size></Contents>"), List("<Contents><Key></Key><Size>1</Size></Contents>"),
        List("<IsTruncated>true</IsTruncated>"), List(deep), List(many), attributes + "/>",
        List("<Contents><Key>" + std::string(5000, 'x') + "</Key><Size>1</Size></Contents>"),
        List(std::string(kMaxAnswerBytes, ' '))}) {
    const auto list = ParseList(xml);
    EXPECT_TRUE(absl::IsInvalidArgument(list.status())) << xml.substr(0, 300);
  }
}

TEST(AnswersTest, EntitiesOfADocumentTypeAreNotExpanded) {
  const auto list = ParseList(
      "<!DOCTYPE l [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;\">]>"
      "<ListBucketResult><Contents><Key>&b;</Key><Size>1</Size></Contents></ListBucketResult>");
  if (list.ok()) EXPECT_EQ(list->entries[0].key, "&b;");
}

TEST(AnswersTest, Errors) {
  const ErrorAnswer error = ParseError(
      "<Error><Code>PermanentRedirect</Code><Message>go\n elsewhere</Message><Region>eu-west-1</Region>"
      "<StringToSign>secret</StringToSign></Error>");
  EXPECT_EQ(error.code, "PermanentRedirect");
  EXPECT_EQ(error.message, "go  elsewhere");
  EXPECT_EQ(error.region, "eu-west-1");
  EXPECT_EQ(ParseError("<Error><Code>No\nCode</Code></Error>").code, "");
  EXPECT_LT(ParseError("<Error><Message>" + std::string(2000, 'x') + "</Message></Error>").message.size(),
            310u);
  for (const std::string xml : {"", "Bad Gateway", "<html><body>502</body></html>", "<Error>", "<Error/>"}) {
    EXPECT_EQ(ParseError(xml).code, "") << xml;
  }
  EXPECT_TRUE(IsErrorAnswer(" \n<Error><Code>InternalError</Code></Error>"));
  EXPECT_FALSE(IsErrorAnswer("<CompleteMultipartUploadResult/>"));
}

TEST(AnswersTest, Uploads) {
  EXPECT_EQ(ParseUploadId(
                "<InitiateMultipartUploadResult><UploadId>2~ab</UploadId></InitiateMultipartUploadResult>")
                .value(),
            "2~ab");
  for (const std::string xml :
       {"<InitiateMultipartUploadResult/>", "<UploadId>1</UploadId>",
        "<InitiateMultipartUploadResult><UploadId>a b</UploadId></InitiateMultipartUploadResult>",
        "<InitiateMultipartUploadResult><UploadId>a"}) {
    EXPECT_FALSE(ParseUploadId(xml).ok()) << xml;
  }
  const auto uploads = ParseUploads(
      "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k%2F2</NextKeyMarker>"
      "<NextUploadIdMarker>u2</NextUploadIdMarker><Upload><Key>k%2F1</Key><UploadId>u1</UploadId></Upload>"
      "<Upload><Key>k%2F2</Key><UploadId>u2</UploadId></Upload></ListMultipartUploadsResult>");
  ASSERT_TRUE(uploads.ok()) << uploads.status();
  ASSERT_EQ(uploads->entries.size(), 2u);
  EXPECT_EQ(uploads->entries[1].key, "k/2");
  EXPECT_EQ(uploads->entries[1].upload_id, "u2");
  EXPECT_EQ(uploads->next_key, "k/2");
  EXPECT_EQ(uploads->next_upload_id, "u2");
  EXPECT_FALSE(
      ParseUploads("<ListMultipartUploadsResult><Upload><Key>k</Key></Upload></ListMultipartUploadsResult>")
          .ok());
  EXPECT_EQ(
      ParseCompleted("<CompleteMultipartUploadResult><ETag>\"a-2\"</ETag></CompleteMultipartUploadResult>")
          .value(),
      "\"a-2\"");
  EXPECT_FALSE(ParseCompleted("<Error><Code>InternalError</Code></Error>").ok());
  EXPECT_FALSE(ParseCompleted("").ok());
}

TEST(AnswersTest, Deleted) {
  EXPECT_TRUE(ParseDeleted("<DeleteResult/>")->empty());
  const auto failures = ParseDeleted(
      "<DeleteResult><Deleted><Key>a</Key></Deleted><Error><Key>b&lt;</Key><Code>AccessDenied</Code></Error>"
      "</DeleteResult>");
  ASSERT_EQ(failures->size(), 1u);
  EXPECT_EQ(failures->at(0).key, "b<");
  EXPECT_EQ(failures->at(0).code, "AccessDenied");
  EXPECT_FALSE(ParseDeleted("<DeleteResult>").ok());
  EXPECT_EQ(XmlEscape("a<b>&\"c\n"), "a&lt;b&gt;&amp;&quot;c&#10;");
}

}  // namespace
}  // namespace thermocline::storage::s3
