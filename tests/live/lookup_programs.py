"""Programs that look names up in their C library, and say what came of it: run by lab.Namespace.play().

Each look-up is a line: the thread, the name, the result as nettop calls it, the addresses in the order of the answer.
"""

import ctypes
import socket
import threading
import time
from typing import Any

from tests.live.programs import DNS_PORT, forbid_new_calls, say

EAI = {socket.EAI_NONAME: "EAI_NONAME", socket.EAI_AGAIN: "EAI_AGAIN", socket.EAI_FAIL: "EAI_FAIL", -5: "EAI_NODATA"}


def look_up(name: str, family: int = 0) -> dict[str, Any]:
    """getaddrinfo(), as the caller sees it."""
    began_ns = time.monotonic_ns()
    found, result = [], "OK"
    try:
        found = socket.getaddrinfo(name, 80, family)
    except socket.gaierror as error:
        result = EAI[error.errno or 0]
    took_ms = (time.monotonic_ns() - began_ns) / 1e6
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    thread = threading.get_native_id()
    return {"thread": thread, "name": name, "result": result, "addresses": addresses, "took_ms": took_ms}


def threads(names: list[list[str]]) -> None:
    """Each list of names by a thread of its own, all at the same time; what each call returned, in one line."""
    told: list[dict[str, Any]] = []
    begin = threading.Barrier(len(names))

    def ask(wanted: list[str]) -> None:
        begin.wait()
        for name in wanted:
            told.append(look_up(name))

    running = [threading.Thread(target=ask, args=(wanted,)) for wanted in names]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    say(told)


def beside(server: str, names: list[str]) -> None:
    """Look names up, while another thread asks for the same ones without the library."""
    from dnslib import DNSRecord  # noqa: PLC0415 - the system's Python, which runs others of these, does not have it

    begin = threading.Barrier(2)

    def ask() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.connect((server, DNS_PORT))
            for name in names:
                begin.wait()
                udp.send(DNSRecord.question(name).pack())
                udp.recv(65535)

    asking = threading.Thread(target=ask)
    asking.start()
    for name in names:
        begin.wait()
        look_up(name)
    asking.join()


def one(name: str, family: int = 0) -> None:
    """One look-up."""
    say(look_up(name, family))


def hosts(name: str) -> None:
    """gethostbyname_r(3), by way of Python."""
    say(socket.gethostbyname_ex(name))


def old_hosts(name: str) -> None:
    """gethostbyname(3) and gethostbyname2(3), which keep their answer to themselves."""
    libc = ctypes.CDLL(None)
    libc.gethostbyname.restype = libc.gethostbyname2.restype = ctypes.c_void_p
    found = [libc.gethostbyname(name.encode()), libc.gethostbyname2(name.encode(), int(socket.AF_INET))]
    say([address is not None for address in found])


def sandboxed(name: str, times: int) -> None:
    """Look up in a process whose seccomp filter kills it for any system call that Linux 6.0 does not have."""
    forbid_new_calls()
    say([look_up(name) for _ in range(times)])
