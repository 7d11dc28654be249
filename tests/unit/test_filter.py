"""The filter language: what passes, what is refused and where."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from nettop.model.events import ConnectionChanged
from nettop.model.filter import FILTER_KEYS, Filter, FilterError
from nettop.model.kinds import (
    CONNECTIONS,
    DNS,
    HOSTS,
    KINDS,
    LISTENERS,
    LOOKUPS,
    PROCESSES,
    REQUESTS,
    UDP,
    AnyRow,
    Kind,
)
from nettop.model.rows import (
    Answer,
    Connection,
    DnsQuery,
    Endpoint,
    Holder,
    Listener,
    RemoteEndpoint,
    Request,
    Tls,
    TurnLatency,
    Turns,
)
from nettop.model.store import replayed
from tests.builders import (
    BASE,
    a_recording,
    answered,
    at,
    connection,
    dns_query,
    listener,
    lookup,
    process,
    remote_host,
    request,
    tick,
    udp_socket,
)

EDGE = connection(
    comm="Web Server",
    pid=42,
    netns=7,
    local=Endpoint(address="2001:db8::10", port=8080),
    remote=RemoteEndpoint(address="fe80::1", port=51_000),
    family="ipv6",
    state="closed",
    end="reset-by-peer",
)


def passes(kind: Kind[Any], expression: str, row: AnyRow) -> bool:
    test = Filter(expression).test(kind, BASE)
    return test is None or test(row)


WAITS = connection(waits_for="remote-window", waits_since=at(-12.5))  # for 12.5 s at BASE
ANSWERED = connection(turns=Turns(asked_by="local", count=1, answered=1, latency_ms=TurnLatency(avg=150.0, max=900.0)))


@pytest.mark.parametrize(
    ("expression", "row", "passed"),
    [
        ("wait:remote-window", WAITS, True),
        ("wait:Remote-Window", WAITS, True),
        ("wait:remote", WAITS, False),
        ("wait:>10s", WAITS, True),
        ("wait:>12.5s", WAITS, False),
        ("wait:<12501ms", WAITS, True),
        ("wait:<1M", WAITS, True),
        ("-wait:>1h", WAITS, True),
        ("wait:local | wait:>10s", WAITS, True),
        ("wait:none", connection(waits_for="none"), True),
        ("wait:>0s", connection(waits_for="none"), False),
        ("wait:>0s", connection(), False),
        ("-wait:local", connection(), True),
        ("answer:>100ms", ANSWERED, True),
        ("answer:>0.151s", ANSWERED, False),
        ("answer:<1s", ANSWERED, True),
        ("answer:<1s", connection(), False),
        ("answer:<1s", connection(turns=Turns(asked_by="remote", count=1)), False),
    ],
)
def test_waits_and_answers(expression: str, row: Connection, passed: bool) -> None:
    assert passes(CONNECTIONS, expression, row) is passed


def test_how_long_a_connection_waits_depends_on_when_one_looks() -> None:
    chosen = Filter("wait:>10s")
    waits = connection(waits_for="local", waits_since=at(0))
    tests = [chosen.test(CONNECTIONS, at(seconds)) for seconds in (9, 11)]
    assert [test is not None and test(waits) for test in tests] == [False, True]
    assert chosen.not_applied(PROCESSES) == ("wait:>10s",)


@pytest.mark.parametrize("value", ["10s", ">10", ">s", "> 10s", ">10w", ">-1s", ">1e3s", ">\u0661s", "nobody", ">"])
def test_a_time_is_written_with_its_unit(value: str) -> None:
    for key in ("wait", "answer"):
        with pytest.raises(FilterError):
            Filter(f'{key}:"{value}"')


@pytest.mark.parametrize(
    ("expression", "passed"),
    [
        ("pid:4242", True),
        ("pid:42", False),
        ("PID:4242", True),
        ('pid:"4242"', True),
        ("comm:curl", True),
        ("comm:CURL", True),
        ("comm:cur", False),
        ("comm:c*", True),
        ("comm:c?rl", True),
        ("comm:[a-c]url", True),
        ("comm:[!a-c]url", False),
        ("user:ada", True),
        ("user:a*", True),
        ("user:1000", True),
        ("user:100", False),
        ("netns:4026531840", True),
        ("netns:1", False),
        ("curl", True),
        ("ur", True),
        ("UR", True),
        ("wget", False),
        ("c*", True),
        ("u*", False),
        ("-wget", True),
        ("-curl", False),
        ("-pid:4242", False),
        ("-pid:1 -pid:2", True),
        ("curl pid:4242", True),
        ("curl pid:1", False),
        ("pid:1 | pid:4242", True),
        ("pid:1|pid:4242", True),
        ("pid:1 | pid:2", False),
        ("pid:1 curl | user:ada comm:curl", True),
        ("pid:4242 wget | user:root", False),
        ("", True),
        ("   ", True),
    ],
)
def test_processes(expression: str, passed: bool) -> None:
    assert passes(PROCESSES, expression, process()) is passed


@pytest.mark.parametrize(
    ("expression", "passed"),
    [
        ("port:443", True),
        ("port:40000", True),
        ("port:44", False),
        ("port:400-500", True),
        ("port:443-443", True),
        ("port:444-39999", False),
        ("port:0-65535", True),
        ("host:www.example.com", True),
        ("host:WWW.EXAMPLE.COM", True),
        ("host:*.example.com", True),
        ("host:example.com", False),
        ("host:198.51.100.7", True),
        ("host:198.51.100.*", True),
        ("host:192.0.2.10", True),
        ("state:established", True),
        ("state:ESTABLISHED", True),
        ("state:closed", False),
        ("end:normal", False),
        ("example", True),
        ("51.100", True),
        ("192.0.2.10", True),
        ("curl", True),
        ("pid:4242 port:443 host:*.com state:established", True),
        ("-state:established", False),
        ("-host:*.org", True),
    ],
)
def test_connections(expression: str, passed: bool) -> None:
    assert passes(CONNECTIONS, expression, connection()) is passed


@pytest.mark.parametrize(
    ("expression", "passed"),
    [
        ('comm:"web server"', True),
        ('"web server"', True),
        ('"b s"', True),
        ("comm:web server", False),
        ('we"b s"erver', True),
        ('-"web server"', False),
        ("end:reset-by-peer", True),
        ("end:Reset-By-Peer", True),
        ("end:refused", False),
        ("state:closed", True),
        ("fe80::1", True),
        ("host:fe80::1", True),
        ("FE80::1", True),
        ("2001:db8::10", True),
        ("2001:db8::11", False),
        ("db8::", True),
        ("::1", True),
        ("-fe80::1", False),
        ("8080", True),
        ("8081", False),
        ("42", True),  # the pid
        ("port:8000-8099", True),
        ("netns:7", True),
    ],
)
def test_connections_over_ipv6(expression: str, passed: bool) -> None:
    assert passes(CONNECTIONS, expression, EDGE) is passed


@pytest.mark.parametrize(
    ("expression", "row", "passed"),
    [
        ("dns:pending", dns_query(), True),
        ("dns:answered", dns_query(), False),
        ("dns:answered", answered(), True),
        ("dns:timeout", dns_query(status="timeout"), True),
        ("dns:failed", dns_query(status="timeout"), True),
        ("dns:refused", dns_query(status="refused"), True),
        ("dns:refused", answered(rcode="REFUSED"), True),
        ("dns:refused", dns_query(), False),
        ("dns:failed", dns_query(status="refused"), True),
        ("dns:failed", dns_query(), False),
        ("dns:failed", answered(), False),
        ("dns:failed", answered(rcode="SERVFAIL"), True),
        ("-dns:failed", answered(rcode="SERVFAIL"), False),
        ("dns:nxdomain", answered(rcode="NXDOMAIN"), True),
        ("dns:NXDOMAIN", answered(rcode="NXDOMAIN"), True),
        ("dns:nxdomain", answered(rcode="SERVFAIL"), False),
        ("dns:noerror", answered(), True),
        ("dns:noerror", dns_query(), False),
        ("dns:rcode16", answered(rcode="RCODE16"), True),
        ("type:a", answered(), True),
        ("type:AAAA", answered(), False),
        ("type:a*", dns_query(qtype="AAAA"), True),
        ("type:A", dns_query(qtype=None), False),
        ("host:www.example.com", dns_query(), True),
        ("host:192.0.2.53", dns_query(), True),
        ("host:198.51.100.7", answered(), True),
        ("host:198.51.100.7", dns_query(), False),
        (
            "host:target.example",
            answered(answers=(Answer(name="x", type="CNAME", ttl=1, data="target.example"),)),
            True,
        ),
        ("host:www.example.com", dns_query(qname=None), False),
        ("www.ex", dns_query(), True),
        ("curl", dns_query(qname=None, qtype=None), True),
        ("curl", dns_query(pid=None, comm=None), False),
        ("-curl", dns_query(pid=None, comm=None), True),
        ("pid:4242", dns_query(pid=None, comm=None), False),
        ("port:53", dns_query(), True),
        ("port:33333", dns_query(), True),
        ("port:54", dns_query(), False),
    ],
)
def test_queries(expression: str, row: DnsQuery, passed: bool) -> None:
    assert passes(DNS, expression, row) is passed


WORKER = Holder(pid=901, process_start_time=at(0), comm="worker")


@pytest.mark.parametrize(
    ("expression", "row", "passed"),
    [
        ("listen:80", listener(), True),
        ("listen:79-81", listener(), True),
        ("listen:443", listener(), False),
        ("-listen:443", listener(), True),
        ("listen:full", listener(queue=512), True),
        ("listen:FULL", listener(queue=511), False),
        ("full", listener(queue=512), True),
        ("full", listener(queue=511), False),
        ("full", listener(comm="fullerene"), True),
        ("port:80", listener(), True),
        ("port:81", listener(), False),
        ("pid:900", listener(), True),
        ("pid:901", listener(), False),
        ("pid:901", listener(holders=(WORKER,)), True),
        ("comm:work*", listener(holders=(WORKER,)), True),
        ("comm:work*", listener(), False),
        ("worker", listener(holders=(WORKER,)), True),
        ("nginx", listener(pid=None, comm=None, holders=()), False),
        ("host:0.0.0.0", listener(), True),
        ("host:0.0.0.0:80", listener(), True),
        ("host:0.0.0.0:81", listener(), False),
        ("host:[::]:80", listener(address="::"), True),
        ("host:10.0.0.0/8", listener(address="10.1.2.3"), True),
        ("10.1", listener(address="10.1.2.3"), True),
        ("netns:4026531840", listener(), True),
        ("netns:1", listener(), False),
    ],
)
def test_listeners(expression: str, row: Listener, passed: bool) -> None:
    assert passes(LISTENERS, expression, row) is passed


@pytest.mark.parametrize(
    ("expression", "not_applied"),
    [
        ("", {}),
        ("pid:1 comm:a netns:1 word", {}),
        ("port:53", dict.fromkeys(("processes", "hosts", "lookups"), ("port:53",))),
        ("host:a", {"processes": ("host:a",)}),
        ("user:ada unit:a container:b pod:c image:d netns:e", {}),
        (
            "-state:closed",
            dict.fromkeys(("processes", "dns", "hosts", "udp", "listeners", "requests", "lookups"), ("-state:closed",)),
        ),
        (
            "listen:443",
            dict.fromkeys(("processes", "connections", "dns", "hosts", "udp", "requests", "lookups"), ("listen:443",)),
        ),
        (
            "end:refused",
            dict.fromkeys(("processes", "dns", "hosts", "udp", "listeners", "requests", "lookups"), ("end:refused",)),
        ),
        (
            "scope:public",
            dict.fromkeys(
                ("processes", "connections", "dns", "udp", "listeners", "requests", "lookups"), ("scope:public",)
            ),
        ),
        (
            'dns:failed | type:"A" pid:1',
            dict.fromkeys(
                ("processes", "connections", "hosts", "udp", "listeners", "requests", "lookups"),
                ("dns:failed", 'type:"A"'),
            ),
        ),
    ],
)
def test_a_term_that_says_nothing_about_a_kind_of_rows_is_named(
    expression: str, not_applied: dict[str, tuple[str, ...]]
) -> None:
    chosen = Filter(expression)
    assert chosen.left_out() == not_applied


def test_a_term_that_says_nothing_does_not_choose() -> None:
    assert Filter("port:53").test(PROCESSES, BASE) is None
    assert passes(PROCESSES, "port:53 comm:curl", process())
    assert not passes(PROCESSES, "port:53 comm:wget", process())
    assert not passes(PROCESSES, "port:53 | comm:wget", process())


@pytest.mark.parametrize(
    ("expression", "passed"),
    [
        ("scope:public", True), ("scope:PUBLIC", True), ("scope:private", False), ("-scope:link", True),
        ("pid:4242", True), ("pid:1", False), ("comm:curl", True), ("comm:wget", False), ("curl", True),
        ("host:198.51.100.0/24", True), ("host:192.0.2.0/24", False), ("host:www.example.com", True),
        ("www2", True), ("example.org", False),
    ],
)  # fmt: skip
def test_remote_hosts(expression: str, passed: bool) -> None:
    assert passes(HOSTS, expression, remote_host(names=("www2.example.com",))) is passed


GREETED = Tls(server_name="api.example.com", alpn_offered=("h2",), version="TLS 1.3", cipher="TLS_AES_128_GCM_SHA256")


@pytest.mark.parametrize(
    ("expression", "tls", "passed"),
    [
        ("tls:1.3", GREETED, True),
        ('tls:"tls 1.3"', GREETED, True),
        ("tls:1.2", GREETED, False),
        ("tls:*sha256", GREETED, True),
        ("tls:h2", GREETED, True),
        ("tls:*", Tls(), True),
        ("tls:*", None, False),
        ("tls:unknown_ca", Tls(alert="unknown_ca"), True),
        ("sni:*.example.com", GREETED, True),
        ("sni:example.com", GREETED, False),
        ("sni:*", Tls(), False),
        ("sni:*", None, False),
    ],
)
def test_handshakes(expression: str, tls: Tls | None, passed: bool) -> None:
    assert passes(CONNECTIONS, expression, connection(tls=tls)) is passed


@pytest.mark.parametrize(
    ("expression", "row", "passed"),
    [
        ("method:get path:/users/* host:www.example.com port:443", request(), True),
        ("path:/users", request(), False),
        ("path:*sers*", request(), True),
        ("method:create", request(method="CREATE TABLE"), False),
        ("method:create*", request(method="CREATE TABLE"), True),
        ("protocol:http", request(), False),
        ("protocol:http*", request(), True),
        ("side:client", request(), True),
        ("side:server", request(), False),
        ("side:SERVER", request(side="server"), True),
        ("side:s*", request(side="server"), True),
        ("status:200", request(), True),
        ("status:5xx", request(status=503), True),
        ("status:5xx", request(status=404), False),
        ("status:>=400", request(status=404), True),
        ("status>=400", request(), False),
        ("status:>=400", request(status=None), False),
        ("status:pending", request(status=None, latency_ms=None), True),
        ("status:reset", request(status=None, error="reset"), True),
        ("status:server", request(status=None, error="server", error_code="42P01"), True),
        ("error:42p01", request(status=None, error="server", error_code="42P01"), True),
        ("error:*", request(), False),
        ("method:select", request(method="SELECT"), True),
        ("protocol:redis", request(protocol="redis"), True),
        ("status:failed", request(status=None, error="closed"), True),
        ("failed", request(status=500), True),
        ("failed", request(status=None, error="unknown"), False),
        ("latency:>30ms", request(), True),
        ("latency:>50ms", request(), False),
        ("users", request(), True),
        ("host:198.51.100.0/24", request(), True),
        ("host:www.example.com:443", request(), True),
    ],
)
def test_requests(expression: str, row: Request, passed: bool) -> None:
    assert passes(REQUESTS, expression, row) is passed


@pytest.mark.parametrize(
    ("expression", "passed"),
    [
        ("port:443", True), ("port:5000", True), ("port:53", False), ("host:198.51.100.7:443", True),
        ("host:198.51.100.7:5000", False), ("host:0.0.0.0:5000", True), ("198.51.100.7", True), ("comm:curl", True),
    ],
)  # fmt: skip
def test_udp_flows(expression: str, passed: bool) -> None:
    flow = udp_socket(
        local=Endpoint(address="0.0.0.0", port=5000), remote=RemoteEndpoint(address="198.51.100.7", port=443)
    )
    assert passes(UDP, expression, flow) is passed


@pytest.mark.parametrize(
    ("expression", "row", "passed"),
    [
        ("tls:quic", {"quic_version": 1, "tls": GREETED}, True),
        ('tls:"quic 2"', {"quic_version": 1, "tls": GREETED}, False),
        ("tls:h2", {"quic_version": 1, "tls": GREETED}, True),
        ("tls:*", {}, False),
        ("sni:api.*", {"quic_version": 1, "tls": GREETED}, True),
        ("sni:other", {"quic_version": 1, "tls": GREETED}, False),
        ("sni:*", {}, False),
    ],
)
def test_quic(expression: str, row: dict[str, Any], passed: bool) -> None:
    assert passes(UDP, expression, udp_socket(**row)) is passed


@pytest.mark.parametrize(
    ("expression", "local_port", "passed"),
    [("port:8080", 8080, True), ("port:443", 8080, True), ("port:8080", None, False), ("port:8000-8100", 8080, True)],
)
def test_requests_by_either_port(expression: str, local_port: int | None, passed: bool) -> None:
    assert passes(REQUESTS, expression, request(local_port=local_port)) is passed


def test_a_filtered_snapshot() -> None:
    snapshot = replayed(a_recording()).snapshot()
    nobody = Filter(" comm:wget port:443 ").apply(snapshot)
    assert (nobody.processes, nobody.connections, nobody.dns) == ((), (), ())
    assert nobody.filter == "comm:wget port:443"
    assert nobody.filter_not_applied == dict.fromkeys(("processes", "hosts", "lookups"), ("port:443",))
    assert Filter("comm:curl").apply(snapshot).processes == snapshot.processes
    everything = Filter("").apply(snapshot)
    assert (everything.filter, everything.connections) == (None, snapshot.connections)


@pytest.mark.parametrize(
    ("text", "start", "end", "message", "remedy"),
    [
        ("pid:x", 4, 5, "A pid is a whole number, not 'x'.", "Write for example pid:42."),
        ("comm:a pid:-1", 11, 13, "A pid is a whole number, not '-1'.", "Write for example pid:42."),
        ("-pid:4.2 a", 5, 8, "A pid is a whole number, not '4.2'.", "Write for example pid:42."),
        ("pid:²", 4, 5, "A pid is a whole number, not '²'.", "Write for example pid:42."),
        (
            "netns:4294967296",
            6,
            16,
            "A network namespace's inode is never larger than 4294967295.",
            "Write for example netns:blue.",
        ),
        ("port:http", 5, 9, "A port is a whole number, not 'http'.", "Write for example port:443."),
        ("port:80-", 5, 8, "A port is a whole number, not '80-'.", "Write for example port:443."),
        (
            "port:65536",
            5,
            10,
            "A port is never larger than 65535.",
            "Write for example port:443.",
        ),
        (
            "a port:90-80",
            7,
            12,
            "There is no number from 90 to 80.",
            "Write for example port:443.",
        ),
        ("state:opn", 6, 9, "There is no state 'opn'.", "Did you mean 'open'?"),
        (
            "state:xyz",
            6,
            9,
            "There is no state 'xyz'.",
            "There are open, established, syn-sent, syn-recv, fin-wait-1, fin-wait-2, closed, close-wait, last-ack, "
            "closing.",
        ),
        (
            "end:bad",
            4,
            7,
            "There is no end 'bad'.",
            "There are normal, reset-by-peer, reset-by-us, refused, timeout, given-up, unreachable, other, "
            "no-route, denied and others.",
        ),
        ("dns:nxdomein", 4, 12, "There is no DNS answer code or state 'nxdomein'.", "Did you mean 'nxdomain'?"),
        (
            "dns:u*",
            4,
            6,
            "There is no DNS answer code or state 'u*'.",
            "There are failed, pending, answered, timeout, refused, forgotten, noerror, formerr, servfail, "
            "nxdomain, notimp and others.",
        ),
        ("type:AAAAA", 5, 10, "There is no record type 'AAAAA'.", "Did you mean AAAA?"),
        ("pid:", 0, 4, "The key 'pid' has no value.", "Write pid:42."),
        ('x -comm:""', 8, 10, "A value of 'comm' is missing here.", "Write comm:nginx."),
        ("pid:1,", 5, 6, "A value of 'pid' is missing here.", "Write pid:42."),
        ("pid:1,,2", 6, 7, "A value of 'pid' is missing here.", "Write pid:42."),
        ("pid:1,x", 6, 7, "A pid is a whole number, not 'x'.", "Write for example pid:42."),
        ("proc:1", 0, 4, "There is no filter key 'proc'.", "Did you mean comm:?"),
        ("comm:a | -prt:1", 10, 13, "There is no filter key 'prt'.", "Did you mean port:?"),
        ("prt=1", 0, 3, "There is no filter key 'prt'.", "Did you mean port:?"),
        (
            "zzzzz:1",
            0,
            5,
            "There is no filter key 'zzzzz'.",
            "Write comm:, host:, port:, state: or another one of the help.",
        ),
        ("failed:1", 0, 6, "The word 'failed' has no value.", "Write failed."),
        ('comm:"my program', 5, 16, "The quotation mark is never closed.", 'Close it: comm:"my program".'),
        ('"a" b" c', 5, 8, "The quotation mark is never closed.", 'Close it: comm:"my program".'),
        ('a "', 2, 3, "The quotation mark is never closed.", 'Close it: comm:"my program".'),
        ("| a", 0, 1, "There is nothing before this '|'.", "Write a term on both sides."),
        ("a | | b", 4, 5, "There is nothing before this '|'.", "Write a term on both sides."),
        ("a |", 2, 3, "There is nothing after the last '|'.", "Write a term on both sides."),
        ("a |  ", 2, 3, "There is nothing after the last '|'.", "Write a term on both sides."),
        ("a -", 2, 3, "There is nothing after this '-'.", "Write the term to leave out."),
        ('a -""', 2, 5, "There is nothing between these quotation marks.", "Write a word, or leave them out."),
        ("a - b", 2, 3, "There is nothing after this '-'.", "Write the term to leave out."),
        ("a not", 2, 5, "There is nothing after this 'not'.", "Write the term to leave out."),
        ("a or", 2, 4, "There is nothing after this 'or'.", "Write a term on both sides."),
        ("and a", 0, 3, "There is nothing before this 'and'.", "Write a term on both sides."),
        ("a and or b", 2, 5, "There is nothing after this 'and'.", "Write a term on both sides."),
        ("a (b", 2, 3, "This parenthesis is never closed.", "Close it: (pid:1 or pid:2)."),
        ("a (", 2, 3, "This parenthesis is never closed.", "Close it: (pid:1 or pid:2)."),
        ("a) b", 1, 2, "This parenthesis was never opened.", "Leave it out, or open it before."),
        (") b", 0, 1, "This parenthesis was never opened.", "Leave it out, or open it before."),
        ("a ()", 2, 4, "There is nothing between these parentheses.", "Write terms, or leave them out."),
        ("(" * 60, 50, 51, "More than 50 parentheses are open here.", "Write it with fewer."),
        ('a ""', 2, 4, "There is nothing between these quotation marks.", "Write a word, or leave them out."),
    ],
)
def test_what_cannot_be_understood_is_said_with_its_place(
    text: str, start: int, end: int, message: str, remedy: str
) -> None:
    with pytest.raises(FilterError) as caught:
        Filter(text)
    error = caught.value
    assert (error.message, error.remedy) == (message, remedy)
    assert (error.text, error.start, error.end) == (text, start, end)
    assert error.exit_code == 2


def test_the_place_is_marked() -> None:
    with pytest.raises(FilterError) as caught:
        Filter("comm:a pid:xyz port:1")
    assert caught.value.marked == "comm:a pid:xyz port:1\n           ^^^"


@pytest.mark.parametrize("text", ["a:b", "bad:1", "12:30", "::", "--x", "a-b", "[::1]", "1:y:z1 "])
def test_what_is_no_key_is_a_bare_word(text: str) -> None:
    assert set(Filter(text).not_applied(PROCESSES)) == set()


EXPRESSIONS = st.lists(
    st.sampled_from(
        ["pid", "port", "dns", "host", ":", "-", "|", '"', " ", "*", "[", "a", "1", "::", "\t", "\x1c", "é", "(", ")"]
    )
    | st.sampled_from(["!", ",", ">", "<", "=", " or ", " not ", " and ", "10s", "..", "failed", "open", "-5"])
    | st.sampled_from(sorted(FILTER_KEYS)),
    max_size=12,
).map("".join)


ROWS: dict[Kind[Any], Any] = {
    PROCESSES: process(),
    CONNECTIONS: connection(),
    DNS: answered(),
    LISTENERS: listener(),
    UDP: udp_socket(),
    HOSTS: remote_host(),
    REQUESTS: request(),
    LOOKUPS: lookup(),
}


def understood(text: str) -> Filter | FilterError:
    try:
        return Filter(text)
    except FilterError as error:
        return error


@given(EXPRESSIONS | st.text(max_size=20))
def test_any_text_is_understood_or_refused_with_a_place_inside_it(text: str) -> None:
    outcome = understood(text)
    if isinstance(outcome, FilterError):
        assert 0 <= outcome.start < outcome.end <= len(text)
        assert outcome.text == text
        assert outcome.message.endswith(".")
        assert outcome.remedy[-1] in ".?"
        return
    for kind in KINDS:
        test = outcome.test(kind, BASE)
        if test is not None:
            assert test(ROWS[kind]) in (True, False)


@given(st.text("abc.*?[]!-", min_size=1, max_size=8).filter(lambda word: word[0] not in "-!"))
def test_a_term_or_its_negation_passes(word: str) -> None:
    row = connection()
    assert passes(CONNECTIONS, word, row) is not passes(CONNECTIONS, f"-{word}", row)


@pytest.mark.parametrize("kind", [CONNECTIONS, PROCESSES])
@pytest.mark.parametrize(
    ("expression", "passed"),
    [
        ("drop:netfilter_drop", True),
        ("drop:TCP_*", True),
        ("drop:*", True),
        ("drop:netfilter", False),
        ("-drop:*", False),
    ],
)
def test_reasons_of_drops(kind: Any, expression: str, passed: bool) -> None:
    make = connection if kind is CONNECTIONS else process
    assert passes(kind, expression, make(drops={"NETFILTER_DROP": 2, "TCP_OFOMERGE": 1})) is passed
    assert passes(kind, expression, make(drops={})) is expression.startswith("-")
    assert passes(kind, expression, make(drops=None)) is expression.startswith("-")


def test_every_key_has_a_meaning_for_the_help() -> None:
    assert list(FILTER_KEYS) == [
        "pid", "comm", "user", "unit", "container", "pod", "image", "port", "host", "listen", "dir", "state", "age",
        "end", "close-wait", "wait", "answer", "rtt", "connect", "rtx", "rate", "bytes", "dns", "type", "side",
        "method", "path", "status", "grpc", "protocol", "error", "latency", "lookup", "tls", "sni", "since", "between",
        "drop", "scope", "netns",
    ]  # fmt: skip
    assert all(FILTER_KEYS.values())


def test_any_number_of_terms() -> None:
    test = Filter(" | ".join(f"pid:{pid} -pid:0" for pid in range(2_000))).test(DNS, BASE)
    assert test is not None
    assert test(dns_query(pid=1_999))
    assert not test(dns_query(pid=2_000))
    test = Filter(" ".join(f"-pid:{pid}" for pid in range(2_000))).test(DNS, BASE)
    assert test is not None
    assert test(dns_query(pid=2_000))
    assert not test(dns_query(pid=1_999))


LOCAL_10 = connection(
    local=Endpoint(address="10.0.0.5", port=443), remote=RemoteEndpoint(address="2001:db8::1", port=50_000)
)
NAMED = connection(remote=RemoteEndpoint(address="192.0.2.1", port=8443, name="api.example.com", name_source="process"))


@pytest.mark.parametrize(
    ("expression", "row", "passed"),
    [
        ("host:10.0.0.0/8", LOCAL_10, True),
        ("host:10.0.0.7/8", LOCAL_10, True),
        ("host:10.0.1.0/24", LOCAL_10, False),
        ("-host:10.0.0.0/8", LOCAL_10, False),
        ("10.0.0.0/8", LOCAL_10, True),
        ("10.0.1.0/24", LOCAL_10, False),
        ("host:2001:db8::/32", LOCAL_10, True),
        ("host:2001:0DB8:0::0001", LOCAL_10, True),
        ("2001:0db8::0001", LOCAL_10, True),
        ("host:2001:0db8::0002", LOCAL_10, False),
        ("host:[2001:db8::1]", LOCAL_10, True),
        ("host:[2001:db8::1]:50000", LOCAL_10, True),
        ("host:[2001:db8::1]:443", LOCAL_10, False),
        ("[2001:0db8::1]:50000", LOCAL_10, True),
        ("host:::ffff:10.0.0.5", LOCAL_10, True),
        ("host:10.0.0.5", LOCAL_10, True),
        ("host:10.0.0.50", LOCAL_10, False),
        ("host:10.0.0.5:443", LOCAL_10, True),
        ("10.0.0.5:443", LOCAL_10, True),
        ("-10.0.0.5:443", LOCAL_10, False),
        ("10.0.0.5:50000", LOCAL_10, False),  # the port of the other end
        ("host:10.0.0.*", LOCAL_10, True),
        ("host:10.0.0.0/8:443", LOCAL_10, True),
        ("host:api.example.com:8443", NAMED, True),
        ("api.example.com:8443", NAMED, True),
        ("host:*.example.com:8443", NAMED, True),
        ("host:api.example.com:443", NAMED, False),
        ("host:API.example.com.", NAMED, True),
        ("api.example.com.", NAMED, True),
        ("host:192.0.2.1:8443", NAMED, True),
    ],
)
def test_hosts(expression: str, row: Connection, passed: bool) -> None:
    assert passes(CONNECTIONS, expression, row) is passed


@pytest.mark.parametrize(
    ("expression", "passed"),
    [
        ("host:192.0.2.0/24", True),  # the server
        ("host:198.51.100.0/24", True),  # the answer
        ("host:203.0.113.0/24", False),
        ("host:192.0.2.53:53", True),
        ("192.0.2.53:53", True),
        ("host:192.0.2.53:5353", False),
        ("host:www.example.com.", True),
        ("www.example.com.", True),
    ],
)
def test_hosts_of_queries(expression: str, passed: bool) -> None:
    assert passes(DNS, expression, answered()) is passed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("host:10.0.0.0/33", "'10.0.0.0/33' is not a network; 10.0.0.0/8 and 2001:db8::/32 are."),
        ("10.0.0.0/33", "'10.0.0.0/33' is not a network; 10.0.0.0/8 and 2001:db8::/32 are."),
        ("host:10.0.0.1:65536", "A port is never larger than 65535."),
        ("10.0.0.1:65536", "A port is never larger than 65535."),
        (":65536", "A port is never larger than 65535."),
        ("host:10.77.0.300", "'10.77.0.300' is not an address: it has four numbers from 0 to 255."),
        ("host:10.77", "'10.77' is only the beginning of an address."),
        ("port:>65535", "There is no number from 65536 to 65535."),
        ("state:listen", "No connection listens: sockets that do are rows of their own."),
        ("state:TIME_WAIT", "A connection in TIME-WAIT has ended for its process."),
        ("pid:4194305", "A pid is never larger than 4194304."),
        (f"pid:{'9' * 5000}", "A pid is never larger than 4194304."),
        ("netns:4294967296", "A network namespace's inode is never larger than 4294967295."),
        ("comm:a-name-of-sixteen", "The kernel keeps 15 bytes of a process's name: 'a-name-of-sixte'."),
    ],
)
def test_what_can_never_match_is_refused(text: str, message: str) -> None:
    with pytest.raises(FilterError) as caught:
        Filter(text)
    assert caught.value.message == message


@pytest.mark.parametrize(
    "text",
    ["comm:a-name-of-sixt*", "comm:fifteen-letters", r"comm:\x1b\x1b\x1b\x1b", "host:0/25.2.0.192.in-addr.arpa"],
)
def test_what_may_match_is_taken(text: str) -> None:
    assert Filter(text).text == text


def test_a_term_that_does_not_apply_is_left_out_next_to_others_and_as_an_alternative() -> None:
    for expression in ("port:53 comm:curl", "port:53 | comm:curl", "-port:53 comm:curl", "-port:53 | comm:curl"):
        assert passes(PROCESSES, expression, process()), expression
        assert not passes(PROCESSES, expression, process(comm="wget")), expression


def test_a_filter_upon_a_filter_names_both() -> None:
    once = Filter("dns:failed").apply(replayed(a_recording()).snapshot())
    assert once.filter == "dns:failed"
    assert set(once.filter_not_applied) == {
        "processes",
        "connections",
        "hosts",
        "udp",
        "listeners",
        "requests",
        "lookups",
    }
    assert Filter("").apply(once) == once
    assert Filter("dns:failed").apply(once).filter == "dns:failed"
    twice = Filter("pid:1 port:5").apply(once)
    assert twice.filter == "dns:failed pid:1 port:5"
    without_ports = dict.fromkeys(("processes", "hosts", "lookups"), ("dns:failed", "port:5"))
    assert twice.filter_not_applied == {
        **without_ports,
        **dict.fromkeys(("connections", "udp", "listeners", "requests"), ("dns:failed",)),
    }
    assert Filter("pid:1 | pid:2").apply(once).filter == "dns:failed (pid:1 | pid:2)"


@pytest.mark.parametrize("recorded", ["dns:failed", "pid:4242", "comm:curl | comm:wget"])
def test_a_filtered_recording_stays_filtered(recorded: str) -> None:
    events = [replace(a_recording()[0], filter=recorded), *a_recording()[1:]]
    snapshot = Filter("").apply(replayed(events).snapshot())
    assert snapshot.filter == recorded
    assert snapshot.filter_not_applied == Filter(recorded).apply(replayed(a_recording()).snapshot()).filter_not_applied


# Times

LEAKING = connection(state="close-wait", state_since=at(10), states_ms={"established": 3.0})


@pytest.mark.parametrize(
    ("expression", "seconds", "passed"),
    [
        ("close-wait:>60s", 70, False),
        ("close-wait:>60s", 70.001, True),
        ("close-wait:<60s", 69.999, True),
        ("close-wait:<60s", 70, False),
        ("CLOSE-WAIT:>1M", 70.001, True),
        ("close-wait:>1.5m", 100, False),
        ("close-wait:>1.5m", 100.001, True),
        ("close-wait:>2h", 10 + 7200.001, True),
        ("close-wait:>500ms", 10.501, True),
        ("-close-wait:>60s", 70, True),
        ("-close-wait:>60s", 71, False),
        ("close-wait:>60s comm:curl", 71, True),
        ("close-wait:>60s comm:nginx | pid:1", 71, False),
    ],
)
def test_a_time_that_goes_on(expression: str, seconds: float, passed: bool) -> None:
    test = Filter(expression).test(CONNECTIONS, at(seconds))
    assert test is not None
    assert test(LEAKING) is passed


@pytest.mark.parametrize(
    ("row", "passed"),
    [
        (replace(LEAKING, state="closed", state_since=None, states_ms={"close-wait": 60_001.0}), True),
        (replace(LEAKING, state="last-ack", state_since=at(70), states_ms={"close-wait": 59_999.0}), False),
        (connection(), False),
        (replace(LEAKING, state_since=None), False),
    ],
)
def test_a_time_that_is_over_or_unknown(row: Connection, passed: bool) -> None:
    test = Filter("close-wait:>60s").test(CONNECTIONS, at(1000))
    assert test is not None
    assert test(row) is passed


def test_what_is_unknown_is_not_short_either() -> None:
    test = Filter("close-wait:<1s").test(CONNECTIONS, at(1000))
    assert test is not None
    assert not test(connection())


def test_processes_have_no_such_time() -> None:
    assert Filter("comm:curl close-wait:>60s").not_applied(PROCESSES) == ("close-wait:>60s",)


def test_a_snapshot_is_filtered_as_it_stands_when_it_was_made() -> None:
    events = a_recording()[:2]
    leaking = ConnectionChanged(time=at(10), connection=LEAKING)
    for seconds, kept in ((70, 0), (71, 1)):
        snapshot = replayed([*events, leaking, tick(seconds)]).snapshot()
        assert len(Filter("close-wait:>60s").apply(snapshot).connections) == kept


@pytest.mark.parametrize(
    ("value", "message", "remedy"),
    [
        (">s", "A time is written like >10s, <100ms or 1m-5m, not '>s'.", "Write for example close-wait:>60s."),
        ("=60s", "A time is written like >10s, <100ms or 1m-5m, not '=60s'.", "Write for example close-wait:>60s."),
        (">60sec", "A time is written like >10s, <100ms or 1m-5m, not '>60sec'.", "Write for example close-wait:>60s."),
        ("60s", "A time is hardly ever exactly 60s.", "Write >60s or <60s."),
        (">60", "The time '60' has no unit.", "Write ms, s, m, h or d behind it."),
        ("2m-1m", "'2m' is more than '1m'.", "Write for example close-wait:>60s."),
    ],
)
def test_what_does_not_compare_a_time(value: str, message: str, remedy: str) -> None:
    with pytest.raises(FilterError) as caught:
        Filter(f'close-wait:"{value}"')
    assert (caught.value.message, caught.value.remedy) == (message, remedy)


@pytest.mark.parametrize("value", [">-1s", ">60 s", ">1e3s", "> 60s", ">60s<90s", ">", "-", "1s-"])
def test_what_is_no_time(value: str) -> None:
    with pytest.raises(FilterError):
        Filter(f'close-wait:"{value}"')
