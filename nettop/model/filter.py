"""The filter language, the same on the command line and on the screen.

    pid:42 comm:nginx port:443 host:*.example.com state:established dns:nxdomain

Space is AND, `|` is OR and binds weaker, a leading `-` is NOT. A bare word matches comm or host. Text is compared
without regard to case; `*`, `?` and `[...]` are wildcards. Quotes keep spaces: comm:"my program". A host is a name, an
address in any spelling, a network (10.0.0.0/8), or either of the first two with a port (10.0.0.5:443, [::1]:53).

A term that says nothing about a kind of rows is left out for these, negated or not, next to others and as an
alternative: `comm:nginx port:443` and `comm:nginx | port:443` are both `comm:nginx` to processes.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from fnmatch import translate
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeVar, get_args

from dnslib import RCODE
from msgspec.structs import replace

from nettop.errors import UsageError
from nettop.model import rows
from nettop.model.kinds import BARE, IN_SNAPSHOT, KINDS, PROCESSES, AnyRow, Kind, Place, Span, Test, TextTest, User
from nettop.model.rows import COMM_CHARACTERS
from nettop.model.snapshot import Snapshot
from nettop.model.timeline import of_processes
from nettop.text import printable_text

_RowT = TypeVar("_RowT", bound=AnyRow)

_TOKEN = re.compile(r"""\s*(?:(?P<or>\|)|(?P<term>(?:"[^"]*"|[^\s|"])+))""")
_MAX_PORT = 65_535
_MAX_PID = 1 << 22  # PID_MAX_LIMIT
_MAX_INODE = (1 << 32) - 1
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
    tests: Mapping[Kind[Any], Callable[[datetime], Test]]  # by the time at which rows are looked at
    negated: bool


class Filter:
    """A parsed expression. An empty one lets everything pass."""

    def __init__(self, text: str) -> None:
        """Raises FilterError."""
        self.text = text.strip()
        self._alternatives = _parse(text)

    def test(self, kind: Kind[Any], now: datetime) -> Callable[[AnyRow], bool] | None:
        """The test for one kind of rows as they are at a time; None if every row passes.

        A term that says nothing about this kind is left out; not_applied() names it.
        """
        alternatives = []
        for terms in self._alternatives:
            tests = [_negatable(term.tests[kind](now), term.negated) for term in terms if kind in term.tests]
            if tests:
                alternatives.append(tests)
        if not alternatives:
            return None
        return _joined([_joined(tests, _both) for tests in alternatives], _either)

    def not_applied(self, kind: Kind[Any]) -> tuple[str, ...]:
        """The terms that say nothing about this kind of rows, as they were written."""
        return tuple(term.text for terms in self._alternatives for term in terms if kind not in term.tests)

    def left_out(self) -> dict[str, tuple[str, ...]]:
        """For each kind of rows about which some terms say nothing, by its name: these terms."""
        return {kind.name: terms for kind in IN_SNAPSHOT if (terms := self.not_applied(kind))}

    def apply(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with only the rows that pass; totals of processes stay what they are.

        What the snapshot was filtered by before stays true of it, so both are named.
        """
        if not self.text:
            return snapshot
        now, before = self.left_out(), snapshot.filter_not_applied
        not_applied = {kind.name: (*before.get(kind.name, ()), *now.get(kind.name, ())) for kind in IN_SNAPSHOT}
        passing = {kind.name: self._passing(kind, kind.rows_of(snapshot), snapshot.captured_at) for kind in KINDS}
        return replace(
            snapshot,
            filter=both(snapshot.filter, self.text),
            filter_not_applied={name: tuple(dict.fromkeys(terms)) for name, terms in not_applied.items() if terms},
            timeline=of_processes(snapshot.timeline, set(map(PROCESSES.key, passing[PROCESSES.name]))),
            **passing,
        )

    def _passing(self, kind: Kind[Any], candidates: tuple[_RowT, ...], now: datetime) -> tuple[_RowT, ...]:
        test = self.test(kind, now)
        return candidates if test is None else tuple(row for row in candidates if test(row))


def both(recorded: str | None, chosen: str) -> str:
    """What says that both expressions chose the rows; each keeps its wording, in parentheses if it has alternatives."""
    if recorded is None or recorded == chosen:
        return chosen
    return " ".join(f"({text})" if "|" in text else text for text in (recorded, chosen))


def left_out(text: str | None) -> dict[str, tuple[str, ...]]:
    """The terms of a recorded expression that say nothing about a kind of rows; none where it cannot be understood."""
    with suppress(FilterError):
        return Filter(text or "").left_out()
    return {}


def _joined(tests: list[Test], join: Callable[[Test, Test], Test]) -> Test:
    """One test of many, by halves: all() and any() with a generator cost more than most tests."""
    if len(tests) == 1:
        return tests[0]
    middle = len(tests) // 2
    return join(_joined(tests[:middle], join), _joined(tests[middle:], join))


