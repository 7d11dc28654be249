"""What the details say."""

from typing import Any

import pytest

from nettop.model import rows
from nettop.model.kinds import CONNECTIONS, DNS, LISTENERS, LOOKUPS, REQUESTS, UDP, AnyRow
from nettop.model.owners import Owners
from nettop.view.columns import Context
from nettop.view.facts import Detail, detail
from nettop.view.panes import newest
from tests import builders
from tests.tui.scene import busy, closed, connection, lookup, process, query, request, snapshot

NOW = Context(builders.at(60))
ID = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ({}, {}),
        ({"unit": "nginx.service"}, {"unit": "nginx.service"}),
        ({"container": ID}, {"container": "0123456789ab"}),
        ({"container": ID, "container_runtime": "podman"}, {"container": "0123456789ab (podman)"}),
        (
            {"container": ID, "container_runtime": "docker", "container_name": "web", "image": "nginx:1"},
            {"container": "web (docker 0123456789ab) image nginx:1"},
        ),
        ({"container": ID, "container_name": "web"}, {"container": "web (container 0123456789ab)"}),
        ({"pod": "web-0", "pod_namespace": "shop", "pod_uid": "uid"}, {"pod": "shop/web-0"}),
        ({"pod": "web-0"}, {"pod": "web-0"}),
        ({"pod_uid": "uid"}, {"pod": "uid"}),
    ],
)
def test_unit_container_and_pod(service: dict[str, str], expected: dict[str, str]) -> None:
    shown = facts(detail(process("curl", **{"unit": None, **service}), busy(), NOW))
    assert {name: shown[name] for name in ("unit", "container", "pod") if name in shown} == expected


def facts(shown: Detail) -> dict[str, str]:
    return dict(shown.facts)


@pytest.mark.parametrize(
    "row",
    [
        builders.connection(), builders.dns_query(), builders.listener(), builders.remote_host(), builders.udp_socket(),
        builders.request(), builders.process(netns_name="blue"),
    ],
)  # fmt: skip
def test_a_network_namespace_is_called_by_its_name(row: AnyRow) -> None:
    named = Context(NOW.now, owners=Owners([builders.process(netns_name="blue")]))
    assert facts(detail(row, snapshot(), named))["netns"] == f"blue ({builders.NETNS})"


def test_a_network_namespace_without_a_name() -> None:
    unnamed = Context(NOW.now, owners=Owners([builders.process()]))
    assert facts(detail(builders.request(), snapshot(), unnamed))["netns"] == str(builders.NETNS)


def test_a_process() -> None:
    seen = busy()
    row = process(
        "curl", cmdline=("curl", "-H", "a b"), parent_pid=900,
        tcp=rows.TcpTotals(tx_bytes=1, active=1, opened=3, failed=1),
        dns=rows.DnsTotals(queries=3, answered=2, failed=1, timeouts=1, latency_ms=rows.Latency(p50=12.5, max=40.0)),
    )  # fmt: skip
    shown = detail(row, seen, NOW)
    assert shown.title == "Process 4242 curl"
    said = facts(shown)
    assert said["command"] == "curl -H 'a b'"
    assert said["user"] == "ada (uid 1000)"
    assert said["parent"] == "900 nginx"
    assert said["cgroup"] == "/system.slice/curl.service"
    assert said["unit"] == "curl.service"
    assert said["ended"] == "still running"
    assert said["TCP"] == "tx 1B  rx 0B  1 open, 3 opened, 0 accepted, 1 failed, 0 segments sent again"
    assert said["DNS"] == "3 queries, 2 answered, 1 with an error, 1 timeouts; latency median 12ms, longest 40ms"
    assert {kind.name: [each.id for each in related] for kind, related in shown.related.items()} == {
        "connections": [1, 2, 10],
        "dns": [1, 2, 9],
        "udp": [],
        "requests": [1],
        "lookups": [1],
    }


def test_a_process_of_which_little_is_known() -> None:
    row = builders.process(cmdline=None, user=None, parent_pid=None, cgroup=None, exited_at=builders.at(9))
    said = facts(detail(row, snapshot(), NOW))
    assert said["command"] == "unknown"
    assert said["user"] == "? (uid 1000)"
    assert said["parent"] == "unknown"
    assert said["cgroup"] == "unknown"
    assert said["ended"] == "2026-03-01 12:00:09.123+00:00"
    assert "latency" not in said["DNS"]


