"""The protocols whose requests and answers pair by order, by the names that rows and filters have for them."""

from collections.abc import Callable
from typing import NamedTuple

from nettop.protocols import memcached, mysql, postgresql, redis
from nettop.protocols.messages import Answer, Request


class Protocol(NamedTuple):
    """How to read a protocol: `requests` what a client sends, `answers` what a server sends.

    `ends_are_marked`: an answer may come in several parts, and what comes behind an open one belongs to it.
    """

    name: str
    ports: tuple[int, ...]  # of servers, by default; the bytes alone do not always tell which protocol it is
    requests: Callable[[bytes], tuple[Request, ...]]
    answers: Callable[[bytes], tuple[Answer, ...]]
    ends_are_marked: bool = False


ORDERED = (
    Protocol("postgresql", (5432, 6432), postgresql.requests, postgresql.answers, ends_are_marked=True),
    Protocol("mysql", (3306,), mysql.requests, mysql.answers),
    Protocol("redis", (6379, 26379), redis.requests, redis.answers),
    Protocol("memcached", (11211,), memcached.requests, memcached.answers),
)
