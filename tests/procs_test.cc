// How many Ps a program gets: the cgroup's CPU limit, read from trees made for the test.
#include "runtime/procs.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "runtime/os/thread.h"
#include "tests/fixture.h"

namespace {

using weft::runtime::CgroupCpuLimit;
using weft::runtime::DefaultProcs;

constexpr char kV2Mount[] = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
constexpr char kV1Mount[] =
    "25 23 0:22 / /proc rw - proc proc rw\n"
    "31 30 0:27 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
    "32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct\n";

class CgroupTest : public ::testing::Test {
 protected:
  CgroupTest() {
    char name[] = "/tmp/weft-procs-XXXXXX";
    root_ = mkdtemp(name);
  }
  ~CgroupTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path full = root_ + path;
    std::filesystem::create_directories(full.parent_path());
    std::ofstream(full) << text;
  }
  void WriteProc(const std::string& cgroup, const std::string& mountinfo) {
    Write("/proc/self/cgroup", cgroup);
    Write("/proc/self/mountinfo", mountinfo);
  }
  int Limit() const { return CgroupCpuLimit(root_.c_str()); }

  std::string root_;
};

TEST_F(CgroupTest, NoFilesAreNoLimit) {
  EXPECT_EQ(Limit(), 0);
  Write("/proc/self/cgroup", "0::/app\n");
  EXPECT_EQ(Limit(), 0) << "no mountinfo";
  Write("/proc/self/mountinfo", kV2Mount);
  EXPECT_EQ(Limit(), 0) << "no cpu.max: the cpu controller is not enabled";
  Write("/proc/self/mountinfo", "");
  EXPECT_EQ(Limit(), 0) << "nothing mounted";
}

TEST_F(CgroupTest, V2IsRoundedUp) {
  WriteProc("0::/app\n", kV2Mount);
  Write("/sys/fs/cgroup/app/cpu.max", "200000 100000\n");
  EXPECT_EQ(Limit(), 2);
  Write("/sys/fs/cgroup/app/cpu.max", "250000 100000\n");
  EXPECT_EQ(Limit(), 3);
  Write("/sys/fs/cgroup/app/cpu.max", "1000 100000\n");
  EXPECT_EQ(Limit(), 1);
  Write("/sys/fs/cgroup/app/cpu.max", "5 1000000\n");
  EXPECT_EQ(Limit(), 1) << "less than a hundredth is still a limit";
  Write("/sys/fs/cgroup/app/cpu.max", "1500 500");
  EXPECT_EQ(Limit(), 3) << "without a newline";
}

TEST_F(CgroupTest, V2MaxIsNoLimit) {
  WriteProc("0::/app\n", kV2Mount);
  Write("/sys/fs/cgroup/app/cpu.max", "max 100000\n");
  EXPECT_EQ(Limit(), 0);
  Write("/sys/fs/cgroup/cpu.max", "300000 100000\n");
  EXPECT_EQ(Limit(), 3) << "but the parent's counts";
}

