"""The house rules. Each yields findings: (line, what is wrong, what to do instead)."""

import fnmatch
import re

# --- layering -----------------------------------------------------------------------------------

# Which folders' headers a folder may include, beside its own; the first match counts. Arrows run
# one way: net, sync -> netpoll -> runtime -> arch, os.
LAYERS = [
    ("include/weft", []),
    ("arch", []),
    ("runtime/os", ["arch"]),
    ("runtime", ["arch", "runtime"]),
    ("netpoll", ["runtime", "arch"]),
    ("net", ["netpoll", "runtime", "arch"]),
    ("sync", ["netpoll", "runtime", "arch"]),
    ("examples", []),
    ("stress", ["runtime"]),
]
FOLDERS = ("arch", "runtime", "netpoll", "net", "sync", "sim", "tests", "stress", "bench")
PUBLIC_ABSL = ("absl/time/", "absl/status/", "absl/functional/any_invocable.h")
INCLUDE = re.compile(r'^\s*#\s*include\s*["]([^"]+)["]')


def layering(source):
    layer = next((l for l in LAYERS if source.under(l[0])), None)
    if layer is None:
        return
    folder, allowed = layer
    for number, line in enumerate(source.literal, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        header = match.group(1)
        if header.startswith("absl/"):
            if folder == "include/weft" and not header.startswith(PUBLIC_ABSL):
                yield (number, f"a public header includes {header}",
                       "public signatures use absl::Time, Status, StatusOr and AnyInvocable only")
            continue
        if not header.startswith(tuple(f + "/" for f in FOLDERS)):
            continue
        if header.startswith(tuple(f + "/" for f in [folder] + allowed)):
            continue
        may = ", ".join(allowed + ["weft/"])
        yield (number, f"{folder}/ includes {header}",
               f"{folder}/ may use {may}; turn the arrow round: let the upper layer register a "
               f"function, or move the code to the layer that it belongs to")


# --- the seam -----------------------------------------------------------------------------------

SEAM_FOLDERS = ("include", "arch", "runtime", "netpoll", "net", "sync")
SEAM = ("runtime/os/", "include/weft/internal/atomic.h")
ANY_CALL = r"(?<![\w.>:])(?:::)?"  # a function of C, not a member or another namespace's
SEAM_NAMES = [
    (r"\bstd::atomic|#\s*include\s*<atomic>|__atomic_|__sync_", "os::Atomic (weft/internal/atomic.h)"),
    (r"\bmemory_order_\w+|\bstd::memory_order\b", "os::kAcquire<\"file.operation\"> and its kin"),
    (r"SYS_\w+|" + ANY_CALL + r"syscall\s*\(|__NR_\w+", "a function of runtime/os"),
    (r"\bfutex\s*\(|FUTEX_\w+|linux/futex\.h", "os::FutexWait, os::FutexWake"),
    (ANY_CALL + r"(mmap|munmap|mprotect|madvise|mremap)\s*\(|sys/mman\.h", "runtime/os's memory calls"),
    (r"\bpthread_\w+|\bstd::(jthread|thread|this_thread)\b|<thread>", "runtime/os's threads"),
    (r"\bstd::(recursive_|shared_|timed_)?mutex\b|\bstd::condition_variable|\babsl::Mutex\b",
     "runtime::Lock in the core, weft::Mutex above it"),
    (r"\bclock_(gettime|nanosleep)\b|\bnanosleep\s*\(|\busleep\s*\(|\bgettimeofday\b|"
     r"\bstd::chrono::\w+_clock|absl::(Now|SleepFor)\b", "runtime::Nanotime and timers"),
    (r"\b(sigaction|sigaltstack|sigprocmask|sigemptyset|sigfillset|sigaddset)\b|"
     + ANY_CALL + r"(signal|raise|kill|tgkill)\s*\(", "runtime/os's signals"),
    (r"\bepoll_\w+|\bEPOLL\w+", "runtime/os's epoll set"),
    (r"\bio_uring\w*\s*[(*&{;]|\bIORING_\w+|liburing\.h", "runtime/os's ring"),
    (r"#\s*include\s*<((unistd|fcntl|poll|signal|pthread|sched|netdb|semaphore)\.h|csignal|"
     r"(sys|linux|netinet|arpa|net)/\w+\.h)>|(?<!\w)::(socket|bind|listen|accept4?|connect|recv|"
     r"send|read|write|open|close|shutdown|fcntl|poll|ioctl)\s*\(", "a function of runtime/os"),
    (r"\b(eventfd|timerfd_create|signalfd|membarrier)\s*\(", "a function of runtime/os"),
    (r"\bthread_local\b|\b__thread\b",
     "the accessor of runtime/os: a goroutine's thread changes at each park"),
]
SEAM_NAMES = [(re.compile(pattern), advice) for pattern, advice in SEAM_NAMES]


def seam(source):
    if not source.under(*SEAM_FOLDERS) or source.path.startswith(SEAM) or not source.is_cpp:
        return
    for number, line in enumerate(source.code, 1):
        for pattern, advice in SEAM_NAMES:
            match = pattern.search(line)
            if match:
                yield (number, f"names {match.group().strip()} outside of the seam",
                       f"use {advice}; only runtime/os/ talks to the kernel and to std::atomic")


# --- memory orders ------------------------------------------------------------------------------

ORDER = re.compile(r"\bk(Relaxed|Acquire|Release|AcqRel|SeqCst)\b(\s*<\s*\"([^\"]*)\")?")
SITE = re.compile(r"^[a-z0-9_]+(\.[a-z0-9_]+)+$")
# How far above an operation the comment that explains it may stand. Chosen: the operations of
# one step stand together, with one comment at their head.
COMMENT_REACH = 8


def memory_orders(source):
    if not source.under(*SEAM_FOLDERS) or source.path == "include/weft/internal/atomic.h":
        return
    # A protocol whose numbered steps stand at the head of the file explains its own operations.
    head = "\n".join(source.comments[:80])
    essay = re.search(r"^//\s+1[.)]\s", head, re.M) and re.search(r"^//\s+2[.)]\s", head, re.M)
    for number, line in enumerate(source.literal, 1):
        for match in ORDER.finditer(line):
            site = match.group(3)
            if site is None:
                yield (number, f"{match.group()} does not name its site",
                       'write os::kAcquire<"file.operation">')
            elif not SITE.match(site):
                yield (number, f'the site name "{site}" is not of the form file.operation',
                       "lower case, parts joined by dots")
            if match.group(1) == "Relaxed" or essay:
                continue
            near = source.comments[max(0, number - 1 - COMMENT_REACH):number]
            if not any(c.strip() for c in near):
                yield (number, f"{match.group(1).lower()} without a comment",
                       "say why this order, and which operation is its partner")


def site_names(sources):
    """Over all files: a site's name belongs to one place."""
    seen = {}
    for source in sources:
        if not source.under(*SEAM_FOLDERS) or source.path == "include/weft/internal/atomic.h":
            continue
        for number, line in enumerate(source.literal, 1):
            for match in ORDER.finditer(line):
                site = match.group(3)
                if site is None:
                    continue
                if site in seen:
                    yield (source.path, number, f'the site "{site}" is also at {seen[site]}',
                           "give each operation a name of its own: the explorer weakens sites "
                           "one by one")
                else:
                    seen[site] = f"{source.path}:{number}"


# --- the machine --------------------------------------------------------------------------------

MACHINE = re.compile(r"__(x86_64|i386|amd64|aarch64|arm|ARM\w*|riscv|SSE\w*|AVX\w*)(__)?\b")
# Instructions, headers and functions of one machine, and the folders that hold them.
MACHINES_OWN = re.compile(r'\basm\b[^"]*"[^"]+"|__builtin_(ia32|arm|aarch64)_|'
                          r"<(arm_\w+|\w*mmintrin|x86intrin)\.h>|\barch/(x86_64|arm64)/|\bcpu_family\b")


def machine(source):
    if source.under("arch", "runtime/os", "bench/peers"):
        return
    if not source.is_cpp and not source.path.endswith("meson.build"):
        return
    for number, line in enumerate(source.literal, 1):
        match = MACHINES_OWN.search(line)
        if not match and source.is_cpp and line.lstrip().startswith("#"):
            match = MACHINE.search(line)
        if match:
            yield (number, f"knows which machine it is ({match.group()})",
                   "put the difference into arch/<machine>/ behind one name")


# --- the core's memory --------------------------------------------------------------------------

CORE = ("runtime", "netpoll")
FOREIGN = [
    (r"\b(malloc|calloc|realloc|free|strdup|posix_memalign|aligned_alloc)\s*\(", "malloc"),
    (r"(?<!operator )\bnew\b(?!\s*\()|\bmake_(unique|shared)\b|\bdelete\b(?!\s*;)", "new"),
    (r"\b(v?s?n?f?printf|v?dprintf|fputs|puts|fwrite|fopen|fread|fclose|fflush|perror)\s*\(|"
     r"\bstd::(cout|cerr|clog|ostringstream|stringstream)\b|<c?stdio(\.h)?>|<iostream>|<sstream>",
     "stdio"),
    (r"\bstd::(string|to_string|vector|deque|list|map|set|unordered_map|unordered_set|function|"
     r"shared_ptr)\b", "containers"),
    (r"\b(getaddrinfo|dlopen|dlsym|localtime|strerror|setenv)\s*\(", "foreign locks"),
]
FOREIGN = [(re.compile(pattern), name) for pattern, name in FOREIGN]


def core_memory(source):
    if not source.under(*CORE) or not source.is_cpp:
        return
    for number, line in enumerate(source.code, 1):
        if re.search(r"=\s*(delete|default)\s*;|#\s*include\s*<new>", line):
            continue
        for pattern, name in FOREIGN:
            match = pattern.search(line)
            if match:
                yield (number, f"the core uses {match.group().strip()} ({name})",
                       "use the runtime's own allocators and printer: a goroutine may be stopped "
                       "while it holds malloc's or stdio's lock. Start-up, dump and fatal paths "
                       f"may be listed in tests/tidy/allow.txt: '{source.path} core_memory REASON'")


# --- size ---------------------------------------------------------------------------------------

FILE_LINES = 600
FUNCTION_LINES = 60       # warned of
FUNCTION_LINES_MAX = 100  # fails


def file_size(source):
    count = len(source.lines) - 1
    if count > FILE_LINES and not source.path.endswith((".md", "LICENSE")):
        yield (1, f"{count} lines, more than {FILE_LINES}", "split it by idea")


def function_size(source):
    if not source.is_cpp:
        return
    for start, count in source.functions():
        if count > FUNCTION_LINES_MAX:
            yield (start, f"a function of {count} lines, more than {FUNCTION_LINES_MAX}",
                   "one thought a function: name the steps and take them out")


def long_functions(source):
    """A warning, not a failure."""
    if not source.is_cpp:
        return
    for start, count in source.functions():
        if FUNCTION_LINES < count <= FUNCTION_LINES_MAX:
            yield (start, f"a function of {count} lines, more than {FUNCTION_LINES}",
                   "see whether it has two thoughts")


# --- words --------------------------------------------------------------------------------------

OWNERLESS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b(?!\([a-z][\w.-]*\): \S)")
TICKET = re.compile(r"\b(issue|ticket|bug|PR|pull request)s?\s+#?\d+\b|(?<![\w&/$(])#\d+\b", re.I)
BANNED = [
    (r"\busing\s+namespace\b", "write the names out, or one using-declaration in a function"),
    (r"\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|alloca|mktemp|tmpnam)\s*\(",
     "std::string_view, std::span, snprintf"),
    (r"\b(atoi|atol|atof)\s*\(", "absl::SimpleAtoi, or std::from_chars: they report errors"),
    (r"(?<![\w:.>])s?rand\s*\(", "a seeded generator: each run must be repeatable"),
    (r"\bstd::endl\b", "'\\n'"),
    (r"\bNULL\b", "nullptr"),
    (r"\btypedef\b", "using"),
]
BANNED = [(re.compile(pattern), advice) for pattern, advice in BANNED]


def words(source):
    if source.under("tests/tidy"):
        return
    for number, line in enumerate(source.comments, 1):
        match = OWNERLESS.search(line)
        if match:
            yield (number, f"{match.group(1)} without an owner", "write TODO(owner): what")
        match = TICKET.search(line)
        if match and not source.is_asm and not line.lstrip().startswith("#"):
            yield (number, f"refers to a ticket ({match.group()})",
                   "say here what a reader must know; trackers move")
    if not source.is_cpp or source.under("bench/peers"):
        return
    for number, line in enumerate(source.code, 1):
        for pattern, advice in BANNED:
            match = pattern.search(line)
            if match:
                yield (number, f"uses {match.group().strip()}", f"use {advice}")


FILE_NAMES = re.compile(r"(^|[/_])(utils?|helpers?|misc|common|stuff)([/_.]|$)", re.I)


def names(source):
    if FILE_NAMES.search(source.path):
        yield (1, "its name says nothing", "a folder is a subsystem, a file is one noun")
    if source.path.endswith(".h") and source.is_cpp and "#pragma once" not in source.text:
        # What is precompiled is compiled by itself, where it would be warned of.
        if not source.under("arch") and "/pch/" not in source.path:
            yield (1, "has no #pragma once", "add it below the opening comment")


SLEEPS = re.compile(r"\b(usleep|sleep|nanosleep|clock_nanosleep|sleep_for|sleep_until|SleepFor)\s*\(")


def sleeping_tests(source):
    if not source.under("tests") or not source.is_cpp:
        return
    for number, line in enumerate(source.code, 1):
        match = SLEEPS.search(line)
        if match:
            yield (number, f"calls {match.group(1)}",
                   "wait for the event; if blocking the thread is what is tested, list the file "
                   f"in tests/tidy/allow.txt: '{source.path} sleeping_tests REASON'")


# --- orphans ------------------------------------------------------------------------------------

BUILT = (".cc", ".c", ".S", ".py", ".sh", ".in", ".map")


def orphans(sources):
    """Over all files: a source that nothing builds, a header that nothing includes."""
    builders = "\n".join(s.text for s in sources
                         if s.path.endswith(("meson.build", ".sh", ".py"))
                         or "." not in s.path.rsplit("/", 1)[-1] or s.under(".ci"))
    # What assembly, documents and programs outside the tree include counts as well.
    included = set()
    for source in sources:
        for line in source.literal:
            match = INCLUDE.match(line)
            if match:
                included.add(match.group(1).rsplit("/", 1)[-1])
    globs = re.findall(r"[\w/]*\*\w*\.\w+", builders)
    for source in sources:
        base = source.path.rsplit("/", 1)[-1]
        if any(fnmatch.fnmatch(source.path, "*" + glob) for glob in globs):
            continue
        if source.path.endswith(BUILT):
            stem = re.escape(base.rsplit(".", 1)[0])
            if not re.search(rf"\b{re.escape(base)}\b|'{stem}'|\b(import|from) {stem}\b",
                             builders):
                yield (source.path, 1, "nothing builds or runs it",
                       "name it in the folder's meson.build, or delete it")
        elif source.path.endswith(".h") and base not in included and not source.under("include"):
            yield (source.path, 1, "nothing includes it", "delete it")


FILE_RULES = [layering, seam, memory_orders, machine, core_memory, file_size, function_size,
              words, names, sleeping_tests]
TREE_RULES = [site_names, orphans]
WARNINGS = [long_functions]
