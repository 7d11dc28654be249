"""Groups that are kept up are those that the same rows make when they are put together anew."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettop.model.kinds import CONNECTIONS, DNS
from nettop.model.rows import Endpoint, RemoteEndpoint
from nettop.view import regrouping
from nettop.view.columns import Context
from nettop.view.group import Group
from nettop.view.grouping import Grouping, grouped, grouping_of, groupings_of
from nettop.view.regrouping import Regrouping
from tests import builders
from tests.tui.scene import snapshot

ROWS = 200
OF_BOTH = [*groupings_of(CONNECTIONS), *groupings_of(DNS)]
_SPOTS = st.integers(0, ROWS - 1)
# of some rows: what becomes of them; which are evicted, how many come, and whether somebody begins to listen
_STEP = st.tuples(
    st.dictionaries(_SPOTS, st.integers(0, 5), max_size=4),
    st.sets(_SPOTS, max_size=2),
    st.integers(0, 2),
    st.booleans(),
)


def connection(number: int, kind: int) -> Any:
    return builders.connection(
        id=number,
        pid=10 + kind % 3,
        comm=f"p{kind % 3}",
        direction=("outbound", "unknown")[kind % 2],
        remote=RemoteEndpoint(address=f"10.0.0.{kind}", port=440 + kind),
        local=Endpoint(address="10.0.0.9", port=40 + kind),
        srtt_ms=None if kind == 0 else float(kind),
        tx_bytes=number * kind,
        state=("established", "close-wait")[kind % 2],
    )


def query(number: int, kind: int) -> Any:
    """Who asks for what does not change, what comes of it does."""
    who = {"pid": 10 + number % 3, "comm": f"p{number % 3}", "qname": f"Host{number % 5}.example.com"}
    row = builders.answered(id=number, rcode=("NOERROR", "SERVFAIL")[kind % 2], **who)
    return msgspec.structs.replace(row, latency_ms=float(kind), asked_at=builders.at(number / 1000))


def said(groups: Sequence[Group[Any]], grouping: Grouping) -> list[Any]:
    context = Context(builders.at(60))
    columns = grouping.pane.columns
    return [
        (group.key, list(map(id, group.rows)), [column.text(group, context) for column in columns]) for group in groups
    ]


@pytest.mark.parametrize("grouping", OF_BOTH, ids=lambda grouping: grouping.pane.name)
@given(steps=st.lists(_STEP, max_size=5))
def test_as_if_they_were_put_together_anew(grouping: Grouping, steps: list[Any]) -> None:
    make = connection if grouping.kind is CONNECTIONS else query
    table = [make(number, number % 5) for number in range(1, ROWS + 1)]
    newest, kept = ROWS, Regrouping()
    for changed, gone, come, listens in [({}, set(), 0, False), *steps]:
        table = [make(row.id, changed[row.id]) if row.id in changed else row for row in table if row.id not in gone]
        table += [make(newest + number, number) for number in range(1, come + 1)]
        newest += come
        listeners = [builders.listener(port=41, netns=table[0].netns)] if listens else []
        seen = snapshot(processes=[builders.process(pid=11)], listeners=listeners)
        seen = msgspec.structs.replace(seen, **{grouping.kind.name: tuple(table)})
        found = kept.groups(grouping, table, seen, names=True)
        assert said(found, grouping) == said(grouped(grouping, table, seen, memory=kept.memory), grouping)


def test_what_has_not_changed_is_not_put_together_again(monkeypatch: pytest.MonkeyPatch) -> None:
    grouping, kept = grouping_of(CONNECTIONS, "port"), Regrouping()
    assert grouping is not None
    table = [connection(number, number % 5) for number in range(1, ROWS + 1)]
    kept.groups(grouping, table, snapshot(connections=table), names=True)
    monkeypatch.setattr(regrouping, "grouped", None)
    table = [*table[1:100], connection(101, 3), *table[101:], connection(ROWS + 1, 9)]
    found = kept.groups(grouping, table, snapshot(connections=table), names=True)
    assert sum(len(group.rows) for group in found) == ROWS
    assert found[-1].key == ("unknown", 49)


def test_rows_whose_numbers_do_not_ascend() -> None:
    """As an older nettop recorded listeners."""
    grouping, kept = grouping_of(CONNECTIONS, "port"), Regrouping()
    assert grouping is not None
    table = [connection(number, 1) for number in range(ROWS, 0, -1)]
    for place in (0, ROWS // 2, ROWS - 1):
        table[place] = connection(table[place].id, 1)
        found = kept.groups(grouping, table, snapshot(connections=table), names=True)
        assert said(found, grouping) == said(grouped(grouping, table, snapshot(connections=table)), grouping)


def test_queries_that_another_grouping_has_seen() -> None:
    by_name, by_process, kept = grouping_of(DNS, "name"), grouping_of(DNS, "process"), Regrouping()
    table = [query(number, number % 5) for number in range(1, ROWS + 1)]
    for grouping in (by_name, by_process, by_name):
        assert grouping is not None
        found = kept.groups(grouping, table, snapshot(table), names=True)
        assert said(found, grouping) == said(grouped(grouping, table, snapshot(table)), grouping)
