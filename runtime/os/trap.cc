#include "runtime/os/trap.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/os/signal.h"

namespace weft::os {

namespace {

// Beyond what the kernel's frame needs (AVX-512 state is 3 KiB, AMX 11): a report unwinds with
// libunwind and symbolizes, which takes some 30 KiB.
constexpr size_t kReportBytes = size_t{96} << 10;

bool (*report_fault)(const Fault&) = nullptr;
void (*quit_hook)() = nullptr;
struct sigaction old_segv, old_bus, old_quit;

size_t SignalStackBytes() {
  size_t frame = getauxval(AT_MINSIGSTKSZ);  // 0 under some emulators
  size_t bytes = kReportBytes + (frame != 0 ? frame : static_cast<size_t>(MINSIGSTKSZ));
  size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return (bytes + page - 1) & ~(page - 1);
}

void Chain(const struct sigaction& old, int signal, siginfo_t* info, void* context) {
  if ((old.sa_flags & SA_SIGINFO) != 0) {
    old.sa_sigaction(signal, info, context);
    return;
  }
  if (old.sa_handler == SIG_IGN && info->si_code <= 0) return;
  if (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN) {
    old.sa_handler(signal);
    return;
  }
  // The default action, at the faulting instruction once more.
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  sigaction(signal, &action, nullptr);
  if (info->si_code <= 0) raise(signal);
}

void OnFault(int signal, siginfo_t* info, void* context) {
  int saved = errno;
  Fault fault = {signal, reinterpret_cast<uintptr_t>(info->si_addr), context};
  if (info->si_code <= 0 || report_fault == nullptr || !report_fault(fault)) {
    Chain(signal == SIGSEGV ? old_segv : old_bus, signal, info, context);
  }
  errno = saved;
}

void OnQuit(int, siginfo_t*, void*) {
  int saved = errno;
  if (quit_hook != nullptr) quit_hook();
  errno = saved;
}

void Install(int signal, void (*handler)(int, siginfo_t*, void*), struct sigaction* old) {
  struct sigaction action = {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | kRestartFlag;
  sigfillset(&action.sa_mask);
  sigaction(signal, &action, old);
}

}  // namespace

void* InstallSignalStack() {
  stack_t have;
  if (sigaltstack(nullptr, &have) == 0 && (have.ss_flags & SS_DISABLE) == 0) return nullptr;
  size_t bytes = SignalStackBytes();
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  stack_t stack = {};
  stack.ss_sp = memory;
  stack.ss_size = bytes;
  sigaltstack(&stack, nullptr);
  return memory;
}

void RemoveSignalStack(void* memory) {
  if (memory == nullptr) return;
  stack_t none = {};
  none.ss_flags = SS_DISABLE;
  sigaltstack(&none, nullptr);
  munmap(memory, SignalStackBytes());
}

void InstallTraps(bool (*on_fault)(const Fault&), void (*on_quit)()) {
  report_fault = on_fault;
  quit_hook = on_quit;
  Install(SIGSEGV, OnFault, &old_segv);
  Install(SIGBUS, OnFault, &old_bus);
  Install(SIGQUIT, OnQuit, &old_quit);
}

void RemoveTraps() {
  sigaction(SIGSEGV, &old_segv, nullptr);
  sigaction(SIGBUS, &old_bus, nullptr);
  sigaction(SIGQUIT, &old_quit, nullptr);
  report_fault = nullptr;
  quit_hook = nullptr;
}

}  // namespace weft::os
