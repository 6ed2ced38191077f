// The machine's unwinding header.
#pragma once

#if defined(__x86_64__)
#include "arch/x86_64/unwind.h"
#elif defined(__aarch64__)
#include "arch/arm64/unwind.h"
#else
#error "weft needs x86_64 or arm64"
#endif
