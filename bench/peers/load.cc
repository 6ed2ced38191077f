// load: an echo client on one thread that measures throughput, latency and the server's CPU time.
//
//   load --port P [--conns N] [--bytes B] [--seconds S] [--warmup W] [--rate R] [--pid PID]
//
// Closed loop (no --rate): each connection has one message under way; the next is sent when the
// echo has come back. This saturates the server, or the client.
//
// Open loop (--rate R): R messages a second leave in ticks of 50 us over all connections in turn,
// whether or not earlier echoes have come back, and a message's latency counts from the moment
// at which it was due. So a server that stalls is charged for everything that queues up behind
// the stall (Tene's "coordinated omission"). What the client itself lost against its schedule is
// reported as `late_us`: it is the measure's own error.
//
// With --pid the server's CPU clock is read where the measured interval begins and ends, so that
// connecting, warming up and closing are not counted. One line of JSON goes to stdout.
#include <arpa/inet.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <vector>

namespace {

// Open loop: messages leave in ticks, since a client of one thread can not sleep and wake for each
// of 100,000 a second. Chosen: short against the latencies, long against a wake-up (5 us).
constexpr int64_t kTick = 50000;  // ns

struct Options {
  int port = 0;
  int conns = 64;
  int bytes = 64;
  double seconds = 2;
  double warmup = 0.3;
  double rate = 0;  // messages a second; 0: closed loop
  pid_t pid = 0;
};

[[noreturn]] void Fail(const char* what) {
  perror(what);
  exit(1);
}

int64_t Nanoseconds(clockid_t clock) {
  timespec t;
  if (clock_gettime(clock, &t) != 0) Fail("clock_gettime");
  return t.tv_sec * int64_t{1000000000} + t.tv_nsec;
}

int64_t Now() {
  return Nanoseconds(CLOCK_MONOTONIC);
}

// CPU time of every thread that `pid` has or had.
int64_t CpuTime(pid_t pid) {
  clockid_t clock;
  if (clock_getcpuclockid(pid, &clock) != 0) Fail("clock_getcpuclockid");
  return Nanoseconds(clock);
}

int Connect(int port, int index) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0) Fail("socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  // One address has 28,000 ephemeral ports: another loopback address for each 20,000.
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + static_cast<uint32_t>(index / 20000));
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) Fail("connect");
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  return fd;
}

struct Connection {
  int fd;
  int received = 0;         // bytes of the message that is coming back
  std::deque<int64_t> due;  // when each message under way was due, oldest first
};

class Load {
 public:
  explicit Load(const Options& options) : options_(options), message_(options.bytes, 'x') {
    epoll_ = epoll_create1(0);
    connections_.resize(static_cast<size_t>(options.conns));
    for (int i = 0; i < options.conns; i++) {
      connections_[i].fd = Connect(options.port, i);
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.u32 = static_cast<uint32_t>(i);
      epoll_ctl(epoll_, EPOLL_CTL_ADD, connections_[i].fd, &event);
    }
    latencies_.reserve(size_t{1} << 22);
  }

  void Run() {
    int64_t start = Now();
    Loop(start, start + Seconds(options_.warmup));
    // From here on it counts.
    measuring_ = true;
    int64_t begin = Now();
    int64_t cpu = options_.pid != 0 ? CpuTime(options_.pid) : 0;
    Loop(begin, begin + Seconds(options_.seconds));
    if (options_.pid != 0) cpu = CpuTime(options_.pid) - cpu;
    Report(Now() - begin, cpu);
  }

 private:
  static int64_t Seconds(double s) { return static_cast<int64_t>(s * 1e9); }

  void Loop(int64_t begin, int64_t end) {
    if (options_.rate == 0) {
      if (!started_) {
        for (Connection& c : connections_) Send(c, Now());
        started_ = true;
      }
      while (Now() < end) Receive(100 * int64_t{1000000});
      return;
    }
    double sent = 0;
    double each_tick = options_.rate * kTick * 1e-9;
    for (int64_t tick = 1; begin + tick * kTick < end; tick++) {
      int64_t due = begin + tick * kTick;
      for (int64_t now = Now(); now < due; now = Now()) Receive(due - now);
      for (; sent + 1 <= each_tick * static_cast<double>(tick); sent++) {
        if (measuring_) late_.push_back(Microseconds(Now() - due));
        Send(connections_[next_], due);
        next_ = (next_ + 1) % connections_.size();
      }
    }
  }

