// What an operation inside a descriptor came to.
#pragma once

#include <cstdint>

namespace weft::net::internal {

// A count (>= 0), -errno, or one of these. Only who hands a failure to the user builds a Status;
// see error.h.
using Outcome = int64_t;
inline constexpr Outcome kClosed = -10'001;
inline constexpr Outcome kTimedOut = -10'002;
inline constexpr Outcome kContextDone = -10'003;

}  // namespace weft::net::internal
