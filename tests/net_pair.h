// Connected pairs for the tests of net/.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "runtime/sched.h"
#include "tests/emulated.h"
#include "weft/go.h"
#include "weft/net.h"

namespace weft::testing {

struct Pair {
  net::Conn client;
  net::Conn server;
};

// A connection over the loopback; "tcp4" or "tcp6". Empty handles when that fails (it is a failure
// of the test then).
inline Pair ConnectedPair(std::string_view network = "tcp4") {
  const char* address = network == "tcp6" ? "[::1]:0" : "127.0.0.1:0";
  absl::StatusOr<net::Listener> listener = net::Listen(network, address);
  EXPECT_TRUE(listener.ok()) << listener.status();
  if (!listener.ok()) return {};
  absl::StatusOr<net::Conn> client = net::Dial(network, listener->Addr().ToString());
  EXPECT_TRUE(client.ok()) << client.status();
  if (!client.ok()) return {};
  absl::StatusOr<net::Conn> server = listener->Accept();
  EXPECT_TRUE(server.ok()) << server.status();
  if (!server.ok()) return {};
  return {*std::move(client), *std::move(server)};
}

// How many goroutines are parked for `reason`.
inline int CountWaiting(WaitReason reason) {
  int count = 0;
  for (runtime::GSlab* slab = runtime::Rt()->slabs; slab != nullptr; slab = slab->next) {
    for (runtime::G& g : slab->gs) {
      if (!runtime::CasToGScanStatus(&g, runtime::Gwaiting)) continue;
      if (g.wait_reason == reason) count++;
      runtime::CasFromGScanStatus(&g, runtime::Gwaiting);
    }
  }
  return count;
}

// Yields until `count` goroutines are parked for `reason`.
inline void AwaitWaiting(WaitReason reason, int count) {
  while (CountWaiting(reason) != count) Yield();
}

// Yields a while. Nothing may depend on it.
inline void LetOthersRun() {
  for (int i = 0; i < 100; i++) Yield();
}

// Writes until the socket takes no more: the next write waits.
inline void FillUp(net::Conn& conn) {
  const std::string block(1 << 16, 'x');
  // Long enough for what has been sent to reach the peer's buffer: an emulator's loopback is slow.
  const absl::Duration patience = absl::Milliseconds(IsEmulated() ? 1000 : 20);
  conn.SetWriteDeadline(absl::Now() + patience);
  while (conn.Write(block).ok()) {
  }
  conn.SetWriteDeadline(absl::InfiniteFuture());
}

// More than all buffers of a connection take (tcp_rmem and tcp_wmem, 36 MiB by default): who writes
// it must wait, though a peer whose buffer grows late still takes some after FillUp.
inline std::string MoreThanFits() {
  return std::string(size_t{64} << 20, 'x');
}

// Reads all that comes until the end of the stream.
inline std::string ReadToEnd(net::Conn& conn) {
  std::string all;
  for (;;) {
    absl::StatusOr<net::Chunk> chunk = conn.Receive();
    EXPECT_TRUE(chunk.ok()) << chunk.status();
    if (!chunk.ok() || chunk->empty()) return all;
    all.append(chunk->view());
  }
}

}  // namespace weft::testing
