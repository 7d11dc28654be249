"""--allow-cut on the kernel side: what is blocked until when (map `blocks`), and ending a connection by an iterator.

All of it works without a privilege, through descriptors that were made while nettop had some. See bpf/blocks.c.
"""

import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from nettop.kernel import abi, syscalls
from nettop.kernel.abi import BlockKey, ProcessKey
from nettop.kernel.hooks import CLOSING

MOST = 64  # blocks at a time: BLOCKS in bpf/blocks.c
_ONLY = struct.pack("=I", 0)  # the index of an array's only element
_NOWHERE = bytes(16)
_KINDS = {
    abi.BLOCK_PROCESS: abi.BLOCKS_PROCESS,
    abi.BLOCK_CGROUP: abi.BLOCKS_CGROUP,
    abi.BLOCK_REMOTE: abi.BLOCKS_REMOTE,
}


def of_process(process: ProcessKey) -> BlockKey:
    """The key of one process, but not of its children."""
    return BlockKey(process.start_boot_ns, abi.BLOCK_PROCESS, process.pid, _NOWHERE)


def of_cgroup(cgroup_id: int) -> BlockKey:
    """The key of a cgroup and all below it."""
    return BlockKey(cgroup_id, abi.BLOCK_CGROUP, 0, _NOWHERE)


def of_remote(netns: int, address: bytes) -> BlockKey:
    """The key of an address (16 bytes, IPv4 as IPv4-mapped IPv6) for all in a network namespace (an inode number)."""
    return BlockKey(0, abi.BLOCK_REMOTE, netns, address)


class Blocked(NamedTuple):
    """What is blocked, how deep in the tree if it is a cgroup, until when by the kernel's CLOCK_MONOTONIC, how often
    something was refused.
    """

    key: BlockKey
    depth: int
    until_ns: int
    refused: int


class Blocks:
    """Owns the elements of the maps of bpf/blocks.c."""

    def __init__(self, maps: Mapping[str, int], links: Mapping[str, int]) -> None:
        self._maps, self._links = maps, links
        self._blocked: dict[BlockKey, Blocked] = {}

    @property
    def can_close(self) -> bool:
        """Whether the kernel ends connections for a program: since Linux 6.5."""
        return CLOSING.need in self._links

    def block(self, key: BlockKey, until_ns: int, depth: int = 0) -> None:
        """Refuse it from now on; again: until the later time. Of a cgroup `depth` is that below the root, 1 to 12.

        The element first: what is armed without one costs everybody a look-up and refuses nothing. Raises OSError.
        """
        known = self._blocked.get(key)
        refused = self._refused(known) if known is not None else 0
        until_ns = max(until_ns, known.until_ns if known is not None else 0)
        syscalls.update(self._maps["blocks"], _packed(key), abi.BLOCK.pack(until_ns, refused))
        self._blocked[key] = Blocked(key, depth, until_ns, refused)
        self._arm()

    def lift(self, key: BlockKey) -> None:
        """Refuse it no longer, if it was blocked. Raises OSError."""
        if self._blocked.pop(key, None) is not None:
            self._arm()
            with suppress(FileNotFoundError):
                syscalls.delete(self._maps["blocks"], _packed(key))

    def blocked(self, now_ns: int) -> list[Blocked]:
        """What is blocked now, in the order in which it was; what is over is removed. Raises OSError."""
        for over in [each.key for each in self._blocked.values() if each.until_ns <= now_ns]:
            self.lift(over)
        return [each._replace(refused=self._refused(each)) for each in self._blocked.values()]

    def close(self, socket: int, seen_ns: int) -> int:
        """End a TCP connection of the network namespace that nettop is in; what came of it: abi.CLOSING_*.

        `socket` and `seen_ns` are those of its records. Takes 1 ms for 1,000 sockets. Raises OSError.
        """
        syscalls.update(self._maps["closing"], _ONLY, abi.CLOSING.pack(socket, seen_ns, abi.CLOSING_NOT_FOUND))
        try:
            syscalls.run_iterator(self._links[CLOSING.need])
            verdict = abi.Closing(*abi.CLOSING.unpack(syscalls.lookup(self._maps["closing"], _ONLY, abi.CLOSING.size)))
        finally:
            syscalls.update(self._maps["closing"], _ONLY, bytes(abi.CLOSING.size))
        return verdict.verdict

    def _refused(self, blocked: Blocked) -> int:
        with suppress(FileNotFoundError):
            value = syscalls.lookup(self._maps["blocks"], _packed(blocked.key), abi.BLOCK.size)
            return abi.Block(*abi.BLOCK.unpack(value)).refused
        return blocked.refused

    def _arm(self) -> None:
        kinds = 0
        for each in self._blocked.values():
            kinds |= _KINDS[each.key.kind]
            if each.depth:
                kinds |= abi.BLOCKS_LEVEL << each.depth
        syscalls.update(self._maps["armed"], _ONLY, kinds.to_bytes(8, sys.byteorder))


def is_compiled_in(maps: Mapping[str, int]) -> bool:
    """Whether these maps have what --allow-cut takes."""
    return "blocks" in maps


def _packed(key: BlockKey) -> bytes:
    return abi.BLOCK_KEY.pack(key.id, key.kind, key.number, key.address)
