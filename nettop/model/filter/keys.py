"""The keys of the filter language: what values they take, and what they mean."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

from dnslib import QTYPE, RCODE

from nettop.model import rows
from nettop.model.amounts import Amount, Numbers
from nettop.model.filter import values
from nettop.model.filter.values import Words, WrongValueError, similar
from nettop.model.kinds import TextTest
from nettop.model.owners import Wanted

_NEVER_SEEN = {
    "listen": ("No connection listens: sockets that do are rows of their own.", "Write listen:443, or listen:0-65535."),
    "time-wait": ("A connection in TIME-WAIT has ended for its process.", "Write state:closed."),
}
_STATES = ("open", *(state for state in get_args(rows.TcpState) if state not in _NEVER_SEEN))
_CODES = tuple(dict.fromkeys(code.lower() for code in RCODE.forward.values()))


def _same(words: tuple[str, ...]) -> dict[str, str]:
    return {word: word for word in words}


STATE = Words("state", _same(_STATES), {"estab": "established", "synsent": "syn-sent", "close": "closed"}, _NEVER_SEEN)
END = Words("end", _same(get_args(rows.End)))
SCOPE = Words("scope", _same(get_args(rows.AddressScope)))
DIRECTION = Words(
    "direction",
    {"in": "inbound", "out": "outbound", "unknown": "unknown"},
    {"inbound": "in", "outbound": "out", "incoming": "in", "outgoing": "out", "?": "unknown"},
)
WAITS_FOR = Words("reason to wait", _same(get_args(rows.WaitsFor)), {"window": "remote-window"})
SIDE = Words("side", _same(get_args(rows.RequestSide)))
REQUEST_STATUS = Words("status of a request", _same(("failed", "pending", *get_args(rows.RequestError))))
DNS = Words("DNS answer code or state", _same(("failed", *rows.DNS_STATUSES, *_CODES)))


def _dns(value: str) -> Any:
    return value.lower() if re.fullmatch(r"rcode[0-9]+", value.lower()) else DNS(value)


def _netns(value: str) -> Numbers | Wanted:
    return values.netns(value) if re.fullmatch(r"[0-9-]+", value) else values.named(value)


def _wait(value: str) -> Amount | str:
    if value[:1] in ("<", ">") or value[:1].isdigit():
        return values.time(value)
    whom: str = WAITS_FOR(value)
    return whom


def _status(value: str) -> Numbers | str:
    hundreds = re.fullmatch(r"([1-5])xx", value.lower())
    if hundreds:
        return int(hundreds[1]) * 100, int(hundreds[1]) * 100 + 99
    if re.match(r"[0-9<>]", value):
        return values.status(value)
    word: str = REQUEST_STATUS(value)
    return word


def _type(value: str) -> TextTest:
    known = set(QTYPE.forward.values())
    if not re.search(r"[*?\[]|^TYPE[0-9]+$", value, re.IGNORECASE) and value.upper() not in known:
        meant = similar(value, {name.lower() for name in known})
        raise WrongValueError(
            f"There is no record type '{value}'.",
            f"Did you mean {meant.upper()}?" if meant else "Write for example AAAA.",
        )
    return values.text_test(value)


WRITTEN_KEY = re.compile(r"(?P<key>[A-Za-z][A-Za-z-]*)(?P<sign>:?!=|:?==?|:!?|(?=[<>]))")
"""How a term with a key begins; who writes `comm:!=nginx` means `comm!=nginx`."""


class FilterKey(NamedTuple):
    """One key: from one value to what the tests of the kinds take (raises WrongValueError), and what it is for.

    What parses to Several asks for one of them.

    `words` are values that it takes besides what rows have, or examples of them. `asks` is the key under which kinds
    have the test, if that is another.
    """

    parse: Callable[[str], Any]
    example: str
    meaning: str
    words: tuple[str, ...] = ()
    asks: str = ""


_TIMES = (">10ms", ">100ms", ">1s")
_SIZES = (">1K", ">1M", ">100M")

KEYS: dict[str, FilterKey] = {
    "pid": FilterKey(values.pid, "42", "process id"),
    "comm": FilterKey(values.comm, "nginx", "process name"),
    "user": FilterKey(values.named, "www-data", "user name or uid of the process"),
    "unit": FilterKey(values.named, "nginx.service", "systemd unit or slice of the process; unit:nginx is enough"),
    "container": FilterKey(values.named, "web", "name of the process's container, or the beginning of its id"),
    "pod": FilterKey(values.named, "kube-system/coredns-*", "name of the process's pod, with or without its namespace"),
    "image": FilterKey(values.named, "nginx", "image of the process's container, with or without registry and tag"),
    "port": FilterKey(values.port, "443", "port of either end, or a range: port:8000-8099"),
    "host": FilterKey(values.host, "*.example.com", "name, address or network of either end, name asked for, answer"),
    "listen": FilterKey(
        values.listen, "443", "port of a listening socket, or a range; listen:full: its queue is full", ("full",)
    ),
    "dir": FilterKey(DIRECTION, "in", "who opened a connection: in (the far end), out, unknown", DIRECTION.words),
    "state": FilterKey(STATE, "established", "TCP state, or open for all but closed", STATE.words),
    "age": FilterKey(
        values.time, ">10m", "how long a connection, process or listening socket lasted, or has by now",
        (">10s", ">1m", ">10m", ">1h"),
    ),
    "end": FilterKey(END, "refused", "how a connection ended", END.words),
    "close-wait": FilterKey(
        values.time,
        ">60s",
        "how long a connection was in CLOSE_WAIT, or has been there: close-wait:>60s",
        (">10s", ">60s", ">10m"),
    ),
    "wait": FilterKey(
        _wait, ">10s", "whom an open connection waits for (local, remote, ...), or how long: wait:>10s",
        (*WAITS_FOR.words, ">1s", ">10s", ">1m"),
    ),
    "answer": FilterKey(values.time, ">100ms", "mean time to an answer on a connection", _TIMES),
    "rtt": FilterKey(values.time, ">100ms", "round-trip time of a connection or host", _TIMES),
    "connect": FilterKey(values.time, ">50ms", "time that a connection took to be established", _TIMES),
    "rtx": FilterKey(values.count, ">0", "number of segments sent again", (">0", ">10", ">100")),
    "rate": FilterKey(values.size, ">1M", "bytes per second, both ways together", _SIZES),
    "bytes": FilterKey(values.size, ">1M", "bytes sent and received", _SIZES),
    "dns": FilterKey(
        _dns, "nxdomain", "DNS answer code, or answered, pending, timeout, refused, forgotten, failed", DNS.words
    ),
    "type": FilterKey(_type, "AAAA", "DNS record type asked for"),
    "side": FilterKey(
        SIDE, "server", "what the process of a request is: client (it asks) or server (it answers)", SIDE.words
    ),
    "method": FilterKey(
        values.text_test, "POST", "whole method of a request; of a database or cache its command: method:config*"
    ),
    "path": FilterKey(values.text_test, "/users/*", "whole path of a request; path:*/users/* finds a part"),
    "status": FilterKey(
        _status, "5xx",
        "status code of a response, or >=400, pending, reset, closed, timeout, cancelled, server, failed",
        ("5xx", "4xx", ">=400", *REQUEST_STATUS.words),
    ),
    "grpc": FilterKey(values.count, ">0", "status of gRPC, by its number: grpc:14, grpc:>0", (">0", "4", "14")),
    "protocol": FilterKey(
        values.text_test, "grpc", "protocol of a request, whole: protocol:http/1.1, protocol:http*",
        get_args(rows.RequestProtocol),
    ),
    "error": FilterKey(
        values.text_test, "42P01", "code of the error with which a database or cache answered; error:* for any"
    ),
    "latency": FilterKey(values.time, ">100ms", "time from a DNS query, look-up or request to its answer", _TIMES),
    "lookup": FilterKey(
        values.text_test, "eai_again",
        "what came of a look-up in a C library: ok, eai_noname, host_not_found, pending, abandoned, failed, ...",
        ("failed", "pending", "abandoned", "ok", "eai_*"),
    ),
    "tls": FilterKey(values.text_test, "1.2", "version, cipher, ALPN or alert of a TLS handshake; tls:quic, tls:*"),
    "sni": FilterKey(values.text_test, "*.example.com", "server that a handshake of TLS or QUIC asks for"),
    "since": FilterKey(
        values.since, "2m", "what began or ended in the last 2 minutes, or since 14:03", ("10s", "1m", "10m")
    ),
    "between": FilterKey(
        values.between, "14:00-14:05", "what began or ended between two times, or 5m-2m ago", asks="since"
    ),
    "drop": FilterKey(
        values.text_test, "netfilter_drop", "reason for which the kernel dropped packets; drop:* for any"
    ),
    "scope": FilterKey(
        SCOPE, "public", "how far away a host is: loopback, host, link, private, public", SCOPE.words
    ),
    "netns": FilterKey(_netns, "blue", "network namespace: its name in ip-netns, or its inode number"),
}  # fmt: skip

FLAGS: dict[str, str] = {
    "failed": "what went wrong: a failed query or request, a connection not closed by both sides, a process or host "
    "with failed connects or queries, a listener that refuses",
    "new": "what began after nettop did",
}
"""Words that are not looked for in names; in quotes they are."""

SPOKEN = {"state": STATE, "end": END, "dir": DIRECTION, "dns": DNS}
"""Keys whose words stand for themselves: refused is also looked for as end:refused."""
TOO_SHORT = frozenset({"in", "out", "other", "open", "unknown", "normal"})
"""Of these words those that would find too much."""

_MEANT = {
    "process": "comm", "proc": "comm", "name": "comm", "program": "comm", "app": "comm", "command": "comm",
    "cmd": "comm", "uid": "user", "ip": "host", "addr": "host", "address": "host", "src": "host", "dst": "host",
    "remote": "host", "local": "host", "server": "host", "domain": "host", "qname": "host", "sport": "port",
    "dport": "port", "lport": "port", "direction": "dir", "rcode": "dns", "query": "dns",
    "result": "dns", "srtt": "rtt", "retransmits": "rtx", "retrans": "rtx", "speed": "rate", "size": "bytes",
    "tx": "bytes", "rx": "bytes", "duration": "age", "qtype": "type", "drops": "drop", "queue": "listen",
    "url": "path", "route": "path", "verb": "method", "code": "status",
    "ssl": "tls", "alpn": "tls", "cipher": "tls", "servername": "sni",
}  # fmt: skip


def meant_key(text: str) -> str | None:
    """The key that was probably meant."""
    return _MEANT.get(text.lower()) or similar(text, KEYS)
