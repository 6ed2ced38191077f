// RequestParser: HTTP/1.x requests out of a stream of bytes.
//
// The grammar is libhttp-parser's, the parser that served Node.js for ten years. It was taken
// because it keeps no buffer and allocates nothing: it is fed whatever a read brought, in pieces
// that may end anywhere, and hands out parts of them. Boost.Beast's parser wants a whole header in
// one contiguous buffer, so that it must be kept and moved together for slow clients, and costs
// more to compile than the rest of this program. What http-parser leaves open is decided here:
// limits, one Host field, no space before a field's colon, no control
// character at a value's beginning, no upgrade.
//
// Limits and what they are refused with: request target 8 KiB (414), request line and fields
// 32 KiB or 100 fields (431), body 1 MiB (413); everything malformed: 400, a version that is not
// HTTP/1.x: 505, an expectation that is not "100-continue": 417.
#pragma once

#include <http_parser.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace httpd {

struct Request {
  http_method method = HTTP_GET;
  std::string target;  // as it was sent: "/path?query", or "http://host/path"
  std::string body;
  bool keep_alive = false;
  bool is_http_1_0 = false;
};

class RequestParser {
 public:
  enum class Result : uint8_t {
    kNeedMore,   // all input is used up
    kRequest,    // request() is complete, and good until the next call
    kMalformed,  // the connection cannot go on; refusal() says why
  };

  RequestParser();
  RequestParser(const RequestParser&) = delete;
  RequestParser& operator=(const RequestParser&) = delete;

  // Takes from the front of `input` what belongs to one request.
  [[nodiscard]] Result Parse(std::string_view* input);

  const Request& request() const { return request_; }
  http_status refusal() const { return refusal_; }

  // How far the request is that the input has ended in.
  enum class Stage : uint8_t { kIdle, kHead, kBody };
  Stage stage() const { return stage_; }
  // How many requests have begun.
  uint64_t begun() const { return begun_; }
  // True once for a request whose client waits for a word before it sends the body.
  [[nodiscard]] bool TakeExpectation();

 private:
  static constexpr size_t kNameKept = 6;    // "expect"
  static constexpr size_t kValueKept = 12;  // "100-continue"

  // The library's callbacks; not 0 stops it.
  static int OnMessageBegin(http_parser* parser);
  static int OnUrl(http_parser* parser, const char* at, size_t length);
  static int OnHeaderField(http_parser* parser, const char* at, size_t length);
  static int OnHeaderValue(http_parser* parser, const char* at, size_t length);
  static int OnHeadersComplete(http_parser* parser);
  static int OnBody(http_parser* parser, const char* at, size_t length);
  static int OnMessageComplete(http_parser* parser);
  static const http_parser_settings kCallbacks;

  // A field's name or value as far as it matters, in lower case and without blanks at the end.
  template <size_t N>
  struct Kept {
    char text[N];
    size_t length = 0;  // of all that was seen; without blanks beyond N: no match
    size_t blanks = 0;  // that it ends in

    void Clear() { length = blanks = 0; }
    void Add(std::string_view part);
    bool Is(std::string_view wanted) const;
  };

  int Refuse(http_status status);
  void Begin();
  void EndField();
  http_status CheckHead() const;
  http_status Diagnose() const;

  http_parser parser_;
  Request request_;
  Stage stage_ = Stage::kIdle;
  uint64_t begun_ = 0;
  http_status refusal_ = HTTP_STATUS_OK;
  bool complete_ = false;

  Kept<kNameKept> name_;
  Kept<kValueKept> value_;
  bool in_value_ = false;
  int fields_ = 0;
  int hosts_ = 0;
  bool expects_continue_ = false;
  bool expects_other_ = false;
};

}  // namespace httpd
