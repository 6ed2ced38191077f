#include "kvd/client.h"

#include "daemon/output.h"
#include "kvd/reply.h"
#include "kvd/request_parser.h"

namespace kvd {

namespace {

class Counted {
 public:
  explicit Counted(std::atomic<int64_t>& count) : count_(count) {
    count_.fetch_add(1, std::memory_order_relaxed);
  }
  ~Counted() { count_.fetch_sub(1, std::memory_order_relaxed); }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 private:
  std::atomic<int64_t>& count_;
};

// Carries out all commands that are complete. False: the connection ends after the replies.
bool ExecuteAll(RequestParser& parser, Server& server, Reply& reply) {
  for (;;) {
    switch (parser.Next()) {
      case RequestParser::Result::kNeedMore:
        return true;
      case RequestParser::Result::kMalformed:
        reply.Error(parser.error());
        return false;
      case RequestParser::Result::kRequest:
        break;
    }
    Call call{parser.args(), server, reply};
    Execute(call);
    if (call.quit) return false;
  }
}

}  // namespace

void ServeClient(weft::io::Stream& stream, Server& server, const examples::Ending& ending) {
  const Counted counted(server.clients);
  RequestParser parser;
  examples::Output output(stream, ending.grace);
  Reply reply(output);
  for (;;) {
    absl::StatusOr<weft::io::Chunk> input = parser.midway()
                                                ? stream.Receive(ending.grace)  // it is in flight
                                                : examples::ReceiveNext(stream, ending);
    if (!input.ok() || input->empty()) return;
    parser.Feed(*input);
    const bool goes_on = ExecuteAll(parser, server, reply);
    parser.Keep();
    *input = weft::io::Chunk();  // the next client may read into it while this one writes
    if (!output.Flush()) return;
    if (!goes_on) return examples::CloseGently(stream, ending);
  }
}

}  // namespace kvd
