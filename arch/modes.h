// The machine's floating-point modes.
#pragma once

#if defined(__x86_64__)
#include "arch/x86_64/modes.h"
#elif defined(__aarch64__)
#include "arch/arm64/modes.h"
#else
#error "weft needs x86_64 or arm64"
#endif
