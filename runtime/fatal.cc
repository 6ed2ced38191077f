#include "runtime/fatal.h"

#include <cstdarg>
#include <exception>
#include <string_view>

#include "arch/unwind.h"
#include "runtime/os/thread.h"
#include "runtime/os/trap.h"
#include "runtime/print.h"
#include "runtime/report.h"
#include "runtime/sched.h"
#include "runtime/traceback.h"
#include "weft/runtime.h"

namespace weft::runtime {

namespace {

os::Atomic<FatalHook> fatal_hook{nullptr};
os::Atomic<uint32_t> reporting{0};

const char* EventText(Event event) {
  switch (event) {
#define WEFT_EVENT_TEXT(name, text) \
  case Event::name:                 \
    return text;
    WEFT_EVENTS(WEFT_EVENT_TEXT)
#undef WEFT_EVENT_TEXT
  }
  return "?";
}

void PrintEvents(Printer* out, const M* m) {
  out->Text("M ").Signed(m->id).Text(", latest first:");
  for (uint32_t i = 0; i < EventRing::kSize; i++) {
    const EventRing::Entry& e = m->events.Latest(i);
    if (e.event == Event::kNone) break;
    out->Text(" ").Text(EventText(e.event)).Text(" ").Unsigned(e.arg).Text(";");
  }
  out->Text("\n");
}

void PrintWho(Printer* out) {
  M* m = GetM();
  if (m == nullptr) {
    out->Text("on a plain thread, tid ").Signed(os::ThreadId()).Text("\n");
    return;
  }
  if (m->curg == &m->g0) {
    out->Text("on the system stack of M ").Signed(m->id).Text("\n");
  } else {
    out->Text("goroutine ").Unsigned(m->curg->goid).Text(" [running on M ").Signed(m->id);
    out->Text("]:\n");
  }
}

// Text of the message for the hook and the first line; one report at a time, the first ends the
// process.
[[noreturn]] void Report(const G* about, const void* context, const char* format, va_list args) {
  M* m = GetM();
  if (m != nullptr) m->locks++;
  // Who comes second waits for the end that the first makes.
  if (reporting.Exchange(1, os::kAcqRel<"fatal.once">) != 0) {
    for (;;) os::FutexWait(reporting, 1);
  }
  {
    static Printer message(2);
    message.Text("weft: fatal: ").Format(format, args);
    // Read once; set by the program.
    FatalHook hook = fatal_hook.Load(os::kAcquire<"fatal.hook">);
    if (hook != nullptr) hook(std::string_view(message.data(), message.size()));
    message.Text("\n");
    message.Flush();
    PrintWho(&message);
    PrintOwnTrace(&message, context);
    if (about != nullptr) PrintGoroutine(&message, about);
    if (m != nullptr) PrintEvents(&message, m);
    message.Flush();
  }
  os::Abort();
}

// ---- Faults. ----

bool OnFault(const os::Fault& fault) {
  M* m = GetM();
  if (m == nullptr || Rt() == nullptr) return false;
  G* g = m->curg;
  if (g == &m->g0 || g->stack.hi == 0) return false;
  if (!Rt()->stacks.IsOverflow(g->stack, fault.address)) return false;
  FatalFault(
      fault.context,
      "stack overflow in goroutine %u: %u bytes at %x (GoOptions::stack_size sets the limit)",
      g->goid, static_cast<uint64_t>(g->stack.hi - g->stack.lo),
      static_cast<uint64_t>(fault.address));
}

void OnQuit() {
  DumpAll(2);
  os::ExitProcess(2);
}

// ---- Exceptions that leave a goroutine. ----

std::terminate_handler old_terminate = nullptr;

[[noreturn]] void OnTerminate() {
  M* m = GetM();
  if (m == nullptr || m->curg == &m->g0) {
    if (old_terminate != nullptr) old_terminate();
    os::Abort();
  }
  // The stack is as it was at the throw: the unwinder found no handler and left it.
  Fatal("an exception left goroutine %u, or std::terminate was called on it (type: %s)",
        m->curg->goid, CurrentExceptionType());
}

}  // namespace

void Fatal(const char* format, ...) {
  va_list args;
  va_start(args, format);
  Report(nullptr, nullptr, format, args);
}

void FatalWith(const G* g, const char* format, ...) {
  va_list args;
  va_start(args, format);
  Report(g, nullptr, format, args);
}

void FatalFault(const void* context, const char* format, ...) {
  va_list args;
  va_start(args, format);
  Report(nullptr, context, format, args);
}

void InstallReports() {
  os::InstallTraps(OnFault, OnQuit);
  old_terminate = std::set_terminate(OnTerminate);
}

void RemoveReports() {
  os::RemoveTraps();
  std::set_terminate(old_terminate);
}

}  // namespace weft::runtime

namespace weft {

FatalHook SetFatalHook(FatalHook hook) {
  // Pairs with Report.
  return runtime::fatal_hook.Exchange(hook, os::kAcqRel<"fatal.hook.set">);
}

}  // namespace weft