  void Send(Connection& c, int64_t due) {
    c.due.push_back(due);
    if (write(c.fd, message_.data(), message_.size()) != static_cast<ssize_t>(message_.size())) {
      Fail("write");
    }
  }

  // Takes what has come back, waiting for at most `wait_ns`.
  void Receive(int64_t wait_ns) {
    epoll_event events[512];
    timespec timeout{wait_ns / 1000000000, wait_ns % 1000000000};
    int count = epoll_pwait2(epoll_, events, 512, &timeout, nullptr);
    for (int i = 0; i < count; i++) {
      Connection& c = connections_[events[i].data.u32];
      ssize_t bytes = read(c.fd, buffer_, sizeof buffer_);
      if (bytes <= 0) {
        fprintf(stderr, "load: the server closed a connection\n");
        exit(1);
      }
      c.received += static_cast<int>(bytes);
      while (c.received >= options_.bytes) {
        c.received -= options_.bytes;
        int64_t now = Now();
        if (measuring_) latencies_.push_back(Microseconds(now - c.due.front()));
        c.due.pop_front();
        if (options_.rate == 0) Send(c, now);
      }
    }
  }

  static float Microseconds(int64_t ns) { return static_cast<float>(ns) * 1e-3f; }

  static float Quantile(std::vector<float>& sorted, double q) {
    if (sorted.empty()) return 0;
    return sorted[static_cast<size_t>(q * static_cast<double>(sorted.size() - 1))];
  }

  void Report(int64_t elapsed_ns, int64_t cpu_ns) {
    std::sort(latencies_.begin(), latencies_.end());
    std::sort(late_.begin(), late_.end());
    double requests = static_cast<double>(latencies_.size());
    printf("{\"requests\": %.0f, \"per_second\": %.0f", requests,
           requests / static_cast<double>(elapsed_ns) * 1e9);
    printf(", \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f",
           Quantile(latencies_, 0.5), Quantile(latencies_, 0.99), Quantile(latencies_, 0.999),
           Quantile(latencies_, 1));
    if (options_.rate != 0) {
      printf(", \"late_us\": {\"p50\": %.1f, \"p99\": %.1f, \"p999\": %.1f}", Quantile(late_, 0.5),
             Quantile(late_, 0.99), Quantile(late_, 0.999));
    }
    if (options_.pid != 0) {
      printf(", \"server_us_per_request\": %.4f", static_cast<double>(cpu_ns) * 1e-3 / requests);
    }
    printf("}\n");
  }

  const Options options_;
  std::vector<char> message_;
  int epoll_;
  std::vector<Connection> connections_;
  size_t next_ = 0;
  bool started_ = false;
  bool measuring_ = false;
  std::vector<float> latencies_;  // us, of the measured interval
  std::vector<float> late_;       // us, open loop: sent after due
  char buffer_[1 << 16];
};

Options Parse(int argc, char** argv) {
  static const option kLong[] = {
      {"port", required_argument, nullptr, 'p'},   {"conns", required_argument, nullptr, 'c'},
      {"bytes", required_argument, nullptr, 'b'},  {"seconds", required_argument, nullptr, 's'},
      {"warmup", required_argument, nullptr, 'w'}, {"rate", required_argument, nullptr, 'r'},
      {"pid", required_argument, nullptr, 'i'},    {nullptr, 0, nullptr, 0}};
  Options o;
  for (int c; (c = getopt_long(argc, argv, "", kLong, nullptr)) != -1;) {
    switch (c) {
      case 'p':
        o.port = atoi(optarg);
        break;
      case 'c':
        o.conns = atoi(optarg);
        break;
      case 'b':
        o.bytes = atoi(optarg);
        break;
      case 's':
        o.seconds = atof(optarg);
        break;
      case 'w':
        o.warmup = atof(optarg);
        break;
      case 'r':
        o.rate = atof(optarg);
        break;
      case 'i':
        o.pid = atoi(optarg);
        break;
      default:
        exit(2);
    }
  }
  if (o.port <= 0 || o.conns <= 0 || o.bytes <= 0) {
    fprintf(stderr,
            "usage: load --port P [--conns N] [--bytes B] [--seconds S] [--warmup W]\n"
            "            [--rate MESSAGES_PER_SECOND] [--pid SERVER]\n");
    exit(2);
  }
  return o;
}

}  // namespace

int main(int argc, char** argv) {
  prctl(PR_SET_TIMERSLACK, 1);  // ns: the kernel's default of 50 us would be latency of our own
  Load(Parse(argc, argv)).Run();
}
