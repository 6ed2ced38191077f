// Is the machine emulated? Times that a test compares mean nothing there (docs/porting.md).
#pragma once

#include <cstdlib>

namespace weft::testing {

// tests/arm64/in_machine says so.
inline bool IsEmulated() {
  return std::getenv("WEFT_TEST_EMULATED") != nullptr;
}

// How often a test does what is to hit a race: a tenth in an emulated machine, whose processors
// take turns and where a hand-over is a time slice.
inline int Rounds(int natively) {
  return IsEmulated() ? natively / 10 : natively;
}

}  // namespace weft::testing
