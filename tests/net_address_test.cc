#include <string>

#include "gtest/gtest.h"
#include "weft/net.h"

namespace weft::net {
namespace {

std::string Reprint(std::string_view text) {
  absl::StatusOr<Address> address = Address::Parse(text);
  return address.ok() ? address->ToString() : std::string(address.status().message());
}

TEST(Address, PrintsWhatItParsed) {
  EXPECT_EQ(Reprint("127.0.0.1:80"), "127.0.0.1:80");
  EXPECT_EQ(Reprint("[::1]:8080"), "[::1]:8080");
  EXPECT_EQ(Reprint("[2001:DB8:0:0::7]:0"), "[2001:db8::7]:0");
  EXPECT_EQ(Reprint("[fe80::1%1]:65535"), "[fe80::1%1]:65535");
  EXPECT_EQ(Reprint(":7777"), "[::]:7777");
}

TEST(Address, MappedIpv4IsIpv4) {
  EXPECT_EQ(Reprint("[::ffff:10.1.2.3]:53"), "10.1.2.3:53");
  EXPECT_TRUE(Address::Parse("[::ffff:10.1.2.3]:53")->is_ipv4());
}

TEST(Address, MalformedTextIsRefusedWithItsReason) {
  EXPECT_EQ(Reprint("127.0.0.1"), "address \"127.0.0.1\": missing port");
  EXPECT_EQ(Reprint("127.0.0.1:65536"), "address \"127.0.0.1:65536\": invalid port");
  EXPECT_EQ(Reprint("127.0.0.1:"), "address \"127.0.0.1:\": invalid port");
  EXPECT_EQ(Reprint("127.0.0.1:-1"), "address \"127.0.0.1:-1\": invalid port");
  EXPECT_EQ(Reprint("::1:80"),
            "address \"::1:80\": too many colons (IPv6 addresses need brackets)");
  EXPECT_EQ(Reprint("[::1:80"), "address \"[::1:80\": missing ']' before port");
  EXPECT_EQ(Reprint("localhost:80"), "address \"localhost:80\": not an IP address");
  EXPECT_EQ(Reprint("127.0.0.1%1:80"), "address \"127.0.0.1%1:80\": not an IP address");
}

TEST(Address, KnowsWhatItIs) {
  EXPECT_TRUE(Address().empty());
  EXPECT_EQ(Address().ToString(), "");
  EXPECT_TRUE(Address::Parse("0.0.0.0:1")->is_wildcard());
  EXPECT_TRUE(Address::Parse("[::]:1")->is_wildcard());
  EXPECT_FALSE(Address::Parse("[::1]:1")->is_wildcard());
  EXPECT_EQ(Address::Parse("[::1]:1")->ip(), "::1");
  EXPECT_EQ(Address::Parse("1.2.3.4:5")->bytes().size(), 4u);
  EXPECT_EQ(*Address::Parse("1.2.3.4:5"), *Address::Parse("[::ffff:1.2.3.4]:5"));
}

}  // namespace
}  // namespace weft::net
