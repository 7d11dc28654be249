"""Requests inside TLS (--decrypt) by real programs: what was asked, by whom, what came of it, on which connection."""

import os
import shutil
import signal
import ssl
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from nettop.model.rows import Endpoint
from nettop.model.snapshot import Snapshot
from nettop.sources.live import DECRYPT_COVERAGE_S
from tests.kernels import kernel_version
from tests.live import http2_programs, https_programs, programs
from tests.live.decrypt_lab import ADDRESS, PORT, Lab, decrypt_lab, joins, of, serve
from tests.live.lab import NETTOP, PATIENCE_S, Program, Watch, listens, namespace, nettop, wait_until
from tests.live.test_privileges import within_reach

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: uprobes")]

_ports = count(8500)


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Lab]:
    with decrypt_lab(directory) as made:
        yield made


def test_curl_and_nginx(lab: Lab) -> None:
    """Rows of both ends, as each of them saw it."""
    program = lab.inside.start("curl", "-sk", "--http1.1", f"{lab.url}/cart?token=1", f"{lab.url}/missing")
    program.end()
    snapshot, rows = lab.answered(program, 2)
    assert [(row.comm, row.side, row.method, row.host, row.path, row.status, row.protocol) for row in rows] == [
        ("curl", "client", "GET", ADDRESS, "/cart", 200, "http/1.1"),
        ("curl", "client", "GET", ADDRESS, "/missing", 404, "http/1.1"),
    ]
    assert all(row.decrypted and row.error is None and row.latency_ms is not None for row in rows)
    (connection,) = [row for row in snapshot.connections if row.id == rows[0].connection_id]
    assert (connection.pid, connection.remote.port) == (program.pid, PORT)
    assert connection.requests is not None
    assert (connection.requests.count, connection.requests.failed_4xx) == (2, 1)
    assert {row.connection_id for row in rows} == {connection.id}
    served = [
        row
        for row in snapshot.requests
        if row.side == "server" and row.remote and row.remote.port == rows[0].local_port
    ]
    assert [(row.comm, row.path, row.status) for row in served] == [("nginx", "/cart", 200), ("nginx", "/missing", 404)]


def test_gnutls(lab: Lab) -> None:
    """wget asks nginx, and curl asks GnuTLS's own server: which sends what it has to say at once, or not."""
    program = lab.inside.start(
        "wget", "-q", "--no-check-certificate", "-O", "-", f"{lab.url}/cart", f"{lab.url}/basket"
    )
    program.end()
    snapshot, rows = lab.answered(program, 2)
    assert [(row.comm, row.side, row.path, row.status, row.decrypted) for row in rows] == [
        ("wget", "client", "/cart", 200, True),
        ("wget", "client", "/basket", 200, True),
    ]
    connections = {row.id: row for row in snapshot.connections}
    assert [connections[row.connection_id or 0].local for row in rows] == [
        Endpoint(address=ADDRESS, port=rows[0].local_port or 0)
    ] * 2
    port = next(_ports)
    options = ("--x509certfile", str(lab.certificate), "--x509keyfile", str(lab.certificate), "--port", str(port))
    server = lab.inside.start("gnutls-serv", "--http", "--quiet", *options)
    wait_until(lambda: listens(server, port), "the server to listen")
    program = lab.inside.start("curl", "-sk", f"https://{ADDRESS}:{port}/shelf")
    program.end()
    snapshot = lab.watch.until(lambda each: len(of(each, program)) == len(of(each, server)) == 1, "both ends")
    (served,) = of(snapshot, server)
    assert (served.comm, served.side, served.method, served.path, served.status) == (
        "gnutls-serv", "server", "GET", "/shelf", 200,
    )  # fmt: skip
    server.stop(signal.SIGTERM)


@pytest.mark.parametrize("version", ["TLS 1.2", "TLS 1.3"])
def test_many_connections_of_one_thread(lab: Lab, version: str) -> None:
    """Their calls interleave: none may be taken for another's."""
    connections, requests = 40, 9
    program = lab.inside.play(
        https_programs.one_thread,
        address=ADDRESS,
        port=PORT,
        connections=connections,
        requests=requests,
        version=version,
    )
    check_each(lab, program, connections * requests)


