#include "runtime/print.h"

#include "runtime/os/thread.h"

namespace weft::runtime {

void Printer::Put(char c) {
  if (used_ + 1 >= sizeof(buffer_)) Flush();
  buffer_[used_++] = c;
}

Printer& Printer::Text(const char* text) {
  if (text == nullptr) text = "(null)";
  for (; *text != 0; text++) Put(*text);
  return *this;
}

Printer& Printer::Unsigned(uint64_t value) {
  char digits[20];
  int n = 0;
  do {
    digits[n++] = static_cast<char>('0' + value % 10);
    value /= 10;
  } while (value != 0);
  while (n > 0) Put(digits[--n]);
  return *this;
}

Printer& Printer::Signed(int64_t value) {
  if (value >= 0) return Unsigned(static_cast<uint64_t>(value));
  Put('-');
  return Unsigned(~static_cast<uint64_t>(value) + 1);
}

Printer& Printer::Hex(uint64_t value) {
  Text("0x");
  int shift = 60;
  while (shift > 0 && (value >> shift & 15) == 0) shift -= 4;
  for (; shift >= 0; shift -= 4) Put("0123456789abcdef"[value >> shift & 15]);
  return *this;
}

void Printer::Format(const char* format, va_list args) {
  for (; *format != 0; format++) {
    if (*format != '%') {
      Put(*format);
      continue;
    }
    format++;
    switch (*format) {
      case 's':
        Text(va_arg(args, const char*));
        break;
      case 'u':
        Unsigned(va_arg(args, uint64_t));
        break;
      case 'd':
        Signed(va_arg(args, int64_t));
        break;
      case 'x':
        Hex(va_arg(args, uint64_t));
        break;
      default:
        Put('%');
        if (*format == 0) return;
        Put(*format);
    }
  }
}

void Printer::Flush() {
  os::WriteAll(fd_, buffer_, used_);
  used_ = 0;
}

}  // namespace weft::runtime
