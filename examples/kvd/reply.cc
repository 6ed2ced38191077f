#include "kvd/reply.h"

#include <charconv>
#include <cstring>
#include <string>

namespace kvd {

namespace {
constexpr size_t kHeaderRoom = 32;  // a type, 20 digits, a line's end
constexpr size_t kSmall = 4096;     // bulk strings up to this are put behind their header at once

char* PutLine(char* at, char type, int64_t number) {
  *at++ = type;
  if (number >= 0 && number < 10) [[likely]] {
    *at++ = static_cast<char>('0' + number);
  } else {
    at = std::to_chars(at, at + 20, number).ptr;
  }
  *at++ = '\r';
  *at++ = '\n';
  return at;
}
}  // namespace

void Reply::Header(char type, int64_t number) {
  char* const begin = output_.Reserve(kHeaderRoom);
  output_.Advance(static_cast<size_t>(PutLine(begin, type, number) - begin));
}

void Reply::Status(std::string_view text) {
  char* at = output_.Reserve(text.size() + 3);
  *at++ = '+';
  std::memcpy(at, text.data(), text.size());
  at += text.size();
  *at++ = '\r';
  *at++ = '\n';
  output_.Advance(text.size() + 3);
}

void Reply::Error(std::string_view text) {
  std::string line = "-";
  for (char c : text) line += c == '\r' || c == '\n' ? ' ' : c;
  line += "\r\n";
  output_.Add(line);
}

void Reply::Integer(int64_t number) {
  Header(':', number);
}

void Reply::Bulk(std::string_view bytes) {
  if (bytes.size() > kSmall) {
    Header('$', static_cast<int64_t>(bytes.size()));
    output_.Add(bytes);
    output_.Add("\r\n");
    return;
  }
  char* const begin = output_.Reserve(kHeaderRoom + bytes.size());
  char* at = PutLine(begin, '$', static_cast<int64_t>(bytes.size()));
  std::memcpy(at, bytes.data(), bytes.size());
  at += bytes.size();
  *at++ = '\r';
  *at++ = '\n';
  output_.Advance(static_cast<size_t>(at - begin));
}

void Reply::Null() {
  output_.Add("$-1\r\n");
}

void Reply::Array(size_t length) {
  Header('*', static_cast<int64_t>(length));
}

}  // namespace kvd