def test_connections_one_after_the_other(lab: Lab) -> None:
    """Each has the address in memory of the one before, and often the file descriptor."""
    program = lab.inside.play(
        https_programs.one_after_the_other, address=ADDRESS, port=PORT, connections=60, requests=3
    )
    check_each(lab, program, 180)


def test_many_threads(lab: Lab) -> None:
    program = lab.inside.play(https_programs.threads, address=ADDRESS, port=PORT, connections=16, requests=20)
    check_each(lab, program, 320)


def check_each(lab: Lab, program: Program, number: int) -> None:
    """Every request of the client, and every one that nginx logged, has its row, on the right connection."""
    assert program.hear() == "done"
    program.end()
    snapshot, rows = lab.answered(program, number)
    assert joins(snapshot, rows) == {"right": number}
    assert all((row.status, row.error, row.decrypted) == (200, None, True) for row in rows)
    assert len({(row.connection_id, row.path) for row in rows}) == number
    paths = {row.path for row in rows}
    logged = [line.split() for line in (lab.folder / "access.log").read_text().splitlines()]
    workers = {int(pid) for pid, *_ in logged}
    served = [row for row in snapshot.requests if row.pid in workers and row.path in paths]
    assert joins(snapshot, served) == {"right": number}
    assert Counter((str(row.pid), row.method, row.path, str(row.status)) for row in served) == Counter(
        (pid, method, path, status) for pid, _, method, path, status in logged if path in paths
    )


def test_what_is_encrypted_into_memory_has_no_connection_rather_than_a_wrong_one(lab: Lab) -> None:
    program = lab.inside.play(https_programs.through_memory, address=ADDRESS, port=PORT, connections=12, requests=10)
    assert program.hear() == "done"
    program.end()
    snapshot, rows = lab.answered(program, 120)
    assert joins(snapshot, rows) == {"unknown": 120}
    assert {(row.status, row.error, row.remote, row.local_port) for row in rows} == {(200, None, None, None)}
    paths = {row.path for row in rows}
    served = [row for row in snapshot.requests if row.side == "server" and row.path in paths]
    assert joins(snapshot, served) == {"right": 120}


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_node_which_has_the_library_in_itself(lab: Lab) -> None:
    script = str(Path(__file__).with_name("https_client.js"))
    program = lab.inside.start("node", script, ADDRESS, str(PORT), "8", "10")
    assert program.hear() == "done"
    program.end()
    _, rows = lab.answered(program, 80)
    assert Counter((row.path, row.status, row.side, row.host) for row in rows) == {
        (f"/node/{number}", 200, "client", f"{ADDRESS}"): 8 for number in range(10)
    }


def test_which_answer_is_whose_is_not_guessed(lab: Lab) -> None:
    program = lab.inside.play(https_programs.pipelined, address=ADDRESS, port=PORT)
    assert program.hear() == "done"
    program.end()
    snapshot = lab.watch.until(lambda each: len(of(each, program)) >= 2, "its requests")
    snapshot = lab.watch.up_to_now()
    first, *_, last = sorted(of(snapshot, program), key=lambda row: row.path or "")
    assert (first.path or "").endswith("/0")
    assert (first.status, first.error) == (None, "unknown")
    assert (last.status, last.error) in ((200, None), (None, "unknown"))


def test_a_request_that_waits_and_one_whose_server_hangs_up(lab: Lab) -> None:
    port = next(_ports)
    server = lab.inside.play(https_programs.silent_server, address=ADDRESS, port=port, certificate=str(lab.certificate))
    assert server.hear() == "listening"
    program = lab.inside.start("curl", "-sk", "--http1.1", f"https://{ADDRESS}:{port}/waits")
    assert server.hear() == "asked"
    snapshot = lab.watch.until(lambda each: bool(of(each, program)) and bool(of(each, server)), "a request that waits")
    for end in (program, server):
        (row,) = of(snapshot, end)
        assert (row.path, row.status, row.error) == ("/waits", None, None)
    server.say("hang up")
    server.end()
    snapshot = lab.watch.until(
        lambda each: all(row.error for end in (program, server) for row in of(each, end)), "what came of it"
    )
    for end in (program, server):
        (row,) = of(snapshot, end)
        assert (row.status, row.error) in ((None, "closed"), (None, "reset"))


