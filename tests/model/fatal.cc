// The runtime's fatal errors end a run, not the process.
#include "runtime/fatal.h"

#include "tests/model/model.h"

namespace weft::runtime {

void Fatal(const char* format, ...) {
  model::Fail("fatal", "%s", format);
}

void FatalWith(const G*, const char* format, ...) {
  model::Fail("fatal", "%s", format);
}

}  // namespace weft::runtime
