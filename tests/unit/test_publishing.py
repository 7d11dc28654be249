"""When `nettop metrics --listen` answers: between the events that it counts."""

from collections.abc import Iterator
from typing import cast

import pytest

from nettop.cli import publishing as subject
from nettop.export.scrape import ScrapeServer
from nettop.model import events
from nettop.sources import Source
from tests.builders import tick

MANY = 1_000


class Flood:
    """A source whose one read has many events, and a server that counts how often it has its turn."""

    finished = False

    def __init__(self) -> None:
        self.turns = 0
        self.most_events_between = self._since = 0

    def read(self, _timeout_s: float) -> Iterator[events.AnyEvent]:
        for number in range(MANY):
            yield tick(number)
            self._since += 1
            self.most_events_between = max(self.most_events_between, self._since)
        self.finished = True

    def finish(self) -> tuple[events.AnyEvent, ...]:
        return ()

    def serve(self, _now_s: float) -> bool:
        self.turns += 1
        self._since = 0
        return False


def test_the_server_has_its_turn_within_a_long_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_TURN_S", 0.0)
    flood = Flood()
    assert len(list(subject._events(cast("Source", flood), None, [], cast("ScrapeServer", flood)))) == MANY
    assert flood.most_events_between == 1


def test_and_after_a_short_one() -> None:
    flood = Flood()
    assert len(list(subject._events(cast("Source", flood), None, [], cast("ScrapeServer", flood)))) == MANY
    assert flood.turns >= 1
