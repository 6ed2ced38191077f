// boostfiber: boost.fiber's side of the micro table; one thread, round robin.
//
// Usage: boostfiber [SECONDS [NAME...]]   prints one sample of each row, or of those named
#include <algorithm>
#include <boost/fiber/all.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace fibers = boost::fibers;

// Runs `work` with a growing count until it takes `seconds`, as Go's testing package does.
void Bench(const char* name, double seconds, void (*work)(long)) {
  using Clock = std::chrono::steady_clock;
  for (long n = 1000;;) {
    Clock::time_point begin = Clock::now();
    work(n);
    double ns = std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
    if (ns >= seconds * 1e9) {
      printf("%-28s %10.1f ns/op\n", name, ns / static_cast<double>(n));
      fflush(stdout);
      return;
    }
    double growth = ns > 0 ? seconds * 1.2e9 / ns : 100;
    n = static_cast<long>(static_cast<double>(n) * (growth < 100 ? growth : 100)) + 1;
  }
}

void Yield(long n) {
  auto loop = [n] {
    for (long i = 0; i < n / 2; i++) boost::this_fiber::yield();
  };
  fibers::fiber a(loop);
  fibers::fiber b(loop);
  a.join();
  b.join();
}

void Spawn(long n) {
  for (long i = 0; i < n; i += 1000) {
    std::vector<fibers::fiber> batch;
    batch.reserve(1000);
    for (int k = 0; k < 1000; k++) batch.emplace_back([] {});
    for (fibers::fiber& f : batch) f.join();
  }
}

void PingPong(long n) {
  fibers::unbuffered_channel<int> there;
  fibers::unbuffered_channel<int> back;
  fibers::fiber echo([&] {
    for (int value : there) back.push(value);
  });
  int value = 0;
  for (long i = 0; i < n; i++) {
    there.push(static_cast<int>(i));
    back.pop(value);
  }
  there.close();
  echo.join();
}

void Buffered(long n) {
  fibers::buffered_channel<int> channel(128);
  fibers::fiber producer([&] {
    for (long i = 0; i < n; i++) channel.push(static_cast<int>(i));
    channel.close();
  });
  int value = 0;
  while (channel.pop(value) == fibers::channel_op_status::success) {
  }
  producer.join();
}

void Uncontended(long n) {
  fibers::mutex mutex;
  for (long i = 0; i < n; i++) {
    mutex.lock();
    mutex.unlock();
  }
}

}  // namespace

int main(int argc, char** argv) {
  double seconds = argc > 1 ? atof(argv[1]) : 0.3;
  const std::vector<std::string> wanted(argv + std::min(argc, 2), argv + argc);
  const std::pair<const char*, void (*)(long)> rows[] = {{"yield(2 goroutines)", Yield},
                                                         {"spawn+exit", Spawn},
                                                         {"chan pingpong (roundtrip)", PingPong},
                                                         {"chan buffered 128 spsc", Buffered},
                                                         {"mutex uncontended", Uncontended}};
  for (auto [name, work] : rows) {
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), name) == wanted.end()) continue;
    Bench(name, seconds, work);
  }
}
