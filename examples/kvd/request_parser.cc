#include "kvd/request_parser.h"

#include <charconv>
#include <cstring>

#include "kvd/inline_words.h"

namespace kvd {

namespace {

// All taken from Redis; the array's is that of its versions before 7.
constexpr int64_t kBulkLimit = int64_t{512} << 20;
constexpr int64_t kArrayLimit = 1024 * 1024;
constexpr size_t kLineLimit = size_t{64} << 10;
constexpr size_t kRequestLimit = size_t{1} << 30;  // client-query-buffer-limit
// Memory that a connection keeps for its next commands. Chosen: a small pooled buffer's size.
constexpr size_t kKept = size_t{4} << 10;
constexpr size_t kKeptParts = 256;

constexpr size_t kLineEnd = 2;  // "\r\n"

}  // namespace

std::optional<int64_t> ParseInteger(std::string_view text) {
  const std::string_view digits = text.substr(text.starts_with('-') ? 1 : 0);
  if (digits.empty() || (digits.front() == '0' && text.size() > 1)) return std::nullopt;
  int64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stopped != end) return std::nullopt;
  return number;
}

void RequestParser::Feed(std::string_view input) {
  if (kept_.empty()) {
    data_ = input;
    return;
  }
  kept_ += input;
  data_ = kept_;
}

void RequestParser::Keep() {
  const std::string_view rest = data_.substr(begin_);
  if (kept_.empty()) {
    kept_ = rest;
  } else {
    kept_.erase(0, begin_);
  }
  if (kept_.empty() && kept_.capacity() > kKept) kept_.shrink_to_fit();
  data_ = kept_;
  begin_ = 0;
}

RequestParser::Result RequestParser::Next() {
  while (begin_ < data_.size()) {
    const bool is_array = missing_ > 0 || data_[begin_] == '*';
    const Result result = is_array ? ParseArray() : ParseInline();
    if (result != Result::kRequest || !args_.empty()) return result;
    // An empty line or array asks for nothing.
  }
  return Result::kNeedMore;
}

RequestParser::Result RequestParser::Malformed(std::string_view why) {
  error_ = "ERR Protocol error: ";
  error_ += why;
  return Result::kMalformed;
}

// The command ends at next_: its parts become args().
RequestParser::Result RequestParser::Complete(const char* base) {
  args_.clear();
  for (const Part& part : parts_) args_.emplace_back(base + part.offset, part.size);
  parts_.clear();
  if (parts_.capacity() > kKeptParts) parts_.shrink_to_fit();
  begin_ += next_;
  next_ = 0;
  return Result::kRequest;
}

// The line at next_ without its end, and next_ behind it. None: the result.
std::optional<std::string_view> RequestParser::TakeLine(const char* too_long, Result* result) {
  const std::string_view rest = data_.substr(begin_ + next_);
  const size_t end = rest.find('\r');
  if (end == std::string_view::npos) {
    *result = rest.size() > kLineLimit ? Malformed(too_long) : Result::kNeedMore;
    return std::nullopt;
  }
  if (rest.size() < end + kLineEnd) {
    *result = Result::kNeedMore;
    return std::nullopt;
  }
  next_ += end + kLineEnd;  // as Redis, which does not look what follows '\r'
  return rest.substr(0, end);
}

std::optional<RequestParser::Result> RequestParser::ParseArrayLength() {
  Result result = Result::kNeedMore;
  const std::optional<std::string_view> line = TakeLine("too big mbulk count string", &result);
  if (!line) return result;
  const std::optional<int64_t> length = ParseInteger(line->substr(1));
  if (!length || *length > kArrayLimit) return Malformed("invalid multibulk length");
  if (*length <= 0) return Complete(nullptr);
  missing_ = *length;
  return std::nullopt;
}

std::optional<RequestParser::Result> RequestParser::ParseBulkLength() {
  Result result = Result::kNeedMore;
  const std::optional<std::string_view> line = TakeLine("too big bulk count string", &result);
  if (!line) return result;
  if (!line->starts_with('$')) {
    // An empty line shows its end, as in Redis.
    const char found = line->empty() ? '\r' : line->front();
    return Malformed(std::string("expected '$', got '") + found + "'");
  }
  const std::optional<int64_t> size = ParseInteger(line->substr(1));
  if (!size || *size < 0 || *size > kBulkLimit) return Malformed("invalid bulk length");
  bulk_size_ = *size;
  return std::nullopt;
}

RequestParser::Result RequestParser::ParseArray() {
  if (missing_ == 0) {
    if (std::optional<Result> result = ParseArrayLength(); result) return *result;
  }
  while (missing_ > 0) {
    if (bulk_size_ < 0) {
      if (std::optional<Result> result = ParseBulkLength(); result) return *result;
    }
    const size_t size = static_cast<size_t>(bulk_size_);
    const size_t there = data_.size() - begin_ - next_;
    if (there < size + kLineEnd) {
      if (next_ + size > kRequestLimit) return Malformed("too big request");
      return Result::kNeedMore;
    }
    parts_.push_back({next_, size});
    next_ += size + kLineEnd;
    bulk_size_ = -1;
    missing_--;
  }
  return Complete(data_.data() + begin_);
}

RequestParser::Result RequestParser::ParseInline() {
  const std::string_view rest = data_.substr(begin_);
  const size_t end = rest.find('\n', next_);
  if (end == std::string_view::npos) {
    if (rest.size() > kLineLimit) return Malformed("too big inline request");
    next_ = rest.size();  // looked through
    return Result::kNeedMore;
  }
  std::string_view line = rest.substr(0, end);
  if (line.ends_with('\r')) line.remove_suffix(1);
  unquoted_.clear();
  std::vector<size_t> sizes;
  if (!SplitWords(line, &unquoted_, &sizes)) return Malformed("unbalanced quotes in request");
  size_t offset = 0;
  for (size_t size : sizes) {
    parts_.push_back({offset, size});
    offset += size;
  }
  next_ = end + 1;
  return Complete(unquoted_.data());
}

}  // namespace kvd
