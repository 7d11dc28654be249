"""The lines of a recording with a way back, by which a player can play a part of it again."""

from collections.abc import Iterator
from typing import NamedTuple

from nettop.sources.input_file import InputFile
from nettop.sources.recording import MAX_LINE_BYTES

MAX_KEPT_BYTES = 64 << 20  # of what can be read only once: the last minutes of a busy host
_LINES_AT_ONCE = 10_000  # until somebody else has a turn: some 10 ms
_MOST_DROPPED = 4096  # lines that are let go of at once, because that moves all others


class Place(NamedTuple):
    """Between two lines: how many are before it, and how many bytes these have."""

    line: int = 0
    offset: int = 0


class Tape:
    """Goes back within a file by reading there again. Of what takes long to read again, or cannot be, it keeps lines.

    These are compressed files, which have to be read from their beginning, and pipes.
    """

    def __init__(self, file: InputFile) -> None:
        self.place = Place()
        self._file = file
        self._kept: list[bytes] = []  # the newest
        self._kept_from = 0  # the number of lines before them
        self._kept_bytes = 0

    @property
    def name(self) -> str:
        """The file's."""
        return self._file.name

    @property
    def was_cut(self) -> bool:
        """The file's."""
        return self._file.was_cut

    @property
    def earliest(self) -> int:
        """The first line that can be gone back to."""
        return 0 if self._file.can_go_back else self._kept_from

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def is_ready(self, timeout_s: float) -> bool:
        """Whether a line or the end is there, or arrives within the timeout."""
        return self.place.line < self._kept_from + len(self._kept) or self._file.is_ready(timeout_s)

    def readline(self, limit: int) -> bytes:
        """See InputFile."""
        at = self.place.line - self._kept_from
        if at < len(self._kept):
            line = self._kept[at]
        else:
            line = self._file.readline(limit)
            if line:
                self._keep(line)
        if line:
            self.place = Place(self.place.line + 1, self.place.offset + len(line))
        return line

    def _keep(self, line: bytes) -> None:
        if self._file.can_go_back and not self._file.is_compressed:
            self._kept_from += 1
            return
        self._kept.append(line)
        self._kept_bytes += len(line)
        if self._kept_bytes > MAX_KEPT_BYTES:
            dropped, self._kept = self._kept[:_MOST_DROPPED], self._kept[_MOST_DROPPED:]
            self._kept_bytes -= sum(map(len, dropped))
            self._kept_from += len(dropped)

    def go_to(self, place: Place) -> Iterator[None]:
        """Go to a place where it has been, not before the earliest; it is there once the iteration is over."""
        if not self._kept_from <= place.line <= self._kept_from + len(self._kept):
            yield from self._read_again(place)
        self.place = place

    def _read_again(self, place: Place) -> Iterator[None]:
        again = self._file.again(0 if self._file.is_compressed else place.offset)
        try:
            for number in range(place.line if self._file.is_compressed else 0):
                again.readline(MAX_LINE_BYTES)
                if not number % _LINES_AT_ONCE:
                    yield
        except BaseException:
            again.close()
            raise
        self._file.close()
        self._file = again
        self._kept, self._kept_from, self._kept_bytes = [], place.line, 0
