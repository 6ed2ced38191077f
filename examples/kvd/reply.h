// Reply: RESP2 values, written to an Output.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "daemon/output.h"

namespace kvd {

class Reply {
 public:
  explicit Reply(examples::Output& output) : output_(output) {}

  // Each may write out what has gathered, and then blocks.
  void Status(std::string_view text);  // +OK: one line
  void Error(std::string_view text);   // "ERR what": becomes one line
  void Integer(int64_t number);
  void Bulk(std::string_view bytes);
  void Null();
  void Array(size_t length);  // that many values follow

 private:
  void Header(char type, int64_t number);

  examples::Output& output_;
};

}  // namespace kvd
