"""Which processes have connections of TLS on which no watched library says anything: none that may have none."""

from nettop.kernel.abi import ProcessKey, TlsSession
from nettop.tracking.unseen_tls import MOST_SESSIONS, Speaking, UnseenTls

PYTHON, NODE = ProcessKey(812, 1), ProcessKey(99, 2)
GRPC, OWN = (0xA, 1), (0xB, 2)


def look(
    unseen: UnseenTls, answered: dict[tuple[int, int], int], *sessions: TlsSession, process: ProcessKey = PYTHON
) -> set[ProcessKey]:
    return set(unseen.look([Speaking(key, process, number) for key, number in answered.items()], lambda: sessions))


def test_a_connection_without_a_session_is_found_once_it_has_talked_on() -> None:
    unseen = UnseenTls()
    looks = [look(unseen, {GRPC: answered}) for answered in (1, 3, 4, 4, 5)]
    assert looks == [set(), set(), set(), set(), {PYTHON}]


def test_it_is_told_until_its_connection_is_over() -> None:
    unseen = UnseenTls()
    for answered in (1, 4, 5):
        look(unseen, {GRPC: answered})
    assert look(unseen, {GRPC: 5, OWN: 1}) == {PYTHON}
    assert look(unseen, {OWN: 1}) == set()


def test_a_handshake_alone_is_not_talk() -> None:
    unseen = UnseenTls()
    assert [look(unseen, {GRPC: answered}) for answered in (0, 1, 2, 2, 2)] == [set()] * 5


def test_a_connection_with_a_session_is_seen_also_after_that_is_freed() -> None:
    unseen, session = UnseenTls(), TlsSession(PYTHON, OWN)
    looks = [look(unseen, {OWN: answered}, session) for answered in (1, 5)]
    looks += [look(unseen, {OWN: answered}) for answered in (9, 12, 15)]
    assert looks == [set()] * 5


def test_a_session_without_a_socket_may_be_of_any_connection_of_its_process() -> None:
    unseen, session = UnseenTls(), TlsSession(PYTHON, None)
    assert [look(unseen, {GRPC: answered}, session) for answered in (1, 5, 9, 13)] == [set()] * 4
    both = [look(unseen, {GRPC: answered, OWN: answered}, session) for answered in (17, 21, 25)]
    assert both == [set(), set(), {PYTHON}]


def test_one_of_another_process_or_connection_is_not() -> None:
    unseen, sessions = UnseenTls(), (TlsSession(NODE, None), TlsSession(PYTHON, OWN))
    assert [look(unseen, {GRPC: answered, OWN: 1}, *sessions) for answered in (1, 5, 9)] == [set(), set(), {PYTHON}]


def test_what_is_found_once_is_not_told() -> None:
    """The program may just have freed its session."""
    unseen = UnseenTls()
    assert [look(unseen, {GRPC: answered}) for answered in (1, 5)] == [set(), set()]
    assert look(unseen, {GRPC: 9}, TlsSession(PYTHON, GRPC)) == set()


def test_where_sessions_may_have_given_way_nothing_is_told() -> None:
    unseen, many = UnseenTls(), [TlsSession(NODE, None)] * (MOST_SESSIONS + 1)
    assert [look(unseen, {GRPC: answered}, *many) for answered in (1, 5, 9, 13)] == [set()] * 4
