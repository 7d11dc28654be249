"""A recording (what `nettop stream` wrote) or a snapshot as a source of events."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from nettop.errors import UsageError
from nettop.model.events import STREAM_SCHEMA, AnyEvent, End, Start, Tick
from nettop.model.snapshot import SNAPSHOT_SCHEMA, Snapshot
from nettop.text import printable_text

MAX_LINE_BYTES = 8 << 20  # a row holds a DNS answer of 64 KB at most; a longer line is no recording
MAX_SNAPSHOT_BYTES = 1 << 30
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


class RecordingError(UsageError):
    """A file that is not what `nettop stream` or `nettop snapshot` writes, or not all of it."""


def open_recording(path: Path) -> BinaryIO:
    """The file, positioned at its start. Raises RecordingError."""
    try:
        return path.open("rb")
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}.", "Give a file that you may read.") from error


def read_snapshot(path: Path) -> Snapshot | None:
    """The snapshot in the file; None if it is not one but may be a recording. Raises RecordingError."""
    with open_recording(path) as file:
        first = file.readline(MAX_LINE_BYTES)
        if not first.strip():
            raise RecordingError(f"{path} is empty.", "Give a file that 'nettop stream' or 'nettop snapshot' wrote.")
        envelope = _envelope(first)
        if envelope is not None and envelope.schema != SNAPSHOT_SCHEMA:
            return None
        whole = first + file.read(MAX_SNAPSHOT_BYTES)
    envelope = _envelope(whole)
    if envelope is None:
        if first.lstrip().startswith(b"{") and first.strip() != b"{":
            return None  # a recording whose first line was cut
        raise RecordingError(
            f"{path} is not JSON, or not all of it.", "Give a file that 'nettop stream' or 'nettop snapshot' wrote."
        )
    if envelope.schema != SNAPSHOT_SCHEMA:
        raise _wrong_schema(path, envelope.schema)
    try:
        return _SNAPSHOT.decode(_without_control_characters(whole))
    except _NOT_JSON as error:
        raise RecordingError(
            f"{path} is not a snapshot of this form: {error}.", "It may come from a newer nettop; try with that."
        ) from error


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


def _wrong_schema(path: Path, schema: str | None) -> RecordingError:
    what = f"has the schema '{schema}'" if schema else "names no schema"
    return RecordingError(
        f"{path} {what}; this nettop reads {STREAM_SCHEMA} and {SNAPSHOT_SCHEMA}.",
        "Give a file that 'nettop stream' or 'nettop snapshot' of this version wrote.",
    )


def read_events(path: Path, partial: bool) -> Iterator[AnyEvent]:
    """The events of a recording. `partial`: take one that was cut, up to its last whole line.

    Raises RecordingError, with the line.
    """
    with open_recording(path) as file:
        number = 0
        ended = False
        while line := file.readline(MAX_LINE_BYTES):
            number += 1
            if ended:
                raise RecordingError(f"{path} goes on after its end (line {number}).", "Remove what follows the end.")
            if not line.endswith(b"\n"):
                if partial and number > 1:
                    return
                raise _cut(path, f"in the middle of line {number}")
            event = _decode(path, line, number)
            ended = isinstance(event, End)
            yield event
    if not ended and not partial:
        raise _cut(path, f"after line {number}, without its last line")


def _cut(path: Path, where: str) -> RecordingError:
    return RecordingError(f"{path} was cut: it stops {where}.", "Add --partial to take the whole lines that there are.")


def _decode(path: Path, line: bytes, number: int) -> AnyEvent:
    try:
        event: AnyEvent = _EVENT.decode(_without_control_characters(line))
    except msgspec.ValidationError as error:
        envelope = _envelope(line)
        if number == 1 and envelope is not None and envelope.schema != STREAM_SCHEMA:
            raise _wrong_schema(path, envelope.schema) from error
        raise RecordingError(
            f"{path} line {number} is not an event of {STREAM_SCHEMA}: {error}.",
            "The file was changed, or comes from a newer nettop.",
        ) from error
    except _NOT_JSON as error:
        raise RecordingError(
            f"{path} line {number} is not JSON: {error}.", "Give a file that 'nettop stream' wrote, unchanged."
        ) from error
    if (number == 1) != isinstance(event, Start):
        raise RecordingError(
            f"{path} line {number}: a recording has one line of type 'start', its first.",
            "Give a file that 'nettop stream' wrote, unchanged.",
        )
    return event


class RecordingSource:
    """Plays a recording: as fast as it can be read, or at `speed` times the pace at which it was made."""

    def __init__(self, path: Path, partial: bool = False, speed: float | None = None) -> None:
        self._events = read_events(path, partial)
        self._speed = speed
        self._next: AnyEvent | None = next(self._events, None)
        if self._next is None:
            raise RecordingError(f"{path} is empty.", "Give a file that 'nettop stream' wrote.")
        self._first_time = self._next.time
        self._played_s = 0.0  # of the recording's time
        self._resumed_at = time.monotonic()
        self._held = False
        self.finished = False

    def read(self, timeout_s: float) -> list[AnyEvent]:
        """See Source: the events up to the next tick, once that is due."""
        if self._next is None:
            self.finished = True
            return []
        if self._speed is not None and not self._wait_until_due(self._next, timeout_s, self._speed):
            return []
        batch = []
        while self._next is not None:
            event, self._next = self._next, next(self._events, None)
            batch.append(event)
            if isinstance(event, Tick):
                break
        self.finished = self._next is None
        return batch

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
