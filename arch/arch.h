// The machine's header: the one place that names it.
#pragma once

#if defined(__x86_64__)
#include "arch/x86_64/context.h"
#include "arch/x86_64/syscall.h"
#elif defined(__aarch64__)
#include "arch/arm64/context.h"
#include "arch/arm64/syscall.h"
#else
#error "weft needs x86_64 or arm64"
#endif

namespace weft::arch {

// switch.S says what each does.
extern "C" {
void* weft_switch(void** save_sp, void* load_sp, void* pass);
void* weft_mcall(void** save_sp, void* g0_sp, void (*fn)(void*), void* arg);
[[noreturn]] void weft_gogo(void* load_sp, void* pass);
void weft_call_on_stack(void* sp, void (*fn)(void*), void* arg);
[[noreturn]] void weft_restart(void* stack_top, void* pass);
void weft_gostart();
}

}  // namespace weft::arch
