# shellcheck shell=bash disable=SC2034
# Sourced by ./check and ./demo: brings the Debian packages that they need.
#
# bring_packages YES PACKAGE... prints what is missing and installs it: without asking when YES is
# 1 or CI=true, after a question on a terminal, else it only says what to do.

build_packages=(meson ninja-build pkg-config g++ ccache python3 liburing-dev libunwind-dev
  libabsl-dev libgtest-dev libgmock-dev libbenchmark-dev libhttp-parser-dev libboost-dev)
demo_packages=("${build_packages[@]}" wrk redis-tools)
check_packages=("${demo_packages[@]}" redis-server git curl cmake gdb clang clang-format clang-tidy
  libclang-rt-14-dev g++-aarch64-linux-gnu qemu-user-static qemu-system-arm gdb-multiarch cpio kmod
  xz-utils zstd)

bring_packages() {
  local yes=$1 package missing=() root=()
  shift
  if ! command -v dpkg-query >/dev/null; then
    echo "This is no Debian system: packages are not looked after. Needed are: $*"
    return 0
  fi
  for package in "$@"; do
    [[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == *" installed" ]] ||
      missing+=("$package")
  done
  ((${#missing[@]} == 0)) && return 0
  echo "Missing packages: ${missing[*]}"
  ((EUID == 0)) || root=(sudo)
  local install=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y
    --no-install-recommends "${missing[@]}")
  if ((yes == 0)) && [[ ${CI:-} != true ]]; then
    if [[ ! -t 0 ]]; then
      echo "Run again with --yes, or: ${install[*]}"
      return 1
    fi
    read -r -p "Install them? [Y/n] " answer
    [[ ${answer:-y} == [Yy]* ]] || return 1
  fi
  "${root[@]}" apt-get update -q && "${install[@]}"
}
