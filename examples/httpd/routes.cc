#include "httpd/routes.h"

#include "absl/strings/str_cat.h"
#include "weft/runtime.h"

namespace httpd {

namespace {

void Hello(const Request&, Response* response) {
  response->body = "Hello, World!";
}

void Health(const Request&, Response* response) {
  response->body = "ok\n";
}

void Echo(const Request& request, Response* response) {
  response->content_type = "application/octet-stream";
  response->body = request.body;
}

// What the runtime counts, under the names that weft::RuntimeStats has.
void Stats(const Request&, Response* response) {
  const weft::RuntimeStats s = weft::Stats();
  std::string& json = response->text;
  const auto add = [&json](const char* name, auto value) {
    absl::StrAppend(&json, json.empty() ? "{" : ",", "\"", name, "\":", value);
  };
  add("goroutines", s.goroutines);
  add("threads", s.threads);
  add("idle_threads", s.idle_threads);
  add("procs", s.procs);
  add("idle_procs", s.idle_procs);
  add("running_procs", s.running_procs);
  add("syscall_procs", s.syscall_procs);
  add("poll_descriptors", s.poll_descriptors);
  add("timers", s.timers);
  add("stack_bytes", s.stack_bytes);
  add("runtime_bytes", s.runtime_bytes);
  add("context_switches", s.context_switches);
  add("steals", s.steals);
  add("handoffs", s.handoffs);
  add("preemptions", s.preemptions);
  add("netpoll_readied", s.netpoll_readied);
  add("netpoll_readied_in_stw", s.netpoll_readied_in_stw);
  add("netpoll_moved", s.netpoll_moved);
  add("netpoll_rehomed", s.netpoll_rehomed);
  add("netpoll_rings", s.netpoll_rings);
  json += "}\n";
  response->content_type = "application/json";
  response->body = json;
}

constexpr Route kRoutes[] = {
    {HTTP_GET, "/", Hello},
    {HTTP_GET, "/healthz", Health},
    {HTTP_POST, "/echo", Echo},
    {HTTP_GET, "/stats", Stats},
};

}  // namespace

std::span<const Route> Routes() {
  return kRoutes;
}

}  // namespace httpd