def test_no_secret_is_kept(lab: Lab) -> None:
    program = lab.inside.play(https_programs.one_thread, address=ADDRESS, port=PORT, connections=1, requests=4)
    assert program.hear() == "done"
    program.end()
    lab.answered(program, 4)
    recorded = lab.watch.recording.read_bytes()
    assert b"/3" in recorded
    assert b"must-not-keep" not in recorded


def test_a_sandboxed_program_lives_on(lab: Lab) -> None:
    program = lab.inside.play(https_programs.sandboxed, address=ADDRESS, port=PORT, requests=50)
    assert program.hear() == [200] * 50
    program.end()
    _, rows = lab.answered(program, 50)
    assert {row.status for row in rows} == {200}


NOT_FOUND, OK = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HINTS, CONTINUE = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize(
    ("first", "at_once", "known"),
    [
        ([NOT_FOUND], 1 << 14, ("server", "client")),
        ([CONTINUE, NOT_FOUND], 1 << 14, ("server", "client")),
        ([HINTS + NOT_FOUND], 1 << 14, ()),
        ([CONTINUE + NOT_FOUND], 1 << 14, ()),
        ([NOT_FOUND[:12], NOT_FOUND[12:]], 1 << 14, ()),
        ([NOT_FOUND], 10, ("server",)),
        ([NOT_FOUND[:1], NOT_FOUND[1:]], 1 << 14, ()),
    ],
    ids=["whole", "continued", "hints", "continued-at-once", "short", "read-in-pieces", "one-byte"],
)
def test_an_answer_whose_beginning_is_not_seen_is_no_other_requests(
    lab: Lab, first: list[str], at_once: int, known: tuple[str, ...]
) -> None:
    """Unknown is better than wrong, and no row is missing."""
    port = next(_ports)
    body = "Host: x\r\nContent-Length: 2\r\n\r\nhi"
    asked = [(f"POST /first HTTP/1.1\r\n{body}", len("".join(first))), (f"POST /second HTTP/1.1\r\n{body}", len(OK))]
    server = lab.inside.play(
        https_programs.answer_in_pieces, address=ADDRESS, port=port, certificate=str(lab.certificate),
        answers=[first, [OK]],
    )  # fmt: skip
    assert server.hear() == "listening"
    client = lab.inside.play(https_programs.ask_for_bytes, address=ADDRESS, port=port, asked=asked, at_once=at_once)
    assert client.hear() == "done"

    def told(snapshot: Snapshot) -> list[list[tuple[str | None, int | None, str | None]]]:
        return [[(row.path, row.status, row.error) for row in of(snapshot, end)] for end in (server, client)]

    certain = [("/first", 404, None), ("/second", 200, None)]
    uncertain = [("/first", None, "unknown"), ("/second", None, "unknown")]
    wanted = [certain if side in known else uncertain for side in ("server", "client")]
    lab.watch.until(lambda snapshot: told(snapshot) == wanted, "the rows of both ends")
    for end in (server, client):
        end.say("go on")
        end.end()


# What is covered


def test_coverage(lab: Lab) -> None:
    snapshot = lab.watch.until(lambda each: each.decrypt_coverage is not None, "the coverage")
    assert snapshot.decrypt_coverage is not None
    assert snapshot.decrypt_coverage.libraries >= 1
    assert snapshot.hooks["plaintext"] == "uprobe SSL_write, gnutls_record_send"


def test_a_process_that_began_with_another_file_is_named(lab: Lab, directory: Path) -> None:
    port = next(_ports)
    server = lab.inside.play(https_programs.silent_server, address=ADDRESS, port=port, certificate=str(lab.certificate))
    assert server.hear() == "listening"
    folder = directory / "copy"
    folder.mkdir()
    shutil.copy(library(), folder / "libssl.so.3")
    command = ("env", f"LD_LIBRARY_PATH={folder}", "curl", "-sk", "--http1.1", f"https://{ADDRESS}:{port}/waits")
    program = lab.inside.start(*command)
    assert server.hear() == "asked"
    check_it_is_named(lab, program, "curl", "later")
    snapshot = lab.watch.up_to_now()
    assert snapshot.decrypt_coverage is not None
    assert not any(each.pid == server.pid for each in snapshot.decrypt_coverage.not_covered or ())
    server.say("hang up")


