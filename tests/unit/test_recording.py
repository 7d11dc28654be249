"""Recordings and snapshots read back, and what is wrong with those that are not."""

import errno
import gzip
import os
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest

from nettop.export.json import event_json, snapshot_json
from nettop.model import events
from nettop.model.store import replayed
from nettop.sources import recording
from nettop.sources.input_file import InputFile, RecordingError
from nettop.sources.recording import read_events, read_snapshot
from tests.builders import a_recording, at, connection, dns_query, identity, start, tick, told

RECORDED = a_recording()
if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

WHOLE = b"".join(map(event_json, RECORDED))
START, END = event_json(start()), event_json(events.End(time=at(4)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recording"


def refused(path: Path, partial: bool = False) -> RecordingError:
    """What a person gets to hear of the file, who tries it as a snapshot first."""

    def read() -> None:
        if read_snapshot(path) is None:
            replayed(read_events(path, partial)).snapshot()

    with pytest.raises(RecordingError) as caught:
        read()
    assert caught.value.exit_code == 2
    return caught.value


def test_a_stream_replays_to_the_same_snapshot(path: Path) -> None:
    path.write_bytes(WHOLE)
    assert read_snapshot(path) is None
    assert list(read_events(path, partial=False)) == RECORDED
    assert replayed(read_events(path, partial=False)).snapshot() == replayed(RECORDED).snapshot()


def test_a_snapshot_is_read_back(path: Path) -> None:
    snapshot = replayed(RECORDED).snapshot()
    path.write_bytes(snapshot_json(snapshot))
    assert read_snapshot(path) == snapshot


def test_a_snapshot_in_one_line_is_read_back(path: Path) -> None:
    path.write_bytes(
        b'{"schema":"nettop.snapshot/1"'
        + b"".join(snapshot_json(replayed(RECORDED).snapshot()).split(b'"nettop.snapshot/1"')[1:]).replace(b"\n", b"")
    )
    assert read_snapshot(path) == replayed(RECORDED).snapshot()


@pytest.mark.parametrize(
    ("content", "partial", "message", "remedy"),
    [
        (b"", False, "{} is empty.", "Give a file written by 'nettop stream' or 'nettop snapshot'."),
        (b"", True, "{} is empty.", "Give a file written by 'nettop stream' or 'nettop snapshot'."),
        (b"\n\n", False, "{} is empty.", "Give a file written by 'nettop stream' or 'nettop snapshot'."),
        (
            b"hello\n",
            False,
            "{} is not JSON, or is incomplete.",
            "Give a file written by 'nettop stream' or 'nettop snapshot'.",
        ),
        (
            b"\x7fELF\x02\xff\xfe\0\0",
            False,
            "{} is not JSON, or is incomplete.",
            "Give a file written by 'nettop stream' or 'nettop snapshot'.",
        ),
        (
            b'{"type":"\xff"}\n',
            False,
            "{} line 1 is not JSON: 'utf-8' codec can't decode byte 0xff in position 9: invalid start byte.",
            "Give an unmodified file written by 'nettop stream'.",
        ),
        (
            snapshot_json(replayed(RECORDED).snapshot())[:-100],
            False,
            "{} is not JSON, or is incomplete.",
            "Give a file written by 'nettop stream' or 'nettop snapshot'.",
        ),
        (
            b'{"schema": "nettop.snapshot/2"}\n',
            False,
            "{} has the schema 'nettop.snapshot/2'; this nettop reads nettop.stream/1 and nettop.snapshot/1.",
            "Give a file written by 'nettop stream' or 'nettop snapshot' of this version.",
        ),
        (
            b'{\n  "schema": "nettop.snapshot/2"\n}\n',
            False,
            "{} has the schema 'nettop.snapshot/2'; this nettop reads nettop.stream/1 and nettop.snapshot/1.",
            "Give a file written by 'nettop stream' or 'nettop snapshot' of this version.",
        ),
        (
            START.replace(b"stream/1", b"stream/2") + END,
            False,
            "{} has the schema 'nettop.stream/2'; this nettop reads nettop.stream/1 and nettop.snapshot/1.",
            "Give a file written by 'nettop stream' or 'nettop snapshot' of this version.",
        ),
        (
            b"{}\n",
            False,
            "{} has no schema; this nettop reads nettop.stream/1 and nettop.snapshot/1.",
            "Give a file written by 'nettop stream' or 'nettop snapshot' of this version.",
        ),
        (
            b'{"schema":"nettop.snapshot/1"}\n',
            False,
            "{} is not a valid snapshot: Object missing required field `nettop`.",
            "It may come from a newer nettop; replay it with that.",
        ),
        (
            START + END[:-5],
            False,
            "{} is truncated: it stops in the middle of line 2.",
            "Add --partial to accept the complete lines.",
        ),
        (
            START,
            False,
            "{} is truncated: it stops after line 1, without the 'end' event.",
            "Add --partial to accept the complete lines.",
        ),
        (
            START[:-1],
            True,
            "{} is truncated: it stops in the middle of line 1.",
            "Add --partial to accept the complete lines.",
        ),
        (
            START[:70] + b"\n",
            False,
            "{} line 1 is not JSON: JSON is malformed: invalid character (byte 70).",
            "Give an unmodified file written by 'nettop stream'.",
        ),
        (START + END + b"\n", False, "{} continues after its 'end' event (line 3).", "Remove what follows it."),
        (START + END + START, True, "{} continues after its 'end' event (line 3).", "Remove what follows it."),
        (
            event_json(tick(1)) + END,
            False,
            "{} line 1: a recording has exactly one 'start' event, in its first line.",
            "Give an unmodified file written by 'nettop stream'.",
        ),
        (
            START + START + END,
            False,
            "{} line 2: a recording has exactly one 'start' event, in its first line.",
            "Give an unmodified file written by 'nettop stream'.",
        ),
        (
            START + b'{"type":"quake","time":"2026-01-01T00:00:00.5Z"}\n',
            False,
            "{} line 2 is not an event of nettop.stream/1: Invalid value 'quake' - at `$.type`.",
            "The file was modified, or comes from a newer nettop.",
        ),
        (
            START + b'{"type":"tick","time":"2026-01-01T00:00:00.5"}\n',
            False,
            "{} line 2 is not an event of nettop.stream/1: "
            "Expected `datetime` with a timezone component - at `$.time`.",
            "The file was modified, or comes from a newer nettop.",
        ),
        (
            START + b"what?\n",
            False,
            "{} line 2 is not JSON: JSON is malformed: invalid character (byte 0).",
            "Give an unmodified file written by 'nettop stream'.",
        ),
        (
            START + b'{"type":"tick","x":' + b"[" * 100_000 + b"\n",
            True,
            "{} line 2 is not JSON: maximum recursion depth exceeded while deserializing an object.",
            "Give an unmodified file written by 'nettop stream'.",
        ),
        (
            START + b"\n" + END,
            False,
            "{} line 2 is not JSON: Input data was truncated.",
            "Give an unmodified file written by 'nettop stream'.",
        ),
    ],
)
def test_what_cannot_be_read_is_said_with_its_reason(
    path: Path, content: bytes, partial: bool, message: str, remedy: str
) -> None:
    path.write_bytes(content)
    error = refused(path, partial)
    assert (error.message, error.remedy) == (message.format(path), remedy)


def test_a_file_that_is_not_there(path: Path) -> None:
    assert refused(path).message == f"{path} cannot be read: No such file or directory."


def test_a_directory(tmp_path: Path) -> None:
    assert refused(tmp_path).message == f"{tmp_path} cannot be read: Is a directory."


def test_a_file_that_may_not_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("os.open", denied)
    assert refused(path).message == f"{path} cannot be read: Permission denied."


def test_a_recording_cut_at_any_byte_is_told_and_as_partial_goes_as_far_as_its_lines(path: Path) -> None:
    lines = WHOLE.splitlines(keepends=True)
    for length in range(len(lines[0]), len(WHOLE), 97):
        path.write_bytes(WHOLE[:length])
        assert "is truncated" in refused(path).message
        whole_lines = WHOLE[:length].count(b"\n")
        assert list(read_events(path, partial=True)) == RECORDED[:whole_lines]


def test_a_whole_recording_may_be_read_as_partial(path: Path) -> None:
    path.write_bytes(WHOLE)
    assert list(read_events(path, partial=True)) == RECORDED


def test_a_line_without_end_is_not_read_into_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MAX_LINE_BYTES", 1000)
    path.write_bytes(START + b'{"type":"tick","x":"' + b"x" * 5000 + b'"}\n')
    assert refused(path).message == f"{path} is truncated: it stops in the middle of line 2."


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b2J", "\\u{9b}2J"),
        ("\u202egnp", "\\u{202e}gnp"),
        ("a\nb", "a\\x0ab"),
        ("back\\\\slash", "back\\\\slash"),
        ("naïve", "naïve"),
    ],
)
def test_the_text_of_a_stranger_is_made_printable(path: Path, name: str, shown: str) -> None:
    path.write_bytes(START + event_json(told(connection(comm=name))) + END)
    (changed,) = [event for event in read_events(path, False) if isinstance(event, events.ConnectionChanged)]
    assert changed.connection == connection(comm=shown)
    snapshot = replayed([start(), told(identity(comm=name)), told(dns_query(qname=name)), tick(1)]).snapshot()
    path.write_bytes(snapshot_json(snapshot))
    read = read_snapshot(path)
    assert read is not None
    assert (read.processes[0].comm, read.dns[0].qname) == (shown, shown)


