"""Every query, by real resolvers and by odd ones, read back row by row."""

import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nettop.model.events import DnsChanged
from nettop.model.rows import Answer, Endpoint
from tests.live import dns_server, programs
from tests.live.conftest import Figures
from tests.live.lab import (
    Namespace,
    Program,
    Watch,
    dns_of,
    dnsmasq,
    namespace,
    process_of,
)

REAL_IPV4, REAL_IPV6 = "127.0.0.1", "::1"
ODD_IPV4, ODD_IPV6 = "127.0.0.2", "fd00::2"
FORWARDER = "127.0.0.3"
NOBODY = "127.0.0.4"

TXT = 16
REVERSE = "10.2.0.192.in-addr.arpa"


@dataclass
class Lab:
    inside: Namespace
    watch: Watch
    real: Program
    odd: Program
    forwarder: Program
    slow: dict[str, Program]


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Lab]:
    with namespace(directory) as inside:
        inside.ip("addr", "add", f"{ODD_IPV6}/128", "dev", "lo")
        real = dnsmasq(
            inside,
            [REAL_IPV4, REAL_IPV6],
            "--local=/test/",
            "--host-record=www.shop.test,192.0.2.10,2001:db8::10,61",
            "--cname=alias.shop.test,www.shop.test",
            "--txt-record=text.test,one,two words",
            "--mx-host=mail.test,www.shop.test,10",
            "--srv-host=_http._tcp.test,www.shop.test,8080,1,2",
            "--local-ttl=61",
        )
        odd = inside.play(dns_server.serve, addresses=[ODD_IPV4, ODD_IPV6])
        assert odd.hear() == "serving"
        forwarder = dnsmasq(inside, [FORWARDER], f"--server={REAL_IPV4}", "--cache-size=0")
        with Watch(directory, "--netns", inside.name) as watch:
            slow = {
                "silent": inside.play(
                    programs.ask_in_vain, servers=[ODD_IPV4, ODD_IPV6, NOBODY], qname="silent-1.test"
                ),
                "late": inside.play(programs.ask_udp, server=ODD_IPV4, questions=[[1, "hold-5700-late.test", 1]]),
            }
            yield Lab(inside, watch, real, odd, forwarder, slow)
            snapshot = watch.stop()
            made = watch.expected_pids() | {program.pid for program in slow.values()}
            assert {row.pid for row in snapshot.dns} <= made


def dig(lab: Lab, *arguments: str) -> tuple[Program, str]:
    program = lab.inside.start("dig", "-u", "+tries=1", "+time=10", *arguments)
    return program, program.end()


def answer(name: str, kind: str, data: str, ttl: int = 61) -> Answer:
    return Answer(name=name, type=kind, ttl=ttl, data=data)


WWW_A = answer("www.shop.test", "A", "192.0.2.10")
WWW_AAAA = answer("www.shop.test", "AAAA", "2001:db8::10")
ALIAS = answer("alias.shop.test", "CNAME", "www.shop.test")


@pytest.mark.parametrize(
    ("question", "rcode", "answers"),
    [
        (("www.shop.test", "A"), "NOERROR", (WWW_A,)),
        (("www.shop.test", "AAAA"), "NOERROR", (WWW_AAAA,)),
        (("alias.shop.test", "A"), "NOERROR", (ALIAS, WWW_A)),
        (("text.test", "TXT"), "NOERROR", (answer("text.test", "TXT", '"one" "two words"'),)),
        (("mail.test", "MX"), "NOERROR", (answer("mail.test", "MX", "10 www.shop.test"),)),
        (("_http._tcp.test", "SRV"), "NOERROR", (answer("_http._tcp.test", "SRV", "1 2 8080 www.shop.test"),)),
        ((REVERSE, "PTR"), "NOERROR", (answer(REVERSE, "PTR", "www.shop.test"),)),
        (("www.shop.test", "CAA"), "NOERROR", ()),
        (("nothing.test", "A"), "NXDOMAIN", ()),
        (("elsewhere.example", "A"), "REFUSED", ()),
    ],
)
@pytest.mark.parametrize("way", [("udp", REAL_IPV4), ("udp", REAL_IPV6), ("tcp", REAL_IPV4), ("tcp", REAL_IPV6)])
def test_dig_asks_dnsmasq(
    lab: Lab, way: tuple[str, str], question: tuple[str, str], rcode: str, answers: tuple[Answer, ...]
) -> None:
    transport, server = way
    program, said = dig(lab, f"+{'no' if transport == 'udp' else ''}tcp", f"@{server}", *question)
    (row,) = dns_of(lab.watch.settled(program, dns=1, connections=transport == "tcp"), program)
    assert (row.comm, row.transport, row.qname, row.qtype) == ("dig", transport, *question)
    assert (row.status, row.rcode, row.answers) == ("answered", rcode, answers)
    assert row.server == Endpoint(address=server, port=53)
    assert row.client.address == server
    assert row.netns == lab.inside.inode
    assert (row.attempts, row.truncated, row.unparsed) == (1, False, None)
    assert row.txid == int(found(r"id: (\d+)", said))
    assert row.response_bytes == int(found(r"MSG SIZE  rcvd: (\d+)", said))


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, text
    return match[1]


