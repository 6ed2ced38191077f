#include "runtime/os/signal.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

namespace weft::os {

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
const int kRestartFlag = 0;
#else
const int kRestartFlag = SA_RESTART;
#endif

static_assert(sizeof(struct sigaction) <= sizeof(SignalAction));

int CatchSignal(int signal, void (*handler)(int), SignalAction* previous) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_ONSTACK | kRestartFlag;
  sigfillset(&action.sa_mask);
  struct sigaction before = {};
  if (sigaction(signal, &action, &before) != 0) return -errno;
  if (previous != nullptr) memcpy(previous->bytes, &before, sizeof(before));
  return 0;
}

void RestoreSignal(int signal, const SignalAction& previous) {
  struct sigaction action;
  memcpy(&action, previous.bytes, sizeof(action));
  sigaction(signal, &action, nullptr);
}

void DefaultSignal(int signal) {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  sigaction(signal, &action, nullptr);
}

const char* SignalName(int signal) {
  switch (signal) {
#define WEFT_SIGNAL_NAME(name) \
  case name:                   \
    return #name;
    WEFT_SIGNAL_NAME(SIGHUP)
    WEFT_SIGNAL_NAME(SIGINT)
    WEFT_SIGNAL_NAME(SIGQUIT)
    WEFT_SIGNAL_NAME(SIGABRT)
    WEFT_SIGNAL_NAME(SIGALRM)
    WEFT_SIGNAL_NAME(SIGTERM)
    WEFT_SIGNAL_NAME(SIGUSR1)
    WEFT_SIGNAL_NAME(SIGUSR2)
    WEFT_SIGNAL_NAME(SIGCHLD)
    WEFT_SIGNAL_NAME(SIGCONT)
    WEFT_SIGNAL_NAME(SIGTSTP)
    WEFT_SIGNAL_NAME(SIGTTIN)
    WEFT_SIGNAL_NAME(SIGTTOU)
    WEFT_SIGNAL_NAME(SIGWINCH)
    WEFT_SIGNAL_NAME(SIGXCPU)
    WEFT_SIGNAL_NAME(SIGPWR)
#undef WEFT_SIGNAL_NAME
    default:
      return nullptr;
  }
}

}  // namespace weft::os
