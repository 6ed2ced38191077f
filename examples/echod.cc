// echod: sends back what it is sent. The smallest whole daemon on weft.
//
//     echod --port 7777 --bind ::
//
// SIGTERM or SIGINT: it stops accepting, sends back what has been sent to it by then (for up to
// 10 s) and exits with code 0. A second signal ends it at once.
#include <cstdint>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "daemon/serve.h"
#include "weft/io.h"
#include "weft/runtime.h"

ABSL_FLAG(uint16_t, port, 7777, "TCP port to listen on; 0 lets the system choose one");
ABSL_FLAG(std::string, bind, "127.0.0.1",
          "IP address to listen on; \"::\" is every IPv6 and IPv4 address of this machine");

namespace {

absl::Status Echo(weft::io::Stream& stream, const examples::Ending& ending) {
  for (;;) {
    absl::StatusOr<weft::io::Chunk> chunk = examples::ReceiveNext(stream, ending);
    if (!chunk.ok()) return chunk.status();
    if (chunk->empty()) return stream.CloseWrite();
    if (absl::Status s = stream.WriteAll(*chunk, ending.grace); !s.ok()) return s;
  }
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "a TCP server that sends back what it is sent\n\n"
      "usage: echod [--port PORT] [--bind ADDRESS]");
  absl::ParseCommandLine(argc, argv);
  examples::Service service;
  service.name = "echod";
  service.bind = absl::GetFlag(FLAGS_bind);
  service.port = absl::GetFlag(FLAGS_port);
  service.handle = [](weft::io::Stream& stream, const examples::Ending& ending) {
    // A connection that fails is its peer's business, not the daemon's.
    Echo(stream, ending).IgnoreError();
  };
  return weft::Main([&service] { return examples::Serve(service); });
}