@pytest.mark.skipif(kernel_version() < (6, 6), reason="takes privileges before Linux 6.6")
def test_a_library_that_is_replaced_later_is_watched_without_privileges(lab: Lab, directory: Path) -> None:
    """As by an upgrade: in a mount namespace, by a nettop that has shut itself in as nobody."""
    port = next(_ports)
    server = lab.inside.play(https_programs.silent_server, address=ADDRESS, port=port, certificate=str(lab.certificate))
    assert server.hear() == "listening"
    replaced = directory / "replaced"
    shutil.copy(library(), replaced)
    holder = lab.inside.start("sleep", str(10 * PATIENCE_S))
    wait_until(lambda: Path(f"/proc/{holder.pid}/comm").read_text() == "sleep\n", "its mount namespace")
    enter = ("nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", "--")
    with Watch(directory, "--decrypt", "--netns", lab.inside.name, command=(*enter, *NETTOP)) as watch:
        before = watch.until(lambda each: each.decrypt_coverage is not None, "the coverage").decrypt_coverage
        assert before is not None
        assert Path(f"/proc/{watch.pid}").stat().st_uid != 0 or within_reach()
        subprocess.run([*enter, "mount", "--bind", str(replaced), str(library())], check=True)

        def is_watched(snapshot: Snapshot) -> bool:
            assert snapshot.decrypt_coverage is not None
            return snapshot.decrypt_coverage.libraries == before.libraries + 1

        watch.until(is_watched, "the new file to be watched")
        program = lab.inside.start(*enter, "curl", "-sk", "--http1.1", f"https://{ADDRESS}:{port}/replaced")
        assert server.hear() == "asked"
        snapshot = watch.until(lambda each: bool(of(each, program)), "its request")
        (row,) = of(snapshot, program)
        assert (row.comm, row.path, row.side, row.decrypted) == ("curl", "/replaced", "client", True)
        assert snapshot.decrypt_coverage is not None
        assert not any(each.pid == program.pid for each in snapshot.decrypt_coverage.not_covered or ())
        server.say("hang up")
        watch.stop()


def test_a_process_without_a_library_that_is_known_is_named(lab: Lab) -> None:
    port = next(_ports)
    asked, answered = hellos(lab.certificate)
    server = lab.inside.play(programs.script, address=ADDRESS, port=port, listens=True)
    server.say([[len(asked), [answered.hex()]], [None, []]])
    assert server.hear() == "listening"
    program = lab.inside.play(programs.script, address=ADDRESS, port=port, listens=False)
    program.say([[0, [asked.hex()]], [None, []]])
    assert (server.hear(), program.hear()) == ("waits", "waits")
    check_it_is_named(lab, program, "python3", "other-library")
    server.say("go on")
    program.say("go on")


def test_a_process_that_has_another_library_too_is_named(lab: Lab) -> None:
    """grpcio's, in a program that has Python's `ssl` mapped, which is watched."""
    port, pem = next(_ports), str(lab.certificate)
    server = lab.inside.play(http2_programs.grpc_server, address=ADDRESS, port=port, certificate=pem)
    assert server.hear() == "listening"
    program = lab.inside.play(http2_programs.grpc_client, address=ADDRESS, port=port, calls=[], certificate=pem)
    assert program.hear() == "connected"
    for end in (program, server):
        assert library().name in Path(f"/proc/{end.pid}/maps").read_text()

    def named(snapshot: Snapshot) -> bool:
        program.say("Add")
        assert [status for status, _ in program.hear()] == [0]
        return all(reasons(snapshot, end) == ["some-connections"] for end in (program, server))

    snapshot = lab.watch.until(named, "both ends to be named")
    assert snapshot.decrypt_coverage is not None
    assert {each.pid for each in snapshot.decrypt_coverage.not_covered or ()} == {program.pid, server.pid}
    program.say(None)
    program.end()
    server.stop()


def test_processes_whose_library_is_watched_are_not_named(lab: Lab) -> None:
    """One that sends by itself what its library has encrypted, and one that does not, for as long as it takes."""
    running = [
        lab.inside.play(https_programs.for_ever, address=ADDRESS, port=PORT, pause_s=0.01),
        lab.inside.play(https_programs.for_ever_through_memory, address=ADDRESS, port=PORT),
    ]
    for program in running:
        assert program.hear() == "connected"
    looks_end = time.monotonic() + 5 * DECRYPT_COVERAGE_S
    lab.watch.until(lambda _: time.monotonic() > looks_end, "several looks")
    snapshot = lab.watch.up_to_now()
    assert [reasons(snapshot, program) for program in running] == [[], []]
    for program in running:
        assert len(of(snapshot, program)) > 3
        program.say("stop")
        assert program.hear() > 0
        program.end()


