"""System calls that Python lacks: bpf(2) for maps, programs, links and counters, Landlock, and detached mounts."""

import ctypes
import errno
import fcntl
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_LIBC = ctypes.CDLL(None, use_errno=True)
_BPF_NUMBER = {"x86_64": 321, "aarch64": 280}
_PERF_EVENT_OPEN_NUMBER = {"x86_64": 298, "aarch64": 241}
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432  # the same on every architecture

_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446  # likewise
_LANDLOCK_GIVE_VERSION, _LANDLOCK_PATH_BENEATH = 1, 1  # include/uapi/linux/landlock.h

# enum bpf_cmd, include/uapi/linux/bpf.h
_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _MAP_GET_NEXT_KEY = 0, 1, 2, 3, 4
_PROG_LOAD, _PROG_TEST_RUN, _OBJ_GET_INFO = 5, 10, 15
_RAW_TRACEPOINT_OPEN, _LINK_CREATE, _ITER_CREATE = 17, 28, 33
_MAP_LOOKUP_AND_DELETE, _MAP_LOOKUP_BATCH = 21, 24
# enum bpf_prog_type
KPROBE, CGROUP_SKB, CGROUP_SOCK, RAW_TRACEPOINT, CGROUP_SOCK_ADDR, TRACING = 2, 8, 9, 17, 18, 26
# enum bpf_attach_type
CGROUP_INET_INGRESS, CGROUP_INET_EGRESS, CGROUP_INET_SOCK_CREATE, CGROUP_INET_SOCK_RELEASE = 0, 1, 2, 34
CGROUP_INET4_CONNECT, CGROUP_INET6_CONNECT, CGROUP_UDP4_SENDMSG, CGROUP_UDP6_SENDMSG = 10, 11, 14, 15
TRACE_RAW_TP, TRACE_ITER, TRACE_UPROBE_MULTI = 23, 28, 48
HASH, PERF_EVENT_ARRAY, PERCPU_ARRAY, LRU_HASH = 1, 4, 6, 9  # enum bpf_map_type

_BATCH, _LARGEST_BATCH = 512, 4096  # elements that are read by one call; no bucket of a hash has more than the latter
_UNSUPPORTED = (errno.EINVAL, 524)  # 524: ENOTSUPP of the kernel, include/linux/errno.h

_MAP_SHAPE = struct.Struct("<I4xIIII")  # the first fields of struct bpf_map_info, without the id

_RECURSION_MISSES_AT = 208  # offset in struct bpf_prog_info; Linux 5.12 and later fill it
_PROG_INFO_BYTES = 216
_ITERATOR_READ_BYTES = 1 << 20
_VERIFIER_LOG_BYTES = (1 << 20, 1 << 24)  # the first attempt, and the second if that is too small
_UPROBES = Path("/sys/bus/event_source/devices/uprobe/type")  # Documentation/ABI/testing/sysfs-bus-event_source-devices
_PERF_EVENT_BYTES, _PERF_EVENT_NAME_AT = 128, 56  # size of struct perf_event_attr, offset of its config1
_PERF_FLAG_FD_CLOEXEC, _IOC_ENABLE, _IOC_SET_BPF = 8, 0x2400, 0x40042408  # include/uapi/linux/perf_event.h
_CPUS = Path("/sys/devices/system/cpu")
_PR_SET_PDEATHSIG = 1  # prctl(2)


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


class MapShape(NamedTuple):
    """A map's parameters, as in BPF_MAP_CREATE and struct bpf_map_info; sizes in bytes."""

    type: int
    key_bytes: int
    value_bytes: int
    entries: int
    flags: int


class VerifierError(OSError):
    """The kernel refused to load a program; `words` is the verifier's log."""

    def __init__(self, number: int, words: str) -> None:
        super().__init__(number, os.strerror(number))
        self.words = words


def map_shape(map_fd: int) -> MapShape:
    """The parameters of a map. Raises OSError."""
    information = ctypes.create_string_buffer(_MAP_SHAPE.size)
    _bpf(_OBJ_GET_INFO, struct.pack("<IIQ", map_fd, _MAP_SHAPE.size, ctypes.addressof(information)))
    return MapShape(*_MAP_SHAPE.unpack(information.raw))


def create_map(name: str, shape: MapShape) -> int:
    """Create a map; returns its descriptor. Raises OSError."""
    return _bpf(_MAP_CREATE, struct.pack("<IIIII8x15sx", *shape, name.encode()))


