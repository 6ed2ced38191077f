#!/bin/sh
# Is every C++ file as clang-format writes it? Exit 77 (skipped) without clang-format.
cd "$(dirname "$0")/../.." || exit 1
command -v clang-format >/dev/null || exit 77
files=$(git ls-files -co --exclude-standard -- '*.h' '*.cc' 2>/dev/null) ||
  files=$(find . -name 'build*' -prune -o \( -name '*.h' -o -name '*.cc' \) -print)
existing=$(for file in $files; do [ -f "$file" ] && echo "$file"; done)
bad=$(echo "$existing" | xargs clang-format --dry-run 2>&1 | sed -n 's/^\([^:]*\):.*warning:.*/\1/p' |
  sort -u | tr '\n' ' ')
[ -z "$bad" ] && exit 0
echo "not formatted: $bad"
echo "fix: clang-format -i $bad"
exit 1
