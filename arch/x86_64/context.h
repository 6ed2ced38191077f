// What the rest of weft may know of a saved context on x86_64; see switch.S.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weft::arch {

// A saved context, as it lies at a parked goroutine's sp.
struct SavedContext {
  uint32_t mxcsr;
  uint16_t x87_control;
  uint16_t padding;
  uint64_t r15, r14, r13, r12, rbx, rbp;
  uint64_t pc;
};
static_assert(sizeof(SavedContext) == 64);
static_assert(offsetof(SavedContext, x87_control) == 4);
static_assert(offsetof(SavedContext, r15) == 8);
static_assert(offsetof(SavedContext, pc) == 56);

// What a call pushes: a function begins so far below an aligned address.
inline constexpr uintptr_t kCallBytes = 8;

// Lays out a context that begins in `entry` with sp at stack_top; returns its sp.
inline void* MakeContext(uintptr_t stack_top, void (*entry)()) {
  SavedContext* context = reinterpret_cast<SavedContext*>(stack_top - sizeof(SavedContext));
  *context = {};
  context->mxcsr = 0x1f80;  // the psABI's values at process start
  context->x87_control = 0x037f;
  context->pc = reinterpret_cast<uint64_t>(entry);
  return context;
}

// Registers of a saved context for an unwinder that wants them all: pc, sp and the callee-saved.
struct UnwindRegisters {
  uint64_t pc, sp, rbp, rbx, r12, r13, r14, r15;
};
inline UnwindRegisters RegistersOf(const void* saved_sp) {
  const SavedContext* c = static_cast<const SavedContext*>(saved_sp);
  return {c->pc,  reinterpret_cast<uint64_t>(saved_sp) + sizeof(SavedContext),
          c->rbp, c->rbx,
          c->r12, c->r13,
          c->r14, c->r15};
}

// The calling thread's word that -fsplit-stack's prologues compare sp with: the psABI's place in
// the thread control block. To be asked again after every park.
inline void* PollSlot() {
  uintptr_t thread = 0;
  asm volatile("movq %%fs:0, %0" : "=r"(thread));
  return reinterpret_cast<void*>(thread + 0x70);
}

inline void CpuRelax() {
  __builtin_ia32_pause();
}

}  // namespace weft::arch
