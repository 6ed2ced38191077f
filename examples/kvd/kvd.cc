// kvd: keys and values in memory, over Redis's protocol.
//
//     kvd --port 6380 --bind 127.0.0.1
//     redis-cli -p 6380 set greeting hello
//
// It knows the commands of command_table.cc and one database; it keeps nothing on disk and asks
// nobody for a password.
//
// SIGTERM or SIGINT: it stops accepting, carries out what has been sent to it by then (for up to
// 10 s) and exits with code 0. A second signal ends it at once.
#include <cstdint>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "daemon/serve.h"
#include "kvd/client.h"
#include "kvd/commands.h"
#include "weft/runtime.h"

ABSL_FLAG(uint16_t, port, 6380, "TCP port to listen on; 0 lets the system choose one");
ABSL_FLAG(std::string, bind, "127.0.0.1",
          "IP address to listen on; \"::\" is every IPv6 and IPv4 address of this machine");

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "keys and values in memory, over Redis's protocol\n\n"
      "usage: kvd [--port PORT] [--bind ADDRESS]");
  absl::ParseCommandLine(argc, argv);
  return weft::Main([] {
    kvd::Server server;
    examples::Service service;
    service.name = "kvd";
    service.bind = absl::GetFlag(FLAGS_bind);
    service.port = absl::GetFlag(FLAGS_port);
    service.handle = [&server](weft::io::Stream& stream, const examples::Ending& ending) {
      kvd::ServeClient(stream, server, ending);
    };
    service.background = [&server](const weft::Context& stop) { server.store.Sweep(stop); };
    return examples::Serve(service);
  });
}
