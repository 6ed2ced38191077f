// The file ring: file operations of all goroutines, through one io_uring and its thread.
#pragma once

#include <cstdint>

#include "runtime/os/file_uring.h"
#include "weft/park.h"

namespace weft::netpoll {

// A file operation, on its caller's stack.
struct FileRequest {
  os::FileCall call;
  int64_t result = 0;           // >= 0 or -errno
  FileRequest* next = nullptr;  // the ring's
  Goroutine* g = nullptr;       // the ring's
};

// Makes the call and returns its result, >= 0 or -errno. Blocks the calling goroutine or plain
// thread; what `call` points to belongs to the kernel until then. The first call starts the
// ring's thread. Where io_uring is refused or the netpoller is epoll, the call is made in
// Blocking, on the caller's thread. -ECANCELED: the runtime ends or has ended, which a plain thread
// may see; a close is made nevertheless.
int64_t RunFileRequest(FileRequest* request);

// Ends the ring's thread when it runs. To be called when the runtime ends and its Ms have left, but
// before memory of goroutines goes: what is under way is cancelled or waited for, since the
// kernel works in that memory. Plain threads may make requests all the time. The ring may have
// readied somebody at the last moment, which starts an M: Ms are to be waited for once more
// afterwards.
void StopFileRing();

}  // namespace weft::netpoll
