// echo_busy: an echo server beside one goroutine that computes.
//
//   echo_busy --port P [--bind ADDRESS]
//
// For the latency rows: how late are echoes when a goroutine never waits? It computes in pieces
// of a few microseconds and asks in between whether it shall stop, which is a call into the
// runtime and so a poll; it gives way only when the runtime wants it to.
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "weft/chan.h"
#include "weft/context.h"
#include "weft/go.h"
#include "weft/net.h"
#include "weft/runtime.h"
#include "weft/scope.h"
#include "weft/signal_context.h"

namespace {

// A piece of work that the compiler cannot foresee: about 5 us (2,000 rounds of xorshift).
uint64_t ComputePiece(uint64_t seed) {
  for (int i = 0; i < 2000; i++) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
  }
  return seed;
}

uint64_t ComputeUntil(weft::Chan<bool> stop) {
  uint64_t value = 88172645463325252u;
  while (!stop.TryReceive()) value = ComputePiece(value);
  return value;
}

absl::Status Echo(weft::net::Conn& conn, const weft::Context& ctx) {
  for (;;) {
    absl::StatusOr<weft::net::Chunk> chunk = conn.Receive(ctx);
    if (!chunk.ok()) return chunk.status();
    if (chunk->empty()) return absl::OkStatus();
    if (absl::Status s = conn.WriteAll(*chunk, ctx); !s.ok()) return s;
  }
}

absl::Status Serve(const std::string& address) {
  weft::Context ctx = weft::SignalContext({SIGINT, SIGTERM});
  absl::StatusOr<weft::net::Listener> listener = weft::net::Listen("tcp", address);
  if (!listener.ok()) return listener.status();

  weft::Chan<bool> stop(1);
  weft::Scope scope(ctx, weft::Scope::kIndependent);
  scope.Go([stop] {
    // Printed, so that it is computed.
    std::printf("computed until %016lx\n", ComputeUntil(stop));
  });
  for (;;) {
    absl::StatusOr<weft::net::Conn> conn = listener->Accept(scope.context());
    if (!conn.ok()) break;  // told to end
    scope.Go([conn = *std::move(conn)](const weft::Context& child) mutable {
      (void)Echo(conn, child);  // a client that leaves is no error here
    });
  }
  (void)stop.TrySend(true);
  (void)scope.Wait();
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  std::string bind = "127.0.0.1";
  std::string port;
  for (int i = 1; i + 1 < argc; i += 2) {
    std::string_view name = argv[i];
    if (name == "--port") port = argv[i + 1];
    if (name == "--bind") bind = argv[i + 1];
  }
  if (port.empty()) {
    std::fprintf(stderr, "usage: echo_busy --port P [--bind ADDRESS]\n");
    return 2;
  }
  return weft::Main([&] { return Serve(absl::StrCat(bind, ":", port)); });
}
