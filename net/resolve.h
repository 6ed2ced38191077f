// From "host:port" to the addresses that Dial and Listen try.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "weft/context.h"
#include "weft/net.h"

namespace weft::net::internal {

// A network's name, checked.
struct Network {
  const char* name;
  bool ipv4;
  bool ipv6;
};
absl::StatusOr<Network> ParseNetwork(std::string_view name);

enum class Purpose : uint8_t { kDial, kListen };

struct Target {
  std::vector<Address> addresses;  // at least one
  // To listen on all of IPv4 and IPv6 by one socket; addresses[0] is IPv6's wildcard.
  bool dual_stack = false;
};

// Figures are read here; a name is looked up on another goroutine (see Dial in weft/net.h) until
// `ctx` is done or Nanotime() is `deadline` (0: none).
absl::StatusOr<Target> Resolve(const Network& network, std::string_view address, Purpose purpose,
                               int64_t deadline, const Context& ctx);

}  // namespace weft::net::internal