def test_rows_of_an_earlier_process_with_the_same_pid_are_not_its() -> None:
    other = process("curl", start_time=builders.at(1))
    shown = detail(other, busy(), NOW)
    assert shown.related == {CONNECTIONS: (), DNS: (), UDP: ()}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (connection(1, "curl", "www.example.com"), {
            "process": "4242 curl", "owner is": "seen to connect, send or close", "remote": "198.51.100.1:443",
            "name": "www.example.com", "opened": "2026-03-01 12:00:01.123+00:00", "connected": "after 25ms",
            "closed": "-", "duration": "59.0s", "end": "still open", "sent": "0 bytes",
        }),
        (closed(2, "curl", None, "refused"), {
            "name": "nobody was seen to look the address up", "state": "closed", "end": "refused",
            "closed": "2026-03-01 12:00:03.123+00:00", "connected": "-", "duration": "1.0s",
        }),
        (closed(2, "curl", None, None), {"end": "its end was not seen"}),
        (closed(
            2, "curl", None, "given-up", drops={"NEIGH_FAILED": 2, "NETFILTER_DROP": 1_200},
            resets_sent={"TCP_STATE": 1}, resets_received=2,
        ), {
            "end": "given-up; a firewall on this host dropped packets of it",
            "dropped": "1,200 NETFILTER_DROP (firewall), 2 NEIGH_FAILED", "resets sent": "1 TCP_STATE",
            "resets received": "2",
        }),
        (connection(
            9, "curl", None, opened_before_start=True, tx_bytes=5_000, tx_bytes_before_start=2_000, opened_at=None,
        ), {
            "opened": "before nettop started", "duration": "unknown",
            "sent": "5,000 bytes, 2,000 of them before nettop started",
        }),
        (builders.connection(pid=None, comm=None, owner="unknown"), {"process": "unknown", "owner is": "unknown"}),
        (builders.connection(
            state="close-wait", state_since=builders.at(30), closed_first="remote",
            states_ms={"syn-sent": 57.0, "established": 720_000.0},
        ), {"states": "syn-sent 57ms, established 12m00s, close-wait 30.0s", "closed first": "the far end"}),
        (builders.connection(
            opened_before_start=True, state="last-ack", state_since=builders.at(30), closed_first="remote",
            states_ms={"close-wait": 9000.0},
        ), {"states": "seen for close-wait 9.0s, last-ack 30.0s"}),
        (builders.connection(state="closed", end="normal", closed_first="local", states_ms={"established": 1000.0}),
         {"states": "established 1.0s", "closed first": "this end"}),
        (builders.connection(), {"states": "-", "closed first": "-", "waits for": "unknown", "turns": "unknown"}),
        (builders.connection(waits_for="none"), {"waits for": "nobody"}),
        (closed(2, "curl", None, "refused"), {"waits for": "-"}),
        (builders.connection(
            waits_for="remote-window", waits_since=builders.at(19), recv_queue_bytes=1_000, send_queue_bytes=30_000,
            turns=rows.Turns(
                asked_by="local", count=1_200, answered=1_199, latency_ms=rows.TurnLatency(avg=2.5, max=40.0)
            ),
            transmission=rows.Transmission(
                unsent_bytes=29_000, window_bytes=512, mss_bytes=1448, cwnd_segments=10, ssthresh_segments=None,
                timeouts=1, backoff=2, out_of_order_segments=3, counted_at=builders.at(50), sending="rwnd-limited",
                busy_ms=50_000.0, rwnd_limited_ms=31_000.0, sndbuf_limited_ms=500.0,
            ),
        ), {
            "waits for": "the far end's program, which does not read: its window is shut, for 41.0s",
            "turns": "this end asked 1,200 times, 1,199 answered; answers mean 2.50ms, longest 40ms",
            "not read": "1,000 bytes that came", "not acked": "30,000 bytes, 29,000 of them not sent yet",
            "window": "512 bytes allowed by the far end", "congestion": "cwnd 10, ssthresh none yet, mss 1448",
            "timeouts": "1 in a row, doubled 2 times", "reordered": "3 segments came out of order",
            "sending": "busy 1m00s, of which the far end's window held it back 41.0s, the send buffer 500ms",
        }),
    ],
)  # fmt: skip
def test_a_connection(row: rows.Connection, expected: dict[str, str]) -> None:
    said = facts(detail(row, busy(), NOW))
    assert {label: said[label] for label in expected} == expected