@pytest.mark.parametrize("server", [ODD_IPV4, ODD_IPV6])
def test_an_unhappy_server(lab: Lab, server: str) -> None:
    program, _ = dig(lab, "+nofail", f"@{server}", "servfail-1.test")
    (row,) = dns_of(lab.watch.settled(program, dns=1), program)
    assert (row.status, row.rcode, row.answers) == ("answered", "SERVFAIL", ())
    assert process_of(lab.watch.store.snapshot(), program).dns.failed == 1


@pytest.mark.parametrize(("server", "queries"), [(ODD_IPV4, 1009), (ODD_IPV6, 503)])
def test_none_lost_and_none_doubled(lab: Lab, server: str, queries: int) -> None:
    questions = [[txid, f"n{txid}.test", 1] for txid in range(1, queries + 1)]
    program = lab.inside.play(programs.ask_udp, server=server, questions=questions, comm="counter")
    answers = program.hear()
    program.end()
    snapshot = lab.watch.settled(program, dns=queries)
    rows = dns_of(snapshot, program)
    assert [[row.txid, row.qname] for row in rows] == [question[:2] for question in questions]
    assert {(row.comm, row.status, row.rcode, row.attempts) for row in rows} == {("counter", "answered", "NOERROR", 1)}
    assert [row.response_bytes for row in rows] == [size for _, size in answers]
    totals = process_of(snapshot, program).dns
    assert (totals.queries, totals.answered, totals.failed, totals.timeouts) == (queries, queries, 0, 0)


@pytest.mark.parametrize("server", [ODD_IPV4, ODD_IPV6])
@pytest.mark.parametrize("connected", [True, False])
def test_latency_lies_between_the_servers_clock_and_the_clients(
    lab: Lab, figures: Figures, server: str, connected: bool
) -> None:
    questions = [[txid, f"hold-{txid % 7}-{txid}.test", TXT] for txid in range(1, 102)]
    program = lab.inside.play(programs.ask_udp, server=server, questions=questions, connected=connected)
    by_client_ms = [nanoseconds / 1e6 for nanoseconds, _ in program.hear()]
    program.end()
    rows = dns_of(lab.watch.settled(program, dns=101), program)
    differences = []
    for row, client_ms in zip(rows, by_client_ms, strict=True):
        server_ms = int(row.answers[0].data.strip('"')) / 1e6
        assert row.latency_ms is not None
        assert server_ms - 0.001 <= row.latency_ms <= client_ms + 0.001  # a rounding each
        differences.append(client_ms - row.latency_ms)
    # half of them, because a busy machine may wake the client late at any time
    assert statistics.median(differences) < 1.0
    figures.tell(
        f"DNS latency against the client's clock ({server}, {'connected' if connected else 'unconnected'}): "
        f"median {statistics.median(differences):.3f} ms less, largest {max(differences):.3f} ms"
    )


def test_latency_by_digs_clock(lab: Lab, figures: Figures) -> None:
    differences = []
    for number in range(11):
        program, said = dig(lab, f"@{ODD_IPV4}", f"hold-5-dig{number}.test")
        (row,) = dns_of(lab.watch.settled(program, dns=1), program)
        assert row.latency_ms is not None
        assert row.latency_ms >= 5.0
        differences.append(abs(int(found(r"Query time: (\d+) usec", said)) / 1000 - row.latency_ms))
    assert statistics.median(differences) < 1.0
    figures.tell(f"DNS latency against dig -u: median difference {statistics.median(differences):.3f} ms")


