// Reading addresses, and what the seam calls them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "runtime/os/socket.h"
#include "weft/net.h"

namespace weft::net::internal {

struct HostPort {
  std::string_view host;  // without brackets, may be empty
  uint16_t port;
};
// kInvalidArgument says what is wrong.
absl::StatusOr<HostPort> SplitHostPort(std::string_view text);

// An IPv4 or IPv6 address in figures, with a zone perhaps; nullopt for anything else.
std::optional<Address> ParseIp(std::string_view host, uint16_t port);

Address FromEndpoint(const os::Endpoint& endpoint);
os::Endpoint ToEndpoint(const Address& address);

}  // namespace weft::net::internal
