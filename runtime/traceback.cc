#define UNW_LOCAL_ONLY
#include "runtime/traceback.h"

#include <libunwind.h>

#include <cstring>

#include "absl/debugging/symbolize.h"
#include "arch/unwind.h"

namespace weft::runtime {

namespace {

constexpr int kMostFrames = 64;

void PrintFrame(Printer* out, int number, uintptr_t pc) {
  char name[512];
  out->Text("    #").Signed(number).Text(" ").Hex(pc).Text(" ");
  // A return address may lie behind its function's end.
  out->Text(SymbolAt(reinterpret_cast<const void*>(pc - 1), name, sizeof(name))).Text("\n");
}

void Walk(Printer* out, unw_cursor_t* cursor) {
  for (int i = 0; i < kMostFrames; i++) {
    unw_word_t pc = 0;
    if (unw_get_reg(cursor, UNW_REG_IP, &pc) < 0 || pc == 0) return;
    PrintFrame(out, i, pc);
    if (unw_step(cursor) <= 0) return;
  }
  out->Text("    ... and more\n");
}

}  // namespace

const char* SymbolAt(const void* pc, char* buffer, int size) {
  return absl::Symbolize(pc, buffer, size) ? buffer : "(unknown)";
}

void PrintParkedTrace(Printer* out, const G* g) {
  if (g->sp == nullptr) return;
  unw_context_t context;
  memset(&context, 0, sizeof(context));
  arch::FillUnwindContext(&context, arch::RegistersOf(g->sp));
  unw_cursor_t cursor;
  if (unw_init_local(&cursor, &context) < 0) return;
  Walk(out, &cursor);
}

void PrintOwnTrace(Printer* out, const void* signal_context) {
  unw_cursor_t cursor;
  if (signal_context != nullptr) {
    unw_context_t context;
    memcpy(&context, signal_context, sizeof(context));
    if (unw_init_local2(&cursor, &context, UNW_INIT_SIGNAL_FRAME) < 0) return;
  } else {
    unw_context_t context;
    unw_getcontext(&context);
    if (unw_init_local(&cursor, &context) < 0) return;
  }
  Walk(out, &cursor);
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
