"""DNS: every way of asking."""

import re
import sys
from collections.abc import Iterator
from functools import partial

from msgspec.structs import replace

from tests.live import programs
from tests.live.lab import FAR_IPV4, FAR_IPV6, Program, dnsmasq, docker_rules, listens, wait_until
from tests.live.truth import talk
from tests.live.truth.place import PYTHON, Place
from tests.live.truth.rows import Connection, Query, Request
from tests.live.truth.scenario import scenario

SERVER, SERVER_IPV6, FORWARDER = "127.0.0.2", "::1", "127.0.0.3"
DOCKER_RESOLVER, DOCKER_PORT = "127.0.0.11", 40053
BOTH = (("A", "192.0.2.1"), ("AAAA", "2001:db8::1"))


def resolved(program: Program, comm: str, qname: str, server: str = SERVER) -> list[Query]:
    """What getaddrinfo asks."""
    return [
        Query(pid=program.pid, comm=comm, qname=qname, qtype=qtype, server=server, answers=(data,))
        for qtype, data in BOTH
    ]


@scenario("DNS", "glibc")
def glibc(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    for number in range(3):
        qname = f"glibc{number}.test"
        program = place.known(place.near.play(programs.resolve, nameserver=SERVER, host=qname, port=80))
        program.end()
        place.add(*resolved(program, PYTHON, qname))


@scenario("DNS", "a port that NAT rewrites (Docker's resolver)")
def rewritten_port(place: Place) -> Iterator[None]:
    place.near.nft(docker_rules(DOCKER_RESOLVER, DOCKER_PORT))
    place.dns_server(DOCKER_RESOLVER, port=DOCKER_PORT)
    yield
    program = place.known(place.near.play(programs.resolve, nameserver=DOCKER_RESOLVER, host="docker.test", port=80))
    program.end()
    place.add(*resolved(program, PYTHON, "docker.test", DOCKER_RESOLVER))
    for connected in (True, False):
        questions = [[f"docker{int(connected)}-{number}.test", 1] for number in range(7)]
        place.run(talk.ask, server=DOCKER_RESOLVER, questions=questions, connected=connected)


@scenario("DNS", "a resolver library that is not glibc (c-ares)")
def cares(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    qnames = [f"hold-{number % 3}-cares{number}.test" for number in range(7)]
    place.run(talk.ask_by_cares, server=SERVER, qnames=qnames, comm="cares")


def dig(place: Place, server: str, qname: str, qtype: str = "A", *options: str) -> tuple[Program, str]:
    program = place.start(
        "chrt", "-r", "1", "dig", "-u", "+tries=1", "+time=10", "+noidnin", *options, f"@{server}", qname, qtype
    )
    return program, program.end()


def dug(place: Place, server: str, qname: str, qtype: str, *options: str) -> Query:
    """A query by dig, with the time and the records that dig tells."""
    program, said = dig(place, server, qname, qtype, *options)
    took = re.search(r"Query time: (\d+) usec", said)
    assert took is not None, said
    # dig prints its sections in the presentation format of RFC 1035 section 5; names with the final dot
    section = re.search(r";; ANSWER SECTION:\n(.*?)\n\n", said, re.DOTALL)
    records = [record.split(None, 4)[4] for record in section[1].splitlines()] if section else []
    if qtype != "TXT":
        records = [re.sub(r"(?<=\w)\.(?= |$)", "", record) for record in records]
    if qtype in ("HTTPS", "SVCB"):  # quotes are optional: RFC 9460 section 2.1
        records = [record.replace('"', "") for record in records]
    rcode = re.search(r"status: (\w+)", said)
    assert rcode is not None, said
    return Query(
        pid=program.pid, comm="dig", qname=qname, qtype=qtype, server=server, rcode=rcode[1],
        answers=tuple(records), asked_ns=0, answered_ns=int(took[1]) * 1000,
    )  # fmt: skip


@scenario("DNS", "dig")
def by_dig(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    for number in range(5):
        place.add(dug(place, SERVER, f"hold-{number}-dig.test", "A"))


@scenario("DNS", "REFUSED")
def refused(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    place.add(dug(place, SERVER, "refused-1.test", "A"))


@scenario("DNS", "threads that each resolve")
def threads(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    place.run(talk.ask_in_threads, server=SERVER, threads=8, questions=13, comm="many-threads")


@scenario("DNS", "IPv6")
def ipv6(place: Place) -> Iterator[None]:
    place.dns_server(SERVER_IPV6)
    yield
    questions = [[f"hold-{number % 3}-six{number}.test", 28] for number in range(31)]
    place.run(talk.ask, server=SERVER_IPV6, questions=questions)


@scenario("DNS", "curl")
def curl(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    for _, address in BOTH:
        place.near.ip("addr", "add", address, "dev", "lo")
    page = place.directory / "page"
    page.write_bytes(b"x" * 70_001)
    web = place.start(sys.executable, "-m", "http.server", "8080", "--bind", "::", "-d", str(place.directory))
    wait_until(lambda: listens(web, 8080), "the web server")
    yield
    told = "%{size_request} %{size_header} %{size_download} %{local_ip} %{local_port} %{remote_ip} %{remote_port}"
    program = place.start("curl", "-s", "-o", "/dev/null", "-w", told, "http://www.test:8080/page", nameserver=SERVER)
    request, header, body, local, local_port, remote, remote_port = program.end().split()
    assert body == "70001"
    end = Connection(
        pid=program.pid, comm="curl", direction="outbound", local=(local, int(local_port)),
        remote=(remote, int(remote_port)), tx_bytes=int(request), rx_bytes=int(header) + int(body), end="normal",
    )  # fmt: skip
    other = Connection(
        pid=web.pid, comm=PYTHON, direction="inbound", local=end.remote, remote=(local, int(local_port)),
        tx_bytes=end.rx_bytes, rx_bytes=end.tx_bytes, end="normal",
    )  # fmt: skip
    place.add(*resolved(program, "curl", "www.test"), end, other)
    page_asked = partial(Request, protocol="http/1.1", method="GET", path="/page", status=200, host="www.test")
    place.add(page_asked(pid=program.pid, side="client"), page_asked(pid=web.pid, side="server"))


@scenario("DNS", "forwarding through dnsmasq")
def forwarding(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    forwarder = place.known(dnsmasq(place.near, [FORWARDER], f"--server={SERVER}", "--cache-size=0"))
    yield
    for number in range(5):
        asked = dug(place, FORWARDER, f"hold-{number}-forward.test", "A")
        forwarded = Query(
            pid=forwarder.pid, comm="dnsmasq", qname=asked.qname, qtype="A", server=SERVER, answers=asked.answers
        )
        place.add(asked, forwarded)


@scenario("DNS", "a socket shared by forked children")
def shared_socket(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    place.run(talk.ask_from_children, server=SERVER, qname="shared.test", children=5, comm="family")


@scenario("DNS", "UDP answers beyond the MTU", far=True)
def beyond_the_mtu(place: Place) -> Iterator[None]:
    place.dns_server(FAR_IPV4, FAR_IPV6, far=True)
    yield
    for server in (FAR_IPV4, FAR_IPV6):
        questions = [[f"size-{size}-mtu.test", 16] for size in (1400, 1473, 2999, 4000, 4096)]
        place.run(talk.ask, server=server, questions=questions, edns_bytes=4096)


@scenario("DNS", "truncation then TCP")
def truncation(place: Place) -> Iterator[None]:
    server = place.dns_server(SERVER)
    yield
    by_tcp = dug(place, SERVER, "cut-1.test", "A", "-b", "127.0.0.1#40001")
    place.add(
        replace(by_tcp, asked_ns=None, answered_ns=None, answers=()),
        replace(by_tcp, transport="tcp"),
        Connection(
            pid=by_tcp.pid, comm="dig", direction="outbound", local=("127.0.0.1", 40001), remote=(SERVER, 53),
            end="normal",
        ),
    )  # fmt: skip
    assert server.exit_code is None


@scenario("DNS", "several messages in one segment")
def several_messages(place: Place) -> Iterator[None]:
    place.dns_server(SERVER, SERVER_IPV6)
    yield
    for server in (SERVER, SERVER_IPV6):
        qnames = [f"pipe-17-{number}.test" for number in range(17)]
        place.run(talk.ask_stream, server=server, qnames=qnames, pieces=[])


@scenario("DNS", "a length prefix split from its message")
def split_length(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    for pieces in ([1], [2], [1, 2, 3], [13]):
        qname = f"split-{'-'.join(map(str, pieces))}.test"
        place.run(talk.ask_stream, server=SERVER, qnames=[qname], pieces=pieces)


@scenario("DNS", "EDNS")
def edns(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    for size in (512, 1232, 65535):
        place.run(talk.ask, server=SERVER, questions=[[f"edns{size}.test", 1]], edns_bytes=size)
    place.add(dug(place, SERVER, "edns-dig.test", "A", "+bufsize=1232", "+dnssec", "+nsid"))


RECORDS = [
    # name, type, wire form of the record (RFC 9460 sections 2.2 and 7, RFC 1035 section 3.3, RFC 2782)
    ("https.test", 65, "0001000001000302683200040004c00002010006001020010db8000000000000000000000001"),
    ("svcb.test", 64, "0002037376630474657374000003000201bb"),
    ("text.test", 16, "036f6e650974776f20776f726473"),
    ("zone.test", 6, "026e730474657374000561646d696e0474657374000000000100000e100000038400093a800000003c"),
    ("1.2.0.192.in-addr.arpa", 12, "03777777047465737400"),
    ("_http._tcp.test", 33, "000100021f9003777777047465737400"),
]


@scenario("DNS", "HTTPS/SVCB/TXT/SOA/PTR/SRV records")
def record_types(place: Place) -> Iterator[None]:
    options = [f"--dns-rr={name},{number},{wire}" for name, number, wire in RECORDS]
    place.known(dnsmasq(place.near, [SERVER], "--local=/test/", "--local=/arpa/", *options))
    yield
    for name, number, _ in RECORDS:
        query = dug(place, SERVER, name, talk.QTYPES[number])
        assert query.answers, query
        place.add(query)


@scenario("DNS", "IDNA")
def idna(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    program = place.known(place.near.play(programs.resolve, nameserver=SERVER, host="b\u00fccher.test", port=80))
    program.end()
    place.add(*resolved(program, PYTHON, "xn--bcher-kva.test"))


@scenario("DNS", "a name of 255 bytes")
def longest_name(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    qname = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    assert len(programs.query(1, qname)) == 12 + 255 + 4
    place.run(talk.ask, server=SERVER, questions=[[qname, 1], [qname, 28]])


@scenario("DNS", "across veth with the neighbour unresolved at first", far=True)
def unresolved_neighbour(place: Place) -> Iterator[None]:
    place.dns_server(FAR_IPV4, FAR_IPV6, far=True)
    yield
    for side in (place.near, place.far):
        side.ip("neigh", "flush", "dev", "veth0")
    for server in (FAR_IPV4, FAR_IPV6):
        place.run(talk.ask, server=server, questions=[[f"hold-{number}-veth.test", 1] for number in range(7)])


@scenario("DNS", "retries")
def retries(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    place.run(talk.ask, server=SERVER, questions=[["drop-1.test", 1], ["drop-2.test", 28]], patience_s=0.5, tries=2)


@scenario("DNS", "late answers")
def late(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    place.run(talk.ask, server=SERVER, questions=[["hold-5700-late.test", 1]])


@scenario("DNS", "answers never asked for")
def never_asked(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    times, size = 7, len(programs.query(1, "unasked.test"))
    receiver = place.play(talk.receive_datagrams, address="127.0.0.1", port=4444, size=times * size)
    assert receiver.hear() == "bound"
    stranger = place.play(talk.answer_unasked, address="127.0.0.1", port=4444, times=times)
    assert stranger.hear() == "bound"
    stranger.say("now")
    stranger.end()
    receiver.end()
    place.run(talk.ask, server=SERVER, questions=[["ids-1.test", 1]])


@scenario("DNS", "no answer")
def no_answer(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    place.run(talk.ask, server=SERVER, questions=[["silent-1.test", 1]], patience_s=0.2)
    place.run(talk.ask, server="127.0.0.9", questions=[["nobody.test", 1]], patience_s=0.2, connected=False)


@scenario("DNS", "two servers asked at once on one socket")
def two_servers(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    for number in range(3):
        place.run(
            talk.ask_all, servers=["127.0.0.9", SERVER], qname=f"hold-{number}-all.test", answering=SERVER, comm="both"
        )


@scenario("DNS", "an answer of somebody else before the true one")
def foreign_answer(place: Place) -> Iterator[None]:
    server = place.play(programs.answer_for_another, asked=SERVER, other=FORWARDER, address="192.0.2.66")
    assert server.hear() == "serving"
    yield
    for number in range(3):
        place.run(
            talk.ask_and_distrust, server=SERVER, qname=f"forged{number}.test", answer="192.0.2.1", comm="careful"
        )


@scenario("DNS", "many answers over TCP written at once")
def pipelined(place: Place) -> Iterator[None]:
    server = place.play(programs.serve_pipeline, address=SERVER, questions=400, answer_bytes=163)
    assert server.hear() == "serving"
    place.answers_over_tcp(SERVER, server)
    yield
    place.run(talk.ask_stream, server=SERVER, qnames=[f"line{number}.test" for number in range(400)], pieces=[])


@scenario("DNS", "a server that is not running")
def nobody_serves(place: Place) -> Iterator[None]:
    yield
    for address in ("127.0.0.9", "::1"):
        place.run(talk.ask, server=address, questions=[["nobody.test", 1], ["nobody.test", 28]])


@scenario("DNS", "answers for which the socket has no room")
def no_room(place: Place) -> Iterator[None]:
    server = place.play(programs.answer_when_told, address=SERVER, questions=30)
    assert server.hear() == "serving"
    yield
    asker = place.play(
        talk.ask_without_room, server=SERVER, qnames=[f"room{number}.test" for number in range(30)], comm="deaf"
    )
    assert asker.hear() == "asked"
    assert server.hear() == "answered"
    asker.say("answered")
    asker.end()


@scenario("DNS", "a server on the same host")
def same_host(place: Place) -> Iterator[None]:
    place.known(dnsmasq(place.near, [SERVER, SERVER_IPV6], "--host-record=www.test,192.0.2.10,2001:db8::10"))
    yield
    for server in (SERVER, SERVER_IPV6):
        place.run(talk.ask, server=server, questions=[["www.test", 1], ["www.test", 28]] * 11)
