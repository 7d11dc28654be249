"""Requests of one connection with their answers, by order."""

from collections import deque
from typing import Generic, NamedTuple, TypeVar

from msgspec.structs import replace

from nettop.protocols.messages import Answer, Request
from nettop.protocols.table import Protocol

MAX_WAITING = 256  # requests of one connection without an answer; who pipelines sends a hundred at most
MAX_STATEMENTS = 256  # prepared ones whose kind is remembered; pools of connections keep as many

Asked = TypeVar("Asked")


class Answered(NamedTuple, Generic[Asked]):
    """A request whose answer begins, or turns out to be an error later on. What was not seen of it is None."""

    asked: Asked | None
    error: str | None
    begins: bool


class _Waiting(NamedTuple, Generic[Asked]):
    request: Request
    asked: Asked | None


class Pairing(Generic[Asked]):
    """The requests of one connection that wait, each with what stands for it, such as its row.

    Once something was missed, lose() makes sure that no answer is taken for that of another request.
    """

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._waiting: deque[_Waiting[Asked]] = deque()
        self._kinds: dict[str, str | None] = {}  # of prepared statements
        self._open: _Waiting[Asked] | None = None  # of which an error may still come
        self._pairs = True
        self._to_confirm = 0  # channels of the last request that subscribes, whose answer has begun
        self._lost = False
        self.broke_off = False  # the last answer goes on, so that it is not known where the next one begins

    def requests(self, payload: bytes) -> tuple[Request, ...]:
        """What a client asks for, with the kinds of the prepared statements that it runs."""
        return tuple(map(self._named, self._protocol.requests(payload)))

    def wait(self, request: Request | None, asked: Asked | None) -> list[Asked]:
        """Await the answer; without a request, that to one that was not seen. Returns what is awaited in vain."""
        request = request or Request(None)
        self._pairs = self._pairs and request.answers is not None
        if self._pairs and not self._lost and request.answers and len(self._waiting) < MAX_WAITING:
            self._waiting.append(_Waiting(request, asked))
            self._pairs = not request.streams
            return []
        in_vain = self.lose() if request.answers != 0 else []
        return in_vain if asked is None else [*in_vain, asked]

    def begin(self) -> list[Asked]:
        """Nothing waits but what comes next. Returns what was awaited, whose answers were missed."""
        missed = self.lose()
        self._lost = False
        return missed

    def lose(self) -> list[Asked]:
        """Something was missed: nothing is paired any more until it begins anew. Returns what was awaited."""
        missed = self.forget()
        self._lost = True
        return missed

    def forget(self) -> list[Asked]:
        """What waits, and then waits no longer."""
        missed = [each.asked for each in self._waiting if each.asked is not None]
        self._waiting.clear()
        self._open = None
        return missed

    def answered(self, payload: bytes) -> list[Answered[Asked]]:
        """What a server sends; an answer without a request is nobody's."""
        told: list[Answered[Asked]] = []
        self.broke_off = False
        for answer in self._protocol.answers(payload):
            if self._answers_none(answer):
                continue
            begins = self._open is None or (not self._protocol.ends_are_marked and bool(self._waiting))
            if begins and self._waiting:
                self._open = self._waiting.popleft()
            elif begins or not self._protocol.fails_late:
                break
            current = self._open
            if current is None:
                break
            told.append(Answered(current.asked, answer.error, begins))
            if current.request.prepares and answer.statement is not None:
                self._remember(answer.statement, current.request.command)
            if answer.ends and self._protocol.ends_are_marked:
                self._open = None
            self.broke_off = not answer.ends
        return told

    def _answers_none(self, answer: Answer) -> bool:
        """Whether it is a message to a client that has subscribed, or confirms one more channel."""
        if not answer.confirms:
            return answer.pushed
        if self._to_confirm:
            self._to_confirm -= 1
            return True
        if not self._waiting or not self._waiting[0].request.subscribes:
            return True
        self._to_confirm = (self._waiting[0].request.answers or 1) - 1
        return False

    @property
    def awaits(self) -> bool:
        """Whether an answer is still to begin."""
        return bool(self._waiting)

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
