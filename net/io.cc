#include "weft/io.h"

#include <string>

namespace weft::io {

absl::Status ReadFull(Stream& stream, std::span<char> buffer, const Context& ctx) {
  size_t done = 0;
  while (done < buffer.size()) {
    absl::StatusOr<size_t> n = stream.Read(buffer.subspan(done), ctx);
    if (!n.ok()) return n.status();
    if (*n == 0) {
      return absl::OutOfRangeError("end of stream after " + std::to_string(done) + " of " +
                                   std::to_string(buffer.size()) + " bytes");
    }
    done += *n;
  }
  return absl::OkStatus();
}

}  // namespace weft::io