def _both(first: Test, second: Test) -> Test:
    return lambda row: first(row) and second(row)


def _either(first: Test, second: Test) -> Test:
    return lambda row: first(row) or second(row)


def _negatable(test: Test, negated: bool) -> Test:
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
        try:
            return _Term(written, _bare(value), body != written)
        except ValueError as error:
            raise FilterError(str(error), "Write a name, or part of one.", text, body_at, end) from None
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
        tests = _tests(key.lower(), known.parse(value))
    except ValueError as error:
        raise FilterError(str(error), f"Write for example {key}:{known.example}.", text, value_at, end) from None
    return _Term(written, tests, body != written)


def _looks_like_key(text: str) -> bool:
    """A word of letters is meant as a key; hexadecimal groups are more likely an IPv6 address."""
    return text.isalpha() and not re.fullmatch(r"[0-9a-fA-F]{1,4}", text)


def _tests(key: str, value: Any) -> dict[Kind[Any], Callable[[datetime], Test]]:
    """What a term with this value asks of the kinds of rows about which its key says something, at a time."""
    tests = {kind: _always(kind.tests[key](value)) for kind in KINDS if key in kind.tests}
    timed = {kind: partial(kind.timed[key], value) for kind in KINDS if key in kind.timed}
    return {**tests, **timed}


def _always(test: Test) -> Callable[[datetime], Test]:
    return lambda _now: test


def _text_test(pattern: str) -> TextTest:
    matches = re.compile(translate(pattern.lower())).match

    @lru_cache(maxsize=_TEXTS_REMEMBERED)
    def test(text: str | None) -> bool:
        return text is not None and matches(text.lower()) is not None

    return test


def _bare(word: str) -> dict[Kind[Any], Callable[[datetime], Test]]:
    wildcard = re.search(r"[*?\[]", word)
    tests = _tests(BARE, _text_test(_without_final_dot(word) if wildcard else f"*{_without_final_dot(word)}*"))
    place = _place(word)
    if place is None:
        return tests
    named = _tests("host", place)

    def at(kind: Kind[Any], now: datetime) -> Test:
        return _either(tests[kind](now), named[kind](now))

    return {kind: partial(at, kind) if kind in named else test for kind, test in tests.items()}


def _pid(value: str) -> int:
    return _whole_number(value, "A pid", _MAX_PID)


def _netns(value: str) -> int:
    return _whole_number(value, "A network namespace's inode", _MAX_INODE)


def _whole_number(value: str, what: str, most: int) -> int:
    if not (value.isascii() and value.isdecimal()):
        raise ValueError(f"{what} is a whole number, not '{value}'.")
    if len(value) > len(str(most)) or int(value) > most:
        raise ValueError(f"{what} is never larger than {most}.")
    return int(value)


def _comm(value: str) -> TextTest:
    # a backslash may begin the escape of one byte
    if value.isascii() and len(value) > COMM_CHARACTERS and not re.search(r"[*?\[\\]", value):
        raise ValueError(f"The kernel keeps {COMM_CHARACTERS} bytes of a process's name: '{value[:COMM_CHARACTERS]}'.")
    return _text_test(value)


def _user(value: str) -> User:
    return User(_text_test(value), value)


def _port(value: str) -> tuple[int, int]:
    low, dash, high = value.partition("-")
    first = _port_number(low, value)
    last = _port_number(high, value) if dash else first
    if first > last:
        raise _no_port(value)
    return first, last


def _listen(value: str) -> tuple[int, int] | None:
    return None if value.lower() == "full" else _port(value)


def _port_number(text: str, value: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"A port is a whole number, not '{text}'.")
    if len(text) > len(str(_MAX_PORT)) or int(text) > _MAX_PORT:
        raise _no_port(value)
    return int(text)


def _no_port(value: str) -> ValueError:
    return ValueError(f"A port is a number up to {_MAX_PORT} or a range like 8000-8099, not '{value}'.")


def _host(value: str) -> Place:
    return _place(value) or Place(_text_test(_without_final_dot(value)))


def _without_final_dot(name: str) -> str:
    """Rows have names without it."""
    return name[:-1] if name.endswith(".") and len(name) > 1 else name


_HOST_AND_PORT = re.compile(r"(?:\[(?P<bracketed>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]]+))(?::(?P<port>[0-9]+))?")


