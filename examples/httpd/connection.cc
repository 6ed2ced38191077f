#include "httpd/connection.h"

#include <cstdint>
#include <ctime>
#include <utility>

namespace httpd {

namespace {

// Milliseconds, to the kernel's tick: it costs a few ns, once for each read.
int64_t CoarseNow_ms() {
  std::timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

// When `patience` that begins now has passed: never, where that is beyond counting.
int64_t After(int64_t now_ms, absl::Duration patience) {
  const int64_t patience_ms = absl::ToInt64Milliseconds(patience);
  return patience_ms > INT64_MAX - now_ms ? INT64_MAX : now_ms + patience_ms;
}

}  // namespace

Connection::Connection(weft::io::Stream& stream, const Router& router, const Timeouts& timeouts,
                       const examples::Ending& ending)
    : stream_(stream),
      router_(router),
      timeouts_(timeouts),
      ending_(ending),
      output_(stream, ending.grace),
      writer_(output_) {}

void Connection::Serve() {
  while (!closing_) {
    absl::StatusOr<weft::io::Chunk> input = Receive();
    AllowWriting();  // responses that fill a batch are written while the input is consumed
    if (!input.ok()) {
      // A client that was told nothing yet has sent nothing yet.
      if (stage_ == Stage::kIdle || !absl::IsDeadlineExceeded(input.status())) return;
      RefuseRequest(HTTP_STATUS_REQUEST_TIMEOUT);
    } else if (input->empty()) {
      return;
    } else {
      Consume(*input);
      *input = weft::io::Chunk();  // the next connection may read into it while this one writes
    }
    AllowWriting();
    if (!output_.Flush()) return;
  }
  examples::CloseGently(stream_, ending_);
}

absl::StatusOr<weft::io::Chunk> Connection::Receive() {
  if (parser_.stage() != stage_ || parser_.begun() != request_) FollowStage();
  if (stage_ != Stage::kIdle) return stream_.Receive(ending_.grace);  // it is in flight
  AllowIdling();
  return examples::ReceiveNext(stream_, ending_);
}

void Connection::Consume(std::string_view input) {
  while (!input.empty() && !closing_) {
    switch (parser_.Parse(&input)) {
      case RequestParser::Result::kRequest:
        // What is here already when the daemon is to end is still answered.
        Answer(input.empty() && ending_.stop.IsDone());
        break;
      case RequestParser::Result::kMalformed:
        RefuseRequest(parser_.refusal());
        break;
      case RequestParser::Result::kNeedMore:
        if (parser_.TakeExpectation()) output_.Add("HTTP/1.1 100 Continue\r\n\r\n");
        break;
    }
  }
}

void Connection::Answer(bool is_last) {
  const Request& request = parser_.request();
  closing_ = is_last || !request.keep_alive;
  Persistence persistence = Persistence::kKeepAlive;
  if (request.is_http_1_0) persistence = Persistence::kSayKeepAlive;
  if (closing_) persistence = Persistence::kClose;
  Response response;
  router_.Answer(request, &response);
  writer_.Write(response, request.method == HTTP_HEAD, persistence);
}

void Connection::RefuseRequest(http_status status) {
  closing_ = true;
  Response response;
  Refuse(status, &response);
  writer_.Write(response, /*without_body=*/false, Persistence::kClose);
}

// The read deadline of a request that has come in part.
void Connection::FollowStage() {
  // What is left of a body's patience is no time for idling, be it longer.
  if (stage_ != Stage::kIdle) read_until_ms_ = 0;
  stage_ = parser_.stage();
  request_ = parser_.begun();
  if (stage_ == Stage::kIdle) return;  // see AllowIdling
  const absl::Duration patience = stage_ == Stage::kHead ? timeouts_.head : timeouts_.body;
  read_until_ms_ = After(CoarseNow_ms(), patience);
  stream_.SetReadDeadline(absl::Now() + patience);
}

void Connection::AllowIdling() {
  const int64_t now_ms = CoarseNow_ms();
  if (read_until_ms_ >= After(now_ms, timeouts_.idle)) [[likely]]
    return;
  const absl::Duration patience = 1.5 * timeouts_.idle;
  read_until_ms_ = After(now_ms, patience);
  stream_.SetReadDeadline(absl::Now() + patience);
}

void Connection::AllowWriting() {
  const int64_t now_ms = CoarseNow_ms();
  if (write_until_ms_ >= After(now_ms, timeouts_.idle)) [[likely]]
    return;
  const absl::Duration patience = 1.5 * timeouts_.idle;
  write_until_ms_ = After(now_ms, patience);
  stream_.SetWriteDeadline(absl::Now() + patience);
}

}  // namespace httpd