def allow_locked_memory() -> None:
    """Lift RLIMIT_MEMLOCK, which Linux before 5.11 applies to maps, if this process may."""
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def load_program(name: str, program_type: int, attach_type: int, attach_btf_id: int, instructions: bytes) -> int:
    """Load a program as GPL, because it calls GPL-only helpers; returns its descriptor. Raises VerifierError."""
    code = ctypes.create_string_buffer(instructions, len(instructions))
    gpl = ctypes.create_string_buffer(b"GPL")

    def load(log: "ctypes.Array[ctypes.c_char] | None" = None) -> int:
        log_fields = (1, len(log), ctypes.addressof(log)) if log is not None else (0, 0, 0)
        attributes = struct.pack(
            "<IIQQIIQII15sxII36xI",
            program_type,
            len(instructions) // 8,
            ctypes.addressof(code),
            ctypes.addressof(gpl),
            *log_fields,
            0,
            0,
            name.encode(),
            0,
            attach_type,
            attach_btf_id,
        )
        return _bpf(_PROG_LOAD, attributes)

    try:
        return load()
    except OSError as error:
        refusal = error
    # The log costs time, so it is requested only now. This attempt may fail differently: report the first error.
    words = b""
    for log_bytes in _VERIFIER_LOG_BYTES:
        log = ctypes.create_string_buffer(log_bytes)
        try:
            return load(log)
        except OSError as error:
            words = log.value or words
            if error.errno != errno.ENOSPC:  # before Linux 6.4 the log loses its end, which has the reason
                break
    raise VerifierError(refusal.errno or 0, words.decode(errors="replace"))


def update(map_fd: int, key: bytes, value: bytes) -> None:
    """Set one element of a map. Raises OSError."""
    at = ctypes.create_string_buffer(key, len(key))
    element = ctypes.create_string_buffer(value, len(value))
    _bpf(_MAP_UPDATE, struct.pack("<I4xQQQ", map_fd, ctypes.addressof(at), ctypes.addressof(element), 0))


def link_raw_tracepoint(program_fd: int) -> int:
    """Attach to the raw tracepoint that the program was loaded for; returns the link's descriptor. Raises OSError."""
    return _bpf(_RAW_TRACEPOINT_OPEN, struct.pack("<QI", 0, program_fd))


def link_cgroup(program_fd: int, cgroup_fd: int, attach_type: int) -> int:
    """Attach to a cgroup alongside the programs of others; returns the link's descriptor. Raises OSError."""
    return _bpf(_LINK_CREATE, struct.pack("<IIII", program_fd, cgroup_fd, attach_type, 0))


def link_uprobes(program_fd: int, file: Path, offsets: Sequence[int], at_return: bool) -> list[int]:
    """Run the program at these places of the file, or where the functions return that begin there, in any process that
    has it mapped; returns the descriptors of what keeps it there. Raises OSError.

    By one link from Linux 6.6 on, which takes no privilege once the program is loaded; else by an event for each place.
    """
    name = ctypes.create_string_buffer(os.fsencode(file))
    try:
        return [_link_uprobes(program_fd, name, offsets, at_return)]
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    events: list[int] = []
    try:
        for offset in offsets:
            events.append(_open_uprobe(program_fd, name, offset, at_return))
    except OSError:
        for event in events:
            os.close(event)
        raise
    return events


def _link_uprobes(program_fd: int, name: "ctypes.Array[ctypes.c_char]", offsets: Sequence[int], at_return: bool) -> int:
    array = (ctypes.c_uint64 * len(offsets))(*offsets)
    of_all = struct.pack("<IIII", program_fd, 0, TRACE_UPROBE_MULTI, 0)
    places = struct.pack("<QQQQ", ctypes.addressof(name), ctypes.addressof(array), 0, 0)
    return _bpf(_LINK_CREATE, of_all + places + struct.pack("<III4x", len(offsets), at_return, 0))


