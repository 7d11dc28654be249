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

MAX_LINE_BYTES = 8 << 20  # a row holds a DNS answer of at most 64 KB; a longer line is not from a recording
MAX_SNAPSHOT_BYTES = 1 << 30
_WRITERS = "'nettop stream' or 'nettop snapshot'"
MIN_SPEED, MAX_SPEED = 1 / 64, 1024.0


class _Envelope(msgspec.Struct):
    """The fields that identify the kind of a file."""

    type: str | None = None
    schema: str | None = None


_EVENT = msgspec.json.Decoder(AnyEvent)
_ENVELOPE = msgspec.json.Decoder(_Envelope)
_SNAPSHOT = msgspec.json.Decoder(Snapshot)
# msgspec also raises the last two: for invalid UTF-8 and for excessive nesting.
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@contextmanager
def _opened(file: Path | InputFile) -> Iterator[InputFile]:
    opened = file if isinstance(file, InputFile) else InputFile(file)
    try:
        yield opened
    finally:
        opened.close()


def read_snapshot(file: Path | InputFile) -> Snapshot | None:
    """The snapshot in the file; None if it may be a recording instead, with an InputFile back at its start.

    Raises RecordingError.
    """
    if isinstance(file, Path):
        with _opened(file) as opened:
            return read_snapshot(opened)
    first = file.readline(MAX_LINE_BYTES)
    if not first.strip():
        _refuse_cut(file)
        raise RecordingError(f"{file.name} is empty.", f"Give a file written by {_WRITERS}.")
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
            return None  # a recording whose first line is truncated
        _refuse_cut(file)
        raise RecordingError(f"{file.name} is not JSON, or is incomplete.", f"Give a file written by {_WRITERS}.")
    if envelope.schema != SNAPSHOT_SCHEMA:
        raise _wrong_schema(file.name, envelope.schema)
    _refuse_cut(file)
    try:
        return _SNAPSHOT.decode(_without_control_characters(whole))
    except _NOT_JSON as error:
        raise RecordingError(
            f"{file.name} is not a valid snapshot: {error}.", "It may come from a newer nettop; replay it with that."
        ) from error


def _refuse_cut(file: InputFile) -> None:
    if file.was_cut:
        raise RecordingError(
            f"{file.name} is truncated: its compressed data ends too early.",
            "Copy it again from its origin.",
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
    """The same JSON with printable strings: a recording is untrusted, and its text goes to terminals.

    What nettop writes is printable, so this rarely does more than check.
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
    what = f"has the schema '{schema}'" if schema else "has no schema"
    return RecordingError(
        f"{name} {what}; this nettop reads {STREAM_SCHEMA} and {SNAPSHOT_SCHEMA}.",
        f"Give a file written by {_WRITERS} of this version.",
    )


def read_events(file: Path | InputFile, partial: bool) -> Iterator[AnyEvent]:
    """The events of a recording. `partial`: accept a truncated one, up to its last complete line.

    Raises RecordingError, which names the line.
    """
    with _opened(file) as opened:
        name = opened.name
        number = 0
        ended = False
        while line := opened.readline(MAX_LINE_BYTES):
            number += 1
            if ended:
                raise RecordingError(
                    f"{name} continues after its 'end' event (line {number}).", "Remove what follows it."
                )
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
            raise _cut(name, f"after line {number}, without the 'end' event")


def _cut(name: str, where: str) -> RecordingError:
    return RecordingError(f"{name} is truncated: it stops {where}.", "Add --partial to accept the complete lines.")


def _decode(name: str, line: bytes, number: int) -> AnyEvent:
    try:
        event: AnyEvent = _EVENT.decode(_without_control_characters(line))
    except msgspec.ValidationError as error:
        envelope = _envelope(line)
        if number == 1 and envelope is not None and envelope.schema != STREAM_SCHEMA:
            raise _wrong_schema(name, envelope.schema) from error
        raise RecordingError(
            f"{name} line {number} is not an event of {STREAM_SCHEMA}: {error}.",
            "The file was modified, or comes from a newer nettop.",
        ) from error
    except _NOT_JSON as error:
        raise RecordingError(
            f"{name} line {number} is not JSON: {error}.", "Give an unmodified file written by 'nettop stream'."
        ) from error
    if (number == 1) != isinstance(event, Start):
        raise RecordingError(
            f"{name} line {number}: a recording has exactly one 'start' event, in its first line.",
            "Give an unmodified file written by 'nettop stream'.",
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
            raise RecordingError(f"{self._file.name} is empty.", "Give a file written by 'nettop stream'.")
        self._first_time = self._next.time
        self._played_s = 0.0  # of the recording's time
        self._resumed_at = time.monotonic()
        self._held = False
        self.finished = False

    def read(self, timeout_s: float) -> list[AnyEvent]:
        """See Source: the events up to the next tick, once it is due; from a pipe, those that have arrived."""
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
        """Whether the next event is there, or arrives within the timeout."""
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
        """See Source: a held recording does not advance."""
        self._advance()
        self._held = held

    def _advance(self) -> None:
        now = time.monotonic()
        if not self._held:
            self._played_s += (now - self._resumed_at) * (self._speed or 0.0)
        self._resumed_at = now