def test_of_what_did_not_happen_nothing_is_said() -> None:
    labels = {"dropped", "resets sent", "resets received", "ICMP errors"}
    for row in (
        builders.connection(drops={}, resets_sent={}, resets_received=0),
        builders.connection(),
        process("curl", drops={}, resets_sent={}, resets_received=0, icmp_errors={}),
    ):
        assert not labels & facts(detail(row, busy(), NOW)).keys()


def test_what_happened_to_packets_of_a_process() -> None:
    row = process("curl", drops={"SOCKET_RCVBUFF": 3}, icmp_errors={"ECONNREFUSED": 2, "EHOSTUNREACH": 1})
    said = facts(detail(row, busy(), NOW))
    assert (said["dropped"], said["ICMP errors"]) == ("3 SOCKET_RCVBUFF", "2 ECONNREFUSED, 1 EHOSTUNREACH")


def leads(asked: rows.DnsQuery, opened: rows.Connection) -> bool:
    """Whether the query is named in the connection's detail; the other way round it must be the same."""
    seen = snapshot([asked], [opened])
    named_by = detail(opened, seen, NOW).related[DNS]
    led_to = detail(asked, seen, NOW).related[CONNECTIONS]
    assert bool(named_by) == bool(led_to)
    return bool(named_by)


@pytest.mark.parametrize(
    ("asked", "opened", "expected"),
    [
        ({}, {}, True),
        ({"qname": "other.example.com"}, {}, False),
        ({"netns": 5}, {}, False),
        ({"pid": 900}, {}, False),
        ({"answers": ()}, {}, False),
        ({"pid": 900}, {"name_source": "other-process"}, True),
        ({}, {"name_source": "other-process"}, False),
    ],
)
def test_the_query_that_named_a_connection(asked: dict[str, Any], opened: dict[str, Any], expected: bool) -> None:
    remote = rows.RemoteEndpoint(
        address=builders.SERVER_ADDRESS, port=443, name="www.example.com", **{"name_source": "process"} | opened
    )
    assert leads(builders.answered(**asked), builders.connection(remote=remote)) == expected


def test_a_query_with_all_its_answers() -> None:
    answers = (
        rows.Answer(name="www.example.com", type="CNAME", ttl=300, data="cdn.example.net"),
        rows.Answer(name="cdn.example.net", type="A", ttl=60, data="198.51.100.1"),
    )
    shown = detail(query(1, "curl", "www.example.com", answers=answers, truncated=True), busy(), NOW)
    assert shown.title == "DNS query 1"
    said = facts(shown)
    assert said["question"] == "www.example.com A"
    assert said["status"] == "answered: NOERROR"
    assert said["answer"] == "64 bytes, 2 records, truncated"
    assert said["CNAME"] == "www.example.com  cdn.example.net  (ttl 300 s)"
    assert said["server"] == "192.0.2.53:53 over UDP"
    assert [row.id for row in shown.related[CONNECTIONS]] == [1]
    assert list(shown.related) == [CONNECTIONS]


def test_a_query_that_was_never_answered_or_understood() -> None:
    said = facts(detail(query(6, "curl", "silent.example.net", "timeout"), busy(), NOW))
    assert (said["status"], said["answer"], said["attempts"]) == ("timeout", "none", "3")
    said = facts(detail(builders.dns_query(qname=None, qtype=None, unparsed="00ff"), busy(), NOW))
    assert (said["question"], said["unparsed"]) == ("unknown", "00ff")


def test_a_query_that_was_refused_or_whose_answer_found_no_room() -> None:
    said = facts(detail(builders.dns_query(status="refused"), busy(), NOW))
    assert said["status"] == "refused: the program was told at once that nobody serves there (ICMP)"
    said = facts(detail(builders.dns_query(answers_dropped=1), busy(), NOW))
    assert said["attempts"] == "1; the socket had no room for 1 answer"
    said = facts(detail(builders.dns_query(attempts=3, answers_dropped=2), busy(), NOW))
    assert said["attempts"] == "3; the socket had no room for 2 answers"


def test_where_nat_sent_a_query() -> None:
    said = facts(detail(builders.dns_query(via=rows.Endpoint(address="127.0.0.11", port=40_053)), busy(), NOW))
    assert said["via"] == "127.0.0.11:40053, where NAT sent it"
    assert "via" not in facts(detail(builders.dns_query(), busy(), NOW))


