// Each of these leaves something behind: the fixture must fail them all (see meson.build).
#include <fcntl.h>

#include "tests/fixture.h"
#include "weft/go.h"
#include "weft/park.h"
#include "weft/time.h"

namespace {

WEFT_TEST(Leak, Goroutine) {
  weft::Go([] { weft::Park(nullptr, nullptr, weft::WaitReason::kUser); });
}

WEFT_TEST(Leak, Timer) {
  weft::AfterFunc(absl::Hours(1), [] {});
}

WEFT_TEST(Leak, Descriptor) {
  ASSERT_GE(open("/dev/null", O_RDONLY | O_CLOEXEC), 0);
}

WEFT_TEST(Leak, BusyP) {
  if (procs() == 1) return;
  weft::Go([] {
    for (;;) weft::Yield();
  });
}

}  // namespace
