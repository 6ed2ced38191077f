// How many Ps a program gets when it does not say.
#pragma once

namespace weft::runtime {

// The CPU limit of the process's cgroup and all cgroups above it, v1 and v2, rounded up; 0: none.
// `root` is put before /proc and the mount points: tests have trees of their own.
int CgroupCpuLimit(const char* root);

// WEFT_MAXPROCS, else the affinity mask's CPUs cut to the cgroup's limit. 1..1024.
int DefaultProcs(const char* root);

}  // namespace weft::runtime
