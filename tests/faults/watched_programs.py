"""Programs that never stop until they hear something, and count what they did not get: run by lab.Namespace.play().

Each says "running" once it has been answered, and in the end how often it was answered and how often not.
"""

import ctypes
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence

from tests.live.https_programs import ask, connected
from tests.live.programs import say

PAUSE_S = 0.02  # others have work for this machine too
REQUESTS_EACH = 20  # on a connection
KILL, ALLOW = 0x8000_0000, 0x7FFF_0000  # SCMP_ACT_*, seccomp.h of libseccomp
# What a program needs that waits for lines, speaks TLS and looks names up; no newer way of doing any of it.
CALLS = (
    "brk", "clock_gettime", "close", "connect", "exit_group", "fcntl", "fstat", "futex", "getpeername", "getpid",
    "getrandom", "getsockname", "getsockopt", "gettid", "ioctl", "lseek", "madvise", "mmap", "mprotect", "munmap",
    "newfstatat", "openat", "poll", "ppoll", "read", "recvfrom", "recvmsg", "rt_sigaction", "rt_sigprocmask",
    "rt_sigreturn", "sendmmsg", "sendmsg", "sendto", "setsockopt", "socket", "uname", "write",
    "pselect6",
)  # fmt: skip


def without_end(step: Callable[[int], bool]) -> None:
    """Take one step after the other; each says whether it was answered."""
    tally = {True: 0, False: 0}
    number = 0
    while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
        tally[step(number)] += 1
        if number == 0:
            say("running")
        number += 1
    say([tally[True], tally[False]])


def asks(address: str, port: int) -> None:
    """For a page, over TLS, on one connection after the other."""
    without_end(asker(address, port))


def asker(address: str, port: int) -> Callable[[int], bool]:
    connection = connected(address, port, "TLS 1.3")

    def step(number: int) -> bool:
        nonlocal connection
        if number % REQUESTS_EACH == REQUESTS_EACH - 1:
            connection.close()
            connection = connected(address, port, "TLS 1.3")
        return ask(connection, number) == 200

    return step


def sandboxed(address: str, port: int, name: str, found: Sequence[str]) -> None:
    """Asks, and looks a name up, where a filter kills the process for any other system call than CALLS."""
    step = asker(address, port)

    def both(number: int) -> bool:
        addresses = {entry[4][0] for entry in socket.getaddrinfo(name, 80)}
        return step(number) and addresses == set(found)

    both(0)  # has read what it needs of files
    allow_only(CALLS)
    without_end(both)


def allow_only(calls: Sequence[str]) -> None:
    """From now on any other system call kills this process."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    rules = ctypes.c_void_p(library.seccomp_init(KILL))
    for call in calls:
        number = library.seccomp_syscall_resolve_name(call.encode())
        assert library.seccomp_rule_add(rules, ALLOW, number, 0) == 0, call
    assert library.seccomp_load(rules) == 0


def runs(commands: list[tuple[list[str], str]]) -> None:
    """These commands in turn, each of which must say its text and end well."""

    def step(number: int) -> bool:
        command, wanted = commands[number % len(commands)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode == 0 and wanted in done.stdout

    without_end(step)
