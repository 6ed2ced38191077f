// What the rest of weft may know of a saved context on arm64; see switch.S.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weft::arch {

// A saved context, as it lies at a parked goroutine's sp.
struct SavedContext {
  uint64_t fpcr;
  uint64_t padding;
  uint64_t x19, x20, x21, x22, x23, x24, x25, x26, x27, x28;
  uint64_t fp;  // x29
  uint64_t pc;  // x30
  uint64_t d8, d9, d10, d11, d12, d13, d14, d15;
};
static_assert(sizeof(SavedContext) == 176);
static_assert(offsetof(SavedContext, x19) == 16);
static_assert(offsetof(SavedContext, fp) == 96);
static_assert(offsetof(SavedContext, d8) == 112);

// What a call pushes: a function begins so far below an aligned address.
inline constexpr uintptr_t kCallBytes = 0;

// Lays out a context that begins in `entry` with sp at stack_top; returns its sp.
inline void* MakeContext(uintptr_t stack_top, void (*entry)()) {
  SavedContext* context = reinterpret_cast<SavedContext*>(stack_top - sizeof(SavedContext));
  *context = {};  // fpcr at process start is 0
  context->pc = reinterpret_cast<uint64_t>(entry);
  return context;
}

// Registers of a saved context for an unwinder that wants them all: pc, sp and the callee-saved.
struct UnwindRegisters {
  uint64_t pc, sp;
  uint64_t x[11];  // x19 .. x29
};
inline UnwindRegisters RegistersOf(const void* saved_sp) {
  const SavedContext* c = static_cast<const SavedContext*>(saved_sp);
  return {c->pc,
          reinterpret_cast<uint64_t>(saved_sp) + sizeof(SavedContext),
          {c->x19, c->x20, c->x21, c->x22, c->x23, c->x24, c->x25, c->x26, c->x27, c->x28, c->fp}};
}

// No compiler makes prologues that poll here.
inline void* PollSlot() {
  return nullptr;
}

inline void CpuRelax() {
  asm volatile("isb" ::: "memory");  // `yield` is a nop on cores without SMT
}

}  // namespace weft::arch
