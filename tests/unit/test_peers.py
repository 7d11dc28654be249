"""The two ends of a connection on one host: paired as far as that is certain."""

from typing import Any

import pytest

from nettop.model import rows
from nettop.model.events import ConnectionChanged
from nettop.model.peers import REMEMBERED_TICKS
from nettop.model.store import Store
from tests import builders
from tests.builders import NETNS, at

OTHER_NETNS, THIRD_NETNS = NETNS + 1, NETNS + 2
CLIENT, SERVER = rows.Endpoint(address="10.0.0.1", port=40_000), rows.Endpoint(address="10.0.0.2", port=5432)


def client(number: int = 1, **changes: Any) -> rows.Connection:
    remote = rows.RemoteEndpoint(address=SERVER.address, port=SERVER.port)
    fields: dict[str, Any] = {"id": number, "pid": 42, "comm": "billing", "local": CLIENT, "remote": remote,
                              "direction": "outbound", "opened_at": at(1), "connect_ms": 1.0}  # fmt: skip
    return builders.connection(**fields | changes)


def server(number: int = 2, **changes: Any) -> rows.Connection:
    remote = rows.RemoteEndpoint(address=CLIENT.address, port=CLIENT.port)
    fields: dict[str, Any] = {"id": number, "pid": 77, "comm": "postgres", "local": SERVER, "remote": remote,
                              "direction": "inbound", "opened_at": at(1.001), "connect_ms": None}  # fmt: skip
    return builders.connection(**fields | changes)


def closed(row: rows.Connection, seconds: float = 2.0, **changes: Any) -> rows.Connection:
    over: dict[str, Any] = {"state": "closed", "closed_at": at(seconds), "end": "normal"}
    return rows.Connection(**{name: getattr(row, name) for name in row.__struct_fields__} | over | changes)


def store_of(*taken: rows.Connection) -> Store:
    store = Store()
    store.apply(builders.start())
    for row in taken:
        store.apply(ConnectionChanged(time=at(3), connection=row))
    return store


def peers(store: Store) -> dict[int, int | None]:
    return {row.id: row.peer.id if row.peer else None for row in store.snapshot().connections}


@pytest.mark.parametrize("ends", [(client(), server()), (server(), client())])
@pytest.mark.parametrize("netns", [NETNS, OTHER_NETNS])
def test_the_two_ends_find_each_other(ends: tuple[rows.Connection, rows.Connection], netns: int) -> None:
    first, second = ends
    moved = rows.Connection(**{name: getattr(second, name) for name in second.__struct_fields__} | {"netns": netns})
    store = store_of(first, moved)
    assert peers(store) == {1: 2, 2: 1}
    one = next(row for row in store.snapshot().connections if row.id == 1)
    assert one.peer == rows.Peer(id=2, pid=77, comm="postgres")


def test_they_stay_together_whatever_becomes_of_them() -> None:
    store = store_of(client(), server(), client(tx_bytes=5), closed(server()))
    assert peers(store) == {1: 2, 2: 1}
    store.apply(ConnectionChanged(time=at(3), connection=closed(client())))
    assert peers(store) == {1: 2, 2: 1}


def test_each_learns_who_has_the_other() -> None:
    store = store_of(client(), server(pid=None, comm=None, process_start_time=None), server(pid=78, comm="worker"))
    (one, _) = store.snapshot().connections
    assert one.peer == rows.Peer(id=2, pid=78, comm="worker")


def test_ends_that_were_over_before_they_were_listed() -> None:
    assert peers(store_of(closed(client()), closed(server()))) == {1: 2, 2: 1}


def test_those_older_than_nettop() -> None:
    older: dict[str, Any] = {"opened_at": None, "opened_before_start": True, "connect_ms": None, "direction": "unknown"}
    assert peers(store_of(client(**older), server(**older))) == {1: 2, 2: 1}
    assert peers(store_of(client(**older), server())) == {1: None, 2: None}


