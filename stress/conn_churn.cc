// Connections under churn: many short ones to an echo server in the same process, which end in
// every way that a connection can end.
//
// What must hold: what comes back is what was sent, in order; a deadline or a cancelled context
// ends a wait with its own error and leaves the connection usable; Close wakes who waits; half
// closing ends one direction only; and at the end no descriptor and no goroutine is left.
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "stress/harness.h"
#include "weft/context.h"
#include "weft/go.h"
#include "weft/net.h"
#include "weft/scope.h"
#include "weft/time.h"
#include "weft/waitgroup.h"

namespace {

using stress::Harness;
using stress::Random;
using stress::Require;
using weft::net::Conn;

constexpr int kClients = 50;
constexpr int kConnectionsEach = 5;
constexpr size_t kLargest = 200'000;  // beyond what the sockets' buffers take at once

void RequireOk(const absl::Status& status, const char* what) {
  if (!status.ok()) stress::Fail(std::string(what) + ": " + status.ToString());
}

absl::Status Echo(Conn conn) {
  for (;;) {
    absl::StatusOr<weft::net::Chunk> chunk = conn.Receive();
    if (!chunk.ok()) return chunk.status();
    if (chunk->empty()) return conn.CloseWrite();
    if (absl::Status s = conn.WriteAll(*chunk); !s.ok()) return s;
  }
}

std::string Text(Random& random, size_t size) {
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>('a' + random.Below(26));
  return text;
}

void Expect(Conn& conn, std::string_view text) {
  while (!text.empty()) {
    absl::StatusOr<weft::net::Chunk> chunk = conn.Receive();
    RequireOk(chunk.status(), "reading what was echoed");
    Require(!chunk->empty(), "the echo is complete");
    Require(text.substr(0, chunk->size()) == chunk->view(), "the echo is what was sent");
    text.remove_prefix(chunk->size());
  }
}

void ExpectEnd(Conn& conn) {
  absl::StatusOr<weft::net::Chunk> chunk = conn.Receive();
  RequireOk(chunk.status(), "reading the end");
  Require(chunk->empty(), "nothing comes after the end");
}

// A few messages and an orderly end.
void Talk(Conn& conn, Random& random) {
  for (uint64_t i = random.Below(5); i > 0; i--) {
    const std::string text = Text(random, 1 + random.Below(2000));
    RequireOk(conn.WriteAll(text), "writing");
    Expect(conn, text);
    stress::Progress();
  }
  RequireOk(conn.CloseWrite(), "half close");
  ExpectEnd(conn);
}

// Writer and reader at once, more than the buffers hold.
void Flood(Conn& conn, Random& random) {
  const std::string text = Text(random, random.Below(kLargest));
  weft::WaitGroup writer;
  writer.Go([conn, &text]() mutable {
    RequireOk(conn.WriteAll(text), "writing much");
    RequireOk(conn.CloseWrite(), "half close");
  });
  Expect(conn, text);
  ExpectEnd(conn);
  writer.Wait();
}

// Waits that are given up; the connection goes on afterwards.
void GiveUp(Conn& conn, Random& random) {
  const auto wait = absl::Microseconds(static_cast<int64_t>(random.Below(500)));
  if (random.OneIn(2)) {
    conn.SetReadDeadline(absl::Now() + wait);
    Require(absl::IsDeadlineExceeded(conn.Receive().status()), "the deadline ends the wait");
    conn.SetReadDeadline(absl::InfiniteFuture());
  } else {
    weft::CancelContext ctx = weft::Context::WithCancel(weft::Context::Background());
    weft::WaitGroup canceller;
    canceller.Go([ctx, wait]() mutable {
      weft::Sleep(wait);
      ctx.Cancel();
    });
    Require(absl::IsCancelled(conn.Receive(ctx).status()), "the context ends the wait");
    canceller.Wait();
  }
  Talk(conn, random);
}

// Close from another goroutine while a read waits.
void CloseUnder(Conn& conn, Random& random) {
  weft::WaitGroup closer;
  closer.Go([conn, wait = random.Below(300)]() mutable {
    weft::Sleep(absl::Microseconds(static_cast<int64_t>(wait)));
    Require(conn.Close(), "it closes once");
  });
  Require(absl::IsCancelled(conn.Receive().status()), "Close wakes the reader");
  closer.Wait();
}

// Leaves with an answer under way: the server gets a reset.
void RunAway(Conn& conn, Random& random) {
  RequireOk(conn.WriteAll(Text(random, 1 + random.Below(5000))), "writing before leaving");
  conn.Close();
}

void Client(const std::string& address, Random random) {
  for (int i = 0; i < kConnectionsEach; i++) {
    absl::StatusOr<Conn> conn = weft::net::Dial("tcp", address);
    RequireOk(conn.status(), "dialling");
    switch (random.Below(5)) {
      case 0:
        Flood(*conn, random);
        break;
      case 1:
        GiveUp(*conn, random);
        break;
      case 2:
        CloseUnder(*conn, random);
        break;
      case 3:
        RunAway(*conn, random);
        break;
      default:
        Talk(*conn, random);
    }
    stress::Progress();
  }
}

void Round(Harness& harness) {
  Random random = harness.NewRandom();
  absl::StatusOr<weft::net::Listener> listener =
      weft::net::Listen("tcp", random.OneIn(2) ? "127.0.0.1:0" : "[::1]:0");
  RequireOk(listener.status(), "listening");
  weft::Scope server(weft::Context::Background(), weft::Scope::kIndependent);
  server.Go([&server, listener = *listener]() mutable {
    for (;;) {
      absl::StatusOr<Conn> conn = listener.Accept();
      if (!conn.ok()) return;
      server.Go([conn = *std::move(conn)] { return Echo(conn); });
    }
  });
  weft::WaitGroup clients;
  for (int i = 0; i < kClients; i++) {
    clients.Go([address = listener->Addr().ToString(), own = harness.NewRandom()] {
      Client(address, own);
    });
  }
  clients.Wait();
  listener->Close();
  // Resets by clients that ran away are errors of their connections; a hang would show here.
  server.Wait().IgnoreError();
}

}  // namespace

int main(int argc, char** argv) {
  return stress::Run(argc, argv, Round);
}