TEST_F(CgroupTest, V2TheSmallestOfAllLevelsCounts) {
  WriteProc("0::/a/b/c\n", kV2Mount);
  Write("/sys/fs/cgroup/a/b/c/cpu.max", "800000 100000\n");
  EXPECT_EQ(Limit(), 8);
  Write("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  Write("/sys/fs/cgroup/a/cpu.max", "400000 100000\n");
  EXPECT_EQ(Limit(), 4);
  Write("/sys/fs/cgroup/a/b/cpu.max", "250000 50000\n");
  EXPECT_EQ(Limit(), 4);
  Write("/sys/fs/cgroup/a/b/c/cpu.max", "150000 100000\n");
  EXPECT_EQ(Limit(), 2);
  Write("/sys/fs/cgroup/cpu.max", "50000 100000\n");
  EXPECT_EQ(Limit(), 1);
}

TEST_F(CgroupTest, V2TheRootCgroupItself) {
  WriteProc("0::/\n", kV2Mount);
  Write("/sys/fs/cgroup/cpu.max", "600000 100000\n");
  EXPECT_EQ(Limit(), 6);
}

// A container sees the part of the hierarchy that it lives in, mounted as if it were all.
TEST_F(CgroupTest, V2APartOfTheHierarchyIsMounted) {
  WriteProc("0::/docker/4f5e/inner\n",
            "30 23 0:26 /docker/4f5e /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  Write("/sys/fs/cgroup/inner/cpu.max", "500000 100000\n");
  EXPECT_EQ(Limit(), 5);
  Write("/sys/fs/cgroup/cpu.max", "200000 100000\n");
  EXPECT_EQ(Limit(), 2);
  Write("/sys/fs/cgroup/docker/4f5e/inner/cpu.max", "100000 100000\n");
  EXPECT_EQ(Limit(), 2) << "that is not where it is mounted";
}

TEST_F(CgroupTest, V2TheProcessIsTheMountedPartItself) {
  WriteProc("0::/docker/4f5e\n",
            "30 23 0:26 /docker/4f5e /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  Write("/sys/fs/cgroup/cpu.max", "200000 100000\n");
  EXPECT_EQ(Limit(), 2);
}

TEST_F(CgroupTest, V2AMountedPartWhoseNameOnlyBeginsAlike) {
  WriteProc("0::/docker/4f5ebb\n",
            "30 23 0:26 /docker/4f5e /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  Write("/sys/fs/cgroup/bb/cpu.max", "300000 100000\n");
  Write("/sys/fs/cgroup/cpu.max", "200000 100000\n");
  EXPECT_EQ(Limit(), 2) << "/docker/4f5ebb does not lie in /docker/4f5e";
}

TEST_F(CgroupTest, V2SpacesInNamesAreEscaped) {
  WriteProc("0::/my app/inner\n",
            "30 23 0:26 /my\\040app /sys/fs/c\\134group rw - cgroup2 cgroup2 rw\n");
  Write("/sys/fs/c\\group/inner/cpu.max", "300000 100000\n");
  EXPECT_EQ(Limit(), 3);
}

// With a cgroup namespace the path may lie outside of what is seen.
TEST_F(CgroupTest, V2APathThatIsNotThereFallsBackToItsMount) {
  WriteProc("0::/gone/away\n", kV2Mount);
  Write("/sys/fs/cgroup/cpu.max", "200000 100000\n");
  EXPECT_EQ(Limit(), 2);
}

TEST_F(CgroupTest, V1QuotaAndPeriod) {
  WriteProc("5:memory:/app\n4:cpu,cpuacct:/app\n", kV1Mount);
  EXPECT_EQ(Limit(), 0);
  Write("/sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_quota_us", "150000\n");
  EXPECT_EQ(Limit(), 0) << "no period";
  Write("/sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Limit(), 2);
  Write("/sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(Limit(), 0) << "unlimited";
  Write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "300000\n");
  Write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Limit(), 3) << "the parent's";
}

TEST_F(CgroupTest, V1OnlyTheCpuControllersHierarchyCounts) {
  WriteProc("5:memory:/app\n4:cpuset:/app\n", kV1Mount);
  Write("/sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_quota_us", "100000\n");
  Write("/sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Limit(), 0) << "the process is in no cpu cgroup";
}

TEST_F(CgroupTest, V1BesideAnEmptyV2) {
  WriteProc(
      "4:cpu,cpuacct:/app\n0::/app\n",
      absl::StrCat(kV1Mount, "40 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"));
  Write("/sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_quota_us", "200000\n");
  Write("/sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Limit(), 2);
}

TEST_F(CgroupTest, V1APartOfTheHierarchyIsMounted) {
  WriteProc("4:cpu,cpuacct:/docker/4f5e\n",
            "32 30 0:28 /docker/4f5e /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n");
  Write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "400000\n");
  Write("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Limit(), 4);
}

TEST_F(CgroupTest, NonsenseIsNoLimit) {
  WriteProc("garbage\n0:\n::\n0::/app\n", "garbage\n- \n1 2 3\n" + std::string(kV2Mount));
  for (const char* text : {"", "\n", "x y\n", "-5 100000\n", "100000 0\n", "100000\n",
                           "99999999999999999999999 1\n"}) {
    Write("/sys/fs/cgroup/app/cpu.max", text);
    EXPECT_GE(Limit(), 0) << text;
  }
  WriteProc("0::/" + std::string(5000, 'x') + "\n", kV2Mount);
  EXPECT_EQ(Limit(), 0);
}

// ---- The number itself. ----

TEST_F(CgroupTest, DefaultIsTheAffinityCutToTheLimit) {
  unsetenv("WEFT_MAXPROCS");
  const int cpus = weft::os::AffinityCpus();
  EXPECT_EQ(DefaultProcs(root_.c_str()), cpus);
  WriteProc("0::/\n", kV2Mount);
  Write("/sys/fs/cgroup/cpu.max", "100000 100000\n");
  EXPECT_EQ(DefaultProcs(root_.c_str()), 1);
  Write("/sys/fs/cgroup/cpu.max", "900000000 100000\n");
  EXPECT_EQ(DefaultProcs(root_.c_str()), cpus) << "a limit above the CPUs";
}

TEST_F(CgroupTest, TheVariableComesFirstUnlessItIsNonsense) {
  WriteProc("0::/\n", kV2Mount);
  Write("/sys/fs/cgroup/cpu.max", "100000 100000\n");
  setenv("WEFT_MAXPROCS", "7", 1);
  EXPECT_EQ(DefaultProcs(root_.c_str()), 7);
  setenv("WEFT_MAXPROCS", "123456", 1);
  EXPECT_EQ(DefaultProcs(root_.c_str()), 1024);
  for (const char* text : {"0", "-3", "two", "4x", ""}) {
    setenv("WEFT_MAXPROCS", text, 1);
    EXPECT_EQ(DefaultProcs(root_.c_str()), 1) << text;
  }
  unsetenv("WEFT_MAXPROCS");
}

TEST_F(CgroupTest, TheRuntimeReadsTheTreeThatItIsGiven) {
  unsetenv("WEFT_MAXPROCS");
  WriteProc("0::/\n", kV2Mount);
  Write("/sys/fs/cgroup/cpu.max", "100000 100000\n");
  weft::RuntimeOptions options;
  options.system_root = root_;
  int procs = 0;
  weft::Main(options, [&] { procs = weft::MaxProcs(0); });
  EXPECT_EQ(procs, 1);
}

}  // namespace
