#include "httpd/router.h"

#include <string>

namespace httpd {

namespace {

// "/path" of "/path?query" and of "http://host/path?query"; what is neither has no route.
std::string_view PathOf(std::string_view target) {
  if (target.empty()) return target;
  if (target.front() != '/') {
    const size_t host = target.find("://");
    if (host == std::string_view::npos) return target;
    const size_t slash = target.find('/', host + 3);
    if (slash == std::string_view::npos) return "/";
    target.remove_prefix(slash);
  }
  return target.substr(0, target.find_first_of("?#"));
}

bool Takes(const Route& route, http_method method) {
  return route.method == method || (route.method == HTTP_GET && method == HTTP_HEAD);
}

}  // namespace

void Router::Answer(const Request& request, Response* response) const {
  const std::string_view path = PathOf(request.target);
  std::string allowed;
  for (const Route& route : routes_) {
    if (route.path != path) continue;
    if (Takes(route, request.method)) return route.handle(request, response);
    if (!allowed.empty()) allowed += ", ";
    allowed += http_method_str(route.method);
    if (route.method == HTTP_GET) allowed += ", HEAD";
  }
  if (allowed.empty()) return Refuse(HTTP_STATUS_NOT_FOUND, response);
  Refuse(HTTP_STATUS_METHOD_NOT_ALLOWED, response);
  response->allow = allowed;
}

}  // namespace httpd
