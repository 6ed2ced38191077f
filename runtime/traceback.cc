#include "runtime/traceback.h"

#include <ucontext.h>

#include <cstring>

#include "absl/debugging/symbolize.h"
#include "arch/unwind.h"
#include "runtime/os/unwinder.h"

namespace weft::runtime {

namespace {

constexpr int kMostFrames = 64;

void PrintFrame(Printer* out, int number, uintptr_t pc) {
  char name[512];
  out->Text("    #").Signed(number).Text(" ").Hex(pc).Text(" ");
  // A return address may lie behind its function's end.
  out->Text(SymbolAt(reinterpret_cast<const void*>(pc - 1), name, sizeof(name))).Text("\n");
}

void Walk(Printer* out, ucontext_t* context, int flags) {
  const os::Unwinder* unwinder = os::LoadUnwinder();
  if (unwinder == nullptr) {
    out->Text("    no trace: libunwind.so.8 is missing\n");
    return;
  }
  // libunwind's own type, where it has one, is the ucontext_t cut short.
  static_assert(sizeof(unw_context_t) <= sizeof(ucontext_t));
  unw_cursor_t cursor;
  if (int error = unwinder->init(&cursor, reinterpret_cast<unw_context_t*>(context), flags);
      error < 0) {
    out->Text("    no trace: libunwind says ").Signed(error).Text("\n");
    return;
  }
  for (int i = 0; i < kMostFrames; i++) {
    unw_word_t pc = 0;
    if (int error = unwinder->get_reg(&cursor, UNW_REG_IP, &pc); error < 0) {
      out->Text("    no more: libunwind says ").Signed(error).Text("\n");
      return;
    }
    if (pc == 0) return;
    PrintFrame(out, i, pc);
    if (unwinder->step(&cursor) <= 0) return;
  }
  out->Text("    ... and more\n");
}

}  // namespace

const char* SymbolAt(const void* pc, char* buffer, int size) {
  return absl::Symbolize(pc, buffer, size) ? buffer : "(unknown)";
}

void PrintParkedTrace(Printer* out, const G* g) {
  if (g->sp == nullptr) return;
  ucontext_t context;
  memset(&context, 0, sizeof(context));
  arch::FillUnwindContext(&context, arch::RegistersOf(g->sp));
  Walk(out, &context, 0);
}

void PrintOwnTrace(Printer* out, const void* signal_context) {
  ucontext_t context;
  if (signal_context != nullptr) {
    // The kernel's is shorter than the type: its registers are what counts.
    memset(&context, 0, sizeof(context));
    arch::CopyRegisters(&context, static_cast<const ucontext_t*>(signal_context));
    Walk(out, &context, UNW_INIT_SIGNAL_FRAME);
    return;
  }
  getcontext(&context);
  Walk(out, &context, 0);
}

const char* WaitReasonText(WaitReason reason) {
  switch (reason) {
#define WEFT_WAIT_REASON_TEXT(name, text) \
  case WaitReason::name:                  \
    return text;
    WEFT_WAIT_REASONS(WEFT_WAIT_REASON_TEXT)
#undef WEFT_WAIT_REASON_TEXT
  }
  return "?";
}

}  // namespace weft::runtime
