// Text without stdio or malloc, for fatal reports and dumps.
#pragma once

#include <cstdarg>
#include <cstddef>
#include <cstdint>

namespace weft::runtime {

// Collects text in a buffer and writes it to a descriptor when full or at the end.
class Printer {
 public:
  explicit Printer(int fd) : fd_(fd) {}
  ~Printer() { Flush(); }
  Printer(const Printer&) = delete;
  Printer& operator=(const Printer&) = delete;

  Printer& Text(const char* text);
  Printer& Unsigned(uint64_t value);
  Printer& Signed(int64_t value);
  Printer& Hex(uint64_t value);
  void Format(const char* format, va_list args);
  void Flush();

  // Text collected since the last Flush.
  const char* data() const { return buffer_; }
  size_t size() const { return used_; }

 private:
  void Put(char c);

  int fd_;
  size_t used_ = 0;
  char buffer_[2048];
};

}  // namespace weft::runtime
