// Connection: one client's requests, one after the other, on one stream.
//
// Each piece of input is read by one system call and may hold many requests (pipelining); their
// responses go out together by one more. Between requests the connection holds no buffer.
//
// Patience. A request's head must be complete `head_timeout` after it began, its body
// `body_timeout` later (408 otherwise); between requests, and for a client that does not take its
// responses, there is `idle_timeout`. A deadline is a timer, which a busy connection must not pay
// for at each request. So the deadlines of idling and writing may be up to half as long again as
// is said: they are moved only when less than what was promised is left of them.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "daemon/output.h"
#include "daemon/serve.h"
#include "httpd/request_parser.h"
#include "httpd/response.h"
#include "httpd/router.h"
#include "weft/io.h"

namespace httpd {

struct Timeouts {
  absl::Duration head;
  absl::Duration body;
  absl::Duration idle;
};

class Connection {
 public:
  // All must outlive it.
  Connection(weft::io::Stream& stream, const Router& router, const Timeouts& timeouts,
             const examples::Ending& ending);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Serves until the client or the daemon ends it, or the client breaks the rules.
  void Serve();

 private:
  using Stage = RequestParser::Stage;

  absl::StatusOr<weft::io::Chunk> Receive();
  void Consume(std::string_view input);
  void Answer(bool is_last);
  void RefuseRequest(http_status status);
  void FollowStage();
  void AllowIdling();
  void AllowWriting();

  weft::io::Stream& stream_;
  const Router& router_;
  const Timeouts& timeouts_;
  const examples::Ending& ending_;
  RequestParser parser_;
  examples::Output output_;
  ResponseWriter writer_;
  Stage stage_ = Stage::kIdle;  // that the read deadline is set for,
  uint64_t request_ = 0;        // of this request
  int64_t read_until_ms_ = 0;   // on the coarse clock
  int64_t write_until_ms_ = 0;
  bool closing_ = false;
};

}  // namespace httpd
