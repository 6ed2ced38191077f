// echod: sends back what it is sent. The smallest whole daemon on weft.
//
//     echod --port 7777 --bind ::
//
// SIGTERM or SIGINT: it stops accepting, writes back what it has read already (for up to 10 s)
// and exits with code 0. A second signal ends it at once.
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "weft/context.h"
#include "weft/io.h"
#include "weft/net.h"
#include "weft/runtime.h"
#include "weft/scope.h"
#include "weft/signal_context.h"

ABSL_FLAG(uint16_t, port, 7777, "TCP port to listen on; 0 lets the system choose one");
ABSL_FLAG(std::string, bind,
          "::", "IP address to listen on; \"::\" is every IPv6 and IPv4 address of this machine");

namespace {

// `ctx` ends the wait for more input; what was read is written as long as `grace` lives.
absl::Status Echo(weft::io::Stream& stream, const weft::Context& ctx, const weft::Context& grace) {
  for (;;) {
    absl::StatusOr<weft::io::Chunk> chunk = stream.Receive(ctx);
    if (!chunk.ok()) return chunk.status();
    if (chunk->empty()) return stream.CloseWrite();
    if (absl::Status s = stream.WriteAll(*chunk, grace); !s.ok()) return s;
  }
}

absl::Status Serve(const std::string& address, const weft::Context& parent) {
  absl::StatusOr<weft::net::Listener> listener = weft::net::Listen("tcp", address);
  if (!listener.ok()) return listener.status();
  std::printf("echod: listening on %s, netpoller %s\n", listener->Addr().ToString().c_str(),
              weft::NetpollName().c_str());
  std::fflush(stdout);

  weft::Scope scope(parent, weft::Scope::kIndependent);
  const weft::Context grace = scope.grace_context();
  for (;;) {
    absl::StatusOr<weft::net::Conn> conn = listener->Accept(scope.context());
    if (!conn.ok()) {
      listener->Close();
      return scope.Wait(conn.status());
    }
    scope.Go([conn = *std::move(conn), grace](const weft::Context& ctx) mutable {
      // A connection that fails is its peer's business, not the daemon's.
      Echo(conn, ctx, grace).IgnoreError();
    });
  }
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "a TCP server that sends back what it is sent\n\n"
      "usage: echod [--port PORT] [--bind ADDRESS]");
  absl::ParseCommandLine(argc, argv);
  const std::string bind = absl::GetFlag(FLAGS_bind);
  const bool is_ipv6 = bind.find(':') != std::string::npos;
  const std::string address =
      (is_ipv6 ? "[" + bind + "]" : bind) + ":" + std::to_string(absl::GetFlag(FLAGS_port));
  return weft::Main([&address]() -> absl::Status {
    absl::Status status = Serve(address, weft::SignalContext({SIGINT, SIGTERM}));
    return weft::SignalOf(status) != 0 ? absl::OkStatus() : status;
  });
}
