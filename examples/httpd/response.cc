#include "httpd/response.h"

#include <charconv>
#include <cstring>

namespace httpd {

namespace {

constexpr size_t kDateLength = 29;
// More than the fixed parts of a head come to, without what `response` brings.
constexpr size_t kHeadRoom = 256;

// Puts texts one after the other into memory that has room for them.
class Cursor {
 public:
  explicit Cursor(char* at) : at_(at) {}
  void Put(std::string_view text) {
    std::memcpy(at_, text.data(), text.size());
    at_ += text.size();
  }
  void PutNumber(size_t number) { at_ = std::to_chars(at_, at_ + 20, number).ptr; }
  char* at() const { return at_; }

 private:
  char* at_;
};

void PutStatusLine(http_status status, Cursor* out) {
  if (status == HTTP_STATUS_OK) [[likely]] {
    out->Put("HTTP/1.1 200 OK\r\n");
    return;
  }
  out->Put("HTTP/1.1 ");
  out->PutNumber(static_cast<size_t>(status));
  out->Put(" ");
  out->Put(http_status_str(status));
  out->Put("\r\n");
}

}  // namespace

void Refuse(http_status status, Response* response) {
  response->status = status;
  response->content_type = "text/plain";
  response->text = std::to_string(static_cast<int>(status)) + " " + http_status_str(status) + "\n";
  response->body = response->text;
}

std::string_view ResponseWriter::Date() {
  const std::time_t now = std::time(nullptr);
  if (now != date_second_) {
    std::tm parts;
    gmtime_r(&now, &parts);
    std::strftime(date_, sizeof(date_), "%a, %d %b %Y %H:%M:%S GMT", &parts);
    date_second_ = now;
  }
  return {date_, kDateLength};
}

void ResponseWriter::Write(const Response& response, bool without_body, Persistence persistence) {
  const size_t room = kHeadRoom + response.content_type.size() + response.allow.size();
  char* const begin = output_.Reserve(room);
  Cursor out(begin);
  PutStatusLine(response.status, &out);
  out.Put("Server: weft\r\nDate: ");
  out.Put(Date());
  out.Put("\r\nContent-Type: ");
  out.Put(response.content_type);
  out.Put("\r\nContent-Length: ");
  out.PutNumber(response.body.size());
  if (!response.allow.empty()) [[unlikely]] {
    out.Put("\r\nAllow: ");
    out.Put(response.allow);
  }
  if (persistence == Persistence::kSayKeepAlive) out.Put("\r\nConnection: keep-alive");
  if (persistence == Persistence::kClose) out.Put("\r\nConnection: close");
  out.Put("\r\n\r\n");
  output_.Advance(static_cast<size_t>(out.at() - begin));
  if (!without_body) output_.Add(response.body);
}

}  // namespace httpd