def _place(value: str) -> Place | None:
    """An address, a network, or either or a name with a port; None for a mere name.

    Raises ValueError for a network that cannot be.
    """
    found = _HOST_AND_PORT.fullmatch(value)
    host = value if found is None else found["bracketed"] or found["host"]
    network = _network(host)
    if found is None or found["port"] is None:
        return None if network is None else Place(_network_test(network), network=True)
    port = _port_number(found["port"], found["port"])
    test = _text_test(_without_final_dot(host)) if network is None else _network_test(network)
    return Place(test, network is not None, port)


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(text: str) -> _Network | None:
    """The network, of one address too; None for what is a name. Raises ValueError."""
    address, slash, _ = text.partition("/")
    try:
        mapped = getattr(ipaddress.ip_address(address), "ipv4_mapped", None)
    except ValueError:
        return None
    if mapped is not None and not slash:
        return ipaddress.ip_network(mapped)
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"'{text}' is not a network; 10.0.0.0/8 and 2001:db8::/32 are.") from None


def _network_test(network: _Network) -> TextTest:
    @lru_cache(maxsize=_TEXTS_REMEMBERED)
    def test(text: str | None) -> bool:
        try:
            return text is not None and ipaddress.ip_address(text) in network
        except ValueError:
            return False

    return test


def _one_of(value: str, allowed: tuple[str, ...], what: str) -> str:
    if value.lower() not in allowed:
        raise ValueError(f"There is no {what} '{value}'; there are {', '.join(allowed)}.")
    return value.lower()


_NEVER_SEEN = {
    "listen": "Listening sockets are not listed, so no connection is in the state 'listen'.",
    "time-wait": "A connection in TIME-WAIT has ended for its process: its state is 'closed'.",
}
_STATES = tuple(state for state in get_args(rows.TcpState) if state not in _NEVER_SEEN)


def _state(value: str) -> str:
    if value.lower() in _NEVER_SEEN:
        raise ValueError(_NEVER_SEEN[value.lower()])
    return _one_of(value, _STATES, "state")


def _scope(value: str) -> str:
    return _one_of(value, get_args(rows.AddressScope), "scope")


def _end(value: str) -> str:
    return _one_of(value, get_args(rows.End), "end")


_DNS_STATUSES = (*rows.DNS_STATUSES, "failed")


def _dns(value: str) -> str:
    wanted = value.lower()
    codes = {str(code).lower() for code in RCODE.forward.values()}
    if wanted in _DNS_STATUSES or wanted in codes or re.fullmatch(r"rcode[0-9]+", wanted):
        return wanted
    raise ValueError(f"'{value}' is neither a DNS answer code nor one of {', '.join(_DNS_STATUSES)}.")


_SPAN = re.compile(r"([<>])([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h)", re.ASCII)
_MILLISECONDS = {"ms": 1.0, "s": 1000.0, "m": 60_000.0, "h": 3_600_000.0}


def _span(value: str) -> Span:
    found = _SPAN.fullmatch(value.lower())
    if found is None:
        raise ValueError(f"A time is written like >10s or <100ms (ms, s, m, h), not '{value}'.")
    return Span(found[1] == ">", float(found[2]) * _MILLISECONDS[found[3]])


def _wait(value: str) -> Span | str:
    if value[:1] in ("<", ">"):
        return _span(value)
    return _one_of(value, get_args(rows.WaitsFor), "reason to wait")


class _FilterKey(NamedTuple):
    parse: Callable[[str], Any]  # its value, for the tests of the kinds; raises ValueError
    example: str
    meaning: str


_KEYS: dict[str, _FilterKey] = {
    "pid": _FilterKey(_pid, "42", "process id"),
    "comm": _FilterKey(_comm, "nginx", "process name"),
    "user": _FilterKey(_user, "www-data", "user name or uid of a process"),
    "netns": _FilterKey(_netns, "4026531840", "inode number of the network namespace"),
    "port": _FilterKey(_port, "443", "port of either end, or a range: port:8000-8099"),
    "host": _FilterKey(_host, "*.example.com", "name, address or network of either end, name asked for, answer"),
    "listen": _FilterKey(_listen, "443", "port of a listening socket, or a range; listen:full: its queue is full"),
    "state": _FilterKey(_state, "established", "TCP state"),
    "close-wait": _FilterKey(
        _span, ">60s", "how long a connection was in CLOSE_WAIT, or has been there: close-wait:>60s"
    ),
    "end": _FilterKey(_end, "refused", "how a connection ended"),
    "drop": _FilterKey(_text_test, "netfilter_drop", "reason for which the kernel dropped packets; drop:* for any"),
    "dns": _FilterKey(_dns, "nxdomain", "DNS answer code, or answered, pending, timeout, refused, forgotten, failed"),
    "wait": _FilterKey(_wait, ">10s", "whom an open connection waits for (local, remote, ...), or how long: wait:>10s"),
    "answer": _FilterKey(_span, ">100ms", "mean time to an answer on a connection"),
    "scope": _FilterKey(_scope, "public", "how far away a host is: loopback, host, link, private, public"),
    "type": _FilterKey(_text_test, "AAAA", "DNS record type asked for"),
}

FILTER_KEYS: dict[str, str] = {key: known.meaning for key, known in _KEYS.items()}
"""Every key with what it means, for help texts."""