# Pipes and compressed files

SNAPSHOT = snapshot_json(replayed(RECORDED).snapshot())
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {"plain": bytes, "gzip": gzip.compress, "zstd": zstd.compress}


def write_all(start: int, content: bytes) -> None:
    with os.fdopen(start, "wb") as file:
        file.write(content)


@contextmanager
def pipe(content: bytes) -> Iterator[Path]:
    """What a shell gives as <(cat FILE)."""
    end, start = os.pipe()
    writer = threading.Thread(target=write_all, args=(start, content))
    writer.start()
    try:
        yield Path(f"/dev/fd/{end}")
    finally:
        os.close(end)
        writer.join()


def written(content: bytes, path: Path) -> AbstractContextManager[Path]:
    path.write_bytes(content)
    return nullcontext(path)


@pytest.mark.parametrize("compress", COMPRESSORS.values(), ids=COMPRESSORS)
@pytest.mark.parametrize("through_a_pipe", [False, True])
def test_a_pipe_or_compressed_file_is_read_once(
    path: Path, compress: Callable[[bytes], bytes], through_a_pipe: bool
) -> None:
    def given(content: bytes) -> AbstractContextManager[Path]:
        return pipe(compress(content)) if through_a_pipe else written(compress(content), path)

    with given(WHOLE) as source:
        file = InputFile(source)
        assert read_snapshot(file) is None
        assert list(read_events(file, partial=False)) == RECORDED
    with given(SNAPSHOT) as source:
        assert read_snapshot(InputFile(source)) == replayed(RECORDED).snapshot()


