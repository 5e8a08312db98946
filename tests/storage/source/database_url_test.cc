#include "storage/source/database_url.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "storage/row_source.h"

namespace thermocline::storage::source {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;

TEST(DatabaseUrlTest, ReadsAllParts) {
  const auto url =
      ParseDatabaseUrl("mysql://us%40er:p%3a%2F%25@db.example:3307/sh%20op?ssl-ca=%2Fca&socket=");
  ASSERT_TRUE(url.ok()) << url.status();
  EXPECT_EQ(url->scheme, "mysql");
  EXPECT_EQ(url->user, "us@er");
  EXPECT_EQ(url->password, "p:/%");
  EXPECT_EQ(url->host, "db.example");
  EXPECT_EQ(url->port, 3307);
  EXPECT_EQ(url->database, "sh op");
  EXPECT_THAT(url->settings, ElementsAre(Pair("ssl-ca", "/ca"), Pair("socket", "")));
}

TEST(DatabaseUrlTest, NeedsOnlySome) {
  const auto bare = ParseDatabaseUrl("mariadb://[::1]");
  ASSERT_TRUE(bare.ok()) << bare.status();
  EXPECT_EQ(bare->host, "::1");
  EXPECT_EQ(bare->password, std::nullopt);
  EXPECT_EQ(ParseDatabaseUrl("mysql://[::1]:5/d")->port, 5);
  EXPECT_EQ(ParseDatabaseUrl("mysql://u:@h")->password, "");
  EXPECT_EQ(ParseDatabaseUrl("mysql:///d?socket=/s")->host, "");
}

TEST(DatabaseUrlTest, RefusesWithoutShowingThePassword) {
  for (const char* url : {"mysql://u:hidden%zz@h", "mysql://u:hidden@h:port", "mysql://u:hidden@h:70000/d",
                          "mysql://u:hidden@[::1/d", "mysql://u:hidden@h/d?hidden", "mysql://u:hidden?x@h/d%",
                          "mysql://u:hidden%00@h"}) {
    const auto refused = ParseDatabaseUrl(url);
    EXPECT_TRUE(absl::IsInvalidArgument(refused.status())) << url;
    EXPECT_THAT(std::string(refused.status().message()), Not(HasSubstr("hidden"))) << url;
  }
}

TEST(DatabaseUrlTest, ShowsNoSecret) {
  EXPECT_EQ(ShownUrl("postgresql://u:hidden@h:5432/d?password=hidden"), "postgresql://u@h:5432/d");
  EXPECT_EQ(ShownUrl("mysql://u:hid/d@en@h/d"), "mysql://u@h/d");
  EXPECT_EQ(ShownUrl("mysql://u:hid?den@h/d"), "mysql://u@h/d");
  EXPECT_EQ(ShownUrl("postgres://h/d"), "postgres://h/d");
  EXPECT_EQ(ShownUrl("postgres://"), "postgres://");
}

TEST(DatabaseUrlTest, IsCheckedBeforeAnyoneConnects) {
  for (const char* url :
       {"oracle://u:hidden@h/d", "mysql://u:hidden@h/d?hidden=1", "mysql://u:hidden@h/d?ssl-mode=hidden",
        "postgresql://u:hidden%zz@h/d", "postgresql://u:hidden@h/d?hidden=1", "postgresql://u:hi/dden@h/d",
        "postgresql://u:hidden@[::1/d"}) {
    const auto refused = OpenRowSource({.url = url, .query = "select 1"});
    EXPECT_TRUE(absl::IsInvalidArgument(refused.status())) << url << " " << refused.status();
    EXPECT_THAT(std::string(refused.status().message()), Not(HasSubstr("hidden"))) << url;
    EXPECT_THAT(std::string(refused.status().message()), Not(HasSubstr("dden"))) << url;
  }
}

}  // namespace
}  // namespace thermocline::storage::source
