#include "net/error.h"

#include <string>

#include "runtime/fatal.h"
#include "runtime/os/socket.h"

namespace weft::net::internal {

absl::Status NamedError(std::string_view operation, std::string_view name, Outcome outcome,
                        const Context& ctx, const char* kind) {
  WEFT_CHECK(outcome < 0);
  std::string text(operation);
  if (!name.empty()) text.append(" ").append(name);
  text.append(": ");
  switch (outcome) {
    case kClosed:
      return absl::CancelledError(text.append("use of closed ").append(kind));
    case kTimedOut:
      return absl::DeadlineExceededError(text.append("deadline exceeded"));
    case kContextDone: {
      const absl::Status why = ctx.status();
      const absl::string_view message = why.message();
      return absl::Status(why.code(), text.append(message.data(), message.size()));
    }
    default: {
      const int error = static_cast<int>(-outcome);
      return absl::Status(absl::ErrnoToStatusCode(error), text.append(os::ErrorText(error)));
    }
  }
}

absl::Status OperationError(std::string_view operation, std::string_view network,
                            const Address& local, const Address& remote, Outcome outcome,
                            const Context& ctx) {
  std::string name(network);
  if (!local.empty()) name.append(" ").append(local.ToString());
  if (!remote.empty()) name.append(local.empty() ? " " : "->").append(remote.ToString());
  return NamedError(operation, name, outcome, ctx);
}

}  // namespace weft::net::internal
