#include "net/resolve.h"

#include <cerrno>
#include <string>
#include <utility>

#include "net/address.h"
#include "net/error.h"
#include "runtime/os/socket.h"
#include "runtime/timer.h"
#include "weft/chan.h"
#include "weft/go.h"
#include "weft/select.h"

namespace weft::net::internal {

namespace {

constexpr uint8_t kAnyIp[16] = {};
constexpr uint8_t kLoopback4[4] = {127, 0, 0, 1};
constexpr uint8_t kLoopback6[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

// An empty host or a wildcard.
Target Anywhere(const Network& network, Purpose purpose, uint16_t port) {
  Target target;
  const bool dial = purpose == Purpose::kDial;
  if (network.ipv6) {
    target.addresses.push_back(Address::FromBytes({dial ? kLoopback6 : kAnyIp, 16}, port));
  }
  if (network.ipv4) {
    target.addresses.push_back(Address::FromBytes({dial ? kLoopback4 : kAnyIp, 4}, port));
  }
  target.dual_stack = !dial && network.ipv4 && network.ipv6;
  return target;
}

absl::Status WrongFamily(const Network& network, const Address& address) {
  return absl::InvalidArgumentError(
      std::string(network.name).append(": no address of this network: ").append(address.ip()));
}

struct Lookup {
  int count = -ENOENT;
  std::vector<os::Endpoint> endpoints;
};

constexpr int kMaxAddresses = 32;  // chosen: more are not tried

// Goes on when its asker has given up; the channel's room takes the answer.
void StartLookup(std::string host, const Network& network, Chan<Lookup> answer) {
  GoOptions options;
  options.stack_size = size_t{1} << 20;  // getaddrinfo's modules are not ours
  Go(options, [host = std::move(host), network, answer]() mutable {
    Lookup lookup;
    lookup.endpoints.resize(kMaxAddresses);
    lookup.count = Blocking([&] {
      return os::Resolve(host.c_str(), network.ipv4, network.ipv6, lookup.endpoints.data(),
                         kMaxAddresses);
    });
    static_cast<void>(answer.TrySend(std::move(lookup)));
  });
}

absl::Status LookupError(std::string_view host, int error, const Context& ctx) {
  if (error == -ENOENT) {
    return absl::NotFoundError(std::string("lookup ").append(host).append(": no such host"));
  }
  if (error == -EAGAIN) {
    return absl::UnavailableError(
        std::string("lookup ").append(host).append(": temporary failure in name resolution"));
  }
  return NamedError("lookup", host, error, ctx);
}

absl::StatusOr<std::vector<Address>> LookUp(std::string_view host, uint16_t port,
                                            const Network& network, int64_t deadline,
                                            const Context& ctx) {
  if (ctx.IsDone()) return NamedError("lookup", host, kContextDone, ctx);
  Chan<Lookup> answer(1);
  StartLookup(std::string(host), network, answer);
  std::optional<Lookup> lookup;
  if (deadline == 0) {
    Select(answer.OnReceive(&lookup), ctx.OnDone());
  } else {
    const absl::Duration left = absl::Nanoseconds(deadline - runtime::Nanotime());
    Select(answer.OnReceive(&lookup), ctx.OnDone(), After(left));
  }
  if (!lookup) return NamedError("lookup", host, ctx.IsDone() ? kContextDone : kTimedOut, ctx);
  if (lookup->count < 0) return LookupError(host, lookup->count, ctx);
  std::vector<Address> addresses;
  for (int i = 0; i < lookup->count; i++) {
    os::Endpoint endpoint = lookup->endpoints[static_cast<size_t>(i)];
    endpoint.port = port;
    addresses.push_back(FromEndpoint(endpoint));
  }
  return addresses;
}

}  // namespace

absl::StatusOr<Network> ParseNetwork(std::string_view name) {
  if (name == "tcp") return Network{"tcp", true, true};
  if (name == "tcp4") return Network{"tcp4", true, false};
  if (name == "tcp6") return Network{"tcp6", false, true};
  return absl::InvalidArgumentError(std::string("unknown network \"").append(name).append("\""));
}

absl::StatusOr<Target> Resolve(const Network& network, std::string_view address, Purpose purpose,
                               int64_t deadline, const Context& ctx) {
  absl::StatusOr<HostPort> split = SplitHostPort(address);
  if (!split.ok()) return split.status();
  if (split->host.empty()) return Anywhere(network, purpose, split->port);
  if (std::optional<Address> ip = ParseIp(split->host, split->port); ip) {
    if (!(ip->is_ipv4() ? network.ipv4 : network.ipv6)) return WrongFamily(network, *ip);
    if (!ip->is_wildcard()) return Target{{*ip}};
    // "0.0.0.0" means IPv4 alone where it is listened on.
    Network family = network;
    family.ipv6 = ip->is_ipv6() || (purpose == Purpose::kDial && network.ipv6);
    return Anywhere(family, purpose, split->port);
  }
  absl::StatusOr<std::vector<Address>> found =
      LookUp(split->host, split->port, network, deadline, ctx);
  if (!found.ok()) return found.status();
  return Target{*std::move(found)};
}

}  // namespace weft::net::internal
