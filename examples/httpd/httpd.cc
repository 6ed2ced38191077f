// httpd: a small HTTP/1.1 server.
//
//     httpd --port 8080 --bind 127.0.0.1
//
//     GET /         a hello
//     GET /healthz  "ok"
//     POST /echo    sends back the body, up to 1 MiB
//     GET /stats    what the runtime counts, as JSON
//
// SIGTERM or SIGINT: it stops accepting, answers what has been sent to it by then (for up to 10 s)
// and exits with code 0. A second signal ends it at once.
#include <cstdint>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/time/time.h"
#include "daemon/serve.h"
#include "httpd/connection.h"
#include "httpd/router.h"
#include "httpd/routes.h"
#include "weft/runtime.h"

ABSL_FLAG(uint16_t, port, 8080, "TCP port to listen on; 0 lets the system choose one");
ABSL_FLAG(std::string, bind, "127.0.0.1",
          "IP address to listen on; \"::\" is every IPv6 and IPv4 address of this machine");
ABSL_FLAG(absl::Duration, head_timeout, absl::Seconds(10),
          "how long a request's head may take from its first byte");
ABSL_FLAG(absl::Duration, body_timeout, absl::Seconds(30), "how long its body may take after that");
ABSL_FLAG(absl::Duration, idle_timeout, absl::Seconds(60),
          "how long a connection may do nothing, or not take its responses");

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "a small HTTP/1.1 server\n\n"
      "usage: httpd [--port PORT] [--bind ADDRESS] [--head_timeout 10s] [--body_timeout 30s]\n"
      "             [--idle_timeout 60s]");
  absl::ParseCommandLine(argc, argv);
  const httpd::Router router(httpd::Routes());
  const httpd::Timeouts timeouts{absl::GetFlag(FLAGS_head_timeout),
                                 absl::GetFlag(FLAGS_body_timeout),
                                 absl::GetFlag(FLAGS_idle_timeout)};
  examples::Service service;
  service.name = "httpd";
  service.scheme = "http://";
  service.bind = absl::GetFlag(FLAGS_bind);
  service.port = absl::GetFlag(FLAGS_port);
  service.handle = [&router, &timeouts](weft::io::Stream& stream, const examples::Ending& ending) {
    httpd::Connection(stream, router, timeouts, ending).Serve();
  };
  return weft::Main([&service] { return examples::Serve(service); });
}
