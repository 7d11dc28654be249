"""When nettop looks through the open files for the owners of sockets."""

from nettop.kernel import abi
from nettop.sources.owner_search import RESCAN_NS, OwnerSearch
from tests.builders import socket_record

SECOND = 1_000_000_000
UNOWNED = socket_record(socket=7, owner_certainty=abi.OWNER_UNKNOWN)
OWNED = socket_record(socket=7, owner_certainty=abi.OWNER_SCANNED)


def seconds_of_scans(search: OwnerSearch, first: int, last: int) -> list[int]:
    """With nothing new."""
    return [second for second in range(first, last + 1) if search.is_due([], second * SECOND)]


def test_a_socket_without_owner_is_looked_for_less_and_less_often() -> None:
    search = OwnerSearch(SECOND, 0)
    assert search.is_due([UNOWNED], 0)
    assert seconds_of_scans(search, 1, 9) == [1, 3, 7]
    assert seconds_of_scans(search, 10, 25) == [10, 20]  # the rescans: it has not changed since


def test_a_socket_that_changes_is_not_looked_for_more_often() -> None:
    search = OwnerSearch(SECOND, 0)
    assert [second for second in range(10) if search.is_due([UNOWNED], second * SECOND)] == [0, 1, 3, 7]


def test_nobody_looks_for_what_was_found_or_has_ended() -> None:
    search = OwnerSearch(SECOND, 0)
    assert search.is_due([UNOWNED], 0)
    search.scanned([OWNED])
    assert seconds_of_scans(search, 1, 9) == []
    assert search.is_due([UNOWNED], 9 * SECOND)
    search.ended({(UNOWNED.socket, UNOWNED.seen_ns)})
    assert seconds_of_scans(search, 10, 19) == [10]
    assert search.is_due([UNOWNED], 19 * SECOND)
    assert search.is_due([OWNED], 20 * SECOND)  # the rescan
    assert seconds_of_scans(search, 21, 29) == []


def test_who_has_an_owner_is_not_looked_for_until_the_rescan() -> None:
    search = OwnerSearch(SECOND, 0)
    assert not search.is_due([OWNED], 0)
    assert search.is_due([OWNED], RESCAN_NS)
