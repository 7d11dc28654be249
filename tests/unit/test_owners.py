"""What the filter asks of the processes that rows belong to: the same in all panes, in a snapshot and in a stream."""

from datetime import timedelta
from typing import Any

import pytest

from nettop.model.filter import Filter
from nettop.model.kinds import CONNECTIONS, DNS, HOSTS, KINDS, LISTENERS, LOOKUPS, PROCESSES, REQUESTS, UDP, Kind
from nettop.model.owners import NOBODY, Owners
from nettop.model.rows import Holder, ProcessIdentity
from nettop.model.stream_filter import StreamFilter
from tests import builders
from tests.builders import BASE, at, told

ID = "5d1c9f0e" * 8
OWNER = builders.process(
    cgroup=f"/system.slice/web.service/libpod-payload-{ID}",
    unit="web.service",
    container=ID,
    container_name="web",
    image="registry.example:5000/team/nginx:1.25@sha256:aa",
    pod="web-0",
    pod_namespace="shop",
    pod_uid="1f8b9d3c",
    netns_name="blue",
)
ITS = {"pid": OWNER.pid, "process_start_time": OWNER.start_time, "netns": OWNER.netns}
ROWS: dict[Kind[Any], Any] = {
    DNS: builders.dns_query(**ITS),
    CONNECTIONS: builders.connection(**ITS),
    PROCESSES: OWNER,
    LISTENERS: builders.listener(**ITS),
    REQUESTS: builders.request(**ITS),
    LOOKUPS: builders.lookup(**ITS),
    UDP: builders.udp_socket(**ITS),
    HOSTS: builders.remote_host(pids=(OWNER.pid,), netns=OWNER.netns),
}
YES = [
    "user:ada", "user:ADA", "user:1000", "user:a*",
    "unit:web.service", "unit:web", "unit:WEB", "unit:system.slice", "unit:w*",
    "container:web", f"container:{ID}", "container:5d1c9f0e5d1c", "container:5d1c", "container:5D1C9F", "container:*",
    "pod:web-0", "pod:shop/web-0", "pod:shop/*", "pod:1f8b9d3c",
    "image:nginx", "image:nginx:1.25*", "image:registry.example:5000/team/*",
    "netns:blue", "netns:b*", f"netns:{builders.NETNS}",
]  # fmt: skip
NO = [
    "user:root", "user:100", "unit:we", "unit:web.socket", "unit:payload", "container:5d1", "container:other",
    "container:6d1c", "pod:web", "pod:other/web-0", "image:team", "image:ngin", "netns:green", "netns:1",
]  # fmt: skip


def passes(expression: str, kind: Kind[Any], row: Any, owners: Owners) -> bool:
    test = Filter(expression).test(kind, BASE, owners=owners)
    assert test is not None
    return test(row)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize(("expression", "expected"), [*((text, True) for text in YES), *((text, False) for text in NO)])
def test_a_key_holds_for_every_kind_of_rows(expression: str, expected: bool, kind: Kind[Any]) -> None:
    row = ROWS[kind]
    owners = Owners([builders.process(pid=1, netns=2, user="other"), OWNER])
    assert passes(expression, kind, row, owners) is expected
    assert passes(f"-{expression}", kind, row, owners) is not expected


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not PROCESSES], ids=lambda kind: kind.name)
def test_nothing_is_said_of_a_row_whose_process_is_not_known(kind: Kind[Any]) -> None:
    assert not passes("unit:*", kind, ROWS[kind], NOBODY)
    assert not passes("netns:*", kind, ROWS[kind], NOBODY)


def test_another_process_that_had_the_pid_is_another() -> None:
    earlier = builders.process(start_time=OWNER.start_time - timedelta(hours=1), unit="earlier.service", cgroup=None)
    owners = Owners([OWNER, earlier])
    assert passes("unit:web", CONNECTIONS, builders.connection(), owners)
    assert not passes("unit:earlier", CONNECTIONS, builders.connection(), owners)


def test_a_listener_belongs_to_all_its_holders() -> None:
    worker = builders.process(pid=77, unit="worker.service", cgroup=None)
    holder = Holder(pid=77, process_start_time=worker.start_time, comm="worker")
    row = builders.listener(**ITS, holders=(holder,))
    assert passes("unit:worker", LISTENERS, row, Owners([OWNER, worker]))
    assert passes("unit:web", LISTENERS, row, Owners([OWNER, worker]))


def test_a_stream_passes_what_belongs_to_a_process_that_does() -> None:
    subject = StreamFilter(Filter("unit:web"))
    identity = {name: getattr(OWNER, name) for name in ProcessIdentity.__struct_fields__}
    assert not subject.passes(told(builders.connection(id=1), 1.0))
    assert subject.passes(told(ProcessIdentity(**identity), 1.0))
    assert subject.passes(told(builders.connection(id=2), 1.1))
    assert not subject.passes(told(builders.connection(id=3, pid=1), 1.2))
    assert subject.passes(told(ProcessIdentity(**{**identity, "exited_at": at(2)}), 2.0))


def test_a_stream_forgets_the_process_that_was_told_longest_ago() -> None:
    owners = Owners(most=2)
    for pid in (1, 2, 1, 3):
        owners.add(builders.process(pid=pid))
    known = [owners.of(builders.connection(pid=pid)) is not None for pid in (1, 2, 3)]
    assert known == [True, False, True]