def _open_uprobe(program_fd: int, name: "ctypes.Array[ctypes.c_char]", offset: int, at_return: bool) -> int:
    attributes = bytearray(_PERF_EVENT_BYTES)
    struct.pack_into("<IIQ", attributes, 0, int(_UPROBES.read_text()), len(attributes), at_return)
    struct.pack_into("<QQ", attributes, _PERF_EVENT_NAME_AT, ctypes.addressof(name), offset)
    buffer = ctypes.create_string_buffer(bytes(attributes), len(attributes))
    number = _PERF_EVENT_OPEN_NUMBER[platform.machine()]
    # of no process and on one CPU: the program runs on all of them whichever that is
    event = _check(_LIBC.syscall(number, buffer, -1, online_cpus()[0], -1, _PERF_FLAG_FD_CLOEXEC))
    try:
        fcntl.ioctl(event, _IOC_SET_BPF, program_fd)
        fcntl.ioctl(event, _IOC_ENABLE, 0)
    except OSError:
        os.close(event)
        raise
    return event


def link_iterator(program_fd: int) -> int:
    """Create an iterator; returns the link's descriptor. Raises OSError."""
    return _bpf(_LINK_CREATE, struct.pack("<IIII", program_fd, 0, TRACE_ITER, 0))


def run_iterator(link_fd: int) -> bytes:
    """Run an iterator once; returns all that its program wrote. Raises OSError."""
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


def lookup(map_fd: int, key: bytes, value_bytes: int) -> bytes:
    """The value of one element of a map. Raises FileNotFoundError if it is not there, and OSError."""
    at, value = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value_bytes)
    _bpf(_MAP_LOOKUP, struct.pack("<I4xQQQ", map_fd, ctypes.addressof(at), ctypes.addressof(value), 0))
    return value.raw


def lookup_u64(map_fd: int, index: int) -> int:
    """One element of an array of 64-bit numbers. Raises OSError."""
    return int.from_bytes(lookup(map_fd, struct.pack("=I", index), 8), sys.byteorder)


def delete(map_fd: int, key: bytes) -> None:
    """Remove one element of a map. Raises FileNotFoundError if it is not there, and OSError."""
    at = ctypes.create_string_buffer(key, len(key))
    _bpf(_MAP_DELETE, struct.pack("<I4xQQQ", map_fd, ctypes.addressof(at), 0, 0))


def keys(map_fd: int, key_bytes: int) -> list[bytes]:
    """All keys of a map. Nobody may remove elements meanwhile. Raises OSError."""
    found: list[bytes] = []
    following = ctypes.create_string_buffer(key_bytes)
    at = 0  # the null pointer: before the first
    while True:
        try:
            _bpf(_MAP_GET_NEXT_KEY, struct.pack("<I4xQQ", map_fd, at, ctypes.addressof(following)))
        except FileNotFoundError:
            return found
        found.append(following.raw)
        previous = ctypes.create_string_buffer(following.raw, key_bytes)
        at = ctypes.addressof(previous)


def elements(map_fd: int, key_bytes: int, value_bytes: int) -> dict[bytes, bytes]:
    """All elements of a hash, at a fiftieth of the cost of asking for each. Raises OSError."""
    found: dict[bytes, bytes] = {}

    def keep(keys_of: bytearray, values_of: bytearray, count: int) -> None:
        for number in range(count):
            key = bytes(keys_of[number * key_bytes : (number + 1) * key_bytes])
            found[key] = bytes(values_of[number * value_bytes : (number + 1) * value_bytes])

    in_batches(map_fd, key_bytes, value_bytes, keep)
    return found


def in_batches(
    map_fd: int, key_bytes: int, value_bytes: int, keep: Callable[[bytearray, bytearray, int], None]
) -> None:
    """Call `keep` with the keys and the values of some elements of a hash, and their number, until it had all.

    Raises OSError.
    """
    most = _BATCH
    keys_of = values_of = bytearray()
    position, following = ctypes.create_string_buffer(4), ctypes.create_string_buffer(4)
    attributes = ctypes.create_string_buffer(128)
    at, complete = 0, False
    while not complete:
        if len(keys_of) != most * key_bytes:
            keys_of, values_of = bytearray(most * key_bytes), bytearray(most * value_bytes)
            addresses = [ctypes.addressof(ctypes.c_char.from_buffer(room)) for room in (keys_of, values_of)]
        struct.pack_into("<QQQQIIQQ", attributes, 0, at, ctypes.addressof(following), *addresses, most, map_fd, 0, 0)
        try:
            _check(_LIBC.syscall(_BPF_NUMBER[platform.machine()], _MAP_LOOKUP_BATCH, attributes, len(attributes)))
        except FileNotFoundError:
            complete = True
        except OSError as error:
            if error.errno != errno.ENOSPC or most >= _LARGEST_BATCH:
                raise
            most *= 8  # the next bucket has more than this
            continue
        (count,) = struct.unpack_from("<I", attributes, 32)
        keep(keys_of, values_of, count)
        position.raw = following.raw
        at = ctypes.addressof(position)


