"""The line between the demo's host and its outside: two TUN devices with delay, loss and silence between them.

Run by record.py as root. A kernel's netem would do, but not every kernel has it; packets of a demo are few enough for
Python. Says "up" when the devices exist.
"""

import ctypes
import fcntl
import heapq
import ipaddress
import json
import os
import random
import select
import struct
import sys
import time
from contextlib import suppress

from tests.demo import story

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # include/uapi/linux/if_tun.h
_CLONE_NEWNET = 0x40000000
_MAX_PACKET = 65_535
_NAME = b"line0"


def open_tun(netns: str) -> int:
    """A TUN device in this namespace; the calling process stays there."""
    namespace = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
    os.close(namespace)
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)  # belongs to the namespace in which it is opened
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", _NAME, _IFF_TUN | _IFF_NO_PI))
    return tun


def far_address(packet: bytes, outward: bool) -> str:
    """The address of the outside that a packet goes to or comes from."""
    if packet[0] >> 4 == 4:
        return str(ipaddress.ip_address(packet[16:20] if outward else packet[12:16]))
    return str(ipaddress.ip_address(packet[24:40] if outward else packet[8:24]))


def carry(host: str, outside: str, t0: float) -> None:
    """Carry packets between the two namespaces until killed. `t0` is when the story begins, of time.monotonic()."""
    chance = random.Random(1)
    ends = open_tun(host), open_tun(outside)
    sys.stdout.write('"up"\n')
    sys.stdout.flush()
    on_the_way: list[tuple[float, int, int, bytes]] = []  # due, number, where to, packet
    last_due: dict[tuple[int, str], float] = {}
    number = 0
    while True:
        timeout = max(0.0, on_the_way[0][0] - time.monotonic()) if on_the_way else None
        ready, _, _ = select.select(ends, [], [], timeout)
        now = time.monotonic()
        while on_the_way and on_the_way[0][0] <= now:
            _, _, tun, packet = heapq.heappop(on_the_way)
            with suppress(OSError):  # as long as that end is down
                os.write(tun, packet)
        for tun in ready:
            packet = os.read(tun, _MAX_PACKET)
            outward = tun == ends[0]
            far = far_address(packet, outward)
            if story.is_dark(far, now - t0) or chance.random() < story.loss(far, now - t0):
                continue
            delay_s, jitter_s = story.delay(far, now - t0)
            key = tun, far
            due = max(now + delay_s + chance.random() * jitter_s, last_due.get(key, 0.0))  # nothing overtakes
            last_due[key] = due
            number += 1
            heapq.heappush(on_the_way, (due, number, ends[1] if outward else ends[0], packet))


if __name__ == "__main__":
    carry(**json.loads(sys.argv[1]))
