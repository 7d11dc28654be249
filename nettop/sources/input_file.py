"""Input of a replay: a file, a pipe or standard input, compressed or not.

A pipe cannot be rewound, so lines that were read to identify it can be put back. It may stall, so callers that must
not block call is_ready() first.
"""

import os
import select
import stat
import sys
import time
import zlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from nettop.errors import UsageError

STDIN = Path("-")
_CHUNK_BYTES = 64 << 10  # as much as a pipe holds
_MAX_OUTPUT_BYTES = 1 << 20  # of one step: a few bytes of zstd may expand to gigabytes


class _Decompressor(Protocol):
    """The interface that bz2, lzma and compression.zstd share."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    @property
    def needs_input(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """zlib with that interface."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._full = False

    @property
    def needs_input(self) -> bool:
        return not self._full

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        output = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self._full = len(output) == max_length
        return output


def _zstd() -> _Decompressor:
    # imported only to read such a file: nothing else needs it
    if sys.version_info >= (3, 14):
        from compression.zstd import ZstdDecompressor  # noqa: PLC0415
    else:
        from backports.zstd import ZstdDecompressor  # noqa: PLC0415
    return ZstdDecompressor()


# Identified by first bytes, not by name: a pipe has none. RFC 1952 section 2.3.1, RFC 8878 sections 3.1.1 and 3.1.2.
_FORMATS: tuple[tuple[str, tuple[bytes, ...], Callable[[], _Decompressor]], ...] = (
    ("gzip", (b"\x1f\x8b",), _Gzip),
    ("zstd", (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + n]) + b"\x2a\x4d\x18" for n in range(16))), _zstd),
)
_MAGIC_BYTES = 4


class RecordingError(UsageError):
    """The input was not written by `nettop stream` or `nettop snapshot`, or is incomplete."""


class InputFile:
    """Reads lines. `path` is `-` for standard input. Raises RecordingError; close() releases the file."""

    def __init__(self, path: Path) -> None:
        name = "standard input" if path == STDIN else str(path)
        try:
            fd = os.dup(0) if path == STDIN else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            begin = os.lseek(fd, 0, os.SEEK_CUR) if stat.S_ISREG(os.fstat(fd).st_mode) else None
        except OSError as error:
            raise _unreadable(name, error) from error
        try:
            self._open(name, fd, begin)
        except RecordingError:
            os.close(fd)
            raise

    def _open(self, name: str, fd: int, begin: int | None) -> None:
        """`begin`: the byte of a regular file that it begins with; None for what can be read only once."""
        self.name = name
        self.was_cut = False  # its compressed data is truncated
        self._fd = fd
        self._begin = self._offset = begin
        self._format = ""
        self._new: Callable[[], _Decompressor] | None = None
        self._decompressor: _Decompressor | None = None
        self._lines: deque[bytes] = deque()
        self._rest = bytearray()  # of an incomplete line
        self._ended = False
        self._raw = self._magic()
        for compression, beginnings, new in _FORMATS:
            if self._raw.startswith(beginnings):
                self._format, self._new = compression, new
        self._waiting = select.poll()
        self._waiting.register(self._fd, select.POLLIN)

    def close(self) -> None:
        """Release the file; may be called again."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    @property
    def can_go_back(self) -> bool:
        """Whether it can be read again."""
        return self._begin is not None

    @property
    def is_compressed(self) -> bool:
        """Whether it has to be read up to a line to know where that is."""
        return self._new is not None

    @property
    def size(self) -> int:
        """Of a file that can be read again, in bytes."""
        return os.fstat(self._fd).st_size - (self._begin or 0)

    def again(self, offset: int = 0) -> "InputFile":
        """A file that can be read again, from its beginning; not compressed, also from so many bytes behind."""
        assert self._begin is not None  # noqa: S101 - see can_go_back
        other = InputFile.__new__(InputFile)
        other._open(self.name, os.dup(self._fd), self._begin)
        if offset:
            other._offset, other._raw = self._begin + offset, b""
        return other

    @property
    def is_standard_input(self) -> bool:
        """Whether this is the program's standard input, under any name."""
        mine, standard = os.fstat(self._fd), os.fstat(0)
        return (mine.st_dev, mine.st_ino) == (standard.st_dev, standard.st_ino)

    def is_ready(self, timeout_s: float) -> bool:
        """Whether a line or the end is there, or arrives within the timeout."""
        end = time.monotonic() + timeout_s
        while not self._lines and not self._ended:
            if not self._has_raw() and not self._waiting.poll(max(end - time.monotonic(), 0) * 1000):
                return False
            self._advance()
        return True

    def readline(self, limit: int) -> bytes:
        """As for a file: ends with a newline unless it is longer than `limit` or the last line; empty at the end."""
        while not self._lines and not self._ended and len(self._rest) < limit:
            self._advance()
        if self._lines:
            line = self._lines.popleft()
            if len(line) <= limit:
                return line
            self._lines.appendleft(line[limit:])
            return line[:limit]
        line = bytes(self._rest[:limit])
        del self._rest[:limit]
        return line

    def unread(self, lines: list[bytes]) -> None:
        """Put pieces back, to be read next in the same order."""
        self._lines.extendleft(reversed(lines))

    def _magic(self) -> bytes:
        raw = b""
        while len(raw) < _MAGIC_BYTES and (more := self._read()):
            raw += more
        return raw

    def _read(self) -> bytes:
        """The next chunk; blocks if there is none."""
        try:
            if self._offset is None:
                return os.read(self._fd, _CHUNK_BYTES)
            raw = os.pread(self._fd, _CHUNK_BYTES, self._offset)  # leaves alone where others read who share the file
        except OSError as error:
            raise _unreadable(self.name, error) from error
        self._offset += len(raw)
        return raw

    def _has_raw(self) -> bool:
        return bool(self._raw) or (self._decompressor is not None and not self._decompressor.needs_input)

    def _advance(self) -> None:
        """Take in the next chunk; blocks if there is none."""
        raw, self._raw = self._raw, b""
        if not raw and not self._has_raw():
            raw = self._read()
            self._ended = not raw
        if self._new is None:
            self._take(raw)
        elif self._ended:
            self.was_cut = self._decompressor is not None
        else:
            self._take(self._decompressed(raw, self._new))

    def _decompressed(self, raw: bytes, new: Callable[[], _Decompressor]) -> bytes:
        if self._decompressor is None:
            raw = raw.lstrip(b"\0")  # padding behind the data, as on tape
            if not raw:
                return b""
            self._decompressor = new()
        try:
            output = self._decompressor.decompress(raw, _MAX_OUTPUT_BYTES)
        except Exception as error:  # zlib.error and ZstdError share no other base
            raise RecordingError(
                f"{self.name} is damaged: its {self._format} data cannot be read ({error}).",
                "Copy it again from its origin.",
            ) from error
        if self._decompressor.eof:  # another member may follow: files can be concatenated
            self._raw = self._decompressor.unused_data
            self._decompressor = None
        return output

    def _take(self, text: bytes) -> None:
        first, newline, others = text.partition(b"\n")
        self._rest += first
        if newline:
            *lines, rest = others.split(b"\n")
            self._lines.append(bytes(self._rest + newline))
            self._lines.extend(line + newline for line in lines)
            self._rest = bytearray(rest)


def _unreadable(name: str, error: OSError) -> RecordingError:
    return RecordingError(f"{name} cannot be read: {error.strerror}.", "Give a file that you may read.")
