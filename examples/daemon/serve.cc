#include "daemon/serve.h"

#include <csignal>
#include <cstdio>
#include <utility>

#include "weft/net.h"
#include "weft/runtime.h"
#include "weft/scope.h"
#include "weft/signal_context.h"

namespace examples {

namespace {

// Chosen: long for what is under way on the network, nothing for who waits for the end.
constexpr absl::Duration kLastRequests = absl::Milliseconds(20);
// Chosen: several times what a full backlog (4096) takes that is served meanwhile, on one P.
constexpr absl::Duration kLastConnections = absl::Seconds(1);
// Chosen: a client that reads its reply does so within that; the goroutine is cheap.
constexpr absl::Duration kLinger = absl::Seconds(2);

std::string AddressOf(const Service& service) {
  const bool is_ipv6 = service.bind.find(':') != std::string::npos;
  const std::string host = is_ipv6 ? "[" + service.bind + "]" : service.bind;
  return host + ":" + std::to_string(service.port);
}

void Announce(const Service& service, const weft::net::Listener& listener) {
  const int procs = weft::MaxProcs(0);
  std::printf("%s: serving on %s%s (%s, %d %s)\n", service.name.c_str(), service.scheme.c_str(),
              listener.Addr().ToString().c_str(), weft::NetpollName().c_str(), procs,
              procs == 1 ? "P" : "Ps");
  std::fflush(stdout);
}

// Serves the backlog: its clients may have sent their requests before the signal, and would be
// reset with the listener. Clients that go on connecting are served for kLastConnections.
void AcceptLast(weft::net::Listener& listener,
                const std::function<void(weft::net::Conn conn)>& serve) {
  const absl::Time end = absl::Now() + kLastConnections;
  while (absl::Now() < end) {
    const weft::CancelContext under_way =
        weft::Context::WithTimeout(weft::Context::Background(), kLastRequests);
    absl::StatusOr<weft::net::Conn> conn = listener.Accept(under_way);
    if (!conn.ok()) return;
    serve(*std::move(conn));
  }
}

}  // namespace

absl::Status Serve(const Service& service) {
  const weft::Context signals = weft::SignalContext({SIGINT, SIGTERM});
  absl::StatusOr<weft::net::Listener> listener = weft::net::Listen("tcp", AddressOf(service));
  if (!listener.ok()) return listener.status();
  Announce(service, *listener);

  weft::Scope scope(signals, weft::Scope::kIndependent);
  const Ending ending{scope.context(), scope.grace_context()};
  if (service.background) scope.Go([&service, &ending] { service.background(ending.stop); });
  const auto serve = [&](weft::net::Conn accepted) {
    scope.Go([conn = std::move(accepted), &service, &ending]() mutable {
      service.handle(conn, ending);
    });
  };
  for (;;) {
    absl::StatusOr<weft::net::Conn> conn = listener->Accept(ending.stop);
    if (!conn.ok()) {
      if (ending.stop.IsDone()) AcceptLast(*listener, serve);
      listener->Close();
      const absl::Status status = scope.Wait(conn.status());
      return weft::SignalOf(status) != 0 ? absl::OkStatus() : status;
    }
    serve(*std::move(conn));
  }
}

absl::StatusOr<weft::io::Chunk> ReceiveNext(weft::io::Stream& stream, const Ending& ending) {
  absl::StatusOr<weft::io::Chunk> chunk = stream.Receive(ending.stop);
  if (chunk.ok() || !ending.stop.IsDone()) [[likely]]
    return chunk;
  // Who was kept from running until its time was over has not looked: it looks again.
  absl::Time late;
  do {
    const absl::Time until = absl::Now() + kLastRequests;
    late = until + kLastRequests / 4;
    stream.SetReadDeadline(until);
    chunk = stream.Receive(ending.grace);
  } while (absl::IsDeadlineExceeded(chunk.status()) && absl::Now() > late);
  // What has begun has the whole grace to end.
  stream.SetReadDeadline(absl::InfiniteFuture());
  if (!chunk.ok()) return ending.stop.status();
  return chunk;
}

void CloseGently(weft::io::Stream& stream, const Ending& ending) {
  if (!stream.CloseWrite().ok()) return;
  stream.SetReadDeadline(absl::Now() + kLinger);
  for (;;) {
    const absl::StatusOr<weft::io::Chunk> dropped = stream.Receive(ending.grace);
    if (!dropped.ok() || dropped->empty()) break;
  }
  stream.Close();
}

}  // namespace examples
