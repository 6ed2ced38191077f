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
