// Is the machine emulated? Times that a test compares mean nothing there (docs/porting.md).
#pragma once

#include <cstdlib>

namespace weft::testing {

// tests/arm64/in_machine says so.
inline bool IsEmulated() {
  return std::getenv("WEFT_TEST_EMULATED") != nullptr;
}

}  // namespace weft::testing