@pytest.mark.parametrize(
    ("end", "said"),
    [("no-route", "no-route: connect() found no route to this address"), ("normal", "normal"),
     (None, "its end was not seen")],
)  # fmt: skip
def test_an_end_that_needs_words(end: rows.End | None, said: str) -> None:
    row = builders.connection(state="closed", end=end, local=rows.Endpoint(address="0.0.0.0", port=0))
    told = facts(detail(row, busy(), NOW))
    assert (told["end"], told["local"]) == (said, "none was chosen")


def test_an_answer_that_was_cut() -> None:
    said = facts(detail(builders.answered(unparsed="00ff", answers_cut=4, response_bytes=512), busy(), NOW))
    assert said["answer"] == "512 bytes, 5 records, of which 4 could not be read"


def test_the_newest_version_of_a_row() -> None:
    newer = connection(1, "curl", None, tx_bytes=9)
    assert newest(connection(1, "curl", None), snapshot(connections=[newer])) is newer
    gone = connection(3, "curl", None)
    assert newest(gone, snapshot(connections=[newer])) is gone


def test_leaks_of_a_process() -> None:
    row = process("curl", leaking=3, tcp=rows.TcpTotals(active=4))
    assert facts(detail(row, busy(), NOW))["TCP"].endswith(
        ", 0 segments sent again, 3 closed by the far end over a minute ago and still open here"
    )


def test_turns_of_a_process() -> None:
    gave = rows.TurnTotals(count=1_234, latency_ms=rows.AnswerTimes(p50=1.0, p95=20.0, max=30.0))
    said = facts(detail(process("curl", turns=rows.ProcessTurns(was_asked=gave)), busy(), NOW))
    assert said["was asked"] == "1,234 times over TCP; answers median 1.00ms, 95 % within 20ms, longest 30ms"
    assert said["asked"] == "0 times over TCP"


def test_other_protocols_of_a_process() -> None:
    row = process("curl", other=rows.OtherTotals(tx_bytes=640, rx_bytes=1280, rx_dropped=2))
    assert facts(detail(row, busy(), NOW))["other"] == (
        "tx 640B  rx 1.2K  2 datagrams refused, mostly for lack of space in the receive buffer"
        "  (ICMP, SCTP, raw sockets)"
    )


def test_a_host() -> None:
    seen = busy()
    row = next(row for row in seen.hosts if row.address == "203.0.113.77")
    said = facts(detail(row, seen, NOW))
    assert (said["name"], said["scope"]) == ("nobody was seen to look the address up", "public")
    assert said["eth0"] == "received 48,112 packets, 1,924,480 bytes, 48,112 requests for a connection"
    assert said["processes"] == "none"
    row = next(row for row in seen.hosts if row.address == "198.51.100.1")
    shown = detail(row, seen, NOW)
    assert facts(shown)["packets"] == "60 sent, 64 received"
    assert {row.remote.address for row in shown.related[CONNECTIONS]} == {"198.51.100.1"}


def test_a_flow() -> None:
    seen = busy()
    said = [facts(detail(row, seen, NOW)) for row in seen.udp]
    assert [each["remote"] for each in said] == [
        "192.0.2.53:53", "[2001:db8::443]:443", "others than the flows that have rows", "198.51.100.9:4433",
    ]  # fmt: skip
    assert [each["state"] for each in said] == ["open", "open", "open", "ended"]
    assert said[2]["datagrams"] == "unknown sent, unknown received"
    assert "17 datagrams refused" in said[0]["datagrams"]


def test_a_listener() -> None:
    seen = busy()
    nginx, _, ended = seen.listeners
    shown = detail(nginx, seen, NOW)
    said = facts(shown)
    assert said["listens on"] == "0.0.0.0:443"
    assert said["owner is"] == "seen to listen"
    assert said["held by"] == "900 nginx, 901 nginx, 902 nginx"
    assert said["accept queue"] == "512 waiting, limit 511: full, nobody else gets in"
    assert said["drops"] == "380 SYNs and handshakes refused; 38 per second now"
    assert said["accepted"] == "12,000 connections; 210 per second now"
    assert (said["opened"], said["closed"], said["reuseport"]) == ("before nettop started", "still listening", "no")
    said = facts(detail(ended, seen, NOW))
    assert said["accepted"] == said["open"] == "unknown: other sockets listen on the same address and port"
    assert said["closed"].startswith("2026-03-01 12:00:40")
    assert facts(detail(seen.listeners[1], seen, NOW))["reuseport"] == "group 1, 1 socket"


