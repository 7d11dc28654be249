"""What is wrong, from scenes: each rule speaks at its threshold and is silent just below it."""

import json
from collections.abc import Callable, Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema_rs import Draft202012Validator

from nettop.export.findings import Diagnosis, findings_json, findings_text
from nettop.export.schema import schemas
from nettop.model import rows
from nettop.model.filter import Filter
from nettop.model.kinds import DNS, KINDS, REQUESTS
from nettop.model.snapshot import Snapshot
from nettop.view.findings import (
    BAD_NAMES_SHARE,
    LEAST_DATAGRAMS_REFUSED,
    LEAST_FAILED,
    LEAST_LEAKED,
    LEAST_NAMES_FAILED,
    LEAST_QUERIES,
    LEAST_RESET,
    LEAST_SEARCHED,
    LEAST_SYNS,
    LEAST_UNWANTED,
    RULES,
    Finding,
    findings,
)
from nettop.view.notable import Notable, OpenConnections
from nettop.view.request_findings import LEAST_ANSWERS, LEAST_REQUESTS
from tests.builders import answered, at, connection, dns_query, listener, process, remote_host, request, udp_socket
from tests.tui.scene import snapshot

SECONDS = 300.0  # since the start
Wrong = dict[str, Any]


def ago(seconds: float) -> Any:
    return at(SECONDS - seconds)


def many(number: int, of: Callable[..., Any], **changes: Any) -> list[Any]:
    return [of(**{"id": each} | changes) for each in range(1, number + 1)]


def leaks(number: int, seconds: float = 61, **changes: Any) -> list[rows.Connection]:
    return many(number, connection, **{"state": "close-wait", "state_since": ago(seconds), "states_ms": {}} | changes)


def waits(waits_for: str, seconds: float, **changes: Any) -> list[rows.Connection]:
    return [connection(waits_for=waits_for, waits_since=ago(seconds), **changes)]


def failed(number: int, end: str = "refused", **changes: Any) -> list[rows.Connection]:
    how: Wrong = {"state": "closed", "end": end, "connect_ms": None, "closed_at": ago(5)}
    return many(number, connection, **how | changes)


def reached(seconds: float, address: str | None = None) -> rows.Connection:
    row = connection(id=99, opened_at=ago(seconds), connect_ms=1.0)
    return (
        row if address is None else msgspec.structs.replace(row, remote=rows.RemoteEndpoint(address=address, port=443))
    )


def asked(number: int, of: Callable[..., rows.DnsQuery] = answered, **changes: Any) -> list[rows.DnsQuery]:
    return many(number, of, **{"asked_at": ago(5)} | changes)


def sent(number: int, **changes: Any) -> list[rows.Request]:
    return many(number, request, **{"asked_at": ago(5), "connection_id": None} | changes)


def served(number: int, **changes: Any) -> list[rows.Request]:
    service: Wrong = {"pid": 900, "comm": "nginx", "side": "server", "local_port": 80}
    return sent(number, **service | changes)


def overdue(seconds: float, **changes: Any) -> list[rows.Request]:
    return sent(1, **{"asked_at": ago(seconds), "status": None, "latency_ms": None} | changes)


def mixed(*parts: Sequence[Any]) -> list[Any]:
    return [msgspec.structs.replace(row, id=number) for number, row in enumerate(chain(*parts), 1)]


