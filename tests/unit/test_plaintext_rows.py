"""Requests inside TLS whose connection is not known: nothing that shows, filters, groups or judges rows needs it."""

import csv
import io

import pytest

from nettop.export.csv import csv_text
from nettop.export.table import table_text
from nettop.export.tables import Wanted
from nettop.model.filter import Filter
from nettop.model.kinds import REQUESTS
from nettop.model.rows import Request
from nettop.model.snapshot import Snapshot
from nettop.view.columns import COLUMNS, Context
from nettop.view.facts import detail
from nettop.view.findings import findings
from nettop.view.grouping import GROUPINGS, Grouping, grouped
from nettop.view.panes import PANES
from nettop.view.ranking import sort
from tests.builders import at
from tests.tui.scene import request, snapshot

NOW = at(100)
PANE = next(pane for pane in PANES if pane.kind is REQUESTS)


def unknown(number: int = 1, **changes: object) -> Request:
    return request(number, "curl", decrypted=True, connection_id=None, remote=None, local_port=None, **changes)


def seen() -> Snapshot:
    """A service that is slow and fails."""
    rows = [unknown(number, status=503, latency_ms=4_000.0) for number in range(1, 60)]
    return snapshot(requests=(*rows, unknown(60, host=None, path=None, status=None, latency_ms=None)))


def test_columns() -> None:
    for column in COLUMNS[REQUESTS]:
        assert isinstance(column.text(unknown(), Context(NOW)), str)
        assert len(sort([unknown(1), unknown(2), request(3, "curl")], column, False, Context(NOW))) == 3


def test_facts() -> None:
    facts = dict(detail(unknown(), seen(), Context(NOW)).facts)
    assert (facts["remote"], facts["protocol"]) == ("unknown", "http/1.1 in TLS, decrypted")
    assert facts["connection"].startswith("unknown: ")


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("port:443", False),
        ("host:www.example.com", True),
        ("host:www.example.com:443", False),
        ("host:10.0.0.0/8", False),
        ("comm:curl", True),
        ("example", True),
    ],
)
def test_filters(text: str, passes: bool) -> None:
    assert bool(Filter(text).apply(snapshot(requests=(unknown(),))).requests) is passes


@pytest.mark.parametrize("grouping", [each for each in GROUPINGS if each.kind is REQUESTS], ids=lambda each: each.name)
def test_groups(grouping: Grouping) -> None:
    assert grouped(grouping, seen().requests, seen())


def test_findings() -> None:
    assert any("curl" in each.sentence for each in findings(seen()))


def test_exports() -> None:
    wanted = Wanted((PANE,))
    assert b"curl" in table_text(seen(), wanted)
    first, *_ = csv.DictReader(io.StringIO(csv_text(seen(), wanted).decode()))
    assert (first["decrypted"], first["remote.address"], first["connection_id"]) == ("true", "", "")