def test_what_came_in_through_a_listener() -> None:
    inside = rows.Endpoint(address="192.0.2.1", port=80)
    came_in = connection(1, "nginx", None, direction="inbound", local=inside)
    others = (
        connection(2, "nginx", None, direction="inbound", local=rows.Endpoint(address="192.0.2.1", port=81)),
        connection(3, "nginx", None, direction="outbound", local=inside),
        connection(4, "nginx", None, direction="inbound", local=inside, netns=7),
        connection(5, "nginx", None, direction="inbound", local=inside, opened_at=builders.at(0.5)),
        connection(6, "nginx", None, direction="inbound", local=inside, opened_at=builders.at(50)),
    )
    row = builders.listener(opened_at=builders.at(1), closed=True, closed_at=builders.at(40))
    seen = snapshot(connections=[came_in, *others], listeners=[row])
    assert detail(row, seen, NOW).related == {CONNECTIONS: (came_in,)}
    elsewhere = builders.listener(address="192.0.2.2")
    assert detail(elsewhere, seen, NOW).related == {CONNECTIONS: ()}


def test_a_process_has_the_listeners_that_it_holds() -> None:
    seen = busy()
    nginx, dns, _ = seen.listeners
    assert detail(process("nginx"), seen, NOW).related[LISTENERS] == (nginx,)
    assert detail(process("nginx", pid=902, start_time=builders.at(-902)), seen, NOW).related[LISTENERS] == (nginx,)
    assert detail(process("unbound"), seen, NOW).related[LISTENERS] == (dns,)
    assert LISTENERS not in detail(process("curl"), seen, NOW).related


def test_the_other_side_of_a_request_says_where_its_time_went() -> None:
    near = connection(
        1,
        "curl",
        "web.test",
        waits_for="remote",
        retransmits=2,
        srtt_ms=0.5,
        peer=rows.Peer(id=2, pid=900, comm="nginx"),
    )
    far = connection(2, "nginx", "web.test", peer=rows.Peer(id=1, pid=4242, comm="curl"))
    asked = request(1, "curl", asked_at=builders.at(1), latency_ms=120.0, connection_id=1)
    served = request(2, "nginx", side="server", asked_at=builders.at(1.01), latency_ms=90.0, connection_id=2)
    later = request(3, "nginx", side="server", asked_at=builders.at(2), latency_ms=9.0, connection_id=2)
    other = request(4, "nginx", side="server", asked_at=builders.at(1.01), connection_id=2, path="/other")
    seen = snapshot(connections=(near, far), requests=(served, later, other, asked))
    shown = detail(asked, seen, NOW)
    assert shown.related[REQUESTS] == (served,)
    assert shown.related[CONNECTIONS] == (near,)
    said = facts(shown)
    assert said["other side"] == "server 900 nginx, 90ms; 90ms in the server, 30ms on the way"
    assert said["connection"] == (
        "1, waits for the far end, which owes an answer or the close; round trip 0.50ms, 2 segments sent again"
    )
    assert detail(served, seen, NOW).related[REQUESTS] == (asked,)
    assert REQUESTS not in detail(later, seen, NOW).related


def test_a_look_up_has_its_queries_and_what_it_led_to() -> None:
    sent = [query(number, "curl", "www.example.com", lookup_id=4) for number in (1, 2)]
    other = query(3, "curl", "www.example.com", lookup_id=5)
    address = connection(1, "curl", None).remote.address
    asked_for = lookup(4, "curl", name="www", asked_at=builders.at(0.5), addresses=(address,))
    led_to = connection(1, "curl", "www.example.com", opened_at=builders.at(0.6))
    earlier = connection(2, "curl", "www.example.com", opened_at=builders.at(0.4))
    others = connection(3, "nginx", "www.example.com", opened_at=builders.at(0.6))
    seen = snapshot([*sent, other], (led_to, earlier, others), lookups=(asked_for,))
    shown = detail(asked_for, seen, NOW)
    assert shown.related == {DNS: tuple(sent), CONNECTIONS: (led_to,)}
    assert facts(shown) | {
        "name": "www", "result": "OK", "latency": "20ms", "addresses": address, "DNS sent": "2",
    } == facts(shown)  # fmt: skip
    assert detail(sent[0], seen, NOW).related[LOOKUPS] == (asked_for,)
    assert LOOKUPS not in detail(query(9, "curl", "www.example.com"), seen, NOW).related


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"result": "EAI_NONAME"}, {"result": "EAI_NONAME: there is no such name"}),
        ({"result": "EAI_104"}, {"result": "EAI_104"}),
        ({"result": None, "status": "pending"}, {"result": "pending: the function has not returned"}),
        ({"queries": 0}, {"DNS sent": "none: a hosts file, a cache or another service answered"}),
        ({"queries": None}, {"DNS sent": "unknown"}),
        ({"addresses": (), "name": None}, {"addresses": "none", "name": "unknown"}),
        ({"more_addresses": True}, {"addresses": f"{builders.SERVER_ADDRESS} ..."}),
    ],
)
def test_what_came_of_a_look_up_in_words(changes: dict[str, Any], said: dict[str, str]) -> None:
    shown = facts(detail(lookup(1, "curl", **changes), snapshot(), NOW))
    assert said.items() <= shown.items()


