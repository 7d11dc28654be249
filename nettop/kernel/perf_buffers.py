"""BCC's perf buffers and the ring buffer behind them, using libbcc_bpf alone: the rest of BCC is a compiler."""

import ctypes
import os
from collections.abc import Mapping
from ctypes import c_char_p, c_int, c_size_t, c_void_p, string_at
from pathlib import Path
from typing import Generic, TypeVar

from nettop.errors import CannotRunError
from nettop.kernel import abi, syscalls

BCC_PACKAGE = (
    "Install the distribution's package: python3-bpfcc (Debian, Ubuntu), python3-bcc (Fedora), python-bcc (Arch)."
)
MAX_HELD_BYTES = 16 << 20  # of records: 75,000 closed connections, as many as a core can make in a second
PAGE_BYTES = os.sysconf("SC_PAGESIZE")  # 4 KB, on arm64 also 16 or 64 KB
SPILLING_WAIT_MS = 20  # spilled records do not wake the reader: how often to look for more while some arrive
_LIBRARY = "libbcc_bpf.so.0"  # part of libbcc, which the Python module wraps

_RecordCallback = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_int)  # context, record, its bytes
_SpilledCallback = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)
_LostCallback = ctypes.CFUNCTYPE(None, c_void_p, ctypes.c_uint64)

_Tag = TypeVar("_Tag")


class _Options(ctypes.Structure):
    """struct bcc_perf_buffer_opts, src/cc/libbpf.h of BCC."""

    _fields_ = (("pid", c_int), ("cpu", c_int), ("wakeup_events", c_int))


class PerfBuffers(Generic[_Tag]):
    """Perf buffers, one per map and online CPU. Records are copied out with their map's tag. Raises CannotRunError.

    A CPU that comes online later, or was offline for a while, has none: its records arrive through `spilled`.
    """

    def __init__(self) -> None:
        self._library = _bcc_library()
        self._readers = (c_void_p * 0)()
        self._callbacks: list[object] = []  # C holds no reference to them
        self._ring: int | None = None
        self._spilling = False  # whether the ring held something when it was last read
        self._records: list[tuple[_Tag, bytes]] = []
        self._held_bytes = 0

    def open(self, map_fd: int, tag: _Tag, size_bytes: int, wakeup_events: int) -> None:
        """Give the map a buffer of this size, a power of two, on each online CPU. Raises OSError."""

        def copy(_context: int, record: int, size: int) -> None:
            self._records.append((tag, string_at(record, size)))
            self._held_bytes += size

        # The array `losses` counts refused records exactly and at once. Without this callback BCC would print them.
        callbacks = (_RecordCallback(copy), _LostCallback(lambda _context, _lost: None))
        self._callbacks.append(callbacks)
        for cpu in syscalls.online_cpus():
            options = _Options(pid=-1, cpu=cpu, wakeup_events=wakeup_events)
            reader = self._library.bpf_open_perf_buffer_opts(
                *callbacks, None, size_bytes // PAGE_BYTES, ctypes.byref(options)
            )
            if not reader:
                if cpu not in syscalls.online_cpus():
                    continue  # it has just gone offline
                raise OSError(ctypes.get_errno(), "no perf buffer")
            self._readers = (c_void_p * (len(self._readers) + 1))(*self._readers, reader)
            syscalls.update(
                map_fd, cpu.to_bytes(4, "little"), self._library.perf_reader_fd(reader).to_bytes(4, "little")
            )

    def open_spilled(self, map_fd: int, tags: Mapping[int, _Tag]) -> None:
        """Read this ring buffer too; the number in front of each record gives its tag. Raises OSError."""

        def copy(_context: int, record: int, size: int) -> int:
            raw = string_at(record, size)
            self._records.append((tags[abi.SPILLED_HEAD.unpack_from(raw)[0]], raw[abi.SPILLED_HEAD.size :]))
            self._held_bytes += size
            self._spilling = True
            return 0

        callback = _SpilledCallback(copy)
        self._callbacks.append(callback)
        self._ring = self._library.bpf_new_ringbuf(map_fd, callback, None)
        if not self._ring:
            raise OSError(ctypes.get_errno(), "no ring buffer")

    def poll(self, timeout_ms: int) -> None:
        """Wait until a buffer holds `wakeup_events` records and read it, or until the timeout."""
        if self._spilling:
            timeout_ms = min(timeout_ms, SPILLING_WAIT_MS)
        self._library.perf_reader_poll(len(self._readers), self._readers, timeout_ms)
        if self._spilling and self._held_bytes < MAX_HELD_BYTES:
            self._consume_spilled()

    def collect(self) -> None:
        """Empty the buffers and keep the records for drain(), unless MAX_HELD_BYTES are already kept."""
        if self._held_bytes < MAX_HELD_BYTES:
            self._consume()

    def drain(self) -> list[tuple[_Tag, bytes]]:
        """Every record read or still in a buffer, in order per CPU and map; spilled records are in no order."""
        self._consume()
        records, self._records, self._held_bytes = self._records, [], 0
        return records

    def close(self) -> None:
        """Free the buffers."""
        readers, self._readers = self._readers, (c_void_p * 0)()
        for reader in readers:
            self._library.perf_reader_free(reader)
        ring, self._ring = self._ring, None
        if ring:
            self._library.bpf_free_ringbuf(ring)

    def _consume(self) -> None:
        self._library.perf_reader_consume(len(self._readers), self._readers)
        self._consume_spilled()

    def _consume_spilled(self) -> None:
        if self._ring:
            self._spilling = False
            self._library.bpf_consume_ringbuf(self._ring)


class _LibraryAt(ctypes.Structure):
    """Dl_info, dladdr(3)."""

    _fields_ = (("file", c_char_p), ("base", c_void_p), ("symbol", c_char_p), ("address", c_void_p))


def library_file() -> Path:
    """Where the loader finds libbcc_bpf. Raises CannotRunError."""
    found = _LibraryAt()
    function = ctypes.cast(_bcc_library().perf_reader_poll, c_void_p)
    if not ctypes.CDLL(None).dladdr(function, ctypes.byref(found)):
        raise CannotRunError("BCC's library cannot be found.", BCC_PACKAGE)
    return Path(os.fsdecode(found.file))


def _bcc_library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_LIBRARY, use_errno=True)
    except OSError as error:
        raise CannotRunError(f"BCC's library cannot be loaded: {error}.", BCC_PACKAGE) from error
    library.bpf_open_perf_buffer_opts.restype = c_void_p
    library.bpf_open_perf_buffer_opts.argtypes = (
        _RecordCallback,
        _LostCallback,
        c_void_p,
        c_int,
        ctypes.POINTER(_Options),
    )
    library.bpf_new_ringbuf.restype = c_void_p
    library.bpf_new_ringbuf.argtypes = (c_int, _SpilledCallback, c_void_p)
    library.bpf_consume_ringbuf.argtypes = library.bpf_free_ringbuf.argtypes = (c_void_p,)
    library.bpf_free_ringbuf.restype = None
    library.perf_reader_fd.argtypes = (c_void_p,)
    library.perf_reader_free.argtypes = (c_void_p,)
    library.perf_reader_free.restype = None
    library.perf_reader_poll.argtypes = (c_int, ctypes.POINTER(c_void_p), c_int)
    library.perf_reader_consume.argtypes = (c_int, ctypes.POINTER(c_void_p))
    return library
