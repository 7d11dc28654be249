"""A recording (what `nettop stream` wrote) or a snapshot as a source of events."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from nettop.model.events import STREAM_SCHEMA, AnyEvent, End, Start, Tick
from nettop.model.snapshot import SNAPSHOT_SCHEMA, Snapshot
from nettop.sources.input_file import InputFile, RecordingError
from nettop.text import printable_text

MAX_LINE_BYTES = 8 << 20  # a row holds a DNS answer of 64 KB at most; a longer line is no recording
MAX_SNAPSHOT_BYTES = 1 << 30
_WRITERS = "'nettop stream' or 'nettop snapshot'"
MIN_SPEED, MAX_SPEED = 1 / 64, 1024.0


class _Envelope(msgspec.Struct):
    """What tells the kinds of files apart."""

    type: str | None = None
    schema: str | None = None


_EVENT = msgspec.json.Decoder(AnyEvent)
_ENVELOPE = msgspec.json.Decoder(_Envelope)
_SNAPSHOT = msgspec.json.Decoder(Snapshot)
# Bytes that are not UTF-8 and nesting without end come from msgspec as these.
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@contextmanager
def _opened(file: Path | InputFile) -> Iterator[InputFile]:
    opened = file if isinstance(file, InputFile) else InputFile(file)
    try:
        yield opened
    finally:
        opened.close()


def read_snapshot(file: Path | InputFile) -> Snapshot | None:
    """The snapshot in the file; None if it is not one but may be a recording, which an InputFile then has before it.

    Raises RecordingError.
    """
    if isinstance(file, Path):
        with _opened(file) as opened:
            return read_snapshot(opened)
    first = file.readline(MAX_LINE_BYTES)
    if not first.strip():
        _refuse_cut(file)
        raise RecordingError(f"{file.name} is empty.", f"Give a file that {_WRITERS} wrote.")
    envelope = _envelope(first)
    if envelope is not None and envelope.schema != SNAPSHOT_SCHEMA:
        file.unread([first])
        return None
    pieces = [first, *_pieces(file)]
    whole = b"".join(pieces)
    envelope = _envelope(whole)
    if envelope is None:
        if first.lstrip().startswith(b"{") and first.strip() != b"{":
            file.unread(pieces)
            return None  # a recording whose first line was cut
        _refuse_cut(file)
        raise RecordingError(f"{file.name} is not JSON, or not all of it.", f"Give a file that {_WRITERS} wrote.")
    if envelope.schema != SNAPSHOT_SCHEMA:
        raise _wrong_schema(file.name, envelope.schema)
    _refuse_cut(file)
    try:
        return _SNAPSHOT.decode(_without_control_characters(whole))
    except _NOT_JSON as error:
        raise RecordingError(
            f"{file.name} is not a snapshot of this form: {error}.", "It may come from a newer nettop; try with that."
        ) from error


def _refuse_cut(file: InputFile) -> None:
    if file.was_cut:
        raise RecordingError(
            f"{file.name} was cut: its compressed data stops before its end.",
            "Copy it once more from where it was made.",
        )


def _pieces(file: InputFile) -> Iterator[bytes]:
    length = 0
    while length < MAX_SNAPSHOT_BYTES and (piece := file.readline(MAX_LINE_BYTES)):
        length += len(piece)
        yield piece


def _envelope(text: bytes) -> _Envelope | None:
    try:
        return _ENVELOPE.decode(text)
    except _NOT_JSON:
        return None


def _without_control_characters(text: bytes) -> bytes:
    """The same JSON, its strings made printable: a recording may come from a stranger, and its text goes to terminals.

    What nettop wrote is printable, so this seldom does more than look.
    """
    if b"\\" not in text and text.decode().replace("\n", "").isprintable():
        return text
    return msgspec.json.encode(_printable_strings(msgspec.json.decode(text)))


def _printable_strings(value: Any) -> Any:
    if isinstance(value, str):
        return printable_text(value)
    if isinstance(value, list):
        return [_printable_strings(item) for item in value]
    if isinstance(value, dict):
        return {printable_text(key): _printable_strings(item) for key, item in value.items()}
    return value


def _wrong_schema(name: str, schema: str | None) -> RecordingError:
    what = f"has the schema '{schema}'" if schema else "names no schema"
    return RecordingError(
        f"{name} {what}; this nettop reads {STREAM_SCHEMA} and {SNAPSHOT_SCHEMA}.",
        "Give a file that 'nettop stream' or 'nettop snapshot' of this version wrote.",
    )


def read_events(file: Path | InputFile, partial: bool) -> Iterator[AnyEvent]:
    """The events of a recording. `partial`: take one that was cut, up to its last whole line.

    Raises RecordingError, with the line.
    """
    with _opened(file) as opened:
        name = opened.name
        number = 0
        ended = False
        while line := opened.readline(MAX_LINE_BYTES):
            number += 1
            if ended:
                raise RecordingError(f"{name} goes on after its end (line {number}).", "Remove what follows the end.")
            if not line.endswith(b"\n"):
                if partial and number > 1:
                    return
                raise _cut(name, f"in the middle of line {number}")
            event = _decode(name, line, number)
            ended = isinstance(event, End)
            yield event
        if partial:
            return
        if opened.was_cut:
            raise _cut(name, f"within its compressed data, after line {number}")
        if not ended:
            raise _cut(name, f"after line {number}, without its last line")


def _cut(name: str, where: str) -> RecordingError:
    return RecordingError(f"{name} was cut: it stops {where}.", "Add --partial to take the whole lines that there are.")


def _decode(name: str, line: bytes, number: int) -> AnyEvent:
    try:
        event: AnyEvent = _EVENT.decode(_without_control_characters(line))
    except msgspec.ValidationError as error:
        envelope = _envelope(line)
        if number == 1 and envelope is not None and envelope.schema != STREAM_SCHEMA:
            raise _wrong_schema(name, envelope.schema) from error
        raise RecordingError(
            f"{name} line {number} is not an event of {STREAM_SCHEMA}: {error}.",
            "The file was changed, or comes from a newer nettop.",
        ) from error
    except _NOT_JSON as error:
        raise RecordingError(
            f"{name} line {number} is not JSON: {error}.", "Give a file that 'nettop stream' wrote, unchanged."
        ) from error
    if (number == 1) != isinstance(event, Start):
        raise RecordingError(
            f"{name} line {number}: a recording has one line of type 'start', its first.",
            "Give a file that 'nettop stream' wrote, unchanged.",
        )
    return event


class RecordingSource:
    """Plays a recording: as fast as it can be read, or at `speed` times the pace at which it was made."""

    def __init__(self, file: Path | InputFile, partial: bool = False, speed: float | None = None) -> None:
        self._file = file if isinstance(file, InputFile) else InputFile(file)
        self._events = read_events(self._file, partial)
        self._speed = speed
        self._next: AnyEvent | None = next(self._events, None)
        if self._next is None:
            raise RecordingError(f"{self._file.name} is empty.", "Give a file that 'nettop stream' wrote.")
        self._first_time = self._next.time
        self._played_s = 0.0  # of the recording's time
        self._resumed_at = time.monotonic()
        self._held = False
        self.finished = False

    def read(self, timeout_s: float) -> list[AnyEvent]:
        """See Source: the events up to the next tick, once that is due; of a pipe those that have come."""
        if not self._look_ahead(timeout_s) or self._next is None:
            return []
        if self._speed is not None and not self._wait_until_due(self._next, timeout_s, self._speed):
            return []
        batch: list[AnyEvent] = []
        while self._next is not None and not (batch and isinstance(batch[-1], Tick)):
            batch.append(self._next)
            self._next = None
            self._look_ahead(0)
        return batch

    def _look_ahead(self, timeout_s: float) -> bool:
        """Whether the next event is there, or comes in this time."""
        if self._next is None and not self.finished and self._file.is_ready(timeout_s):
            self._next = next(self._events, None)
            self.finished = self._next is None
        return self._next is not None

    def _wait_until_due(self, event: AnyEvent, timeout_s: float, speed: float) -> bool:
        due_s = (event.time - self._first_time).total_seconds()
        self._advance()
        if due_s <= self._played_s:
            return True
        time.sleep(timeout_s if self._held else min(timeout_s, (due_s - self._played_s) / speed))
        self._advance()
        return due_s <= self._played_s

    def finish(self) -> list[AnyEvent]:
        """See Source."""
        self.finished = True
        return []

    def close(self) -> None:
        """See Source."""
        self._next = None
        self.finished = True
        self._file.close()

    @property
    def pace(self) -> str:
        """See Source."""
        return "" if self._speed is None else f"x{self._speed:g}"

    def adjust(self, step: int) -> None:
        """See Source: twice or half as fast."""
        if self._speed is not None:
            self._advance()
            self._speed = min(max(self._speed * 2.0**step, MIN_SPEED), MAX_SPEED)

    def hold(self, held: bool) -> None:
        """See Source: a held recording stands still."""
        self._advance()
        self._held = held

    def _advance(self) -> None:
        now = time.monotonic()
        if not self._held:
            self._played_s += (now - self._resumed_at) * (self._speed or 0.0)
        self._resumed_at = now
