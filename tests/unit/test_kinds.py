"""Each kind of rows, declared once: that what belongs to a declaration is there."""

from typing import Any, get_args

import pytest
from msgspec.structs import fields, replace

from nettop.model.events import AnyEvent
from nettop.model.filter import FILTER_KEYS
from nettop.model.kinds import (
    BARE,
    CONNECTIONS,
    DNS,
    HOSTS,
    IN_SNAPSHOT,
    KIND_OF_EVENT,
    KINDS,
    PROCESSES,
    Kind,
    capitalized,
)
from nettop.model.rows import End, Process
from nettop.model.snapshot import Snapshot
from nettop.model.store import Store, replayed
from nettop.settings.declared import SECTIONS, SETTINGS
from nettop.view.columns import COLUMNS, Context
from nettop.view.facts import detail
from nettop.view.keys import MAIN_KEYS
from tests.builders import a_recording, at, connection, identity, process, start, told
from tests.tui.scene import busy

EVERY = pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])


def test_each_is_a_field_of_the_snapshot() -> None:
    assert [kind.name for kind in IN_SNAPSHOT][:3] == ["processes", "connections", "dns"]  # the order of their JSON
    assert set(IN_SNAPSHOT) == set(KINDS)
    assert len({kind.name for kind in KINDS}) == len({kind.row for kind in KINDS}) == len(KINDS)
    assert {kind.name for kind in KINDS} <= {field.name for field in fields(Snapshot)}


@EVERY
def test_each_is_told_by_an_event(kind: Kind[Any]) -> None:
    assert kind.event in get_args(AnyEvent)
    assert KIND_OF_EVENT[kind.event] is kind
    told_type = next(field.type for field in fields(kind.event) if field.name == kind.told)
    assert issubclass(kind.row, told_type) or kind is HOSTS  # what is told of a host is only a part of its row


@EVERY
def test_each_has_columns_facts_settings_and_a_key(kind: Kind[Any]) -> None:
    assert kind.sort in {column.key for column in COLUMNS[kind]}
    here = busy()
    for row in kind.rows_of(here):
        shown = detail(row, here, Context(here.captured_at))
        assert shown.facts
        assert kind not in shown.related
    assert kind.name in SECTIONS
    mine = {f"{kind.name}_columns", f"{kind.name}_sort", f"history_{kind.name}"}
    assert mine <= {each.attribute for each in SETTINGS}
    assert f"pane.{kind.name}" in {key.id for key in MAIN_KEYS}
    assert kind.title == capitalized(kind.label) != ""


@EVERY
def test_each_has_an_owner_and_keys_of_the_filter(kind: Kind[Any]) -> None:
    assert {BARE, "pid", "comm"} <= kind.tests.keys() <= {BARE, *FILTER_KEYS}
    assert {"user", "unit", "container", "pod", "image", "netns"} == kind.joined.keys()
    assert not kind.tests.keys() & kind.timed.keys()


def test_every_key_of_the_filter_says_something_about_a_kind() -> None:
    assert {key for kind in KINDS for key in (*kind.tests, *kind.timed, *kind.joined)} == {BARE, *FILTER_KEYS}
    assert not any(kind.tests.keys() & kind.timed.keys() for kind in KINDS)


@EVERY
def test_numbers_rise(kind: Kind[Any]) -> None:
    keys = [kind.key(row) for row in kind.rows_of(busy())]
    assert len(set(keys)) == len(keys)
    if kind.numbered:
        assert keys == sorted(row.id for row in kind.rows_of(busy()))


@EVERY
def test_the_store_keeps_its_history_and_counts_what_it_evicts(kind: Kind[Any]) -> None:
    losses = replayed(a_recording()).snapshot().losses
    assert losses.evicted[kind.name] == 0
    assert (kind.name in losses.unlisted) == (kind.unlisted is not None)


def test_what_failed_and_what_ended() -> None:
    for end in (None, *get_args(End)):
        row = connection(state="closed", end=end)
        assert CONNECTIONS.failed(row) == (end not in (None, "normal"))
        assert CONNECTIONS.ended is not None
        assert CONNECTIONS.ended(row)
        assert not CONNECTIONS.ended(replace(row, state="last-ack"))
    assert PROCESSES.ended is not None
    assert PROCESSES.ended(process(exited_at=at(3)))
    assert not PROCESSES.ended(process())
    assert not PROCESSES.failed(process())
    assert DNS.ended is None


def test_a_process_that_turns_out_to_go_on_ends_once_more() -> None:
    """Its first end was a guess: it is evicted in the order of its second, and once."""
    store = Store({"processes": 1})
    store.apply(start())
    for pid, exited_at in ((1, at(1)), (1, None), (1, at(2)), (2, at(3)), (3, at(4))):
        store.apply(told(identity(pid=pid, exited_at=exited_at)))
    snapshot = store.snapshot()
    rows: tuple[Process, ...] = snapshot.processes
    assert [row.pid for row in rows] == [3]
    assert snapshot.losses.evicted["processes"] == 2
