#include "runtime/os/unwinder.h"

#include <dlfcn.h>

// libunwind's functions are macros for names with the machine in them.
#define WEFT_TEXT(x) #x
#define WEFT_NAME(x) WEFT_TEXT(x)

namespace weft::os {

namespace {

bool Load(Unwinder* out) {
  void* library = dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return false;
  out->init = reinterpret_cast<decltype(out->init)>(dlsym(library, WEFT_NAME(unw_init_local2)));
  out->step = reinterpret_cast<decltype(out->step)>(dlsym(library, WEFT_NAME(unw_step)));
  out->get_reg = reinterpret_cast<decltype(out->get_reg)>(dlsym(library, WEFT_NAME(unw_get_reg)));
  return out->init != nullptr && out->step != nullptr && out->get_reg != nullptr;
}

}  // namespace

const Unwinder* LoadUnwinder() {
  static Unwinder unwinder;
  static const bool loaded = Load(&unwinder);
  return loaded ? &unwinder : nullptr;
}

}  // namespace weft::os
