// errno for code whose goroutine may move to another thread at any call.
//
// Compilers take the address of libc's errno once and keep it over calls, as a function stays on
// its thread. With weft's poll flags it does not: a call may be a poll, and the goroutine go on on
// another thread. So they include this header first, after which each use of errno asks anew; its
// value goes with the goroutine. Where a file is compiled without the flags, errno is lost only by
// calls of weft that block, as any library's may change it.
#pragma once

#include <errno.h>

extern "C" int* weft_errno_location() noexcept;

#undef errno
#define errno (*weft_errno_location())
