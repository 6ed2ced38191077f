// Channels under churn: pipelines of random shape whose values are all accounted for.
//
// Each round builds producers, forwarders and consumers around two channels of random capacity.
// Producers send numbered values, by Send, TrySend or Select; forwarders move them on by a Select
// that has both directions at once; consumers receive in every way there is. What must hold:
// every value arrives exactly once, the values of one producer arrive in order at each consumer
// when there is one forwarder, nothing arrives after close and drain.
#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "stress/harness.h"
#include "weft/chan.h"
#include "weft/go.h"
#include "weft/select.h"
#include "weft/waitgroup.h"

namespace {

using stress::Harness;
using stress::Random;
using stress::Require;

constexpr int kValuesEach = 500;

struct Value {
  int producer;
  int number;
};
// Small values travel by memcpy, others by their move constructor.
Value Unwrap(const Value& v) {
  return v;
}
Value Unwrap(const std::unique_ptr<Value>& v) {
  return *v;
}
void Wrap(Value v, Value* out) {
  *out = v;
}
void Wrap(Value v, std::unique_ptr<Value>* out) {
  *out = std::make_unique<Value>(v);
}

template <class T>
void Produce(int producer, weft::Chan<T> out, Random random) {
  for (int number = 0; number < kValuesEach; number++) {
    T value{};
    Wrap({producer, number}, &value);
    switch (random.Below(3)) {
      case 0:
        Require(out.Send(std::move(value)), "Send on an open channel");
        break;
      case 1:
        while (!out.TrySend(std::move(value))) weft::Yield();
        break;
      default: {
        bool sent = false;
        while (weft::Select(out.OnSend(&value, &sent), weft::After(absl::Microseconds(50))) != 0) {
        }
        Require(sent, "Select sends on an open channel");
      }
    }
  }
}

// Moves values from `in` to `out`, holding at most one.
template <class T>
void Forward(weft::Chan<T> in, weft::Chan<T> out) {
  const weft::Chan<T> none(nullptr);
  T held{};
  bool holding = false;
  bool open = true;
  while (open || holding) {
    std::optional<T> got;
    bool sent = false;
    weft::Chan<T> source = holding || !open ? none : in;
    weft::Chan<T> target = holding ? out : none;
    if (weft::Select(source.OnReceive(&got), target.OnSend(&held, &sent)) == 1) {
      Require(sent, "the forwarder sends on an open channel");
      holding = false;
    } else if (got) {
      held = std::move(*got);
      holding = true;
    } else {
      open = false;
    }
  }
}

template <class T>
class Consumer {
 public:
  Consumer(int producers, bool ordered)
      : last_(static_cast<size_t>(producers), -1), ordered_(ordered) {}

  void Run(weft::Chan<T> in, Random random) {
    for (bool open = true; open;) {
      std::optional<T> got;
      switch (random.Below(3)) {
        case 0:
          got = in.Receive();
          open = got.has_value();
          break;
        case 1:
          got = in.TryReceive();
          if (!got) weft::Yield();
          break;
        default:
          open = weft::Select(in.OnReceive(&got), weft::After(absl::Microseconds(50))) != 0 ||
                 got.has_value();
      }
      if (got) Take(Unwrap(*got));
    }
    Require(!in.TryReceive().has_value(), "nothing comes after the end");
  }
  uint64_t count() const { return count_; }
  uint64_t sum() const { return sum_; }

 private:
  void Take(Value v) {
    int& last = last_[static_cast<size_t>(v.producer)];
    if (ordered_) Require(v.number > last, "a producer's values arrive in order");
    last = v.number;
    count_++;
    sum_ += static_cast<uint64_t>(v.number);
    stress::Progress();
  }

  std::vector<int> last_;
  bool ordered_;
  uint64_t count_ = 0;
  uint64_t sum_ = 0;
};

template <class T>
void Pipeline(Harness& harness) {
  Random random = harness.NewRandom();
  const auto producers = static_cast<int>(1 + random.Below(8));
  const auto forwarders = static_cast<int>(1 + random.Below(3));
  const auto consumers = static_cast<int>(1 + random.Below(8));
  weft::Chan<T> first(random.Below(4) * random.Below(20));
  weft::Chan<T> second(random.Below(4) * random.Below(20));

  std::vector<Consumer<T>> sinks;
  for (int i = 0; i < consumers; i++) sinks.emplace_back(producers, forwarders == 1);
  weft::WaitGroup produced, forwarded, consumed;
  for (Consumer<T>& sink : sinks) {
    consumed.Go([&sink, second, own = harness.NewRandom()] { sink.Run(second, own); });
  }
  for (int i = 0; i < forwarders; i++) {
    forwarded.Go([first, second] { Forward(first, second); });
  }
  for (int i = 0; i < producers; i++) {
    produced.Go([i, first, own = harness.NewRandom()] { Produce(i, first, own); });
  }

  produced.Wait();
  Require(first.Close(), "first closes once");
  forwarded.Wait();
  Require(second.Close(), "second closes once");
  consumed.Wait();

  uint64_t count = 0;
  uint64_t sum = 0;
  for (const Consumer<T>& sink : sinks) {
    count += sink.count();
    sum += sink.sum();
  }
  const auto sent = static_cast<uint64_t>(producers) * kValuesEach;
  Require(count == sent, "as many values arrive as were sent");
  Require(sum == sent * (kValuesEach - 1) / 2, "each value arrives once");
}

// Close while senders and receivers wait: each send that said yes is received.
void CloseRace(Harness& harness) {
  Random random = harness.NewRandom();
  weft::Chan<int> chan(random.Below(3));
  std::atomic<int> sent{0};
  std::atomic<int> received{0};
  weft::WaitGroup group;
  for (int i = 0; i < 4; i++) {
    group.Go([&sent, chan]() mutable {
      while (chan.Send(1)) sent++;
    });
    group.Go([&received, chan]() mutable {
      for (int& value : chan) received += value;
    });
  }
  for (uint64_t i = random.Below(200); i > 0; i--) weft::Yield();
  Require(chan.Close(), "it closes once");
  group.Wait();
  Require(sent == received, "what was sent before the close is received");
}

void Round(Harness& harness) {
  Pipeline<Value>(harness);
  Pipeline<std::unique_ptr<Value>>(harness);
  for (int i = 0; i < 20; i++) CloseRace(harness);
}

}  // namespace

int main(int argc, char** argv) {
  return stress::Run(argc, argv, Round);
}