def through_search_list(number: int, **changes: Any) -> list[rows.DnsQuery]:
    """So many names with a domain behind, two for each that exists without it."""
    names = [f"db{each}.example" for each in range(number // 2 + number % 2)]
    vain = [asked(1, rcode="NXDOMAIN", qname=f"{name}.{end}", **changes) for name in names for end in ("svc", "local")]
    return mixed(*vain[:number], *(asked(1, qname=name, **changes) for name in names))


ANSWERED_IN_2_5_S = rows.Turns(
    asked_by="local", count=3, answered=2, latency_ms=rows.TurnLatency(avg=1500.0, max=2500.0, recent=(2500.0,))
)
OTHER_SERVER = rows.Endpoint(address="192.0.2.54", port=53)
EIGHT_IN_TEN = mixed(asked(8), asked(2, dns_query, status="timeout"))

# By rule: what it speaks of, what it does not, and how its sentence goes
SCENES: dict[str, list[tuple[Wrong, Wrong, str]]] = {
    "accept-queue": [
        (
            {"listeners": [listener(queue=512, drops=380, drops_per_s=38.0)]},
            {"listeners": [listener(queue=511, drops=380)]},
            "nginx[900] :80 accept queue full (512 of 511), 380 dropped",
        ),
        (
            {"listeners": [listener(queue=5, drops=380, drops_per_s=38.0)]},
            {"listeners": [listener(closed=True, queue=512)]},
            "nginx[900] :80 38 connections a second dropped, 380 so far",
        ),
    ],
    "not-read": [
        (
            {"connections": waits("local", 41, recv_queue_bytes=5_000)},
            {"connections": waits("local", 19, recv_queue_bytes=5_000)},
            "curl[4242] does not read from 1 connection for 41.0s: 4.9K wait for it",
        ),
        (  # a question that a server does not read; what a client was sent unasked
            {"connections": waits("local", 41, recv_queue_bytes=300, direction="inbound")},
            {"connections": waits("local", 41, recv_queue_bytes=510)},
            "curl[4242] does not read from 1 connection for 41.0s: 300B wait for it",
        ),
    ],
    "leak": [
        (
            {"connections": leaks(LEAST_LEAKED)},
            {"connections": [*leaks(LEAST_LEAKED - 1), *leaks(90, 59)]},
            "curl[4242]: 5 in CLOSE_WAIT, oldest 1m01s: the far end",
        ),
        (
            {"connections": [*leaks(LEAST_LEAKED, 125), *leaks(2, 3)]},
            {"connections": leaks(LEAST_LEAKED, 60)},
            "curl[4242]: 7 in CLOSE_WAIT, oldest 2m05s, +2/min",
        ),
        (
            {"connections": [*leaks(4, 30, opened_before_start=True), *leaks(1, 61)]},
            {"connections": leaks(5, 20, opened_before_start=True)},
            "curl[4242]: 5 in CLOSE_WAIT, oldest 1m01s: the far end",
        ),
        (
            {"connections": [msgspec.structs.replace(row, pid=row.id) for row in leaks(5)]},
            {"connections": leaks(5, tx_bytes_per_s=2_000.0)},  # half closed by who gets an answer
            "curl (5 processes): 5 in CLOSE_WAIT, oldest 1m01s",
        ),
        (
            {"connections": leaks(5, 21, opened_before_start=True)},
            {"connections": leaks(5, 59, opened_before_start=True, states_ms={"established": 3.0})},
            "curl[4242]: 5 in CLOSE_WAIT, oldest over 21.0s: the far end",
        ),
    ],
    "resolver-fails": [
        (
            {"dns": EIGHT_IN_TEN},
            {"dns": EIGHT_IN_TEN[1:]},
            f"resolver 192.0.2.53: 20 % of {LEAST_QUERIES} queries timed out in the last minute",
        ),
        (
            {"dns": mixed(asked(9), asked(1, rcode="SERVFAIL"))},
            {"dns": mixed(asked(10), asked(1, rcode="SERVFAIL"))},
            "10 % of 10 queries SERVFAIL in the last minute",
        ),
        (
            {"dns": mixed(asked(3), asked(4, rcode="SERVFAIL"), asked(3, dns_query, status="refused"))},
            {"dns": asked(50, rcode="NXDOMAIN")},
            "70 % of 10 queries fail, 4 of them SERVFAIL, in the last minute",
        ),
        (
            {"dns": asked(10, dns_query, status="timeout")},
            {"dns": asked(10, dns_query, status="timeout", asked_at=ago(61))},
            "100 % of 10 queries",
        ),
        (
            {"dns": asked(10, dns_query, status="timeout")},
            {"dns": asked(10, dns_query, status="timeout", server=rows.Endpoint(address="224.0.0.251", port=5353))},
            "100 % of 10 queries",
        ),
        (  # after 5 s another one was asked; at the same time another one was asked
            {"dns": mixed(asked(10, dns_query, status="timeout", asked_at=ago(10)), asked(10, server=OTHER_SERVER))},
            {"dns": mixed(asked(10, dns_query, status="timeout"), asked(10, server=OTHER_SERVER))},
            "resolver 192.0.2.53: 100 % of 10 queries timed out",
        ),
    ],
    "connect-fails": [
        (
            {"connections": failed(LEAST_FAILED)},
            {"connections": failed(LEAST_FAILED - 1)},
            "curl[4242]: 3 connects to www.example.com:443 were refused in the last minute",
        ),
        (
            {"connections": failed(3, "timeout", drops={"NETFILTER_DROP": 1})},
            {"connections": failed(3, "timeout", closed_at=ago(61))},
            "got no answer in the last minute, and a firewall of this host dropped packets of them",
        ),
        (
            {"connections": [msgspec.structs.replace(row, pid=row.id) for row in failed(3)]},
            {"connections": [msgspec.structs.replace(row, comm=f"x{row.id}") for row in failed(3)]},
            "curl (3 processes): 3 connects to www.example.com:443 were refused in the last minute",
        ),
        (  # nothing has come through since; the process went to the other address of the name
            {"connections": [*failed(3), reached(20, "198.51.100.9")]},
            {"connections": [*failed(3), reached(4.5, "198.51.100.9")]},
            "3 connects to www.example.com:443 were refused",
        ),
        (  # the far end has been reached since, but only now; and some time ago
            {"connections": [*failed(3), reached(1)]},
            {"connections": [*failed(3, closed_at=ago(40)), reached(20)]},
            "3 connects to www.example.com:443 were refused",
        ),
    ],
    "sent-again": [
        (
            {"connections": waits("network", 12)},
            {"connections": waits("network", 2.9)},
            "www.example.com:443 does not acknowledge what curl[4242] sends again on 1 connection for 12.0s",
        )
    ],
    "owes-answer": [
        (
            {"connections": waits("local", 25, turns=ANSWERED_IN_2_5_S, recv_queue_bytes=0)},
            {"connections": waits("local", 24.9, turns=ANSWERED_IN_2_5_S, recv_queue_bytes=0)},
            "curl[4242] owes an answer on 1 connection for 25.0s; no answer before took over 2.5s",
        )
    ],
    "waits-for-answer": [
        (
            {"connections": waits("remote", 20)},
            {"connections": waits("remote", 19.9)},
            "curl[4242] waits for www.example.com:443 on 1 connection for 20.0s.",
        ),
        (
            {"connections": waits("remote", 25, turns=ANSWERED_IN_2_5_S)},
            {"connections": waits("remote", 24.9, turns=ANSWERED_IN_2_5_S)},
            "for 25.0s; no answer before took over 2.5s",
        ),
    ],
    "far-end-not-reading": [
        (
            {"connections": waits("remote-window", 20)},
            {"connections": waits("remote-window", 19.9)},
            "www.example.com:443 does not read what curl[4242] sends on 1 connection for 20.0s",
        )
    ],
    "resolver-slow": [
        (
            {"dns": mixed(asked(5, latency_ms=501.0), asked(5, latency_ms=1.0))},
            {"dns": mixed(asked(4, latency_ms=501.0), asked(6, latency_ms=1.0))},
            "resolver 192.0.2.53: half of 10 answers took over 501ms in the last minute",
        )
    ],
    "names-in-vain": [
        (
            {"dns": asked(LEAST_NAMES_FAILED, rcode="NXDOMAIN")},
            {"dns": asked(LEAST_NAMES_FAILED, rcode="NXDOMAIN", qname="4.3.2.1.dnsbl.example")},
            "curl[4242] asks for www.example.com, which does not exist: 60 of 60 queries in the last minute",
        ),
        (
            {"dns": asked(LEAST_NAMES_FAILED, rcode="NXDOMAIN", qtype="A")},
            {"dns": asked(LEAST_NAMES_FAILED, rcode="NXDOMAIN", qtype="PTR")},
            "which does not exist",
        ),
        (
            {"dns": asked(LEAST_NAMES_FAILED, rcode="NXDOMAIN")},
            {"dns": asked(LEAST_NAMES_FAILED - 1, rcode="NXDOMAIN")},
            "curl[4242] asks for www.example.com, which does not exist: 60 of 60 queries in the last minute",
        ),
        (
            {"dns": mixed(asked(60, rcode="NXDOMAIN", qname="a.example"), asked(1, rcode="NXDOMAIN"), asked(61))},
            {"dns": mixed(asked(60, rcode="NXDOMAIN"), asked(int(60 / BAD_NAMES_SHARE) - 59))},
            "asks for 2 names that do not exist: 61 of 122 queries in the last minute",
        ),
    ],
    "search-list": [
        (
            {"dns": through_search_list(LEAST_SEARCHED)},
            {"dns": through_search_list(LEAST_SEARCHED - 1)},
            "curl[4242] asks 3.0 times for each answer, 45 queries in the last minute: the search list comes before",
        ),
        (
            {"dns": through_search_list(60, comm="sh")},
            {"dns": mixed(through_search_list(60), asked(31, qname="z.example"))},
            "sh[4242] asks 3.0 times for each answer, 90 queries",
        ),
    ],
    "datagrams-dropped": [
        (
            {"udp": [udp_socket(rx_dropped=LEAST_DATAGRAMS_REFUSED, rx_packets=9_900)]},
            {"udp": [udp_socket(rx_dropped=LEAST_DATAGRAMS_REFUSED, rx_packets=9_901)]},
            "curl[4242]: 100 of 10,000 datagrams found its receive buffer full",
        )
    ],
    "reset": [
        (
            {"connections": failed(LEAST_RESET, "reset-by-peer", connect_ms=1.0, tx_bytes=9)},
            {"connections": failed(LEAST_RESET - 1, "reset-by-peer", connect_ms=1.0, tx_bytes=9)},
            "curl[4242]: www.example.com:443 reset 10 connections in the last minute",
        ),
        (
            {"connections": failed(LEAST_RESET, "reset-by-peer", connect_ms=1.0, rx_bytes=9)},
            {
                "connections": failed(LEAST_RESET, "reset-by-peer", connect_ms=1.0, tx_bytes=0, rx_bytes=0)
            },  # health checks
            "reset 10 connections",
        ),
    ],
    "scan": [
        (
            {"hosts": [remote_host(syns=LEAST_SYNS, accepted=8, rx_packets=150)]},
            {"hosts": [remote_host(syns=LEAST_SYNS, accepted=0, rx_packets=200)]},  # which this host forwards
            "has sent 100 connection requests, of which 8 came through",
        ),
        (
            {"hosts": [remote_host(syns=LEAST_SYNS, accepted=8, rx_packets=150)]},
            {"hosts": [remote_host(syns=LEAST_SYNS - 1, accepted=0)]},
            "has sent 100 connection requests, of which 8 came through",
        ),
        (
            {"hosts": [remote_host(unwanted_packets=LEAST_UNWANTED)]},
            {"hosts": [remote_host(unwanted_packets=LEAST_UNWANTED - 1)]},
            "has sent 1,000 packets to where nobody listens",
        ),
    ],
}
REDIS: Wrong = {"protocol": "redis", "host": None, "path": None, "status": None}
SCENES |= {
    "requests-fail": [
        (
            {"requests": mixed(served(45), served(LEAST_REQUESTS, status=502))},
            {"requests": mixed(served(46), served(LEAST_REQUESTS, status=502))},
            "nginx[900] :80: 10 % of 50 requests GET /users/* failed (with 502) in the last minute (as the server saw "
            "it).",
        ),
        (
            {"requests": sent(LEAST_REQUESTS, status=500, path="/a b?*")},
            {"requests": sent(LEAST_REQUESTS - 1, status=500, path="/a b?*")},
            "curl[4242] to www.example.com:443: 100 % of 5 requests GET /a b?* failed (with 500) in the last minute "
            "(as the client saw it).",
        ),
        (  # what was asked was wrong
            {"requests": mixed(served(6, status=503), served(5, status=500, path="/other"), served(9, path="/well"))},
            {"requests": served(90, status=404)},
            "100 % of 6 requests GET /users/* failed (with 503), and so of 1 other path in the last minute",
        ),
        (
            {"requests": mixed(*(served(1, status=500 + number % 2, path=f"/path/x{number}") for number in range(9)))},
            {"requests": mixed(*(served(1, status=500, path=f"/path/x{number}") for number in range(9)), served(90))},
            "nginx[900] :80: 100 % of 9 requests failed (most with 500) in the last minute",
        ),
        (  # a wildcard for the ids, and none for what the path has
            {"requests": mixed(*(served(1, status=500, path=f"/a[b]?/{number}/x") for number in range(5)))},
            {"requests": mixed(*(served(1, status=404, path=f"/a[b]?/{number}/x") for number in range(5)))},
            "100 % of 5 requests GET /a[b]?/*/x failed (with 500)",
        ),
        (
            {"requests": mixed(served(4, status=500), served(1, status=500, path="/other"))},
            {"requests": mixed(served(4, status=500), served(1, status=404, path="/other"))},
            "nginx[900] :80: 100 % of 5 requests failed (with 500), 4 of them GET /users/*, in the last minute",
        ),
        (
            {"requests": served(5, protocol="grpc", method="POST", path="/shop.Cart/Add", grpc_status=14)},
            {"requests": served(90, protocol="grpc", method="POST", path="/shop.Cart/Add", grpc_status=5)},
            "requests POST /shop.Cart/Add failed (with gRPC status 14 UNAVAILABLE)",
        ),
        (
            {"requests": sent(5, **REDIS, method="LPUSH", error="server", error_code="WRONGTYPE")},
            {"requests": sent(90, **REDIS, method="EVALSHA", error="server", error_code="NOSCRIPT")},
            "100 % of 5 requests LPUSH failed (with error WRONGTYPE)",
        ),
        (
            {"requests": mixed(
                sent(5, **REDIS | {"protocol": "postgresql"}, method="SELECT", error="server", error_code="42P01"),
                sent(4, **REDIS | {"protocol": "postgresql"}, method="SELECT", error="server", error_code="?"),
            )},
            {"requests": sent(
                90, **REDIS | {"protocol": "postgresql"}, method="INSERT", error="server", error_code="23505"
            )},
            "100 % of 9 requests SELECT failed (most with error 42P01)",
        ),
    ],
    "no-response": [
        (
            {"requests": mixed(served(45), served(LEAST_REQUESTS, status=None, error="closed", latency_ms=None))},
            {"requests": mixed(served(46), served(LEAST_REQUESTS, status=None, error="closed", latency_ms=None))},
            "10 % of 50 requests GET /users/* got no response (closed before it came) in the last minute",
        ),
        (  # whether these were answered nobody knows
            {"requests": sent(5, status=None, error="reset", latency_ms=None)},
            {"requests": mixed(
                sent(4, status=None, error="reset", latency_ms=None), sent(9, status=None, error="unknown")
            )},
            "curl[4242] to www.example.com:443: 100 % of 5 requests GET /users/* got no response (reset)",
        ),
    ],
    "response-overdue": [
        (
            {"requests": mixed(sent(9, latency_ms=2_000.0), overdue(21))},
            {"requests": mixed(sent(9, latency_ms=2_200.0), overdue(21))},
            "curl[4242] to www.example.com:443 waits for a response to 1 request GET /users/* for 21.0s; "
            "none before took over 2.0s.",
        ),
        (
            {"requests": overdue(90, side="server", comm="nginx", pid=900, local_port=80)},
            {"requests": mixed(overdue(19), overdue(90, protocol="grpc"), overdue(90, **REDIS, method="BLPOP"))},
            "nginx[900] :80 owes a response to 1 request GET /users/* for 1m30s.",
        ),
    ],
    "requests-slow": [
        (
            {"requests": mixed(served(45), served(LEAST_REQUESTS, latency_ms=500.0, path="/report"))},
            {"requests": mixed(served(45), served(LEAST_REQUESTS, latency_ms=499.0, path="/report"))},
            "nginx[900] :80: 100 % of 5 requests GET /report took over 500ms in the last minute, while half of all "
            "took up to 40ms (as the server saw it).",
        ),
        (
            {"requests": mixed(sent(45, latency_ms=100.0), sent(LEAST_REQUESTS, latency_ms=1_000.0))},
            {"requests": mixed(sent(46, latency_ms=100.0), sent(LEAST_REQUESTS, latency_ms=1_000.0))},
            "curl[4242] to www.example.com:443: 10 % of 50 requests GET /users/* took over 1.0s",
        ),
        (  # a long poll
            {"requests": mixed(served(45), served(LEAST_REQUESTS, latency_ms=4_999.0, path="/poll"))},
            {"requests": mixed(served(45), served(LEAST_REQUESTS, latency_ms=5_000.0, path="/poll"))},
            "GET /poll took over 5.0s",
        ),
        (  # there is nothing to compare with
            {"requests": mixed(sent(10), sent(9, latency_ms=5_000.0))},
            {"requests": mixed(sent(9), sent(10, latency_ms=5_000.0))},
            "took over 5.0s",
        ),
        (
            {"requests": mixed(sent(5), sent(LEAST_ANSWERS - 5, latency_ms=5_000.0))},
            {"requests": mixed(sent(4), sent(LEAST_ANSWERS - 5, latency_ms=5_000.0))},
            "took over 5.0s",
        ),
    ],
}  # fmt: skip
CASES = [(rule, *scene) for rule, scenes in SCENES.items() for scene in scenes]


def scene(rows_of: Wrong) -> Snapshot:
    return snapshot(seconds=SECONDS, **{name: tuple(value) for name, value in rows_of.items()})


def found(rule: str, rows_of: Wrong) -> list[Finding]:
    return [each for each in findings(scene(rows_of)) if each.rule == rule]


@pytest.mark.parametrize(("rule", "wrong", "right", "said"), CASES)
def test_a_rule_speaks_from_its_threshold_on(rule: str, wrong: Wrong, right: Wrong, said: str) -> None:
    (finding,) = found(rule, wrong)
    assert said in finding.sentence
    assert found(rule, right) == []


@pytest.mark.parametrize(("rule", "wrong", "right", "said"), CASES)
def test_its_filter_shows_the_rows_that_prove_it(rule: str, wrong: Wrong, right: Wrong, said: str) -> None:
    del right, said
    (finding,) = found(rule, wrong)
    kind = next(kind for kind in KINDS if kind.name == finding.pane)
    chosen = Filter(finding.filter)
    assert chosen.left_out().get(finding.pane, ()) == ()
    test = chosen.test(kind, at(SECONDS))
    assert finding.rows
    assert test is None or all(map(test, finding.rows))


@pytest.mark.parametrize(
    ("rule", "wrong", "others"),
    [
        ("resolver-fails", {"dns": mixed(asked(4, rcode="SERVFAIL"), asked(6))}, {"dns": asked(9, rcode="NXDOMAIN")}),
        ("resolver-fails", {"dns": EIGHT_IN_TEN}, {"dns": asked(9, dns_query, status="timeout", asked_at=ago(90))}),
        (
            "resolver-slow",
            {"dns": asked(10, latency_ms=501.0)},
            {"dns": [*asked(4), *asked(9, latency_ms=900.0, asked_at=ago(90))]},
        ),
        ("names-in-vain", {"dns": asked(60, rcode="NXDOMAIN")}, {"dns": asked(9, rcode="NXDOMAIN", asked_at=ago(90))}),
        (
            "requests-fail",
            {"requests": served(5, status=500)},
            {
                "requests": [
                    *served(1),
                    *served(1, status=404),
                    *served(1, status=500, path="/users"),
                    *sent(1, status=500),
                    *served(1, status=500, asked_at=ago(90)),
                    *served(1, status=500, method="PUT"),
                ]
            },
        ),
        (
            "no-response",
            {"requests": sent(5, status=None, error="closed")},
            {"requests": [*sent(1), *served(1, status=None, error="closed"), *sent(1, status=None, error="unknown")]},
        ),
        (
            "requests-slow",
            {"requests": mixed(sent(20), sent(5, latency_ms=900.0))},
            {"requests": [*sent(1, latency_ms=499.0), *served(1, latency_ms=900.0)]},
        ),
        ("connect-fails", {"connections": failed(3)}, {"connections": failed(9, closed_at=ago(90), opened_at=ago(91))}),
    ],
)
def test_its_filter_shows_no_other_rows(rule: str, wrong: Wrong, others: Wrong) -> None:
    (finding,) = found(rule, wrong)
    (kind,) = (kind for kind in KINDS if kind.name == finding.pane)
    test = Filter(finding.filter).test(kind, at(SECONDS))
    assert test is not None
    assert not any(map(test, others[kind.name]))


@pytest.mark.parametrize(
    ("seconds", "span"), [(300, "in the last minute"), (60, "in the last minute"), (30, "in the last 30 s")]
)
def test_the_time_that_it_names_is_the_time_that_was_watched(seconds: float, span: str) -> None:
    queries = asked(10, dns_query, status="timeout", asked_at=at(seconds - 5))
    (finding,) = findings(snapshot(seconds=seconds, dns=queries))
    assert f"100 % of 10 queries timed out {span}" in finding.sentence


def test_a_share_is_of_the_time_of_which_all_queries_are_there() -> None:
    # what failed before has outlived what was answered then
    outlived = asked(90, rcode="SERVFAIL", asked_at=ago(50))
    queries = mixed(outlived, asked(40, asked_at=ago(20)), asked(10, rcode="SERVFAIL"))
    kept = {"dns": rows.Kept(complete_since=ago(29.5), lasting=90, lasting_since=ago(55))}
    (finding,) = findings(snapshot(seconds=SECONDS, dns=queries, kept=kept))
    assert "20 % of 50 queries SERVFAIL in the last 30 s" in finding.sentence
    test = Filter(finding.filter).test(DNS, at(SECONDS))
    assert test is not None
    assert sum(map(test, queries)) == 10


def both_ends(status: int, **changes: Any) -> Wrong:
    """Requests of which client and server are on this host, each with its rows."""
    client = connection(id=1, peer=rows.Peer(id=2, pid=900, comm="nginx"))
    server = connection(id=2, direction="inbound", peer=rows.Peer(id=1, pid=4242, comm="curl"))
    requests = mixed(
        sent(9, connection_id=1, status=status, **changes), served(9, connection_id=2, status=status, **changes)
    )
    return {"connections": [client, server], "requests": requests}


def test_where_both_ends_are_here_the_server_says_it() -> None:
    (finding,) = findings(scene(both_ends(500)))
    assert (finding.rule, finding.sentence[:16]) == ("requests-fail", "nginx[900] :80: ")
    ends = both_ends(200)
    requests = [
        msgspec.structs.replace(row, status=None, latency_ms=None, asked_at=ago(40)) for row in ends["requests"]
    ]
    late = [
        msgspec.structs.replace(row, waits_for=whom, waits_since=ago(40))
        for row, whom in zip(ends["connections"], ("remote", "local"), strict=True)
    ]
    (finding,) = findings(scene({"connections": late, "requests": requests}))  # and the connections say nothing more
    assert finding.sentence == (
        "nginx[900] :80 owes a response to 9 requests GET /users/*, the longest for 40.0s, and curl waits."
    )
    slow = both_ends(200, latency_ms=5_000.0)
    quick = [*served(20, latency_ms=1.0, id=50), *sent(20, latency_ms=1.0, id=51)]
    (finding,) = findings(scene({**slow, "requests": mixed(slow["requests"], quick)}))
    assert finding.sentence.endswith("while half of all took up to 1.00ms; curl waits (as the server saw it).")


def test_of_a_server_elsewhere_and_of_one_that_says_nothing_its_client_speaks() -> None:
    ends = both_ends(500)
    alone = [row for row in ends["requests"] if row.side == "client"]
    (finding,) = findings(scene({**ends, "requests": alone}))
    assert finding.sentence.startswith("curl[4242] to www.example.com:443: 100 % of 9")


def test_a_long_poll_is_not_overdue() -> None:
    """Not even on a connection of its own, of which nobody knows how long answers take there."""
    poll = connection(id=1, waits_for="remote", waits_since=ago(25))
    requests = mixed(sent(1, latency_ms=29_000.0, asked_at=ago(60)), overdue(25, connection_id=1))
    assert findings(scene({"connections": [poll], "requests": requests})) == []
    blocked = overdue(300, connection_id=1, **REDIS, method="BLPOP")
    assert findings(scene({"connections": [poll], "requests": blocked})) == []
    assert [each.rule for each in findings(scene({"connections": [poll]}))] == ["waits-for-answer"]


def test_a_share_of_requests_is_of_the_time_of_which_all_are_there() -> None:
    outlived = served(90, status=500, asked_at=ago(50))
    requests = mixed(outlived, served(40, asked_at=ago(20)), served(10, status=500))
    kept = {"requests": rows.Kept(complete_since=ago(29.5), lasting=90, lasting_since=ago(55))}
    (finding,) = findings(snapshot(seconds=SECONDS, requests=tuple(requests), kept=kept))
    assert "20 % of 50 requests GET /users/* failed (with 500) in the last 30 s" in finding.sentence
    test = Filter(finding.filter).test(REQUESTS, at(SECONDS))
    assert test is not None
    assert sum(map(test, requests)) == 10


def test_of_a_flood_of_requests_the_share_is_of_those_that_have_rows() -> None:
    seen = scene({"requests": served(5, status=500)})
    losses = msgspec.structs.replace(seen.losses, unlisted={"requests": 1})
    (said,) = findings(msgspec.structs.replace(seen, losses=losses))
    assert "100 % of 5 listed requests GET" in said.sentence


def test_each_rule_is_in_the_documentation() -> None:
    documented = (Path(__file__).parents[2] / "docs/json.md").read_text()
    for rule in RULES:
        assert f"| `{rule.name}` | {rule.severity} | {rule.meaning} |" in documented


def test_each_rule_has_a_scene() -> None:
    assert {rule.name for rule in RULES} == set(SCENES)


def test_the_most_severe_comes_first() -> None:
    scenes = [wrong for rule in ("scan", "resolver-slow", "leak") for wrong, _, _ in SCENES[rule][:1]]
    everything = {name: value for wrong in scenes for name, value in wrong.items()}
    assert [each.rule for each in findings(scene(everything))] == ["leak", "resolver-slow", "scan"]


def test_rules_are_declared_by_their_severity_and_said_in_their_order() -> None:
    assert [severity for severity, _ in groupby(rule.severity for rule in RULES)] == ["critical", "warning", "notice"]
    leaked = [msgspec.structs.replace(row, id=row.id + 50) for row in leaks(90)]
    everything: Wrong = {"dns": EIGHT_IN_TEN, "connections": [*failed(3), *leaked]}
    assert [each.rule for each in findings(scene(everything))] == ["resolver-fails", "leak", "connect-fails"]


def test_a_filter_chooses_among_what_is_wrong_and_makes_nothing_wrong() -> None:
    whole = scene({"dns": mixed(asked(15, rcode="SERVFAIL"), asked(285))})
    for expression in ("dns:failed", "failed", "pid:4242"):
        assert findings_text(Filter(expression).apply(whole), whole)[0] is False
    wrong = scene({**SCENES["leak"][0][0], "dns": EIGHT_IN_TEN})
    said = findings_text(Filter("dns:timeout state:established").apply(wrong), wrong)[1].decode()
    assert said.startswith("critical: resolver")
    assert "CLOSE_WAIT" not in said
    document = json.loads(findings_json(Filter("dns:timeout state:established").apply(wrong), wrong)[1])
    assert [each["rule"] for each in document["findings"]] == ["resolver-fails"]


@pytest.mark.parametrize(
    "wrong", [{"connections": failed(12)}, {"connections": failed(12, end="reset-by-peer", connect_ms=1.0, tx_bytes=9)}]
)
def test_of_a_flood_no_more_is_said_than_is_known(wrong: Wrong) -> None:
    seen = scene(wrong)
    losses = msgspec.structs.replace(seen.losses, unlisted={"connections": 1})
    (said,) = findings(msgspec.structs.replace(seen, losses=losses))
    assert "at least 12 connect" in said.sentence


def test_findings_of_two_networks_name_them() -> None:
    both = [msgspec.structs.replace(row, netns=netns, id=row.id + netns) for netns in (1, 2) for row in failed(3)]
    found_now = [each for each in findings(scene({"connections": both})) if each.rule == "connect-fails"]
    assert [each.sentence[:21] for each in found_now] == ["curl[4242] in netns 1", "curl[4242] in netns 2"]
    assert ["netns:1" in found_now[0].filter, "netns:2" in found_now[1].filter] == [True, True]


def test_one_of_two_processes() -> None:
    others = [msgspec.structs.replace(row, pid=7, comm="other", id=row.id + 50) for row in leaks(LEAST_LEAKED - 1)]
    assert [each.sentence[:10] for each in findings(scene({"connections": [*leaks(9), *others]}))] == ["curl[4242]"]


def test_the_rows_have_their_service_though_the_filter_leaves_their_process_out() -> None:
    row = listener(queue=512)
    owner = process(pid=row.pid, start_time=row.process_start_time, unit="nginx.service")
    whole = scene({"listeners": [row], "processes": [owner]})
    without = msgspec.structs.replace(whole, processes=())
    assert b"nginx.service" in findings_text(without, whole)[1]
    assert b"nginx.service" not in findings_text(without)[1]


FINDINGS = Draft202012Validator(schemas()["findings.schema.json"])


@pytest.mark.parametrize("rule", SCENES)
def test_what_is_written_is_what_its_schema_says(rule: str) -> None:
    seen = Filter("-comm:nobody").apply(scene(SCENES[rule][0][0]))
    document = json.loads(findings_json(seen)[1])
    FINDINGS.validate(document)
    assert document["filter"] == "-comm:nobody"
    assert rule in [each["rule"] for each in document["findings"]]
    elsewhere = {each["table"] for each in document["findings"]}
    for each in document["findings"]:
        each["table"] = next(kind.name for kind in KINDS if kind.name not in elsewhere)
    assert not FINDINGS.is_valid(document), "a table has rows of its kind"


def test_nothing() -> None:
    text = findings_text(scene({}))
    assert text == (False, b"Nothing found on host in 5 minutes.\n")
    assert findings_json(scene({}))[0] is False


def test_as_text_and_json() -> None:
    wrong, text = findings_text(scene(SCENES["leak"][0][0]))
    assert wrong
    head, *evidence, command = text.decode().splitlines()
    assert head.startswith("critical: curl[4242]: 5 in CLOSE_WAIT")
    titles, *lines = evidence
    assert titles.split() == ["OPENED", "WHO", "DIR", "LOCAL", "REMOTE", "STATE", "FOR", "AGE", "TX", "RX"]
    assert len(lines) == LEAST_LEAKED
    assert {line[titles.index("REMOTE") :].split()[0] for line in lines} == {"www.example.com:443"}
    assert command == "    nettop --filter 'pid:4242 state:close-wait'"
    document = msgspec.json.decode(findings_json(scene(SCENES["leak"][0][0]))[1], type=Diagnosis)
    (told,) = document.findings
    assert (told.rule, told.severity, told.table, told.filter) == (
        "leak", "critical", "connections", "pid:4242 state:close-wait",
    )  # fmt: skip
    assert [row["id"] for row in told.rows] == [1, 2, 3, 4, 5]


def test_notable_requests() -> None:
    table = [
        request(id=1), request(id=2, status=404), request(id=3, status=500), request(id=4, latency_ms=500.0),
        request(id=5, status=None, latency_ms=None), request(id=6, status=None, error="reset"),
        request(id=7, protocol="grpc", grpc_status=14), request(id=8, status=None, error="unknown"),
    ]  # fmt: skip
    assert [row.id for row in Notable().requests.look(table)] == [3, 4, 5, 6, 7]


def test_notable_connections_are_followed_from_one_table_to_the_next() -> None:
    quiet = [connection(id=number) for number in range(1, 6)]
    waits = connection(id=2, waits_for="local", waits_since=at(1))
    failed = connection(id=6, state="closed", end="refused", closed_at=at(2))
    notable, count = Notable(), OpenConnections()
    for table, expected, still_open in (
        (quiet, [], 5),
        ([quiet[0], waits, *quiet[2:], failed], [waits, failed], 5),
        ([waits, *quiet[2:4], failed], [waits, failed], 3),
        (quiet, [], 5),
        ([], [], 0),
    ):
        assert notable.connections.look(table) == expected
        assert count.count(table) == still_open
