"""The filter language, the same on the command line and on the screen.

    pid:42 comm:nginx port:443 host:*.example.com state:established dns:nxdomain

Space is AND, `|` is OR and binds weaker, a leading `-` is NOT. A bare word matches comm or host. Text is compared
without regard to case; `*`, `?` and `[...]` are wildcards. Quotes keep spaces: comm:"my program".
"""

import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeVar, get_args

from dnslib import RCODE
from msgspec.structs import replace

from nettop.errors import UsageError
from nettop.model import rows
from nettop.model.rows import Connection, DnsQuery, ProcessIdentity
from nettop.model.snapshot import Snapshot
from nettop.text import printable_text

Kind = Literal["processes", "connections", "dns"]
KINDS: tuple[Kind, ...] = get_args(Kind)
AnyRow = ProcessIdentity | Connection | DnsQuery
_Test = Callable[[Any], bool]
_RowType = TypeVar("_RowType", bound=AnyRow)

_TOKEN = re.compile(r"""\s*(?:(?P<or>\|)|(?P<term>(?:"[^"]*"|[^\s|"])+))""")
_MAX_PORT = 65_535
_TEXTS_REMEMBERED = 16_384  # per term, 1 MB: most names and addresses come again with every tick


class FilterError(UsageError):
    """A filter that cannot be understood, with the place: columns start to end of `text`."""

    def __init__(self, message: str, remedy: str, text: str, start: int, end: int) -> None:
        super().__init__(message, remedy)
        self.text = text
        self.start = start
        self.end = max(end, start + 1)

    @property
    def marked(self) -> str:
        """The expression, and under it a mark at the place."""
        shown = "".join(character if printable_text(character) == character else "?" for character in self.text)
        return f"{shown}\n{' ' * self.start}{'^' * (self.end - self.start)}"


class _Term(NamedTuple):
    text: str
    tests: dict[Kind, _Test]
    negated: bool


