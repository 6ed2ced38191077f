// A saved context as libunwind takes it.
#pragma once

#include <ucontext.h>

#include "arch/arm64/context.h"

namespace weft::arch {

inline void FillUnwindContext(ucontext_t* context, const UnwindRegisters& r) {
  mcontext_t& m = context->uc_mcontext;
  m.pc = r.pc;
  m.sp = r.sp;
  for (int i = 0; i < 11; i++) m.regs[19 + i] = r.x[i];
  m.regs[30] = r.pc;
}

inline void CopyRegisters(ucontext_t* to, const ucontext_t* from) {
  for (int i = 0; i < 31; i++) to->uc_mcontext.regs[i] = from->uc_mcontext.regs[i];
  to->uc_mcontext.sp = from->uc_mcontext.sp;
  to->uc_mcontext.pc = from->uc_mcontext.pc;
  to->uc_mcontext.pstate = from->uc_mcontext.pstate;
}

inline uintptr_t StackPointerOf(const ucontext_t* context) {
  return context->uc_mcontext.sp;
}

}  // namespace weft::arch
