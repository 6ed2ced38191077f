#include "httpd/request_parser.h"

#include <algorithm>
#include <cctype>

namespace httpd {

namespace {

constexpr size_t kTargetLimit = size_t{8} << 10;  // taken from nginx (large_client_header_buffers)
constexpr uint32_t kHeadLimit = uint32_t{32} << 10;  // likewise: four of these
constexpr int kFieldsLimit = 100;                    // taken from Apache (LimitRequestFields)
constexpr size_t kBodyLimit = size_t{1} << 20;       // taken from nginx (client_max_body_size)
// A connection keeps a body's memory for the next one up to this. Chosen: a pooled buffer's size.
constexpr size_t kBodyKept = size_t{64} << 10;

RequestParser* Self(http_parser* parser) {
  return static_cast<RequestParser*>(parser->data);
}

bool IsControl(char c) {
  return c != '\t' && std::iscntrl(static_cast<unsigned char>(c)) != 0;
}

// The library keeps this one for the whole process.
const bool kHeadLimitIsSet = [] {
  http_parser_set_max_header_size(kHeadLimit);
  return true;
}();

}  // namespace

const http_parser_settings RequestParser::kCallbacks = {
    .on_message_begin = OnMessageBegin,
    .on_url = OnUrl,
    .on_status = nullptr,
    .on_header_field = OnHeaderField,
    .on_header_value = OnHeaderValue,
    .on_headers_complete = OnHeadersComplete,
    .on_body = OnBody,
    .on_message_complete = OnMessageComplete,
    .on_chunk_header = nullptr,
    .on_chunk_complete = nullptr,
};

RequestParser::RequestParser() {
  static_cast<void>(kHeadLimitIsSet);
  http_parser_init(&parser_, HTTP_REQUEST);
  parser_.data = this;
}

RequestParser::Result RequestParser::Parse(std::string_view* input) {
  if (complete_) http_parser_pause(&parser_, 0);
  complete_ = false;
  const size_t used = http_parser_execute(&parser_, &kCallbacks, input->data(), input->size());
  input->remove_prefix(std::min(used, input->size()));
  if (complete_) return Result::kRequest;
  if (HTTP_PARSER_ERRNO(&parser_) == HPE_OK) return Result::kNeedMore;
  if (refusal_ == HTTP_STATUS_OK) refusal_ = Diagnose();
  return Result::kMalformed;
}

bool RequestParser::TakeExpectation() {
  const bool waits = stage_ == Stage::kBody && expects_continue_ && request_.body.empty();
  if (stage_ == Stage::kBody) expects_continue_ = false;
  return waits;
}

// What the library stopped at by itself.
http_status RequestParser::Diagnose() const {
  switch (HTTP_PARSER_ERRNO(&parser_)) {
    case HPE_HEADER_OVERFLOW:
      return fields_ == 0 ? HTTP_STATUS_URI_TOO_LONG : HTTP_STATUS_REQUEST_HEADER_FIELDS_TOO_LARGE;
    case HPE_INVALID_VERSION:
      return HTTP_STATUS_HTTP_VERSION_NOT_SUPPORTED;
    default:
      return HTTP_STATUS_BAD_REQUEST;
  }
}

int RequestParser::Refuse(http_status status) {
  refusal_ = status;
  return -1;
}

template <size_t N>
void RequestParser::Kept<N>::Add(std::string_view part) {
  for (size_t i = 0; i < part.size() && length + i < N; i++) {
    text[length + i] = static_cast<char>(std::tolower(static_cast<unsigned char>(part[i])));
  }
  length += part.size();
  const size_t last = part.find_last_not_of(" \t");
  if (last != std::string_view::npos) blanks = 0;
  blanks += part.size() - (last + 1);  // npos + 1 is 0
}

template <size_t N>
bool RequestParser::Kept<N>::Is(std::string_view wanted) const {
  const size_t size = length - blanks;
  return size == wanted.size() && size <= N && std::string_view(text, size) == wanted;
}

void RequestParser::Begin() {
  request_.target.clear();
  request_.body.clear();
  if (request_.body.capacity() > kBodyKept) request_.body.shrink_to_fit();
  stage_ = Stage::kHead;
  begun_++;
  name_.Clear();
  value_.Clear();
  in_value_ = false;
  fields_ = 0;
  hosts_ = 0;
  expects_continue_ = false;
  expects_other_ = false;
}

int RequestParser::OnMessageBegin(http_parser* parser) {
  Self(parser)->Begin();
  return 0;
}

int RequestParser::OnUrl(http_parser* parser, const char* at, size_t length) {
  RequestParser* self = Self(parser);
  if (self->request_.target.size() + length > kTargetLimit) {
    return self->Refuse(HTTP_STATUS_URI_TOO_LONG);
  }
  self->request_.target.append(at, length);
  return 0;
}

// The field whose value has just ended.
void RequestParser::EndField() {
  if (name_.Is("host")) hosts_++;
  if (name_.Is("expect") && !value_.Is("")) {  // a list, which may be empty
    (value_.Is("100-continue") ? expects_continue_ : expects_other_) = true;
  }
  name_.Clear();
  value_.Clear();
  in_value_ = false;
}

int RequestParser::OnHeaderField(http_parser* parser, const char* at, size_t length) {
  RequestParser* self = Self(parser);
  if (self->in_value_) self->EndField();
  if (self->name_.length == 0 && ++self->fields_ > kFieldsLimit) {
    return self->Refuse(HTTP_STATUS_REQUEST_HEADER_FIELDS_TOO_LARGE);
  }
  const std::string_view part(at, length);
  // Built as Debian builds it the library lets spaces pass. "Transfer-Encoding :" must not be
  // overlooked here and honoured by a proxy in front.
  if (part.find(' ') != std::string_view::npos) return self->Refuse(HTTP_STATUS_BAD_REQUEST);
  self->name_.Add(part);
  return 0;
}

int RequestParser::OnHeaderValue(http_parser* parser, const char* at, size_t length) {
  RequestParser* self = Self(parser);
  const std::string_view part(at, length);
  // The library takes any byte for a value's first one, and refuses these further on.
  if (!part.empty() && IsControl(part.front())) return self->Refuse(HTTP_STATUS_BAD_REQUEST);
  self->in_value_ = true;
  self->value_.Add(part);
  return 0;
}

http_status RequestParser::CheckHead() const {
  if (parser_.http_major != 1) return HTTP_STATUS_HTTP_VERSION_NOT_SUPPORTED;
  if (hosts_ > 1 || (hosts_ == 0 && parser_.http_minor > 0)) return HTTP_STATUS_BAD_REQUEST;
  if (expects_other_) return HTTP_STATUS_EXPECTATION_FAILED;
  if ((parser_.flags & F_CONTENTLENGTH) != 0 && parser_.content_length > kBodyLimit) {
    return HTTP_STATUS_PAYLOAD_TOO_LARGE;
  }
  return HTTP_STATUS_OK;
}

int RequestParser::OnHeadersComplete(http_parser* parser) {
  RequestParser* self = Self(parser);
  if (self->in_value_) self->EndField();
  if (const http_status status = self->CheckHead(); status != HTTP_STATUS_OK) {
    return self->Refuse(status);
  }
  // Nobody here speaks another protocol: an offer to change is passed over, as RFC 9110 allows.
  parser->upgrade = 0;
  self->request_.method = static_cast<http_method>(parser->method);
  self->request_.is_http_1_0 = parser->http_minor == 0;
  self->stage_ = Stage::kBody;
  return 0;
}

int RequestParser::OnBody(http_parser* parser, const char* at, size_t length) {
  RequestParser* self = Self(parser);
  if (self->request_.body.size() + length > kBodyLimit) {
    return self->Refuse(HTTP_STATUS_PAYLOAD_TOO_LARGE);
  }
  self->request_.body.append(at, length);
  return 0;
}

int RequestParser::OnMessageComplete(http_parser* parser) {
  RequestParser* self = Self(parser);
  self->request_.keep_alive = http_should_keep_alive(parser) != 0 && parser->method != HTTP_CONNECT;
  self->stage_ = Stage::kIdle;
  self->complete_ = true;
  http_parser_pause(parser, 1);
  return 0;
}

}  // namespace httpd
