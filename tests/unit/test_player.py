"""A recording that is played at its pace, and from any place as if it had been played until there."""

import copy
import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nettop import player as module
from nettop.cli.replay import DEMO
from nettop.collector import Jump
from nettop.export.json import event_json
from nettop.model import events
from nettop.model.filter import Filter
from nettop.model.kinds import KINDS
from nettop.model.snapshot import Snapshot
from nettop.model.store import Store, replayed
from nettop.player import Player, least_missed
from nettop.sources import tape
from nettop.sources.input_file import InputFile, RecordingError
from nettop.sources.recording import read_events, read_snapshot
from nettop.view.panes import Traffic
from tests.builders import a_recording, answered, at, connection, dns_query, identity, start, tick, told
from tests.unit.test_recording import COMPRESSORS, pipe

RECORDED = a_recording()


def lines(told_events: Sequence[events.AnyEvent]) -> bytes:
    return b"".join(map(event_json, told_events))


class Time:
    """A clock that moves when the player waits."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waited: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waited.append(round(seconds, 6))
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(Player, "_wait", lambda _, seconds: clock.wait(seconds))
    return clock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recording"


def of(path: Path, *told_events: events.AnyEvent, **options: Any) -> Player:
    path.write_bytes(lines(told_events))
    return Player(InputFile(path), **options)


def shown_s(player: Player) -> float:
    assert player.latest is not None
    return player.latest.elapsed_s


# Pace


@pytest.mark.parametrize(
    ("speed", "waited"), [(1.0, [1.0, 1.0, 0.5]), (2.0, [1.0, 0.25]), (0.5, [1.0] * 5), (1000.0, [0.0025])]
)
def test_the_pace_is_that_of_the_recording_times_the_speed(
    path: Path, clock: Time, speed: float, waited: list[float]
) -> None:
    player = of(path, start(), tick(0), tick(2.5), events.End(time=at(2.5)), speed=speed)
    player.step(1.0)  # the first tick is due at once
    for _ in waited:
        assert shown_s(player) == 0
        player.step(1.0)
    assert clock.waited == waited
    player.step(1.0)
    assert shown_s(player) == 2.5
    player.step(1.0)
    assert player.finished


def test_a_faster_pace_counts_from_where_the_recording_is(path: Path, clock: Time) -> None:
    player = of(path, start(), tick(0), tick(10), events.End(time=at(10)))
    player.step(1.0)
    player.step(4.0)
    player.adjust(1)
    player.step(60.0)
    assert player.pace == "x2"
    player.step(60.0)
    assert (shown_s(player), clock.waited) == (10, [4.0, 3.0])


def test_a_held_recording_stands_still(path: Path, clock: Time) -> None:
    player = of(path, start(), tick(0), tick(2), events.End(time=at(2)))
    player.step(1.0)
    player.hold(True)
    player.step(30.0)
    player.step(30.0)
    assert shown_s(player) == 0
    player.hold(False)
    player.step(30.0)
    player.step(30.0)
    assert (shown_s(player), clock.waited) == (2, [30.0, 30.0, 2.0])


@pytest.mark.parametrize(("steps", "pace"), [(1, "x2"), (-1, "x0.5"), (30, "x1024"), (-30, "x0.015625")])
def test_the_pace_has_bounds(path: Path, steps: int, pace: str) -> None:
    player = of(path, *RECORDED)
    player.adjust(steps)
    player.step(0)
    assert player.pace == pace


def test_an_empty_file_is_no_recording(path: Path) -> None:
    with pytest.raises(RecordingError, match="is empty"):
        of(path, partial=True)


def test_before_its_first_tick_it_shows_what_is_watched(path: Path) -> None:
    latest = of(path, *RECORDED).latest
    assert latest is not None
    assert (latest.host.name, latest.dns, latest.elapsed_s) == ("host", (), 0.0)


# Going elsewhere


Moment = tuple[Snapshot, tuple[object, ...]]


def seen(traffic: Traffic) -> tuple[object, ...]:
    return list(traffic.total), {key: list(rates) for key, rates in traffic.by_process.items()}, traffic.dns_per_s


def played(recorded: Sequence[events.AnyEvent]) -> list[Moment]:
    """What is to be seen at the start and at each tick of somebody who watches until there."""
    store, traffic, moments = Store(), Traffic(), []
    for event in recorded:
        store.apply(event)
        if isinstance(event, events.Start | events.Tick):
            snapshot = store.snapshot()
            traffic.add(snapshot)
            moments.append((snapshot, seen(traffic)))
    return moments


def arrived(player: Player) -> Jump:
    """Where it is once it has come to where it was told to go."""
    before = player.jump
    while player.jump is before:
        player.step(0)
    assert player.jump is not None
    assert player.latest is player.jump.snapshot
    return player.jump


def moment(jump: Jump) -> Moment:
    return jump.snapshot, seen(jump.traffic)


@pytest.fixture(scope="module")
def demo() -> list[events.AnyEvent]:
    return list(read_events(DEMO, partial=False))


@pytest.fixture(scope="module")
def moments(demo: list[events.AnyEvent]) -> list[Moment]:
    return played(demo)


@pytest.fixture
def many_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_EVENTS", 40)


_is_ready = InputFile.is_ready


@contextmanager
def arriving(content: bytes) -> Iterator[Path]:
    """A pipe through which all comes that is waited for: a player goes no further than what has arrived."""
    with pytest.MonkeyPatch.context() as patch, pipe(content) as name:
        patch.setattr(InputFile, "is_ready", lambda file, _timeout_s: _is_ready(file, 60))
        yield name


@contextmanager
def opened(path: Path, content: bytes, through_a_pipe: bool) -> Iterator[Player]:
    """As the command does: it is first looked at as a snapshot."""
    if through_a_pipe:
        with arriving(content) as name:
            file = InputFile(name)
            assert read_snapshot(file) is None
            player = Player(file)
            try:
                yield player
            finally:
                player.stop()
    else:
        path.write_bytes(content)
        file = InputFile(path)
        assert read_snapshot(file) is None
        player = Player(file)
        path.unlink()  # an open file has all that it needs
        yield player
        player.stop()


@pytest.mark.parametrize("compress", COMPRESSORS.values(), ids=COMPRESSORS)
@pytest.mark.parametrize("through_a_pipe", [False, True], ids=["file", "pipe"])
@pytest.mark.usefixtures("clock", "many_checkpoints")
def test_wherever_it_goes_all_is_as_if_played_until_there(
    path: Path,
    demo: list[events.AnyEvent],
    moments: list[Moment],
    *,
    monkeypatch: pytest.MonkeyPatch,
    compress: Callable[[bytes], bytes],
    through_a_pipe: bool,
) -> None:
    """Rows, totals, rates and what the view has added up; and what comes after that too."""
    if not through_a_pipe:  # what has gone from memory is read again
        monkeypatch.setattr(tape, "MAX_KEPT_BYTES", 100_000)
        monkeypatch.setattr(tape, "_MOST_DROPPED", 50)
    generator = random.Random(5)
    with opened(path, compress(lines(demo)), through_a_pipe) as player:
        player.hold(True)
        for _ in range(40):
            target_s = generator.uniform(-5, 75)
            player.go(target_s - player._now_s())
            expected = [each for each in moments if each[0].elapsed_s <= max(target_s, 0.0)][-1]
            assert moment(arrived(player)) == expected
            player.go_to_next_tick()
            after = moments[min(moments.index(expected) + 1, len(moments) - 1)]
            assert moment(arrived(player)) == after
        assert len(player._checkpoints) == module.MAX_CHECKPOINTS


@pytest.mark.usefixtures("clock")
def test_steps_add_up_and_end_at_the_ends(path: Path, demo: list[events.AnyEvent]) -> None:
    player = of(path, *demo)
    for _ in range(3):
        player.go(5)
    assert 14 < arrived(player).snapshot.elapsed_s <= 15
    player.go(-30)
    assert arrived(player).snapshot.elapsed_s == 0
    player.go(3000)
    assert 66 < arrived(player).snapshot.elapsed_s < 67
    assert [player.finished] == [True]
    player.go(-5)
    assert 60 < arrived(player).snapshot.elapsed_s < 62
    assert [player.finished] == [False]
    player.go_to_start()
    assert arrived(player).snapshot.elapsed_s == 0


def test_it_plays_on_from_where_it_has_gone(path: Path, clock: Time) -> None:
    player = of(path, start(), *map(tick, range(20)), events.End(time=at(19)))
    player.go(12.5)
    assert arrived(player).snapshot.elapsed_s == 12
    player.step(60)
    player.step(60)
    assert (shown_s(player), clock.waited) == (13, [0.5])


def test_on_a_long_way_one_is_told_and_heard(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count()
    player = of(path, start(), *map(tick, range(100)), events.End(time=at(99)))
    slow = SimpleNamespace(monotonic=lambda: next(ticks) * module._SLICE_S / 4)
    monkeypatch.setattr(module, "time", slow)
    player.go(50)
    player.step(0)
    assert player.going
    player.go(-20)
    assert arrived(player).snapshot.elapsed_s == 30
    assert not player.going


@pytest.mark.usefixtures("clock")
def test_a_pipe_goes_back_as_far_as_it_is_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch, many_checkpoints: None
) -> None:
    monkeypatch.setattr(tape, "MAX_KEPT_BYTES", 20_000)
    monkeypatch.setattr(tape, "_MOST_DROPPED", 10)
    recorded: list[events.AnyEvent] = [start(), *map(tick, range(1000)), events.End(time=at(999))]
    del many_checkpoints
    with opened(path, lines(recorded), through_a_pipe=True) as player:
        player.go(900)
        arrived(player)
        player.go(-30)
        jump = arrived(player)
        assert (jump.snapshot.elapsed_s, jump.said) == (870, "")
        player.go(-800)
        jump = arrived(player)
        assert 500 < jump.snapshot.elapsed_s < 700
        assert jump.said == "Of a pipe only the newest 64.0M are kept: this is as far back as they go."
        assert player._tape._kept_bytes <= 21_000
        player.go(3000)
        assert arrived(player).snapshot.elapsed_s == 999


@pytest.mark.usefixtures("clock")
def test_a_pipe_goes_no_further_than_it_has_come() -> None:
    end, beginning = os.pipe()
    os.write(beginning, lines([start(), tick(0), tick(1), tick(2)]))
    player = Player(InputFile(Path(f"/dev/fd/{end}")))
    player.go(30)
    assert arrived(player).snapshot.elapsed_s == 2
    player.go_to_next_failure(Filter(""))
    assert arrived(player).said == "No failure has arrived yet."
    player.go_to_next_tick()
    assert arrived(player).snapshot.elapsed_s == 2
    os.write(beginning, lines([tick(3)])[:-5])
    player.step(0)
    assert shown_s(player) == 2
    os.write(beginning, lines([tick(3)])[-5:])
    player.go_to_next_tick()
    assert arrived(player).snapshot.elapsed_s == 3
    os.close(beginning)
    player.stop()
    os.close(end)


def test_nobody_waits_for_a_pipe_that_stands_still() -> None:
    end, beginning = os.pipe()
    os.write(beginning, lines([start()]))
    player = Player(InputFile(Path(f"/dev/fd/{end}")))
    changed = threading.Event()
    player.start(changed.set)
    player.adjust(1)
    assert changed.wait(10)
    assert player.pace == "x2"
    player.stop()
    os.close(beginning)
    os.close(end)


# Failures


@pytest.mark.usefixtures("clock")
def test_it_stops_at_each_failure_in_turn(path: Path, demo: list[events.AnyEvent]) -> None:
    player = of(path, *demo)
    player.hold(True)
    found = []
    before_s = 0.0
    while True:
        player.go_to_next_failure(Filter(""))
        jump = arrived(player)
        if jump.row is None:
            break
        kind = next(kind for kind in KINDS if isinstance(jump.row, kind.row))
        (row,) = [row for row in kind.rows_of(jump.snapshot) if kind.key(row) == kind.key(jump.row)]
        assert kind.failed(row)
        assert jump.snapshot.elapsed_s > before_s
        before_s = jump.snapshot.elapsed_s
        found.append(jump)
    assert len(found) > 10
    assert jump.said == "No failure follows."
    assert jump.snapshot == found[-1].snapshot


@pytest.mark.usefixtures("clock")
def test_a_failure_counts_once_and_only_if_the_filter_chooses_it(path: Path) -> None:
    player = of(
        path, start(), told(identity()), told(dns_query(id=1)), tick(1),
        told(answered(id=1, rcode="NXDOMAIN"), 1.5), tick(2),
        told(answered(id=1, rcode="NXDOMAIN", attempts=2), 2.5), tick(3),
        told(connection(id=1, state="closed", end="refused", pid=7), 3.5), tick(4), events.End(time=at(4)),
    )  # fmt: skip
    places = []
    for chosen in ("", "", "", "pid:7"):
        player.go_to_next_failure(Filter(chosen))
        places.append(arrived(player).snapshot.elapsed_s)
    assert places == [2, 4, 4, 4]
    player.go_to_start()
    arrived(player)
    player.go_to_next_failure(Filter("pid:7"))
    assert arrived(player).snapshot.elapsed_s == 4


# Length


@pytest.mark.parametrize("compress", COMPRESSORS.values(), ids=COMPRESSORS)
def test_the_length_of_a_file_is_known_soon(path: Path, compress: Callable[[bytes], bytes]) -> None:
    path.write_bytes(compress(DEMO.read_bytes()))
    assert 66 < length_of(InputFile(path)) < 67


def test_the_length_of_what_was_cut_ends_with_its_last_line(path: Path) -> None:
    path.write_bytes(lines([start(), tick(5), tick(9)])[:-3])
    assert length_of(InputFile(path), partial=True) == 5


def length_of(file: InputFile, partial: bool = False) -> float:
    player = Player(file, partial=partial)
    player.hold(True)
    player.start(lambda: None)
    player._measuring.join(10)
    length_s = player.length_s
    player.stop()
    assert not player.finished
    assert length_s is not None
    return length_s


@pytest.mark.usefixtures("clock")
def test_the_length_of_a_pipe_is_known_at_its_end(path: Path) -> None:
    with opened(path, lines(RECORDED), through_a_pipe=True) as player:
        player._measure(None)
        assert player.length_s is None
        player.go(100)
        arrived(player)
        assert player.length_s == 4


# Checkpoints


def test_checkpoints_stand_close_where_one_is() -> None:
    kept: list[int] = [0]
    for line in range(100, 100_000, 100):
        kept.append(line)
        if len(kept) > 8:
            del kept[least_missed(kept, line)]
    assert (kept[0], kept[-1]) == (0, 99_900)
    gaps = [after - before for before, after in pairwise(kept)]
    assert gaps[-1] <= 500
    assert gaps[-2] <= 2_000
    assert max(gaps) < 40_000


def test_a_copy_of_a_store_goes_on_alone_and_shares_its_rows() -> None:
    store = replayed(read_events(DEMO, partial=True))
    before = store.snapshot()
    twin = copy.deepcopy(store)
    store.apply(told(connection(id=9_999), 70))
    store.apply(tick(71))
    assert twin.snapshot() == before
    assert all(one is other for one, other in zip(twin.snapshot().dns, before.dns, strict=True))
    assert twin.snapshot().processes[0] is before.processes[0]
