"""Files and expressions that somebody else wrote: read, or refused in a sentence."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nettop.errors import NettopError, UsageError
from nettop.export.json import event_json, snapshot_json
from nettop.model.filter import Filter, FilterError
from nettop.model.kinds import CONNECTIONS, DNS, HOSTS, KINDS, LISTENERS, LOOKUPS, PROCESSES, REQUESTS, UDP, Kind
from nettop.model.store import replayed
from nettop.settings.resolve import resolve
from nettop.sources.input_file import RecordingError
from nettop.sources.recording import read_events, read_snapshot
from tests.builders import (
    BASE,
    a_recording,
    answered,
    connection,
    listener,
    lookup,
    process,
    remote_host,
    request,
    udp_socket,
)
from tests.hostile.strings import HOSTILE, unprintable

RECORDING = b"".join(map(event_json, a_recording()))
SNAPSHOT = snapshot_json(replayed(a_recording()).snapshot())
DEEP = 200_000
MOST_S = 5.0  # of CPU: nothing here may hang
TOKENS = (
    *(b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\n", b"null", b"-1", b"1e999", b"NaN", b"0.1", b"true", b"="),
    *(b'"\\ud800"', b'"\\u0000"', b"\xff", b"\x00", b"\xed\xa0\x80", b"9" * 400, b'"type"', b'"schema"'),
    b'"2026-13-45T99:99:99Z"',
)
fast = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def mutated(source: random.Random, text: bytes) -> bytes:
    changed = bytearray(text)
    for _ in range(source.choice((1, 1, 2, 5))):
        at = source.randrange(len(changed) + 1)
        match source.randrange(4):
            case 0:
                changed[at : at + source.randrange(1, 20)] = b""
            case 1:
                changed[at:at] = source.choice(TOKENS)
            case 2:
                changed[at : at + source.randrange(1, 6)] = source.choice(TOKENS)
            case 3:
                other = source.randrange(len(changed) + 1)
                changed[at:at] = changed[other : other + source.randrange(200)]
    return bytes(changed)


def outcome(read: Callable[[], object]) -> NettopError | None:
    """The sentence in which it was refused; None if it was read. Anything else is a defect."""
    begun = time.thread_time()
    refused = None
    try:
        read()
    except NettopError as error:
        refused = error
    assert time.thread_time() - begun < MOST_S
    assert refused is None or (refused.message[-1] == "." and refused.remedy and len(refused.message) < 2000)
    return refused


def play(path: Path, content: bytes, partial: bool = False) -> NettopError | None:
    """As nettop replay does."""
    path.write_bytes(content)

    def read() -> None:
        snapshot = read_snapshot(path) or replayed(read_events(path, partial)).snapshot()
        snapshot_json(snapshot)

    return outcome(read)


@fast
@given(st.randoms(use_true_random=False), st.booleans())
def test_recordings(tmp_path: Path, source: random.Random, partial: bool) -> None:
    error = play(tmp_path / "file", mutated(source, RECORDING), partial)
    if error is not None:
        assert isinstance(error, RecordingError)
        assert "line " in error.message or "schema" in error.message or "JSON" in error.message


@fast
@given(st.randoms(use_true_random=False))
def test_snapshots(tmp_path: Path, source: random.Random) -> None:
    error = play(tmp_path / "file", mutated(source, SNAPSHOT))
    assert error is None or isinstance(error, RecordingError)


@fast
@given(st.binary(max_size=200))
def test_bytes(tmp_path: Path, content: bytes) -> None:
    assert play(tmp_path / "file", content) is not None


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"schema":"nettop.snapshot/1","dns":[', b'[{"type":'])
@pytest.mark.parametrize("before", [b"", RECORDING.split(b"\n", 1)[0] + b"\n", b"{\n"])
def test_nesting_without_end(tmp_path: Path, opening: bytes, before: bytes) -> None:
    assert play(tmp_path / "file", before + opening * DEEP) is not None
    assert play(tmp_path / "file", before + opening * DEEP + b"\n") is not None


@pytest.mark.parametrize("evil", HOSTILE.values(), ids=HOSTILE)
def test_text_that_is_read_back_prints(tmp_path: Path, evil: str) -> None:
    text = evil.encode("utf-8", "replace").decode()
    recorded = a_recording()
    recorded[4:5] = [type(recorded[4])(time=recorded[4].time, connection=connection(comm=text))]  # type: ignore[call-arg]
    path = tmp_path / "file"
    path.write_bytes(b"".join(map(event_json, recorded)))
    snapshot = replayed(read_events(path, partial=False)).snapshot()
    assert snapshot.connections[0].comm is not None
    assert unprintable(snapshot.connections[0].comm) == set()


CONFIG = b"""
interval = 0.5
theme = "nord"
filter = "dns:failed"
[keys]
pause = "p, f5"
"filter.edit" = "ctrl+f"
"""


@fast
@given(st.randoms(use_true_random=False))
def test_config(tmp_path: Path, source: random.Random) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(mutated(source, CONFIG))
    error = outcome(lambda: resolve({}, path))
    assert error is None or str(path) in error.message


@pytest.mark.parametrize(
    "opening",
    [b"a = " + b"[" * DEEP, b"a = " + b"{a=" * 5000, b"[a" + b".a" * 5000 + b"]", b"a" + b".a" * 5000 + b" = 1"],
)
def test_config_nested_without_end(tmp_path: Path, opening: bytes) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(opening)
    assert outcome(lambda: resolve({}, path)) is not None


expressions = st.text(
    st.sampled_from("ab:*?[]|-\"' 0159\\\x00\x1b\u202e\u0301\ud800日/.%") | st.characters(), max_size=60
)
words = st.sampled_from(
    [
        *("pid:", "comm:", "user:", "port:", "host:", "state:", "end:", "dns:", "type:", "netns:", "-", "|", '"', "*"),
        *(
            "[!",
            "]",
            "established",
            "refused",
            "nxdomain",
            "1-2",
            "9" * 20,
            "\xb2",
            "\u0663",
            "\\",
            "(",
            "{",
            "a" * 300,
        ),
    ]
)


ROWS: dict[Kind[Any], Any] = {
    DNS: answered(), CONNECTIONS: connection(), PROCESSES: process(), HOSTS: remote_host(), UDP: udp_socket(),
    LISTENERS: listener(), REQUESTS: request(), LOOKUPS: lookup(),
}  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(expressions | st.lists(words, max_size=12).map("".join) | st.lists(words, max_size=12).map(" ".join))
def test_filters(expression: str) -> None:
    def parse_and_apply() -> None:
        chosen = Filter(expression)
        for kind in KINDS:
            test = chosen.test(kind, BASE)
            if test is not None:
                test(ROWS[kind])
            chosen.not_applied(kind)

    error = outcome(parse_and_apply)
    if error is not None:
        assert isinstance(error, FilterError)
        assert 0 <= error.start < error.end <= max(len(expression), error.start + 1)
        assert len(error.marked.split("\n")) == 2
        assert all(unprintable(line) == set() for line in error.marked.split("\n"))


@pytest.mark.parametrize("pattern", ["*a" * 30, "[a" * 200, "?*" * 100, "*" * 2000, "[!" * 100, "a*" * 25 + "b"])
def test_a_pattern_takes_no_time(pattern: str) -> None:
    def match() -> None:
        test = Filter(f"comm:{pattern}").test(PROCESSES, BASE)
        assert test is not None
        test(process(comm="a" * 5000))

    assert outcome(match) is None or isinstance(outcome(match), UsageError)