@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress])
def test_compressed_files_may_be_joined_and_padded(path: Path, compress: Callable[[bytes], bytes]) -> None:
    half = len(WHOLE) // 2
    path.write_bytes(compress(WHOLE[:half]) + compress(WHOLE[half:]) + b"\0" * 512)
    assert list(read_events(path, partial=False)) == RECORDED


@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress])
def test_a_compressed_recording_that_was_cut(path: Path, compress: Callable[[bytes], bytes]) -> None:
    whole = compress(WHOLE)
    for length in range(len(whole) // 2, len(whole)):
        path.write_bytes(whole[:length])
        error = refused(path)
        assert " is truncated: it" in error.message
        if "--partial" in error.remedy and "line 1" not in error.message:
            events_read = list(read_events(path, partial=True))
            assert events_read == RECORDED[: len(events_read)]
    for left_out in (1, 9, 100):
        path.write_bytes(compress(SNAPSHOT)[:-left_out])
        assert refused(path).message == f"{path} is truncated: its compressed data ends too early."


@pytest.mark.parametrize("magic", [b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"])
def test_compressed_data_that_is_damaged(path: Path, magic: bytes) -> None:
    path.write_bytes(magic + b"\xff" * 100)
    error = refused(path)
    assert error.message.startswith(f"{path} is damaged: its ")
    assert error.remedy == "Copy it again from its origin."


def test_a_compressed_file_that_expands_without_end_costs_no_memory(path: Path) -> None:
    path.write_bytes(zstd.compress(START + b'{"type":"tick","x":"' + b"x" * (256 << 20)))
    tracemalloc.start()
    try:
        assert "in the middle of line 2" in refused(path).message
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
