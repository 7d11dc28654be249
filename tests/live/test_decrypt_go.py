"""Requests inside the TLS of Go's own library (--decrypt): both ends are Go, many goroutines share two threads."""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from nettop.kernel.go_programs import go_functions
from nettop.kernel.hooks import PLAINTEXT_GO_CALLS, PLAINTEXT_GO_OTHERS
from nettop.model.rows import Request
from nettop.model.snapshot import Snapshot
from tests.live.decrypt_lab import ADDRESS, NAME, Lab, joins, of
from tests.live.lab import Namespace, Program, Watch, certificate, existing_ids, namespace, wait_until
from tests.live.test_decrypt_traces import breakpoints_in

GO = shutil.which("go")
pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: uprobes"),
    pytest.mark.skipif(GO is None, reason="needs Go"),
]

FUNCTIONS = tuple(hook.target for hook in (*PLAINTEXT_GO_CALLS, *PLAINTEXT_GO_OTHERS))
SOURCE = Path(__file__).with_name("https_go.go")
KINDS = {"whole": (0, ()), "stripped": (0, ("-ldflags", "-s -w")), "with-c": (1, ())}
_ports = count(8700)


@pytest.fixture(scope="module")
def programs(directory: Path) -> dict[str, Path]:
    """The same source as programs of each kind."""
    made = {}
    for kind, (with_c, options) in KINDS.items():
        made[kind] = directory / f"go-{kind}"
        folders = {name: str(directory / name.lower()) for name in ("GOCACHE", "GOPATH", "GOTMPDIR")}
        Path(folders["GOTMPDIR"]).mkdir(exist_ok=True)
        subprocess.run(
            [str(GO), "build", *options, "-o", made[kind], SOURCE], check=True,
            env={**os.environ, **folders, "CGO_ENABLED": str(with_c), "GO111MODULE": "off", "GOFLAGS": ""},
        )  # fmt: skip
    return made


@pytest.fixture(scope="module")
def lab(directory: Path, programs: dict[str, Path]) -> Iterator[Lab]:
    """The programs run when nettop starts, and each serves: what is mapped later is not covered."""
    pem = certificate(directory / "go.pem", NAME)
    with namespace(directory) as inside:
        servers = {kind: serve(inside, programs[kind], pem) for kind in KINDS}
        # thousands of lines: those of other tests are held against the schema
        with Watch(directory, "--netns", inside.name, "--decrypt") as watch:
            made = GoLab(inside, watch, directory, pem)
            made.servers, made.programs = servers, programs
            yield made
            watch.stop()


class GoLab(Lab):
    servers: dict[str, tuple[Program, int]]
    programs: dict[str, Path]


def serve(inside: Namespace, program: Path, pem: Path) -> tuple[Program, int]:
    port = next(_ports)
    server = inside.start("env", "GOMAXPROCS=2", str(program), "serve", f"{ADDRESS}:{port}", str(pem))
    assert server.hear() == "listening"
    return server, port


def ask(inside: Namespace, program: Path, port: int, *arguments: str) -> Program:
    """Start a client; it takes the arguments of ask() in https_go.go."""
    command = (str(program), "ask", f"{ADDRESS}:{port}", *arguments)
    return inside.start("env", "GOMAXPROCS=2", *command)


def rows_of(snapshot: Snapshot, program: Program, paths: set[str]) -> list[Request]:
    return [row for row in of(snapshot, program) if row.path in paths]


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_request_at_both_ends(lab: GoLab, kind: str, protocol: str) -> None:
    server, port = lab.servers[kind]
    connections, requests = (200, 3) if kind == "whole" else (20, 4)
    asking = ask(lab.inside, lab.programs[kind], port, str(connections), str(requests), protocol, "begins")
    asked: list[dict[str, Any]] = asking.hear()
    expected = Counter((each["Path"], each["Status"]) for each in asked)
    assert len(expected) == connections * requests
    paths = {path for path, _ in expected}

    def all_answered(snapshot: Snapshot) -> bool:
        return all(
            sum(row.status is not None for row in rows_of(snapshot, end, paths)) >= len(asked)
            for end in (asking, server)
        )

    lab.watch.until(all_answered, "all requests of both ends")
    snapshot = lab.watch.up_to_now()
    for end in (asking, server):
        rows = rows_of(snapshot, end, paths)
        assert Counter((row.path, row.status) for row in rows) == expected
        assert joins(snapshot, rows) == {"right": len(asked)}
        assert {(row.decrypted, row.error, row.protocol, row.partial) for row in rows} == {
            (True, None, protocol, False)
        }
        assert {row.method for row in rows} == {"GET", "POST"}
    asking.say("end")
    asking.end()


