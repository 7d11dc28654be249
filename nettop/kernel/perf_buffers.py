"""BCC's perf buffers, without the compiler that the rest of BCC is: libbcc_bpf alone holds their code."""

import ctypes
from ctypes import c_int, c_void_p, string_at
from typing import Generic, TypeVar

from nettop.errors import CannotRunError
from nettop.kernel import syscalls

BCC_PACKAGE = (
    "Install the distribution's package: python3-bpfcc (Debian, Ubuntu), python3-bcc (Fedora), python-bcc (Arch)."
)
MAX_HELD_BYTES = 16 << 20  # of records: 75,000 ends of connections, a second of all that a core can make
_LIBRARY = "libbcc_bpf.so.0"  # comes with libbcc, of which the Python module is made

_RecordCallback = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_int)  # context, record, its bytes
_LostCallback = ctypes.CFUNCTYPE(None, c_void_p, ctypes.c_uint64)

_Tag = TypeVar("_Tag")


class _Options(ctypes.Structure):
    """struct bcc_perf_buffer_opts, src/cc/libbpf.h of BCC."""

    _fields_ = (("pid", c_int), ("cpu", c_int), ("wakeup_events", c_int))


class PerfBuffers(Generic[_Tag]):
    """Ring buffers, one per map and online CPU. Records are copied out with their map's tag. Raises CannotRunError."""

    def __init__(self) -> None:
        self._library = _bcc_library()
        self._readers = (c_void_p * 0)()
        self._callbacks: list[object] = []  # C holds no reference to them
        self._records: list[tuple[_Tag, bytes]] = []
        self._held_bytes = 0

    def open(self, map_fd: int, tag: _Tag, pages: int, wakeup_events: int) -> None:
        """Give the map a buffer of so many pages on each online CPU. Raises OSError."""

        def copy(_context: int, record: int, size: int) -> None:
            self._records.append((tag, string_at(record, size)))
            self._held_bytes += size

        # The array `losses` counts refused records at once and exactly. Without this callback BCC would print here.
        callbacks = (_RecordCallback(copy), _LostCallback(lambda _context, _lost: None))
        self._callbacks.append(callbacks)
        for cpu in syscalls.online_cpus():
            options = _Options(pid=-1, cpu=cpu, wakeup_events=wakeup_events)
            reader = self._library.bpf_open_perf_buffer_opts(*callbacks, None, pages, ctypes.byref(options))
            if not reader:
                raise OSError(ctypes.get_errno(), "no perf buffer")
            self._readers = (c_void_p * (len(self._readers) + 1))(*self._readers, reader)
            syscalls.update(
                map_fd, cpu.to_bytes(4, "little"), self._library.perf_reader_fd(reader).to_bytes(4, "little")
            )

    def poll(self, timeout_ms: int) -> None:
        """Wait until a buffer holds `wakeup_events` records and read it, or until the time is over."""
        self._library.perf_reader_poll(len(self._readers), self._readers, timeout_ms)

    def collect(self) -> None:
        """Make room in the buffers; what they hold is kept for drain(), as far as there is room for it."""
        if self._held_bytes < MAX_HELD_BYTES:
            self._library.perf_reader_consume(len(self._readers), self._readers)

    def drain(self) -> list[tuple[_Tag, bytes]]:
        """Every record that was read or lies in a buffer, in order per CPU and map."""
        self._library.perf_reader_consume(len(self._readers), self._readers)
        records, self._records, self._held_bytes = self._records, [], 0
        return records

    def close(self) -> None:
        """Give the buffers back."""
        readers, self._readers = self._readers, (c_void_p * 0)()
        for reader in readers:
            self._library.perf_reader_free(reader)


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
    library.perf_reader_fd.argtypes = (c_void_p,)
    library.perf_reader_free.argtypes = (c_void_p,)
    library.perf_reader_free.restype = None
    library.perf_reader_poll.argtypes = (c_int, ctypes.POINTER(c_void_p), c_int)
    library.perf_reader_consume.argtypes = (c_int, ctypes.POINTER(c_void_p))
    return library
