// RequestParser: commands out of a stream of bytes, as Redis reads them (RESP2, networking.c).
//
//     *2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n        an array of bulk strings, or
//     ECHO "hi"\r\n                           an inline command, for people with telnet
//
// Commands that are complete in what was fed are parsed in place, without a copy. What is left of
// an incomplete one is kept, and parsing goes on where it stopped, so that a value of 512 MB that
// comes in 64 KiB pieces is looked at once.
//
// Limits, Redis's own: a bulk string 512 MB, an array 1024 * 1024 elements, an inline command and
// a length's line 64 KiB, a whole command 1 GB.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvd {

class RequestParser {
 public:
  enum class Result : uint8_t {
    kNeedMore,   // no command is complete
    kRequest,    // args() is one, good until the next Next, Feed or Keep
    kMalformed,  // error() says why; the connection cannot go on
  };

  // Adds input, which must stay where it is until Keep.
  void Feed(std::string_view input);
  [[nodiscard]] Result Next();
  // Copies what Next has left over. To be called before the input fed goes away.
  void Keep();

  std::span<const std::string_view> args() const { return args_; }
  const std::string& error() const { return error_; }
  // A command has begun that is not complete.
  bool midway() const { return begin_ < data_.size(); }

 private:
  // A part of data_, or of unquoted_; relative to begin_, since the bytes move with Keep.
  struct Part {
    size_t offset;
    size_t size;
  };

  Result ParseInline();
  Result ParseArray();
  std::optional<Result> ParseArrayLength();
  std::optional<Result> ParseBulkLength();
  std::optional<std::string_view> TakeLine(const char* too_long, Result* result);
  Result Malformed(std::string_view why);
  Result Complete(const char* base);

  std::string kept_;        // what Keep has saved, and what was fed after it
  std::string_view data_;   // all input: kept_, or what was fed
  size_t begin_ = 0;        // of the command, in data_
  size_t next_ = 0;         // what is looked at next, from begin_
  int64_t missing_ = 0;     // elements of the array still to come; 0: its length is next
  int64_t bulk_size_ = -1;  // of the element that is next; -1: its length is next
  std::vector<Part> parts_;
  std::vector<std::string_view> args_;
  std::string unquoted_;  // an inline command's words
  std::string error_;
};

// A number in the one form that Redis takes: no sign but '-', no leading zeros or spaces.
std::optional<int64_t> ParseInteger(std::string_view text);

}  // namespace kvd