def test_the_same_id_on_many_sockets_at_once(lab: Lab) -> None:
    qnames = [f"hold-50-same{number}.test" for number in range(13)]
    program = lab.inside.play(programs.ask_same_id, server=ODD_IPV4, txid=7, qnames=qnames)
    program.end()
    rows = dns_of(lab.watch.settled(program, dns=13), program)
    assert [(row.qname, row.txid, row.status, row.attempts) for row in rows] == [
        (qname, 7, "answered", 1) for qname in qnames
    ]
    assert [row.answers[0].name for row in rows] == qnames
    assert len({row.client.port for row in rows}) == 13


def test_a_wrong_id_is_no_answer(lab: Lab) -> None:
    program = lab.inside.play(programs.ask_udp, server=ODD_IPV4, questions=[[11, "ids-1.test", 1]])
    program.end()
    (row,) = dns_of(lab.watch.settled(program, dns=1), program)
    assert (row.txid, row.status, row.rcode) == (11, "answered", "NOERROR")


@pytest.mark.parametrize("server", [ODD_IPV4, ODD_IPV6])
def test_a_client_that_asks_again(lab: Lab, server: str) -> None:
    qname = f"drop-{len(server)}.test"
    program = lab.inside.play(programs.ask_again, server=server, txid=3, qname=qname, waits_s=[0.2])
    client_ms = program.hear() / 1e6
    program.end()
    (row,) = dns_of(lab.watch.settled(program, dns=1), program)
    assert (row.qname, row.status, row.rcode, row.attempts) == (qname, "answered", "NOERROR", 2)
    assert row.latency_ms is not None
    assert 200 <= row.latency_ms <= client_ms  # since it first asked


def test_getaddrinfo_asks_again(lab: Lab) -> None:
    program = lab.inside.play(programs.resolve, nameserver=ODD_IPV4, host="drop-glibc.test", port=80)
    assert sorted(program.hear()["addresses"]) == ["192.0.2.1", "2001:db8::1"]
    program.end()
    rows = dns_of(lab.watch.settled(program, dns=2), program)
    assert sorted((row.qtype, row.status, row.attempts) for row in rows) == [
        ("A", "answered", 2),
        ("AAAA", "answered", 2),
    ]
    assert all(row.latency_ms is not None and row.latency_ms >= 1000 for row in rows)  # timeout:1 in resolv.conf


def test_getaddrinfo(lab: Lab) -> None:
    program = lab.inside.play(programs.resolve, nameserver=REAL_IPV4, host="alias.shop.test", port=80)
    assert sorted(program.hear()["addresses"]) == ["192.0.2.10", "2001:db8::10"]
    program.end()
    rows = dns_of(lab.watch.settled(program, dns=2), program)
    assert sorted((row.qname, row.qtype, row.answers) for row in rows) == [
        ("alias.shop.test", "A", (ALIAS, WWW_A)),
        ("alias.shop.test", "AAAA", (ALIAS, WWW_AAAA)),
    ]


def test_a_question_and_its_copy_at_the_forwarder(lab: Lab) -> None:
    program, _ = dig(lab, f"@{FORWARDER}", "www.shop.test", "A")
    lab.watch.settled(program, dns=1)
    snapshot = lab.watch.settled(lab.forwarder, dns=1)
    (client,) = dns_of(snapshot, program)
    (forwarded,) = dns_of(snapshot, lab.forwarder)
    assert (client.comm, client.server.address, client.qname) == ("dig", FORWARDER, "www.shop.test")
    assert (forwarded.comm, forwarded.server.address, forwarded.qname) == ("dnsmasq", REAL_IPV4, "www.shop.test")
    assert client.answers == forwarded.answers == (WWW_A,)
    assert client.asked_at < forwarded.asked_at
    assert client.latency_ms is not None
    assert forwarded.latency_ms is not None
    assert client.latency_ms > forwarded.latency_ms


@pytest.mark.parametrize("pieces", [[1], [2], [1, 2, 3], [13]])
def test_tcp_in_pieces(lab: Lab, pieces: list[int]) -> None:
    qname = f"split-{'-'.join(map(str, pieces))}.test"
    program = lab.inside.play(programs.ask_tcp, server=ODD_IPV4, qnames=[qname], pieces=pieces)
    (size,) = program.hear()
    program.end()
    (row,) = dns_of(lab.watch.settled(program, dns=1, connections=1), program)
    assert (row.qname, row.transport, row.status, row.response_bytes) == (qname, "tcp", "answered", size)


