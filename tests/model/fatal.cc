// The runtime's fatal errors, and crashes, end a run, not the process.
#include "runtime/fatal.h"

#include <csignal>
#include <cstring>

#include "tests/model/engine.h"

namespace weft::runtime {

void Fatal(const char* format, ...) {
  model::Fail("fatal", "%s", format);
}

void FatalWith(const G*, const char* format, ...) {
  model::Fail("fatal", "%s", format);
}

}  // namespace weft::runtime

namespace weft::model {

namespace {

// The run's own may be what is broken.
alignas(16) char signal_stack[size_t{64} << 10];

void OnCrash(int number) {
  if (InRun()) Fail("crash", "%s", strsignal(number));
  signal(number, SIG_DFL);  // the explorer's own: again, for a core
}

}  // namespace

void CatchCrashes() {
  stack_t stack = {};
  stack.ss_sp = signal_stack;
  stack.ss_size = sizeof(signal_stack);
  sigaltstack(&stack, nullptr);
  struct sigaction action = {};
  action.sa_handler = OnCrash;
  // The handler does not return: Fail goes on with the search.
  action.sa_flags = SA_ONSTACK | SA_NODEFER;
  for (int number : {SIGSEGV, SIGBUS, SIGILL, SIGFPE}) sigaction(number, &action, nullptr);
}

}  // namespace weft::model
