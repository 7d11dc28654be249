"""Connections of TLS that pass none of the functions that are watched, in a process whose library is.

Another library in it speaks there (grpcio beside Python's ssl), or it passes on what others encrypt. A session of a
library is known by its process, and mostly by its socket. Which connection one without a socket serves is not known,
but it serves one at a time: where more connections talk than there are such sessions, some have none.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable

from msgspec import Struct

from nettop.kernel.abi import ProcessKey, TlsSession
from nettop.tracking.places import SocketKey

MOST_SESSIONS = 8_192  # of 16,384 that the kernel side has room for: the one that was used longest ago gives way
IN_HANDSHAKE = 2  # answers at most, from the server's hello on: what comes behind them is plaintext to somebody
LOOKS = 2  # in a row that find it: a program may free a session just before it closes the connection


class Speaking(Struct, frozen=True, gc=False):
    """An established connection of a process whose handshake was seen, and how many answers came on it."""

    key: SocketKey
    process: ProcessKey
    answered: int


class _Known(Struct, gc=False):
    first: int
    last: int
    joined: bool = False


class UnseenTls:
    """Call `look` from time to time."""

    def __init__(self) -> None:
        self._known: dict[SocketKey, _Known] = {}
        self._found: Counter[ProcessKey] = Counter()  # in how many looks in a row
        self._unseen: dict[ProcessKey, set[SocketKey]] = {}  # of which one at least is

    def look(
        self, speaking: Collection[Speaking], sessions: Callable[[], Collection[TlsSession]]
    ) -> frozenset[ProcessKey]:
        """The processes that have such a connection, of those given; `sessions` are only asked for where it matters."""
        self._known = {each.key: self._known.get(each.key) or _Known(each.answered, each.answered) for each in speaking}
        strangers = [each for each in speaking if not self._known[each.key].joined]
        if strangers:
            self._compare(strangers, sessions())
        for each in speaking:
            self._known[each.key].last = each.answered
        self._forget({each.process for each in speaking})
        return frozenset(self._unseen)

    def _compare(self, strangers: Iterable[Speaking], sessions: Collection[TlsSession]) -> None:
        sockets = {session.socket for session in sessions}
        talking: dict[ProcessKey, set[SocketKey]] = {}
        for each in strangers:
            known = self._known[each.key]
            known.joined = each.key in sockets
            if not known.joined and each.answered > max(known.last, known.first + IN_HANDSHAKE):
                talking.setdefault(each.process, set()).add(each.key)
        if len(sessions) > MOST_SESSIONS:
            return
        free = Counter(session.process for session in sessions if session.socket not in self._known)
        for process, keys in talking.items():
            if len(keys) <= free[process]:
                del self._found[process]
                continue
            self._found[process] += 1
            if self._found[process] >= LOOKS:
                self._unseen[process] = keys

    def _forget(self, speaking: set[ProcessKey]) -> None:
        """What is over."""
        self._found = Counter({process: looks for process, looks in self._found.items() if process in speaking})
        open_keys = {key for key, known in self._known.items() if not known.joined}
        self._unseen = {process: keys for process, keys in self._unseen.items() if keys & open_keys}
