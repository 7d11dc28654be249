"""What the databases' and caches' protocols have in common: requests, and answers that come in the same order."""

from msgspec import Struct

MAX_MESSAGES = 64  # of one payload; who pipelines sends a dozen at once
MAX_STATEMENT_NAME = 64  # as many bytes as PostgreSQL tells names apart by


class Request(Struct, frozen=True, gc=False):
    """What is asked for.

    `command` is a word of the protocol or the kind of an SQL statement, None where that is not certain; never a value.
    `answers` is how many come, None where that is not known. `statement` names the prepared statement that is
    made, where `prepares`, or run, for whoever remembers its kind; PostgreSQL has one without a name. Behind one that
    `subscribes` messages come that nobody asks for, and behind the answer to one that `streams` nothing else.
    """

    command: str | None
    answers: int | None = 1
    statement: str | None = None
    prepares: bool = False
    subscribes: bool = False
    streams: bool = False


class Answer(Struct, frozen=True, gc=False):
    """How an answer begins. `error` is its code or class, None where it has none so far.

    `ends` says whether it is over within the payload. `statement` names the statement that was
    prepared, if the request was for one. What `confirms` answers a request that subscribes, once for each
    channel; what is `pushed` answers none.
    """

    error: str | None = None
    ends: bool = True
    statement: str | None = None
    confirms: bool = False
    pushed: bool = False
