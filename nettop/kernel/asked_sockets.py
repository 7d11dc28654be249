"""The pass over the sockets: nettop names them to a program, a few at a time, and runs it.

An iterator over the map would do the same, but some kernels that are locked down permit none that can write to a map.
"""

import mmap
import struct

from nettop.kernel import abi, syscalls

_KEY_BYTES = 8
_KEYS_AT_ONCE = abi.SOCKETS_ASKED * _KEY_BYTES
COUNTS = struct.Struct("=II")  # of struct asked_sockets (bpf/abi.h)
_ASKED, _REPORTED = 0, 1
RECORDS_AT = COUNTS.size + _KEYS_AT_ONCE
ROOM_BYTES = RECORDS_AT + abi.SOCKETS_ASKED * abi.SOCKET_RECORD.size


class AskedSockets:
    """Maps the room of the program on construction. Raises OSError."""

    def __init__(self, program_fd: int, room_fd: int, sockets_fd: int) -> None:
        self._program = syscalls.OnRequest(program_fd)
        self._sockets_fd = sockets_fd
        self._entry_bytes = syscalls.map_shape(sockets_fd).value_bytes
        self._mapped = mmap.mmap(room_fd, ROOM_BYTES)
        self._room = memoryview(self._mapped)
        self._counts = self._room[: COUNTS.size].cast("I")

    def read(self) -> bytes:
        """The records of the sockets that have changed since the last call, back to back. Raises OSError."""
        room, counts, run = self._room, self._counts, self._program.run
        chunks: list[bytes] = []

        def ask(sockets: bytearray, _entries: bytearray, count: int) -> None:
            keys = memoryview(sockets)[: count * _KEY_BYTES]
            for at in range(0, len(keys), _KEYS_AT_ONCE):
                asked = keys[at : at + _KEYS_AT_ONCE]
                counts[_ASKED] = len(asked) // _KEY_BYTES
                room[COUNTS.size : COUNTS.size + len(asked)] = asked
                run()
                if reported := counts[_REPORTED]:
                    chunks.append(bytes(room[RECORDS_AT : RECORDS_AT + reported * abi.SOCKET_RECORD.size]))

        # as soon as their entries are copied, which are in the CPU's cache then
        syscalls.in_batches(self._sockets_fd, _KEY_BYTES, self._entry_bytes, ask)
        return b"".join(chunks)

    def close(self) -> None:
        """Give the room back: the map lives as long as it is mapped."""
        self._counts.release()
        self._room.release()
        self._mapped.close()
