"""The system calls that BCC 0.26 has no API for: BPF links, iterators, program counters, a cgroup2 mount of our own."""

import ctypes
import os
import platform
import struct
from contextlib import suppress

_LIBC = ctypes.CDLL(None, use_errno=True)
_BPF_NUMBER = {"x86_64": 321, "aarch64": 280}
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432  # the same on every architecture

# enum bpf_cmd, include/uapi/linux/bpf.h
_MAP_LOOKUP, _MAP_DELETE, _PROG_TEST_RUN, _OBJ_GET_INFO = 1, 3, 10, 15
_RAW_TRACEPOINT_OPEN, _LINK_CREATE, _ITER_CREATE = 17, 28, 33
_TRACE_ITER = 28  # enum bpf_attach_type

CGROUP_INET_INGRESS, CGROUP_INET_EGRESS, CGROUP_INET_SOCK_RELEASE = 0, 1, 34

_RECURSION_MISSES_AT = 208  # offset in struct bpf_prog_info; Linux 5.12 and later fill it
_PROG_INFO_BYTES = 216
_ITERATOR_READ_BYTES = 1 << 20


def supported_architecture() -> bool:
    """Whether nettop knows the number of bpf(2) here."""
    return platform.machine() in _BPF_NUMBER


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _bpf(command: int, attributes: bytes) -> int:
    """bpf(2). Raises OSError."""
    size = max(len(attributes), 128)
    buffer = ctypes.create_string_buffer(attributes, size)
    return _check(_LIBC.syscall(_BPF_NUMBER[platform.machine()], command, buffer, size))


def link_raw_tracepoint(program_fd: int, name: str) -> int:
    """Attach to a raw tracepoint; returns the descriptor that keeps it attached. Raises OSError."""
    text = ctypes.create_string_buffer(name.encode())
    return _bpf(_RAW_TRACEPOINT_OPEN, struct.pack("<QI", ctypes.addressof(text), program_fd))


def link_cgroup(program_fd: int, cgroup_fd: int, attach_type: int) -> int:
    """Attach to a cgroup beside what others attached; returns the link's descriptor. Raises OSError."""
    return _bpf(_LINK_CREATE, struct.pack("<IIII", program_fd, cgroup_fd, attach_type, 0))


def link_iterator(program_fd: int, map_fd: int | None = None) -> int:
    """Make an iterator, over a map if one is given; returns the link's descriptor. Raises OSError."""
    if map_fd is None:
        return _bpf(_LINK_CREATE, struct.pack("<IIII", program_fd, 0, _TRACE_ITER, 0))
    target = ctypes.create_string_buffer(struct.pack("<I", map_fd), 16)
    attributes = struct.pack("<IIIIQI", program_fd, 0, _TRACE_ITER, 0, ctypes.addressof(target), 16)
    return _bpf(_LINK_CREATE, attributes)


def run_iterator(link_fd: int) -> bytes:
    """One pass of an iterator: all that its program wrote. Raises OSError."""
    fd = _bpf(_ITER_CREATE, struct.pack("<II", link_fd, 0))
    try:
        chunks: list[bytes] = []
        while True:
            try:
                chunk = os.read(fd, _ITERATOR_READ_BYTES)
            except BlockingIOError:  # the kernel yields after many objects without output
                continue
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
    finally:
        os.close(fd)


def lookup_u64(map_fd: int, index: int) -> int:
    """One element of an array of 64-bit numbers. Raises OSError."""
    key = ctypes.c_uint32(index)
    value = ctypes.c_uint64()
    _bpf(_MAP_LOOKUP, struct.pack("<I4xQQQ", map_fd, ctypes.addressof(key), ctypes.addressof(value), 0))
    return value.value


def delete_u64(map_fd: int, key: int) -> None:
    """Remove an element keyed by a 64-bit number, if it is there. Raises OSError."""
    number = ctypes.c_uint64(key)
    with suppress(FileNotFoundError):
        _bpf(_MAP_DELETE, struct.pack("<I4xQQQ", map_fd, ctypes.addressof(number), 0, 0))


def missed_runs(program_fd: int) -> int:
    """How often the kernel skipped the program because it was already running on that CPU. Raises OSError."""
    information = ctypes.create_string_buffer(_PROG_INFO_BYTES)
    _bpf(_OBJ_GET_INFO, struct.pack("<IIQ", program_fd, _PROG_INFO_BYTES, ctypes.addressof(information)))
    (missed,) = struct.unpack_from("<Q", information, _RECURSION_MISSES_AT)
    return int(missed)


def run_on_packet(program_fd: int, packet: bytes) -> int:
    """BPF_PROG_TEST_RUN: the program's return value on an Ethernet frame. Raises OSError."""
    frame = ctypes.create_string_buffer(packet, len(packet))
    output = ctypes.create_string_buffer(len(packet) + 256)
    attributes = bytearray(
        struct.pack(
            "<IIIIQQII",
            program_fd,
            0,
            len(packet),
            len(packet) + 256,
            ctypes.addressof(frame),
            ctypes.addressof(output),
            1,
            0,
        ).ljust(128, b"\0")
    )
    buffer = ctypes.create_string_buffer(bytes(attributes), 128)
    _check(_LIBC.syscall(_BPF_NUMBER[platform.machine()], _PROG_TEST_RUN, buffer, 128))
    (value,) = struct.unpack_from("<I", buffer, 4)
    return int(value)


def mount_cgroup2() -> int:
    """A cgroup2 mount that is in no directory; returns a descriptor of its root. Raises OSError."""
    context = _check(_LIBC.syscall(_FSOPEN, b"cgroup2", 1))
    try:
        _check(_LIBC.syscall(_FSCONFIG, context, 6, None, None, 0))  # FSCONFIG_CMD_CREATE
        mount = _check(_LIBC.syscall(_FSMOUNT, context, 1, 0))
    finally:
        os.close(context)
    try:
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount)
    finally:
        os.close(mount)


def return_free_memory() -> None:
    """Give what the C library holds but does not use back to the system; only glibc can."""
    if hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)
