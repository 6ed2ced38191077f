// The seam's calls that no harness reaches: a run that does fails.
#include "runtime/os/clock.h"
#include "runtime/os/thread.h"
#include "runtime/os/unwinder.h"
#include "runtime/report.h"
#include "tests/model/model.h"

namespace weft {

namespace {
[[noreturn]] void Unexpected(const char* what) {
  model::Fail("unexpected call", "%s", what);
}
}  // namespace

namespace os {

int Errno() {
  Unexpected("os::Errno");
}
void SetErrno(int) {
  Unexpected("os::SetErrno");
}
int OwnThreads() {
  Unexpected("os::OwnThreads");
}
int AffinityCpus() {
  Unexpected("os::AffinityCpus");
}
int ReadFile(const char*, char*, size_t) {
  Unexpected("os::ReadFile");
}
const char* Environment(const char*) {
  Unexpected("os::Environment");
}
void WriteAll(int, const char*, size_t) {
  Unexpected("os::WriteAll");
}
const Unwinder* LoadUnwinder() {
  Unexpected("os::LoadUnwinder");
}

}  // namespace os

namespace runtime {

void InstallReports() {
  Unexpected("InstallReports");
}
void RemoveReports() {
  Unexpected("RemoveReports");
}
void DumpAll(int) {
  model::Fail("deadlock", "the runtime's own check found all goroutines asleep");
}

}  // namespace runtime
}  // namespace weft
