// A limit may stand at any level: the process's own cgroup or any above it, up to the mount point.
// The smallest counts. /proc/self/cgroup says which cgroup; /proc/self/mountinfo where the
// hierarchy is mounted and which part of it is (the root field: containers mount a part).
//   v2: line "0::/path"; cpu.max holds "quota period" or "max period".
//   v1: a line with "cpu" among its controllers; cpu.cfs_quota_us (-1: none) and
//       cpu.cfs_period_us.
#include "runtime/procs.h"

#include <cstdint>
#include <cstring>

#include "runtime/os/thread.h"
#include "runtime/sched.h"

namespace weft::runtime {

namespace {

constexpr size_t kPath = 1024;
constexpr size_t kFile = 64 << 10;

struct Text {
  char text[kPath] = {};
  size_t size = 0;
  bool Append(const char* s, size_t n) {
    if (size + n >= kPath) return false;
    memcpy(text + size, s, n);
    size += n;
    text[size] = 0;
    return true;
  }
  bool Append(const char* s) { return Append(s, strlen(s)); }
  // A field of mountinfo: space, tab, newline and backslash stand there as \ooo.
  bool AppendUnescaped(const char* s, size_t n) {
    for (size_t i = 0; i < n; i++) {
      char c = s[i];
      if (c == '\\' && i + 3 < n) {
        c = static_cast<char>((s[i + 1] - '0') * 64 + (s[i + 2] - '0') * 8 + (s[i + 3] - '0'));
        i += 3;
      }
      if (!Append(&c, 1)) return false;
    }
    return true;
  }
  // Whether `path` is this directory or lies below it.
  bool Holds(const char* path) const {
    return strncmp(path, text, size) == 0 && (path[size] == 0 || path[size] == '/');
  }
};

int64_t ParseNumber(const char* s, const char** end) {
  while (*s == ' ') s++;
  bool negative = *s == '-';
  if (negative) s++;
  int64_t value = 0;
  const char* digits = s;
  while (*s >= '0' && *s <= '9' && value < INT64_MAX / 10 - 10) value = value * 10 + (*s++ - '0');
  *end = s == digits ? nullptr : s;
  return negative ? -value : value;
}

bool ReadUnder(const char* root, const Text& directory, const char* name, char* out, size_t size) {
  Text path;
  return path.Append(root) && path.Append(directory.text) && path.Append(name) &&
         os::ReadFile(path.text, out, size) > 0;
}

// In hundredths of a CPU; 0: none.
int64_t LimitAt(const char* root, const Text& directory, bool v2) {
  char text[128];
  const char* end = nullptr;
  int64_t quota = 0;
  int64_t period = 0;
  if (v2) {
    if (!ReadUnder(root, directory, "/cpu.max", text, sizeof(text))) return 0;
    quota = ParseNumber(text, &end);
    if (end == nullptr) return 0;  // "max"
    period = ParseNumber(end, &end);
  } else {
    if (!ReadUnder(root, directory, "/cpu.cfs_quota_us", text, sizeof(text))) return 0;
    quota = ParseNumber(text, &end);
    if (end == nullptr) return 0;
    if (!ReadUnder(root, directory, "/cpu.cfs_period_us", text, sizeof(text))) return 0;
    period = ParseNumber(text, &end);
  }
  if (quota <= 0 || period <= 0 || quota > INT64_MAX / 100) return 0;
  int64_t hundredths = quota * 100 / period;
  return hundredths == 0 ? 1 : hundredths;
}

// The smallest limit from `mount`/`path` up to `mount`.
int64_t LimitUpwards(const char* root, const Text& mount, const char* path, bool v2) {
  Text directory = mount;
  if (!directory.Append(path)) return 0;
  int64_t least = 0;
  for (;;) {
    while (directory.size > mount.size && directory.text[directory.size - 1] == '/') {
      directory.text[--directory.size] = 0;
    }
    int64_t limit = LimitAt(root, directory, v2);
    if (limit != 0 && (least == 0 || limit < least)) least = limit;
    if (directory.size <= mount.size) return least;
    while (directory.size > mount.size && directory.text[directory.size - 1] != '/') {
      directory.text[--directory.size] = 0;
    }
  }
}

bool HasController(const char* list, const char* end, const char* name) {
  size_t n = strlen(name);
  while (list < end) {
    const char* comma =
        static_cast<const char*>(memchr(list, ',', static_cast<size_t>(end - list)));
    const char* stop = comma != nullptr ? comma : end;
    if (static_cast<size_t>(stop - list) == n && memcmp(list, name, n) == 0) return true;
    list = stop + 1;
  }
  return false;
}

// One line of mountinfo: "id parent dev root mountpoint options ... - type source superoptions".
struct Mount {
  Text root, point;
  bool v1_cpu = false, v2 = false;
};

const char* Field(const char* s, const char* end, const char** stop) {
  while (s < end && *s == ' ') s++;
  const char* e = s;
  while (e < end && *e != ' ') e++;
  *stop = e;
  return s;
}

bool ParseMount(const char* line, const char* end, Mount* out) {
  const char* stop = line;
  const char* field = line;
  for (int i = 0; i < 5; i++) {
    field = Field(stop, end, &stop);
    size_t n = static_cast<size_t>(stop - field);
    if (i == 3 && !out->root.AppendUnescaped(field, n)) return false;
    if (i == 4 && !out->point.AppendUnescaped(field, n)) return false;
  }
  const char* dash = stop;
  while (dash + 3 < end && memcmp(dash, " - ", 3) != 0) dash++;
  if (dash + 3 >= end) return false;
  const char* type = Field(dash + 3, end, &stop);
  size_t type_size = static_cast<size_t>(stop - type);
  out->v2 = type_size == 7 && memcmp(type, "cgroup2", 7) == 0;
  bool v1 = type_size == 6 && memcmp(type, "cgroup", 6) == 0;
  Field(stop, end, &stop);  // source
  const char* options = Field(stop, end, &stop);
  out->v1_cpu = v1 && HasController(options, stop, "cpu");
  return out->v2 || out->v1_cpu;
}

const char* NextLine(const char* s) {
  const char* end = strchr(s, '\n');
  return end != nullptr ? end : s + strlen(s);
}

// The limit in the hierarchies mounted per `mounts`, for the process's cgroup `path`.
int64_t LimitInMounts(const char* root, const char* mounts, const char* path, bool v2) {
  int64_t least = 0;
  for (const char* line = mounts; *line != 0;) {
    const char* end = NextLine(line);
    Mount mount;
    if (ParseMount(line, end, &mount) && mount.v2 == v2) {
      // A container mounts the part of the hierarchy that it lives in.
      const char* below = path;
      if (mount.root.size > 1 && mount.root.Holds(path)) {
        below = path + mount.root.size;
      }
      int64_t limit = LimitUpwards(root, mount.point, below, v2);
      if (limit != 0 && (least == 0 || limit < least)) least = limit;
    }
    line = *end != 0 ? end + 1 : end;
  }
  return least;
}

}  // namespace

int CgroupCpuLimit(const char* root) {
  static char cgroups[kFile];
  static char mounts[kFile];
  Text nothing;
  if (!ReadUnder(root, nothing, "/proc/self/cgroup", cgroups, kFile)) return 0;
  if (!ReadUnder(root, nothing, "/proc/self/mountinfo", mounts, kFile)) return 0;
  int64_t least = 0;
  for (const char* line = cgroups; *line != 0;) {
    const char* end = NextLine(line);
    const char* controllers = strchr(line, ':');
    const char* path = controllers != nullptr ? strchr(controllers + 1, ':') : nullptr;
    if (path != nullptr && path < end) {
      bool v2 = path == controllers + 1;
      if (v2 || HasController(controllers + 1, path, "cpu")) {
        Text own;
        if (own.Append(path + 1, static_cast<size_t>(end - path - 1))) {
          int64_t limit = LimitInMounts(root, mounts, own.text, v2);
          if (limit != 0 && (least == 0 || limit < least)) least = limit;
        }
      }
    }
    line = *end != 0 ? end + 1 : end;
  }
  return static_cast<int>((least + 99) / 100);
}

int DefaultProcs(const char* root) {
  const char* end = nullptr;
  if (const char* set = os::Environment("WEFT_MAXPROCS"); set != nullptr && *set != 0) {
    int64_t n = ParseNumber(set, &end);
    if (end != nullptr && *end == 0 && n > 0) {
      return n > kMaxProcs ? kMaxProcs : static_cast<int>(n);
    }
    os::WriteAll(2, "weft: WEFT_MAXPROCS is not a positive number: ignored\n", 54);
  }
  int n = os::AffinityCpus();
  int limit = CgroupCpuLimit(root);
  if (limit > 0 && limit < n) n = limit;
  return n > kMaxProcs ? kMaxProcs : n;
}

}  // namespace weft::runtime