def take(map_fd: int, key: bytes, value_bytes: int) -> bytes:
    """Remove an element of a hash; what it was. Before Linux 5.14 in two steps. Raises FileNotFoundError, OSError."""
    at, value = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value_bytes)
    attributes = struct.pack("<I4xQQQ", map_fd, ctypes.addressof(at), ctypes.addressof(value), 0)
    try:
        _bpf(_MAP_LOOKUP_AND_DELETE, attributes)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        found = lookup(map_fd, key, value_bytes)
        delete(map_fd, key)
        return found
    return value.raw


def missed_runs(program_fd: int) -> int:
    """How often the kernel skipped the program because it was already running on that CPU. Raises OSError."""
    information = ctypes.create_string_buffer(_PROG_INFO_BYTES)
    _bpf(_OBJ_GET_INFO, struct.pack("<IIQ", program_fd, _PROG_INFO_BYTES, ctypes.addressof(information)))
    (missed,) = struct.unpack_from("<Q", information, _RECURSION_MISSES_AT)
    return int(missed)


class OnRequest:
    """A program of the type RAW_TRACEPOINT that run() runs once, here and now (BPF_PROG_TEST_RUN). It gets nothing."""

    def __init__(self, program_fd: int) -> None:
        self._attributes = ctypes.create_string_buffer(struct.pack("<I", program_fd), 128)
        self._number = _BPF_NUMBER[platform.machine()]

    def run(self) -> None:
        """Raises OSError."""
        _check(_LIBC.syscall(self._number, _PROG_TEST_RUN, self._attributes, len(self._attributes)))


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


def landlock_version() -> int:
    """The version of the kernel's ABI; 0 where Landlock is not compiled in or not switched on."""
    return max(int(_LIBC.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_GIVE_VERSION)), 0)


def landlock_ruleset(of_files: int, of_tcp: int, scoped: int) -> int:
    """Rules that refuse these kinds of access; returns their descriptor. Raises OSError."""
    size = 24 if scoped else 16 if of_tcp else 8  # of struct landlock_ruleset_attr with no more than is asked
    attributes = ctypes.create_string_buffer(struct.pack("=QQQ", of_files, of_tcp, scoped), 24)
    return _check(_LIBC.syscall(_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(size), 0))


def landlock_allow(ruleset_fd: int, path_fd: int, allowed: int) -> None:
    """Let these kinds of access be to a file, or below a directory. Raises OSError."""
    rule = ctypes.create_string_buffer(struct.pack("=Qi", allowed, path_fd))  # packed in C too
    _check(_LIBC.syscall(_LANDLOCK_ADD_RULE, ruleset_fd, _LANDLOCK_PATH_BENEATH, rule, 0))


def landlock_restrict(ruleset_fd: int) -> None:
    """Apply the rules to this thread and to what it starts, for good. Raises OSError."""
    _check(_LIBC.syscall(_LANDLOCK_RESTRICT_SELF, ruleset_fd, 0))


def mount(kind: str) -> int:
    """Mount a file system of this kind, attached to no directory; returns a descriptor of its root. Raises OSError."""
    context = _check(_LIBC.syscall(_FSOPEN, kind.encode(), 1))
    try:
        _check(_LIBC.syscall(_FSCONFIG, context, 6, None, None, 0))  # FSCONFIG_CMD_CREATE
        mounted = _check(_LIBC.syscall(_FSMOUNT, context, 1, 0))
    finally:
        os.close(context)
    try:
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mounted)
    finally:
        os.close(mounted)


def online_cpus() -> list[int]:
    """The numbers of the CPUs that are online."""
    return _cpu_list("online")


def possible_cpus() -> int:
    """One more than the highest number that a CPU can have."""
    return _cpu_list("possible")[-1] + 1


def _cpu_list(name: str) -> list[int]:
    numbers: list[int] = []
    for part in (_CPUS / name).read_text().strip().split(","):  # 0-3,8: Documentation/admin-guide/cputopology.rst
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def die_with(parent: int) -> None:
    """Have the kernel end this process when the thread that forked it ends, or end it now if that has happened."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