@pytest.mark.parametrize("server", [ODD_IPV4, ODD_IPV6])
def test_tcp_with_many_questions_at_once(lab: Lab, server: str) -> None:
    qnames = [f"pipe-17-{number}.test" for number in range(17)]
    program = lab.inside.play(programs.ask_tcp, server=server, qnames=qnames, pieces=[])
    sizes = program.hear()
    program.end()
    rows = dns_of(lab.watch.settled(program, dns=17, connections=1), program)
    assert [row.qname for row in rows] == qnames
    assert [row.answers[0].name for row in rows] == qnames
    assert [row.response_bytes for row in rows] == sizes[::-1]  # answered in reverse
    assert len({row.client.port for row in rows}) == 1


@pytest.mark.parametrize("size", [512, 513, 1231, 4095, 4096])
@pytest.mark.parametrize("server", [ODD_IPV4, ODD_IPV6])
def test_big_answers(lab: Lab, server: str, size: int) -> None:
    program = lab.inside.play(programs.ask_udp, server=server, questions=[[1, f"size-{size}-1.test", TXT]])
    assert program.hear()[0][1] == size
    program.end()
    (row,) = dns_of(lab.watch.settled(program, dns=1), program)
    assert (row.response_bytes, row.unparsed, row.truncated) == (size, None, False)
    qname_bytes, record_bytes = len(f"size-{size}-1.test") + 2, 13  # compressed owner, fixed fields, length of the text
    payload = size - 12 - qname_bytes - 4 - record_bytes * len(row.answers)
    assert sum(len(each.data) - 2 for each in row.answers) == payload


def test_a_thread_is_its_process(lab: Lab) -> None:
    program = lab.inside.play(
        programs.ask_in_thread, server=ODD_IPV4, qname="thread.test", comm="leader", thread_comm="worker-7"
    )
    program.end()
    snapshot = lab.watch.settled(program, dns=1)
    (row,) = dns_of(snapshot, program)
    assert row.comm == "leader"
    assert process_of(snapshot, program).comm == "leader"


def test_a_process_that_renames_itself(lab: Lab) -> None:
    program = lab.inside.play(
        programs.ask_and_rename, server=ODD_IPV4, qnames=["before.test", "after.test"], comms=["caterpillar", "moth"]
    )
    program.end()
    snapshot = lab.watch.settled(program, dns=2)
    assert [(row.qname, row.comm) for row in dns_of(snapshot, program)] == [
        ("before.test", "caterpillar"),
        ("after.test", "moth"),
    ]
    assert process_of(snapshot, program).comm == "moth"


def test_servers_that_never_answer(lab: Lab) -> None:
    program = lab.slow["silent"]
    rows = dns_of(lab.watch.settled(program, dns=3), program)
    program.say("stop")
    program.hear()
    program.end()
    # the last has nobody on the port: what comes back says so to the socket, and is no answer
    assert [(row.server.address, row.status, row.rcode, row.latency_ms) for row in rows] == [
        (server, "timeout", None, None) for server in (ODD_IPV4, ODD_IPV6, NOBODY)
    ]
    assert process_of(lab.watch.store.snapshot(), program).dns.timeouts == 3


def test_an_answer_after_the_timeout(lab: Lab) -> None:
    program = lab.slow["late"]
    client_ms = program.hear()[0][0] / 1e6
    program.end()
    snapshot = lab.watch.until(
        lambda snapshot: [row.status for row in dns_of(snapshot, program)] == ["answered"], "the late answer"
    )
    lab.watch.settled(program, dns=1)
    (row,) = dns_of(snapshot, program)
    told = [event.dns.status for event in lab.watch.events if isinstance(event, DnsChanged) and event.dns.id == row.id]
    assert told == ["pending", "timeout", "answered"]
    assert row.latency_ms is not None
    assert 5700 <= row.latency_ms <= client_ms
    totals = process_of(snapshot, program).dns
    assert (totals.queries, totals.answered, totals.timeouts) == (1, 1, 0)


def test_a_child_asks_on_the_connection_of_its_parent(directory: Path) -> None:
    """The parent made it, so it owns the bytes; who asked is another question."""
    with namespace(directory) as inside:
        server = inside.play(dns_server.serve, addresses=["127.0.0.1"])
        assert server.hear() == "serving"
        with Watch(directory, "--netns", inside.name) as watch:
            parent = inside.play(programs.ask_tcp_from_child, server="127.0.0.1", qname="by-child.test")
            child = parent.hear()
            parent.end()
            watch.until(lambda snapshot: bool(dns_of(snapshot, child)), "the query")
            snapshot = watch.stop()
    (row,) = snapshot.dns
    assert (row.pid, row.transport, row.status) == (child, "tcp", "answered")
