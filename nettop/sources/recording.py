"""What a recording (the output of `nettop stream`) or a snapshot file holds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

from nettop.model.events import STREAM_SCHEMA, AnyEvent, End, Start
from nettop.model.rows import Time
from nettop.model.snapshot import SNAPSHOT_SCHEMA, Snapshot
from nettop.sources.input_file import InputFile, RecordingError
from nettop.text import printable_text

MAX_LINE_BYTES = 8 << 20  # a row holds a DNS answer of at most 64 KB; a longer line is not from a recording
MAX_SNAPSHOT_BYTES = 1 << 30
MIN_SPEED, MAX_SPEED = 1 / 64, 1024.0  # of playing it, times the original
_WRITERS = "'nettop stream' or 'nettop snapshot'"


class _Envelope(msgspec.Struct):
    """The fields that identify the kind of a file."""

    type: str | None = None
    schema: str | None = None
    time: Time | None = None


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


class Lines(Protocol):
    """What the lines of a recording are read from."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def was_cut(self) -> bool:
        """Whether compressed data ends too early."""
        ...

    def readline(self, limit: int) -> bytes:
        """See InputFile."""
        ...


class EventReader:
    """Reads events, and checks that they are a recording. `partial`: accept one that was truncated."""

    def __init__(self, lines: Lines, partial: bool) -> None:
        self.line = 0  # the number of the last one that was read
        self._lines = lines
        self._partial = partial
        self._ended = False

    def go_to(self, line: int) -> None:
        """The lines go on behind this one, which was read before and is not the last."""
        self.line = line
        self._ended = False

    def read(self) -> AnyEvent | None:
        """The next event; None at the end. Raises RecordingError, which names the line."""
        line = self._lines.readline(MAX_LINE_BYTES)
        name = self._lines.name
        if not line:
            self._refuse_cut(name)
            return None
        self.line += 1
        if self._ended:
            raise RecordingError(
                f"{name} continues after its 'end' event (line {self.line}).", "Remove what follows it."
            )
        if not line.endswith(b"\n"):
            if self._partial and self.line > 1:
                return None
            raise _cut(name, f"in the middle of line {self.line}")
        event = _decode(name, line, self.line)
        self._ended = isinstance(event, End)
        return event

    def _refuse_cut(self, name: str) -> None:
        if self._partial:
            return
        if self._lines.was_cut:
            raise _cut(name, f"within its compressed data, after line {self.line}")
        if not self._ended:
            raise _cut(name, f"after line {self.line}, without the 'end' event")


def read_events(file: Path | InputFile, partial: bool) -> Iterator[AnyEvent]:
    """The events of a recording. `partial`: accept a truncated one, up to its last complete line.

    Raises RecordingError, which names the line.
    """
    with _opened(file) as opened:
        reader = EventReader(opened, partial)
        while (event := reader.read()) is not None:
            yield event


def end_of(file: InputFile) -> InputFile | None:
    """The file again, not far from its end if that can be found; None for what can be read only once."""
    if not file.can_go_back:
        return None
    return file.again(0 if file.is_compressed else max(file.size - 2 * MAX_LINE_BYTES, 0))


def time_of_last_event(end: InputFile, stopped: Callable[[], bool]) -> datetime | None:
    """When the recording ends; None if that cannot be told. May take a while. Closes the file."""
    last = b""
    try:
        while not stopped() and (line := end.readline(MAX_LINE_BYTES)):
            last = line if line.endswith(b"\n") else last
        return None if stopped() else _ENVELOPE.decode(last).time
    except (RecordingError, *_NOT_JSON):
        return None
    finally:
        end.close()


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
