// A saved context as libunwind takes it.
#pragma once

#include <ucontext.h>

#include "arch/x86_64/context.h"

namespace weft::arch {

inline void FillUnwindContext(ucontext_t* context, const UnwindRegisters& r) {
  greg_t* regs = context->uc_mcontext.gregs;
  regs[REG_RIP] = static_cast<greg_t>(r.pc);
  regs[REG_RSP] = static_cast<greg_t>(r.sp);
  regs[REG_RBP] = static_cast<greg_t>(r.rbp);
  regs[REG_RBX] = static_cast<greg_t>(r.rbx);
  regs[REG_R12] = static_cast<greg_t>(r.r12);
  regs[REG_R13] = static_cast<greg_t>(r.r13);
  regs[REG_R14] = static_cast<greg_t>(r.r14);
  regs[REG_R15] = static_cast<greg_t>(r.r15);
}

inline void CopyRegisters(ucontext_t* to, const ucontext_t* from) {
  for (int i = 0; i < NGREG; i++) to->uc_mcontext.gregs[i] = from->uc_mcontext.gregs[i];
}

inline uintptr_t StackPointerOf(const ucontext_t* context) {
  return static_cast<uintptr_t>(context->uc_mcontext.gregs[REG_RSP]);
}

}  // namespace weft::arch