@pytest.mark.parametrize("option", ["--http1.1", "--http2"])
def test_another_client_and_a_handler_that_panics(lab: GoLab, option: str) -> None:
    """The goroutine that panics is in no call; the next one has perhaps its address."""
    server, port = lab.servers["stripped"]
    first = lab.inside.start("curl", "-sk", option, f"https://{ADDRESS}:{port}/curl{option}")
    first.end()
    panicked = lab.inside.start("curl", "-sk", option, f"https://{ADDRESS}:{port}/curl{option}/panics")
    wait_until(lambda: panicked.exit_code is not None, "curl to give up")
    last = lab.inside.start("curl", "-sk", option, f"https://{ADDRESS}:{port}/curl{option}")
    last.end()

    def known(snapshot: Snapshot) -> bool:
        return all(row.status or row.error for row in served(snapshot)) and len(served(snapshot)) >= 3

    def served(snapshot: Snapshot) -> list[Request]:
        return [row for row in of(snapshot, server) if (row.path or "").startswith(f"/curl{option}")]

    lab.watch.until(known, "what came of its requests")
    snapshot = lab.watch.up_to_now()
    told = [(row.path, row.status) for row in served(snapshot)]
    assert told[0] == told[-1] == (f"/curl{option}", 200)
    assert set(told[1:-1]) == {(f"/curl{option}/panics", None)}
    asked = [(row.path, row.status) for program in (first, panicked, last) for row in of(snapshot, program)]
    assert asked == told


def test_a_call_that_is_left_by_a_panic_takes_no_other_connection(lab: GoLab) -> None:
    _, port = lab.servers["whole"]
    program = lab.inside.start(str(lab.programs["whole"]), "leave", f"{ADDRESS}:{port}")
    program.say("go")
    assert program.hear() == "done"
    snapshot, rows = lab.answered(program, 20)
    assert joins(snapshot, rows) == {"right": 40}
    assert Counter(((row.path or "").split("/")[2], row.status) for row in rows) == {
        ("left", None): 20, ("asked", 200): 20,
    }  # fmt: skip
    program.say("end")
    program.end()


def test_no_secret_is_kept(lab: GoLab) -> None:
    """Of all the tests above."""
    lab.watch.up_to_now()
    recorded = lab.watch.recording.read_bytes()
    assert b"/missing" in recorded
    assert b"must-not-keep" not in recorded


def test_kill_9_leaves_nothing_and_the_programs_go_on(directory: Path, programs: dict[str, Path]) -> None:
    """With files of their own: the nettop of the tests above may still watch the others."""
    pem = certificate(directory / "killed.pem", NAME)
    programs = {kind: Path(shutil.copy(program, directory / f"killed-{kind}")) for kind, program in programs.items()}
    functions = {kind: go_functions(program, FUNCTIONS) for kind, program in programs.items()}
    with namespace(directory) as inside:
        servers = {kind: serve(inside, program, pem) for kind, program in programs.items()}
        clients = {
            kind: ask(inside, programs[kind], port, "5", "100", "http/1.1", "waits")
            for kind, (_, port) in servers.items()
        }

        def probed(kind: str) -> int:
            return len(breakpoints_in(servers[kind][0], programs[kind], functions[kind]))

        assert [each.hear() for each in clients.values()] == ["connected"] * len(KINDS)
        before = existing_ids()
        with Watch(directory, "--netns", inside.name, "--decrypt") as watch:
            assert all(probed(kind) > len(functions[kind]) for kind in KINDS)
            for each in clients.values():
                each.say("go")
            watch.until(lambda snapshot: bool(snapshot.requests), "requests")
            watch.kill()
        wait_until(lambda: not any(map(probed, KINDS)), "the breakpoints to go")
        wait_until(lambda: all(existing_ids()[each] <= before[each] for each in ("prog", "link")), "the programs to go")
        for each in clients.values():
            assert len(each.hear()) == 500
            each.say("end")
            each.end()
        assert {server.exit_code for server, _ in servers.values()} == {None}
