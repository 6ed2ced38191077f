// Router: which function answers a request.
#pragma once

#include <span>
#include <string_view>

#include "httpd/request_parser.h"
#include "httpd/response.h"

namespace httpd {

struct Route {
  http_method method;
  std::string_view path;  // compared as a whole, without the query
  // Fills in the response, which comes empty with status 200. Many goroutines at once.
  void (*handle)(const Request& request, Response* response);
};

class Router {
 public:
  // `routes` must outlive it. A GET route answers HEAD as well. Few routes: they are looked
  // through.
  explicit Router(std::span<const Route> routes) : routes_(routes) {}

  // Runs the route's function; 404 where no route has the path, 405 where none has the method.
  void Answer(const Request& request, Response* response) const;

 private:
  std::span<const Route> routes_;
};

}  // namespace httpd