def test_the_direction_of_one_end_is_that_of_the_other_the_other_way_round() -> None:
    older: dict[str, Any] = {"opened_at": None, "opened_before_start": True, "connect_ms": None}
    unknown = client(**older, direction="unknown")
    for order in ((unknown, server(**older)), (server(**older), unknown), (unknown, server(**older), unknown)):
        found = {row.id: row.direction for row in store_of(*order).snapshot().connections}
        assert found == {1: "outbound", 2: "inbound"}
    twin = server(3, **older, netns=THIRD_NETNS)
    uncertain = store_of(unknown, server(**older, netns=OTHER_NETNS), twin).snapshot().connections
    assert uncertain[0].direction == "unknown"


def test_ports_that_are_used_again_belong_to_the_next_connection() -> None:
    again: dict[str, Any] = {"opened_at": at(10), "closed_at": None}
    store = store_of(client(), server(), closed(client()), closed(server()), client(3, **again),
                     server(4, **again | {"opened_at": at(10.001)}))  # fmt: skip
    assert peers(store) == {1: 2, 2: 1, 3: 4, 4: 3}


def test_an_end_that_its_tick_did_not_bring_is_not_waited_for() -> None:
    store = store_of(closed(client()))
    for second in range(REMEMBERED_TICKS):
        store.apply(builders.tick(4 + second))
    store.apply(ConnectionChanged(time=at(9), connection=closed(server())))
    assert peers(store) == {1: None, 2: None}
    assert len(store._peers._by_ends) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (client(), server(direction="outbound")),
        (client(), server(opened_at=at(0.5))),
        (client(), server(netns=OTHER_NETNS, opened_at=at(30))),
        (closed(client()), server(opened_at=at(2.5))),
        (closed(client(connect_ms=None), end="refused"), server()),
        (client(), server(remote=rows.RemoteEndpoint(address="10.0.0.9", port=CLIENT.port))),  # NAT
        (client(local=rows.Endpoint(address="10.0.0.1", port=0)), server()),
    ],
)  # fmt: skip
def test_what_cannot_be_is_not_paired(one: rows.Connection, other: rows.Connection) -> None:
    assert peers(store_of(one, other)) == {1: None, 2: None}
    assert peers(store_of(other, one)) == {2: None, 1: None}


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "fe80::1", "169.254.1.1"])
def test_addresses_that_each_namespace_has_for_itself(address: str) -> None:
    here: dict[str, Any] = {
        "local": rows.Endpoint(address=address, port=1),
        "remote": rows.RemoteEndpoint(address=address, port=2),
    }
    there: dict[str, Any] = {
        "local": rows.Endpoint(address=address, port=2),
        "remote": rows.RemoteEndpoint(address=address, port=1),
    }
    assert peers(store_of(client(**here), server(**there))) == {1: 2, 2: 1}
    assert peers(store_of(client(**here), server(**there, netns=OTHER_NETNS))) == {1: None, 2: None}


def test_a_namespace_with_the_same_addresses_makes_it_uncertain() -> None:
    far, twin = server(netns=OTHER_NETNS), server(3, netns=THIRD_NETNS)
    assert peers(store_of(client(), far, twin)) == {1: None, 2: None, 3: None}
    assert peers(store_of(far, twin, client())) == {2: None, 3: None, 1: None}
    assert peers(store_of(far, client(), client(3, netns=THIRD_NETNS))) == {2: None, 1: None, 3: None}


def test_its_own_namespace_is_certain_whatever_others_have() -> None:
    near, far = server(), server(3, netns=OTHER_NETNS)
    for order in ((client(), near, far), (client(), far, near), (far, near, client())):
        assert peers(store_of(*order)) == {row.id: {1: 2, 2: 1, 3: None}[row.id] for row in order}


def test_a_local_port_that_is_chosen_later() -> None:
    early = client(local=rows.Endpoint(address="0.0.0.0", port=0), state="syn-sent")
    assert peers(store_of(early, server(), client())) == {1: 2, 2: 1}


def test_a_connection_with_itself_has_no_other_end() -> None:
    itself = client(remote=rows.RemoteEndpoint(address=CLIENT.address, port=CLIENT.port))
    assert peers(store_of(itself)) == {1: None}


def test_nothing_is_kept_of_what_has_ended() -> None:
    store = store_of(*(closed(client(number, local=rows.Endpoint(address="10.0.0.1", port=number))) for number in
                       range(1, 50)))  # fmt: skip
    for second in range(REMEMBERED_TICKS + 1):
        store.apply(builders.tick(4 + second))
    assert store._peers._by_ends == {}