class Filter:
    """A parsed expression. An empty one lets everything pass."""

    def __init__(self, text: str) -> None:
        """Raises FilterError."""
        self.text = text.strip()
        self._alternatives = _parse(text)

    def test(self, kind: Kind) -> Callable[[AnyRow], bool] | None:
        """The test for one kind of rows; None if every row passes.

        A term that says nothing about this kind is left out; not_applied() names it.
        """
        alternatives = []
        for terms in self._alternatives:
            tests = [_negatable(term.tests[kind], term.negated) for term in terms if kind in term.tests]
            if tests:
                alternatives.append(tests)
        if not alternatives:
            return None
        return _joined([_joined(tests, _both) for tests in alternatives], _either)

    def not_applied(self, kind: Kind) -> tuple[str, ...]:
        """The terms that say nothing about this kind of rows, as they were written."""
        return tuple(term.text for terms in self._alternatives for term in terms if kind not in term.tests)

    def apply(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with only the rows that pass; totals of processes stay what they are."""
        return replace(
            snapshot,
            filter=self.text or None,
            filter_not_applied={kind: terms for kind in KINDS if (terms := self.not_applied(kind))},
            processes=self._passing("processes", snapshot.processes),
            connections=self._passing("connections", snapshot.connections),
            dns=self._passing("dns", snapshot.dns),
        )

    def _passing(self, kind: Kind, candidates: tuple[_RowType, ...]) -> tuple[_RowType, ...]:
        test = self.test(kind)
        return candidates if test is None else tuple(row for row in candidates if test(row))


def _joined(tests: list[_Test], join: Callable[[_Test, _Test], _Test]) -> _Test:
    """One test of many, by halves: all() and any() with a generator cost more than most tests."""
    if len(tests) == 1:
        return tests[0]
    middle = len(tests) // 2
    return join(_joined(tests[:middle], join), _joined(tests[middle:], join))


def _both(first: _Test, second: _Test) -> _Test:
    return lambda row: first(row) and second(row)


def _either(first: _Test, second: _Test) -> _Test:
    return lambda row: first(row) or second(row)


def _negatable(test: _Test, negated: bool) -> _Test:
    return (lambda row: not test(row)) if negated else test


def _parse(text: str) -> list[list[_Term]]:
    stray = re.search("[\ud800-\udfff]", text)
    if stray is not None:  # as Python reads an argument of other bytes
        raise FilterError(
            "The filter is not UTF-8.", "Write ? for what cannot be written.", text, stray.start(), stray.end()
        )
    if text.count('"') % 2:
        raise FilterError(
            "The quotation mark is never closed.", 'Close it: comm:"my program".', text, text.rindex('"'), len(text)
        )
    alternatives: list[list[_Term]] = [[]]
    at = 0
    while (token := _TOKEN.match(text, at)) is not None:
        if token["or"]:
            if not alternatives[-1]:
                raise FilterError(
                    "There is nothing before this '|'.",
                    "Write a term on both sides.",
                    text,
                    token.start("or"),
                    token.end(),
                )
            alternatives.append([])
        else:
            alternatives[-1].append(_term(text, token.start("term"), token.end("term")))
        at = token.end()
    if len(alternatives) > 1 and not alternatives[-1]:
        raise FilterError("There is nothing after the last '|'.", "Write a term on both sides.", text, at - 1, at)
    return [terms for terms in alternatives if terms]


def _term(text: str, start: int, end: int) -> _Term:
    written = text[start:end]
    body = written.removeprefix("-")
    body_at = end - len(body)
    key, colon, value = body.partition(":")
    value_at = body_at + len(key) + 1
    if '"' in key or (colon and key.lower() not in _KEYS and not _looks_like_key(key)):
        key, colon, value, value_at = "", "", body, body_at  # "a:b" or an IPv6 address: a bare word
    if not colon:
        value = (key or value).replace('"', "")
        if not value and body == written:
            raise FilterError(
                "There is nothing between these quotation marks.", "Write a word, or leave them out.", text, start, end
            )
        if not value:
            raise FilterError("There is nothing after this '-'.", "Write the term to leave out.", text, start, end)
        return _Term(written, _bare(value), body != written)
    known = _KEYS.get(key.lower())
    if known is None:
        raise FilterError(
            f"There is no filter key '{key}'.",
            f"Use one of {', '.join(_KEYS)}, or a bare word.",
            text,
            body_at,
            value_at - 1,
        )
    value = value.replace('"', "")
    if not value:
        raise FilterError(f"The key '{key}' has no value.", f"Write {key}:{known.example}.", text, body_at, end)
    try:
        tests = known.tests(value)
    except ValueError as error:
        raise FilterError(str(error), f"Write for example {key}:{known.example}.", text, value_at, end) from None
    return _Term(written, tests, body != written)


def _looks_like_key(text: str) -> bool:
    """A word of letters is meant as a key; hexadecimal groups are more likely an IPv6 address."""
    return text.isalpha() and not re.fullmatch(r"[0-9a-fA-F]{1,4}", text)


def _text_test(pattern: str) -> Callable[[str | None], bool]:
    matches = re.compile(translate(pattern.lower())).match

    @lru_cache(maxsize=_TEXTS_REMEMBERED)
    def test(text: str | None) -> bool:
        return text is not None and matches(text.lower()) is not None

    return test


def _bare(word: str) -> dict[Kind, _Test]:
    test = _text_test(word if re.search(r"[*?\[]", word) else f"*{word}*")
    return {
        "processes": lambda row: test(row.comm),
        "connections": lambda row: test(row.comm) or any(map(test, _connection_hosts(row))),
        "dns": lambda row: test(row.comm) or any(map(test, _dns_hosts(row))),
    }


def _connection_hosts(row: Connection) -> Iterable[str | None]:
    return row.remote.name, row.remote.address, row.local.address


def _dns_hosts(row: DnsQuery) -> Iterable[str | None]:
    yield row.qname
    yield row.server.address
    for answer in row.answers:
        yield answer.data


def _pid(value: str) -> dict[Kind, _Test]:
    number = _whole_number(value, "A pid")
    return dict.fromkeys(KINDS, lambda row: row.pid == number)


def _netns(value: str) -> dict[Kind, _Test]:
    number = _whole_number(value, "A network namespace's inode")
    return dict.fromkeys(KINDS, lambda row: row.netns == number)


def _whole_number(value: str, what: str) -> int:
    if not (value.isascii() and value.isdecimal()):
        raise ValueError(f"{what} is a whole number, not '{value}'.")
    return int(value)


def _comm(value: str) -> dict[Kind, _Test]:
    test = _text_test(value)
    return dict.fromkeys(KINDS, lambda row: test(row.comm))


def _user(value: str) -> dict[Kind, _Test]:
    test = _text_test(value)
    return {"processes": lambda row: test(row.user) or str(row.uid) == value}


def _port(value: str) -> dict[Kind, _Test]:
    low, dash, high = value.partition("-")
    first = _whole_number(low, "A port")
    last = _whole_number(high, "A port") if dash else first
    if not first <= last <= _MAX_PORT:
        raise ValueError(f"A port is a number up to {_MAX_PORT} or a range like 8000-8099, not '{value}'.")
    return {
        "connections": lambda row: first <= row.local.port <= last or first <= row.remote.port <= last,
        "dns": lambda row: first <= row.client.port <= last or first <= row.server.port <= last,
    }


def _host(value: str) -> dict[Kind, _Test]:
    test = _text_test(value)
    return {
        "connections": lambda row: any(map(test, _connection_hosts(row))),
        "dns": lambda row: any(map(test, _dns_hosts(row))),
    }


def _one_of(value: str, allowed: tuple[str, ...], what: str) -> str:
    if value.lower() not in allowed:
        raise ValueError(f"There is no {what} '{value}'; there are {', '.join(allowed)}.")
    return value.lower()


def _state(value: str) -> dict[Kind, _Test]:
    state = _one_of(value, get_args(rows.TcpState), "state")
    return {"connections": lambda row: row.state == state}


def _end(value: str) -> dict[Kind, _Test]:
    end = _one_of(value, get_args(rows.End), "end")
    return {"connections": lambda row: row.end == end}


_DNS_STATUSES = (*get_args(rows.DnsStatus), "failed")
_RCODE = re.compile(r"[a-z][a-z0-9]*")


def _dns(value: str) -> dict[Kind, _Test]:
    wanted = value.lower()
    if wanted == "failed":
        return {"dns": lambda row: row.status == "timeout" or row.rcode not in (None, "NOERROR")}
    if wanted in _DNS_STATUSES:
        return {"dns": lambda row: row.status == wanted}
    if not _RCODE.fullmatch(wanted):
        raise ValueError(f"'{value}' is neither a DNS answer code nor one of {', '.join(_DNS_STATUSES)}.")
    codes = {str(code).lower() for code in RCODE.forward.values()}
    if wanted not in codes and not re.fullmatch(r"rcode\d+", wanted):
        raise ValueError(f"'{value}' is neither a DNS answer code nor one of {', '.join(_DNS_STATUSES)}.")
    return {"dns": lambda row: (row.rcode or "").lower() == wanted}


def _type(value: str) -> dict[Kind, _Test]:
    test = _text_test(value)
    return {"dns": lambda row: test(row.qtype)}


class _FilterKey(NamedTuple):
    tests: Callable[[str], dict[Kind, _Test]]
    example: str
    meaning: str


_KEYS: dict[str, _FilterKey] = {
    "pid": _FilterKey(_pid, "42", "process id"),
    "comm": _FilterKey(_comm, "nginx", "process name"),
    "user": _FilterKey(_user, "www-data", "user name or uid of a process"),
    "netns": _FilterKey(_netns, "4026531840", "inode number of the network namespace"),
    "port": _FilterKey(_port, "443", "port of either end, or a range: port:8000-8099"),
    "host": _FilterKey(_host, "*.example.com", "name or address of either end, name asked for, or answer"),
    "state": _FilterKey(_state, "established", "TCP state"),
    "end": _FilterKey(_end, "refused", "how a connection ended"),
    "dns": _FilterKey(_dns, "nxdomain", "DNS answer code, or answered, pending, timeout, forgotten, failed"),
    "type": _FilterKey(_type, "AAAA", "DNS record type asked for"),
}

FILTER_KEYS: dict[str, str] = {key: known.meaning for key, known in _KEYS.items()}
"""Every key with what it means, for help texts."""
