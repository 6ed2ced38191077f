#include "net/address.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "runtime/fatal.h"

namespace weft::net {

namespace internal {

namespace {
absl::Status Malformed(std::string_view text, const char* what) {
  std::string message = "address \"";
  message.append(text).append("\": ").append(what);
  return absl::InvalidArgumentError(message);
}

bool ParseNumber(std::string_view text, uint32_t max, uint32_t* out) {
  const char* end = text.data() + text.size();
  std::from_chars_result result = std::from_chars(text.data(), end, *out);
  return result.ec == std::errc() && result.ptr == end && *out <= max;
}
}  // namespace

absl::StatusOr<HostPort> SplitHostPort(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return Malformed(text, "missing port");
  std::string_view host = text.substr(0, colon);
  if (!host.empty() && host.front() == '[') {
    if (host.size() < 2 || host.back() != ']') return Malformed(text, "missing ']' before port");
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return Malformed(text, "too many colons (IPv6 addresses need brackets)");
  }
  if (host.find_first_of(std::string_view("[]\0", 3)) != std::string_view::npos) {
    return Malformed(text, "unexpected character in host");
  }
  uint32_t port = 0;
  if (!ParseNumber(text.substr(colon + 1), 65535, &port)) return Malformed(text, "invalid port");
  return HostPort{host, static_cast<uint16_t>(port)};
}

std::optional<Address> ParseIp(std::string_view host, uint16_t port) {
  const size_t percent = host.find('%');
  const bool has_zone = percent != std::string_view::npos;
  os::Endpoint endpoint;
  if (!os::ParseIp(std::string(host.substr(0, percent)).c_str(), &endpoint)) return std::nullopt;
  if (has_zone) {
    if (endpoint.length == 4) return std::nullopt;
    const std::string name(host.substr(percent + 1));
    if (!ParseNumber(name, UINT32_MAX, &endpoint.zone)) {
      endpoint.zone = os::InterfaceNumber(name.c_str());
    }
    if (endpoint.zone == 0) return std::nullopt;
  }
  endpoint.port = port;
  return FromEndpoint(endpoint);
}

Address FromEndpoint(const os::Endpoint& endpoint) {
  if (endpoint.length == 0) return Address();
  return Address::FromBytes({endpoint.ip, endpoint.length}, endpoint.port, endpoint.zone);
}

os::Endpoint ToEndpoint(const Address& address) {
  os::Endpoint endpoint;
  std::span<const uint8_t> bytes = address.bytes();
  std::copy(bytes.begin(), bytes.end(), endpoint.ip);
  endpoint.length = static_cast<uint16_t>(bytes.size());
  endpoint.port = address.port();
  endpoint.zone = address.zone();
  return endpoint;
}

}  // namespace internal

absl::StatusOr<Address> Address::Parse(std::string_view text) {
  absl::StatusOr<internal::HostPort> split = internal::SplitHostPort(text);
  if (!split.ok()) return split.status();
  if (split->host.empty()) {
    constexpr uint8_t kWildcard[16] = {};
    return FromBytes(kWildcard, split->port);
  }
  std::optional<Address> address = internal::ParseIp(split->host, split->port);
  if (!address) return internal::Malformed(text, "not an IP address");
  return *address;
}

Address Address::FromBytes(std::span<const uint8_t> ip, uint16_t port, uint32_t zone) {
  WEFT_CHECK(ip.size() == 4 || ip.size() == 16);
  constexpr uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (ip.size() == 16 && std::equal(kMapped, kMapped + 12, ip.begin())) ip = ip.subspan(12);
  Address address;
  std::copy(ip.begin(), ip.end(), address.ip_);
  address.length_ = static_cast<uint16_t>(ip.size());
  address.port_ = port;
  address.zone_ = ip.size() == 16 ? zone : 0;
  return address;
}

bool Address::is_wildcard() const {
  return !empty() && std::all_of(ip_, ip_ + length_, [](uint8_t byte) { return byte == 0; });
}

std::string Address::ip() const {
  if (empty()) return "";
  char text[os::kIpTextBytes];
  os::FormatIp(internal::ToEndpoint(*this), text);
  std::string result = text;
  if (zone_ != 0) result.append("%").append(std::to_string(zone_));
  return result;
}

std::string Address::ToString() const {
  if (empty()) return "";
  std::string text;
  if (is_ipv6()) {
    text.append("[").append(ip()).append("]");
  } else {
    text = ip();
  }
  return text.append(":").append(std::to_string(port_));
}

}  // namespace weft::net
