// Dumps: every goroutine, what it waits for, and where.
//
// A goroutine that is parked or queued is held by the scan bit while its stack is walked: nobody
// resumes it meanwhile. Running ones are named with their M; their stacks are theirs.
#include <cxxabi.h>

#include <cstdlib>
#include <typeinfo>

#include "runtime/os/thread.h"
#include "runtime/report.h"
#include "runtime/sched.h"
#include "runtime/traceback.h"
#include "weft/runtime.h"

namespace weft::runtime {

namespace {

constinit Lock dump_lock(LockRank::kDump);

void PrintHead(Printer* out, const G* g, uint32_t state) {
  out->Text("goroutine ").Unsigned(g->goid).Text(" [");
  switch (state) {
    case Gwaiting:
      out->Text(WaitReasonText(g->wait_reason));
      break;
    case Grunnable:
      out->Text(g->started ? "runnable" : "runnable, not started");
      break;
    case Grunning:
    case Gsyscall: {
      // For the reader's eyes: a moment's truth.
      const M* m = g->m.Load(os::kRelaxed<"dump.m">);
      out->Text(state == Gsyscall ? "in Blocking" : "on cpu");
      if (m != nullptr) out->Text(", M ").Signed(m->id);
      break;
    }
    default:
      out->Text(GStateName(state));
  }
  // As above.
  if (g->lockedm.Load(os::kRelaxed<"dump.lockedm">) != nullptr) out->Text(", locked to thread");
  out->Text("]:\n");
}

void PrintCreator(Printer* out, const G* g) {
  if (g->created_by == nullptr) return;
  char name[512];
  out->Text("    created by ").Text(SymbolAt(g->created_by, name, sizeof(name))).Text("\n");
}

bool PrintStill(Printer* out, G* g, GState state) {
  if (!CasToGScanStatus(g, state)) return false;
  PrintHead(out, g, state);
  if (g->started) PrintParkedTrace(out, g);
  PrintCreator(out, g);
  CasFromGScanStatus(g, state);
  return true;
}

void PrintOne(Printer* out, G* g) {
  constexpr int kTries = 1000;  // it moves between states: then it is printed as running
  for (int i = 0; i < kTries; i++) {
    uint32_t state = StateOf(ReadGStatus(g));
    if (state == Gidle || state == Gdead) return;
    if (state == Gwaiting && PrintStill(out, g, Gwaiting)) return;
    if (state == Grunnable && PrintStill(out, g, Grunnable)) return;
    if (state == Gpreempted && PrintStill(out, g, Gpreempted)) return;
    if (state == Grunning || state == Gsyscall) break;
  }
  M* m = GetM();
  uint32_t state = StateOf(ReadGStatus(g));
  PrintHead(out, g, state);
  if (m != nullptr && m->curg == g) PrintOwnTrace(out, nullptr);
  PrintCreator(out, g);
}

}  // namespace

void PrintGoroutine(Printer* out, const G* g) {
  PrintOne(out, const_cast<G*>(g));
}

void DumpAll(int fd) {
  Runtime* rt = Rt();
  Printer out(fd);
  if (rt == nullptr) {
    out.Text("weft: no runtime\n");
    return;
  }
  M* m = GetM();
  if (m != nullptr) m->locks++;
  {
    // Waiting here means that another dump runs; locks of lower rank may be held by a fatal
    // report's thread, never by this one when it comes through the API.
    bool locked = dump_lock.TryAcquire();
    AnyG(rt, [&out](G* g) {
      PrintOne(&out, g);
      return false;
    });
    if (locked) dump_lock.Release();
  }
  if (m != nullptr) m->locks--;
}

const char* CurrentExceptionType() {
  const std::type_info* type = abi::__cxa_current_exception_type();
  if (type == nullptr) return "none";
  int status = 0;
  // The process ends: its memory is not given back.
  const char* name = abi::__cxa_demangle(type->name(), nullptr, nullptr, &status);
  return status == 0 ? name : type->name();
}

}  // namespace weft::runtime

namespace weft {

void DumpGoroutines(int fd) {
  runtime::DumpAll(fd);
}

}  // namespace weft
