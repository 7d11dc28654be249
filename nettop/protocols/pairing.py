"""Requests of one connection with their answers, by order."""

from collections import deque

from msgspec import Struct
from msgspec.structs import replace

from nettop.protocols.messages import Answer, Request
from nettop.protocols.table import Protocol

MAX_WAITING = 256  # requests of one connection without an answer; who pipelines sends a hundred at most
MAX_STATEMENTS = 256  # prepared ones whose kind is remembered; pools of connections keep as many


class Exchange(Struct, frozen=True, gc=False):
    """A request, and when its answer began: None where there is none, or where it cannot be told which it is."""

    command: str | None
    asked_ns: int
    answered_ns: int | None = None
    error: str | None = None


class Pairing:
    """The requests of one connection that wait. After lost bytes call lose(): the order is no longer known."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._waiting: deque[tuple[int, Request]] = deque()
        self._kinds: dict[str, str | None] = {}  # of prepared statements
        self._open: tuple[int, str | None] | None = None  # when the answer that goes on began, and its error so far
        self._paired = True

    def lose(self) -> list[Exchange]:
        """Give up what waits; what comes next pairs again."""
        given_up = [Exchange(request.command, asked_ns) for asked_ns, request in self._waiting]
        self._waiting.clear()
        self._open = None
        return given_up

    def asked(self, time_ns: int, payload: bytes) -> list[Exchange]:
        """Take what a client sends. Returns the requests that are over without an answer."""
        done: list[Exchange] = []
        for request in map(self._named, self._protocol.requests(payload)):
            self._paired = self._paired and (request.answers is not None or self._protocol.ends_are_marked)
            if request.answers == 0 or not self._paired:
                done += [*(self.lose() if not self._paired else ()), Exchange(request.command, time_ns)]
                continue
            if len(self._waiting) == MAX_WAITING:
                done += self.lose()
            self._waiting.append((time_ns, request))
        return done

    def answered(self, time_ns: int, payload: bytes) -> list[Exchange]:
        """Take what a server sends. Returns the requests that it answers; an answer without a request is nobody's."""
        done: list[Exchange] = []
        for answer in self._protocol.answers(payload):
            if not self._waiting:
                self._open = None
                break
            done += self._marked(time_ns, answer) if self._protocol.ends_are_marked else [self._next(time_ns, answer)]
        return done

    def _named(self, request: Request) -> Request:
        """With the kind of the prepared statement that it runs; what it prepares itself is remembered."""
        if request.statement is None:
            return request
        if request.prepares:
            self._remember(request.statement, request.command)
            return request
        kind = request.command or self._kinds.get(request.statement)
        return request if kind == request.command else replace(request, command=kind)

    def _remember(self, statement: str, kind: str | None) -> None:
        self._kinds.pop(statement, None)
        self._kinds[statement] = kind
        if len(self._kinds) > MAX_STATEMENTS:
            del self._kinds[next(iter(self._kinds))]

    def _next(self, time_ns: int, answer: Answer) -> Exchange:
        asked_ns, request = self._waiting.popleft()
        if request.prepares and answer.statement is not None:
            self._remember(answer.statement, request.command)
        return Exchange(request.command, asked_ns, time_ns, answer.error)

    def _marked(self, time_ns: int, answer: Answer) -> list[Exchange]:
        """An answer, or a part of one. One that ends is for the first request that waits for an end."""
        began_ns, error = self._open or (time_ns, None)
        error = error or answer.error
        done: list[Exchange] = []
        while self._waiting:
            asked_ns, request = self._waiting[0]
            if request.answers is not None and not answer.ends:
                break
            self._waiting.popleft()
            done.append(Exchange(request.command, asked_ns, began_ns, error))
            if request.answers is not None or not answer.ends:
                self._open = None
                return done
        self._open = None if answer.ends else (began_ns, error)
        return done
