// Response: what a route answers, and how it is written.
#pragma once

#include <http_parser.h>

#include <ctime>
#include <string>
#include <string_view>

#include "daemon/output.h"

namespace httpd {

struct Response {
  http_status status = HTTP_STATUS_OK;
  std::string_view content_type = "text/plain";
  std::string_view body;  // into `text`, the request or a constant
  std::string text;       // for a body that is made for this request
  std::string allow;      // the methods, for a 405
};

// A short text that names the status.
void Refuse(http_status status, Response* response);

// The end of the connection's story as far as this response tells it.
enum class Persistence { kKeepAlive, kSayKeepAlive, kClose };

// Writes responses. One goroutine; it keeps the text of the Date field, which changes once a
// second.
class ResponseWriter {
 public:
  explicit ResponseWriter(examples::Output& output) : output_(output) {}

  // `without_body`: the answer to a HEAD request.
  void Write(const Response& response, bool without_body, Persistence persistence);

 private:
  std::string_view Date();

  examples::Output& output_;
  std::time_t date_second_ = -1;
  char date_[32];  // "Sun, 06 Nov 1994 08:49:37 GMT"
};

}  // namespace httpd