@pytest.mark.parametrize(
    ("tls", "said"),
    [
        (
            rows.Tls(
                server_name="a.test", version="TLS 1.3", cipher="TLS_AES_128_GCM_SHA256", resumed=True, ech=True,
                alpn_offered=("h2", "http/1.1"), handshake_ms=12.0,
            ),
            {
                "TLS": "TLS 1.3, TLS_AES_128_GCM_SHA256, resumed; the server's hello came after 12ms",
                "server name": "a.test (with ECH: it may be that of a front)",
                "ALPN": "h2, http/1.1 offered; what the server chose was not seen",
            },
        ),
        (
            rows.Tls(version="TLS 1.2", alpn="h2", alpn_offered=("h2", "http/1.1")),
            {"TLS": "TLS 1.2, unknown cipher", "server name": "none was seen", "ALPN": "h2"},
        ),
        (rows.Tls(alert="unknown_ca"), {"TLS": "the handshake failed: unknown_ca", "server name": "none was seen"}),
        (rows.Tls(), {"TLS": "the server's hello was not seen", "server name": "none was seen"}),
        (None, {}),
    ],
)  # fmt: skip
def test_a_handshake(tls: rows.Tls | None, said: dict[str, str]) -> None:
    shown = facts(detail(builders.connection(tls=tls), busy(), NOW))
    assert {name: shown[name] for name in ("TLS", "server name", "ALPN") if name in shown} == said


def test_quic() -> None:
    tls = rows.Tls(server_name="a.test", alpn_offered=("h3",), ech=True)
    shown = facts(detail(builders.udp_socket(quic_version=2, tls=tls), busy(), NOW))
    assert [shown[name] for name in ("QUIC", "server name", "ALPN")] == [
        "version 2",
        "a.test (with ECH: it may be that of a front)",
        "h3 offered; what the server chose was not seen",
    ]
    assert "QUIC" not in facts(detail(builders.udp_socket(), busy(), NOW))


def test_requests_that_were_sent_again() -> None:
    requests = rows.ConnectionRequests(side="client", count=9, failed=1, retried=2)
    shown = facts(detail(builders.connection(requests=requests), busy(), NOW))
    assert shown["requests"].startswith("9 sent, 1 failed, 2 repeat others;")
    sent = rows.RequestTotals(count=9, failed=4, retried=2)
    shown = facts(detail(builders.process(requests=rows.ProcessRequests(sent=sent)), busy(), NOW))
    assert shown["requests"] == "sent 9 (4 failed, 2 were sent again); served 0"


def test_requests_that_failed_by_their_status() -> None:
    requests = rows.ConnectionRequests(
        side="server", count=9, failed=4, failed_4xx=1, failed_5xx=2, unlisted=3, retried=2
    )
    shown = facts(detail(builders.connection(requests=requests), busy(), NOW))
    assert shown["requests"].startswith(
        "9 served, 4 failed of those with rows, 1 with 4xx, 2 with 5xx, 3 without a row, 2 repeat others;"
    )
    served = rows.RequestTotals(count=1200, failed=4, failed_4xx=0, failed_5xx=4)
    shown = facts(detail(builders.process(requests=rows.ProcessRequests(served=served)), busy(), NOW))
    assert shown["requests"] == "sent 0; served 1,200 (4 failed, 4 with 5xx)"


def test_a_name_from_a_handshake() -> None:
    remote = rows.RemoteEndpoint(address="192.0.2.9", port=443, name="a.test", name_source="tls")
    shown = detail(builders.connection(remote=remote), busy(), NOW)
    assert facts(shown)["name"] == "a.test (the server that the TLS handshake asks for)"
    assert not shown.related.get(DNS)
