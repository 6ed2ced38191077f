#include "runtime/os/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>

#include "arch/arch.h"
#include "runtime/os/memory.h"
#include "weft/internal/atomic.h"

// weft/errno.h. Not inlined: compilers keep errno's address over calls.
extern "C" [[gnu::noinline]] int* weft_errno_location() noexcept {
  asm volatile("" ::: "memory");
  return &errno;
}

namespace weft::os {

namespace {
struct Start {
  void (*fn)(void*);
  void* arg;
  char name[16];
};

Atomic<int> own_threads{0};

void* Trampoline(void* p) {
  Start* start = static_cast<Start*>(p);
  void (*fn)(void*) = start->fn;
  void* arg = start->arg;
  pthread_setname_np(pthread_self(), start->name);
  free(start);
  fn(arg);
  own_threads.FetchSub(1, kRelaxed<"thread.own.end">);  // a counter
  return nullptr;
}

// What libc takes out of a thread's stack for thread_locals, at most: those of all that is loaded,
// its own control block and what it keeps for libraries that come later (4 KiB together with glibc
// 2.36). Neither sysconf nor pthread_attr_t tells.
size_t ThreadLocalBytes() {
  size_t bytes = size_t{16} << 10;
  dl_iterate_phdr(
      [](dl_phdr_info* object, size_t, void* sum) {
        for (int i = 0; i < object->dlpi_phnum; i++) {
          const auto& segment = object->dlpi_phdr[i];
          if (segment.p_type != PT_TLS) continue;
          *static_cast<size_t*>(sum) += segment.p_memsz + segment.p_align;
        }
        return 0;
      },
      &bytes);
  return bytes;
}

size_t WithThreadLocals(size_t stack_size) {
  // Libraries that are loaded later have their own memory.
  static const size_t thread_locals = ThreadLocalBytes();
  const size_t page = PageSize();
  return (stack_size + thread_locals + page - 1) & ~(page - 1);
}

// Ms take SIGQUIT (a dump can be asked for at any time) and the synchronous faults.
sigset_t SignalsOfOurThreads() {
  sigset_t set;
  sigfillset(&set);
  for (int keep : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPROF, SIGURG}) {
    sigdelset(&set, keep);
  }
  return set;
}
}  // namespace

int StartThread(const char* name, size_t stack_size, void (*fn)(void*), void* arg) {
  Start* start = static_cast<Start*>(malloc(sizeof(Start)));
  if (start == nullptr) return -ENOMEM;
  *start = {fn, arg, {}};
  strncpy(start->name, name, sizeof(start->name) - 1);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  if (stack_size != 0) pthread_attr_setstacksize(&attributes, WithThreadLocals(stack_size));
  sigset_t blocked = SignalsOfOurThreads();
  sigset_t before;
  pthread_sigmask(SIG_SETMASK, &blocked, &before);        // inherited: no window without it
  own_threads.FetchAdd(1, kRelaxed<"thread.own.start">);  // a counter, before the thread ends
  pthread_t thread;
  int error = pthread_create(&thread, &attributes, Trampoline, start);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  if (error != 0) {
    own_threads.FetchSub(1, kRelaxed<"thread.own.failed">);  // a counter
    free(start);
  }
  return -error;
}

int OwnThreads() {
  return own_threads.Load(kRelaxed<"thread.own.read">);
}  // a counter

void AtThreadEnd(void (*fn)()) {
  static const pthread_key_t key = [] {
    pthread_key_t made = 0;
    pthread_key_create(&made, [](void* at_end) { reinterpret_cast<void (*)()>(at_end)(); });
    return made;
  }();
  pthread_setspecific(key, reinterpret_cast<void*>(fn));
}

// The kernel's answer: in a child of vfork libc's own may be the parent's.
int ThreadId() {
  return static_cast<int>(syscall(SYS_gettid));
}

int Errno() {
  return *weft_errno_location();
}

void SetErrno(int error) {
  *weft_errno_location() = error;
}

Atomic<uintptr_t>* PollSlot() {
  return reinterpret_cast<Atomic<uintptr_t>*>(arch::PollSlot());
}

StackBounds ThreadStack() {
  pthread_attr_t attributes;
  void* lo = nullptr;
  size_t size = 0;
  if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
    pthread_attr_getstack(&attributes, &lo, &size);
    pthread_attr_destroy(&attributes);
  }
  uintptr_t start = reinterpret_cast<uintptr_t>(lo);
  return {start, start + size};
}

int CountThreads() {
  char text[1024];
  if (ReadFile("/proc/self/stat", text, sizeof(text)) <= 0) return 0;
  // The command's name, in parentheses, may hold anything: fields count from its end.
  const char* p = strrchr(text, ')');
  if (p == nullptr) return 0;
  p++;
  for (int field = 2; field < 19; field++) {  // num_threads is the 20th
    p = strchr(p + 1, ' ');
    if (p == nullptr) return 0;
  }
  int threads = 0;
  std::from_chars(p + 1, text + strlen(text), threads);
  return threads;
}

int AffinityCpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : static_cast<int>(n);
  }
  int n = CPU_COUNT(&set);
  return n < 1 ? 1 : n;
}

int ReadFile(const char* path, char* buffer, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  size_t have = 0;
  while (have + 1 < size) {
    ssize_t n = read(fd, buffer + have, size - 1 - have);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    have += static_cast<size_t>(n);
  }
  close(fd);
  buffer[have] = 0;
  return static_cast<int>(have);
}

const char* Environment(const char* name) {
  return getenv(name);
}

void WriteAll(int fd, const char* text, size_t size) {
  while (size > 0) {
    ssize_t n = write(fd, text, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    text += n;
    size -= static_cast<size_t>(n);
  }
}

void Abort() {
  abort();
}
void ExitProcess(int code) {
  _exit(code);
}

}  // namespace weft::os