def check_it_is_named(lab: Lab, program: Program, comm: str, reason: str) -> None:
    snapshot = lab.watch.until(lambda each: bool(reasons(each, program)), "the process to be named")
    assert reasons(snapshot, program) == [reason]
    assert snapshot.decrypt_coverage is not None
    assert comm in {each.comm for each in snapshot.decrypt_coverage.not_covered or ()}
    assert not of(snapshot, program)


def reasons(snapshot: Snapshot, program: Program) -> list[str]:
    """Why a process is not covered; empty if it is."""
    coverage = snapshot.decrypt_coverage
    found = () if coverage is None else coverage.not_covered or ()
    return [each.reason for each in found if each.pid == program.pid]


def hellos(certificate: Path) -> tuple[bytes, bytes]:
    """Of a client and a server, as OpenSSL says them."""
    of_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    of_server.load_cert_chain(certificate)
    asked, heard, answered = ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        https_programs.context().wrap_bio(ssl.MemoryBIO(), asked).do_handshake()
    hello = asked.read()
    heard.write(hello)
    with suppress(ssl.SSLWantReadError):
        of_server.wrap_bio(heard, answered, server_side=True).do_handshake()
    return hello, answered.read()


def library() -> Path:
    """OpenSSL's, as Python has it mapped."""
    import _ssl  # noqa: F401, PLC0415 - has it mapped

    line = next(line for line in Path("/proc/self/maps").read_text().splitlines() if "libssl.so.3" in line)
    return Path(line.split()[-1])


# Where else they are told


def test_only_the_scope(lab: Lab, directory: Path) -> None:
    """The probes are in the library that all processes share; what others say is not even looked at."""
    with namespace(directory) as outside, serve(outside, directory / "elsewhere", lab.certificate):
        program = outside.start("curl", "-sk", "--http1.1", f"{lab.url}/elsewhere")
        program.end()
        inside = lab.inside.start("curl", "-sk", "--http1.1", f"{lab.url}/inside")
        inside.end()
        snapshot, _ = lab.answered(inside, 1)
    assert not of(snapshot, program)
    assert b"/elsewhere" not in lab.watch.recording.read_bytes()


def test_a_process_in_scope(lab: Lab, directory: Path) -> None:
    folder = directory / "by-comm"
    with (
        namespace(directory) as inside,
        serve(inside, folder, lab.certificate),
        Watch(directory, "--netns", inside.name, "--comm", "curl", "--decrypt", quiet=False) as watch,
    ):
        apart = Lab(inside, watch, folder, lab.certificate)
        program = inside.start("curl", "-sk", "--http1.1", f"{lab.url}/inside")
        program.end()
        snapshot, rows = apart.answered(program, 1)
        assert [row.path for row in rows] == ["/inside"]
        assert {row.pid for row in snapshot.requests} == {program.pid}
        watch.stop()


def test_together_with_look_ups(lab: Lab, directory: Path) -> None:
    folder = directory / "both"
    with (
        namespace(directory) as inside,
        serve(inside, folder, lab.certificate),
        Watch(directory, "--netns", inside.name, "--lookups", "--decrypt") as watch,
    ):
        apart = Lab(inside, watch, folder, lab.certificate)
        program = inside.start("curl", "-sk", "--http1.1", f"https://localhost:{PORT}/both")
        program.end()
        _, rows = apart.answered(program, 1)
        assert [(row.host, row.path, row.status) for row in rows] == [("localhost", "/both", 200)]
        asking = inside.start("getent", "ahosts", "localhost")  # curl knows that name by itself
        asking.end()
        watch.until(lambda each: any(row.pid == asking.pid for row in each.lookups), "the look-up")
        watch.stop()


def test_it_takes_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETTOP_REQUESTS_ENABLED", "false")
    refused = nettop("snapshot", "--decrypt", "--for", "1")
    assert refused.returncode == 2
    assert "requests" in refused.stderr
