"""The protocols whose requests and answers pair by order, by the names that rows and filters have for them.

The kernel side is compiled with their ports, and has numbers for them: their places in this table, from 1 on.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

from nettop.protocols import memcached, mysql, postgresql, redis
from nettop.protocols.messages import Answer, Request


class Protocol(NamedTuple):
    """How to read a protocol: `requests` what a client sends, `answers` what a server sends.

    `ends_are_marked`: an answer may come in several parts, and what comes behind an open one belongs to it.
    `fails_late`: that may be an error too, as after a conversation about a password.
    """

    name: Literal["postgresql", "mysql", "redis", "memcached"]
    ports: tuple[int, ...]  # of servers, by default; the bytes alone do not always tell which protocol it is
    requests: Callable[[bytes], tuple[Request, ...]]
    answers: Callable[[bytes], tuple[Answer, ...]]
    ends_are_marked: bool = False
    fails_late: bool = False


ORDERED = (
    Protocol(
        "postgresql", (5432, 6432), postgresql.requests, postgresql.answers, ends_are_marked=True, fails_late=True
    ),
    Protocol("mysql", (3306,), mysql.requests, mysql.answers, fails_late=True),
    Protocol("redis", (6379, 26379), redis.requests, redis.answers),
    Protocol("memcached", (11211,), memcached.requests, memcached.answers),
)
