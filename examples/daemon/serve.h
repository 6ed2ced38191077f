// Serve: a TCP daemon from its first connection to its clean end.
//
// It listens, says so in one line on stdout, and gives each connection to a goroutine of its own.
// The first SIGTERM or SIGINT ends it: it takes the connections that wait to be accepted (for 1 s
// at most) and stops listening, handlers finish what is in flight (for up to 10 s), and it returns.
// A second signal ends the process at once.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "weft/context.h"
#include "weft/io.h"

namespace examples {

// How a handler learns that the daemon ends. Both outlive the handler.
struct Ending {
  const weft::Context& stop;   // done: take no new work
  const weft::Context& grace;  // live for 10 s more: finish what has begun
};

struct Service {
  std::string name;    // begins the line on stdout
  std::string scheme;  // stands before the address in it: "http://", or nothing
  std::string bind;    // an IP address; "::" is every IPv6 and IPv4 address of this machine
  uint16_t port = 0;   // 0: the system chooses
  // Serves one connection, which is closed when it returns. Called by many goroutines at once.
  std::function<void(weft::io::Stream& stream, const Ending& ending)> handle;
  // If there is one: runs beside the connections and returns when `stop` is done.
  std::function<void(const weft::Context& stop)> background;
};

// Blocks until a signal has ended the service: OK. Else what keeps it from serving. To be called
// on a goroutine.
[[nodiscard]] absl::Status Serve(const Service& service);

// Waits for a peer's next request. When the daemon is to end, what the peer has sent by then is
// still taken; after that the status is `ending.stop`'s. It may leave the stream with a read
// deadline of its own then.
[[nodiscard]] absl::StatusOr<weft::io::Chunk> ReceiveNext(weft::io::Stream& stream,
                                                          const Ending& ending);

// Ends a stream whose peer may still be sending. To close it at once would reset it, and the
// peer could lose the last reply: so the peer is told that no more comes, and what it sends is
// dropped until it closes, for 2 s at most.
void CloseGently(weft::io::Stream& stream, const Ending& ending);

}  // namespace examples
