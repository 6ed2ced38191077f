// The routes of httpd.
#pragma once

#include <span>

#include "httpd/router.h"

namespace httpd {

// GET /, GET /healthz, POST /echo, GET /stats.
std::span<const Route> Routes();

}  // namespace httpd
