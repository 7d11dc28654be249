"""Look-ups in C libraries (--lookups) by real programs: who asked for what, what came of it, which queries it took."""

import json
import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from nettop.kernel import uretprobes
from nettop.model.rows import DnsQuery, Lookup
from nettop.model.snapshot import Snapshot
from nettop.tracking.lookups import asks_for
from tests.live import dns_server, lookup_programs
from tests.live.lab import (
    NETTOP,
    PATIENCE_S,
    Namespace,
    Program,
    Watch,
    attached,
    dnsmasq,
    namespace,
    snapshot_running,
    wait_until,
)

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: uprobes")]

SERVER, ODD_SERVER = "127.0.0.1", "127.0.0.2"
SEARCH_LIST = ("env", "LOCALDOMAIN=shop.svc.test svc.test test", "RES_OPTIONS=ndots:5")  # as in a pod of Kubernetes
PROCESSES, THREADS, NAMES_EACH = 4, 8, 16


@dataclass
class Lab:
    inside: Namespace
    watch: Watch

    def lookups_of(self, program: Program, number: int) -> tuple[Snapshot, list[Lookup]]:
        """Wait until so many look-ups of a program are over."""

        def over(snapshot: Snapshot) -> bool:
            return len([row for row in of(snapshot, program) if row.status != "pending"]) >= number

        self.watch.until(over, f"{number} look-ups of pid {program.pid}")
        snapshot = self.watch.up_to_now()
        return snapshot, of(snapshot, program)


def of(snapshot: Snapshot, program: Program) -> list[Lookup]:
    return [row for row in snapshot.lookups if row.pid == program.pid]


def queries_of(snapshot: Snapshot, lookup: Lookup) -> list[DnsQuery]:
    return [row for row in snapshot.dns if row.lookup_id == lookup.id]


def names() -> list[str]:
    """As many as all threads of all processes ask for, some of which do not exist."""
    return [
        f"{'gone' if number % 5 == 0 else 'host'}-{number}.test" for number in range(PROCESSES * THREADS * NAMES_EACH)
    ]


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Lab]:
    with namespace(directory) as inside:
        records = [
            f"--host-record={name},192.0.2.{number % 250 + 1},2001:db8::{number + 1:x}"
            for number, name in enumerate(names())
            if name.startswith("host")
        ]
        several = [f"--host-record=many.test,198.51.100.{number}" for number in range(1, 21)]
        dnsmasq(
            inside, [SERVER], "--local=/#/", "--host-record=db.svc.test,192.0.2.10,2001:db8::10", *several, *records
        )
        inside.play(dns_server.serve, addresses=[ODD_SERVER]).hear()
        with Watch(directory, "--netns", inside.name, "--lookups") as watch:
            yield Lab(inside, watch)
            watch.stop()


def test_what_is_covered(lab: Lab) -> None:
    snapshot = lab.watch.until(lambda each: each.lookup_coverage is not None, "the coverage")
    assert snapshot.lookup_coverage is not None
    assert snapshot.lookup_coverage.libraries >= 1
    assert snapshot.lookup_coverage.results
    assert snapshot.hooks["lookups"] == "uprobe getaddrinfo, gethostbyname"


def test_each_of_many_look_ups_has_its_process_name_result_and_queries(lab: Lab) -> None:
    """512 by 32 threads of four processes: every row against what the call returned, every query by its name."""
    shares = [names()[number::PROCESSES] for number in range(PROCESSES)]
    programs = [
        lab.inside.play(
            lookup_programs.threads, nameserver=SERVER, names=[share[number::THREADS] for number in range(THREADS)]
        )
        for share in shares
    ]
    told = {program.pid: program.hear() for program in programs}
    for program in programs:
        program.end()
    checked = 0
    for program in programs:
        snapshot, lookups = lab.lookups_of(program, THREADS * NAMES_EACH)
        wanted = Counter((each["name"], each["result"], tuple(each["addresses"])) for each in told[program.pid])
        assert Counter((row.name, row.result, row.addresses) for row in lookups) == wanted
        for lookup in lookups:
            sent = queries_of(snapshot, lookup)
            assert sent
            assert all(row.pid == program.pid and asks_for(lookup.name or "", row.qname or "") for row in sent), lookup
            assert lookup.queries == sum(row.attempts for row in sent)
            answers = {answer.data for row in sent for answer in row.answers}
            assert set(lookup.addresses) <= answers
            checked += 1
        assert all(row.lookup_id is not None for row in snapshot.dns if row.pid == program.pid)
    assert checked == PROCESSES * THREADS * NAMES_EACH == len(names())


def test_a_hosts_file_answers_without_a_query(lab: Lab) -> None:
    program = lab.inside.play(lookup_programs.one, nameserver=SERVER, name="localhost", family=2)
    said = program.hear()
    program.end()
    snapshot, (lookup,) = lab.lookups_of(program, 1)
    assert (lookup.name, lookup.result, lookup.function, lookup.queries) == ("localhost", "OK", "getaddrinfo", 0)
    assert list(lookup.addresses) == said["addresses"] == ["127.0.0.1"]
    assert queries_of(snapshot, lookup) == []


def test_a_search_list_folds_under_what_was_asked_for(lab: Lab) -> None:
    program = lab.inside.play(lookup_programs.one, nameserver=SERVER, prefix=SEARCH_LIST, name="db")
    program.end()
    snapshot, (lookup,) = lab.lookups_of(program, 1)
    assert (lookup.name, lookup.result) == ("db", "OK")
    sent = queries_of(snapshot, lookup)
    assert Counter(row.qname for row in sent) == {"db.shop.svc.test": 2, "db.svc.test": 2}


def test_more_addresses_than_are_kept(lab: Lab) -> None:
    program = lab.inside.play(lookup_programs.one, nameserver=SERVER, name="many.test", family=2)
    said = program.hear()
    program.end()
    _, (lookup,) = lab.lookups_of(program, 1)
    assert len(said["addresses"]) == 20
    assert list(lookup.addresses) == said["addresses"][:16]
    assert lookup.more_addresses


def test_gethostbyname_of_each_kind(lab: Lab) -> None:
    modern = lab.inside.play(lookup_programs.hosts, nameserver=SERVER, name="db.svc.test")
    modern.end()
    _, rows = lab.lookups_of(modern, 2)  # Python asks getaddrinfo() first
    assert [(row.function, row.result, row.addresses) for row in rows if row.function != "getaddrinfo"] == [
        ("gethostbyname_r", "OK", ("192.0.2.10",))
    ]
    old = lab.inside.play(lookup_programs.old_hosts, nameserver=SERVER, name="gone.test")
    assert old.hear() == [False, False]
    old.end()
    _, rows = lab.lookups_of(old, 2)
    assert [(row.function, row.name, row.result) for row in rows] == [
        ("gethostbyname", "gone.test", "FAILED"),
        ("gethostbyname2", "gone.test", "FAILED"),
    ]


def test_getent(lab: Lab) -> None:
    program = lab.inside.start("getent", "ahosts", "db.svc.test", nameserver=SERVER)
    program.end()
    snapshot, (lookup,) = lab.lookups_of(program, 1)
    assert (lookup.comm, lookup.name, lookup.result) == ("getent", "db.svc.test", "OK")
    assert set(lookup.addresses) == {"192.0.2.10", "2001:db8::10"}
    assert len(queries_of(snapshot, lookup)) == 2


def test_one_that_waits_is_shown_while_it_does_and_abandoned_if_it_is_killed(lab: Lab) -> None:
    program = lab.inside.play(lookup_programs.one, nameserver=ODD_SERVER, name="silent-1.test")
    snapshot = lab.watch.until(lambda each: bool(of(each, program)), "a look-up that waits")
    (lookup,) = of(snapshot, program)
    assert (lookup.name, lookup.status, lookup.result, lookup.latency_ms) == ("silent-1.test", "pending", None, None)
    program.stop()
    _, (lookup,) = lab.lookups_of(program, 1)
    assert (lookup.status, lookup.result) == ("abandoned", None)


def test_servers_that_fail(lab: Lab) -> None:
    program = lab.inside.play(lookup_programs.one, nameserver=ODD_SERVER, name="servfail-1.test")
    assert program.hear()["result"] == "EAI_AGAIN"
    program.end()
    snapshot, (lookup,) = lab.lookups_of(program, 1)
    assert lookup.result == "EAI_AGAIN"
    assert {row.rcode for row in queries_of(snapshot, lookup)} == {"SERVFAIL"}


def test_queries_over_tcp_are_of_it_too(lab: Lab) -> None:
    over_tcp = ("env", "RES_OPTIONS=use-vc")
    program = lab.inside.play(lookup_programs.one, nameserver=SERVER, prefix=over_tcp, name="db.svc.test")
    program.end()
    snapshot, (lookup,) = lab.lookups_of(program, 1)
    sent = [row for row in snapshot.dns if row.pid == program.pid]
    assert [row.transport for row in sent] == ["tcp", "tcp"]
    assert {row.lookup_id for row in sent} == {lookup.id}


def test_latency_is_that_of_the_call(lab: Lab) -> None:
    program = lab.inside.play(lookup_programs.one, nameserver=ODD_SERVER, name="hold-300-1.test", family=2)
    program.end()
    _, (lookup,) = lab.lookups_of(program, 1)
    assert lookup.latency_ms is not None
    assert 300 <= lookup.latency_ms < 1_000 * PATIENCE_S


def test_a_sandboxed_program_lives_on(lab: Lab) -> None:
    """Its seccomp filter kills it for the system call that uretprobes use since Linux 6.11, and for every newer one."""
    if not uretprobes.are_harmless():
        pytest.skip("this kernel's uretprobes kill sandboxed programs, so none are used")
    program = lab.inside.play(lookup_programs.sandboxed, nameserver=SERVER, name="db.svc.test", times=20)
    program.end()
    _, rows = lab.lookups_of(program, 20)
    assert [row.result for row in rows] == ["OK"] * 20


def test_a_thread_that_jumps_out_leaves_no_look_up_behind(lab: Lab, directory: Path) -> None:
    jumping = directory / "jumping-lookup"
    subprocess.run(["gcc", "-o", jumping, Path(__file__).with_name("jumping_lookup.c")], check=True)
    program = lab.inside.start(str(jumping), ODD_SERVER, nameserver=ODD_SERVER)
    assert program.hear() == "answered"
    program.end()
    snapshot, rows = lab.lookups_of(program, 2)
    assert [(row.name, row.status, row.result) for row in rows] == [
        ("silent-1.test", "abandoned", None),
        ("localhost", "returned", "OK"),
    ]
    direct = [row for row in snapshot.dns if row.pid == program.pid and row.qname == "direct.test"]
    assert [row.lookup_id for row in direct] == [None]
    assert {row.lookup_id for row in snapshot.dns if row.qname == "silent-1.test" and row.pid == program.pid} == {
        rows[0].id
    }


def test_queries_without_the_library_belong_to_no_look_up(lab: Lab) -> None:
    program = lab.inside.start("dig", f"@{SERVER}", "db.svc.test", "A")
    program.end()
    snapshot = lab.watch.settled(program, dns=1)
    assert [row.lookup_id for row in snapshot.dns if row.pid == program.pid] == [None]


def test_a_connection_is_named_by_a_look_up_that_nobody_saw_on_the_wire(lab: Lab, directory: Path) -> None:
    hosts = directory / "hosts"
    hosts.write_text("127.0.0.1 backend.internal\n")
    code = (
        "import socket, json\n"
        "listener = socket.create_server(('127.0.0.1', 8099))\n"
        "tcp = socket.create_connection(('backend.internal', 8099))\n"
        "print(json.dumps('done'), flush=True)\n"
    )
    program = lab.inside.start(
        "sh", "-c", f'mount --bind {hosts} /etc/hosts && exec "$@"', "sh", "python3", "-c", code, nameserver=SERVER
    )
    program.hear()
    program.end()
    _, (lookup,) = lab.lookups_of(program, 1)
    assert (lookup.name, lookup.queries, lookup.addresses) == ("backend.internal", 0, ("127.0.0.1",))
    snapshot = lab.watch.until(
        lambda each: any(row.pid == program.pid and row.direction == "outbound" for row in each.connections),
        "its connection",
    )
    (remote,) = [row.remote for row in snapshot.connections if row.pid == program.pid and row.direction == "outbound"]
    assert (remote.name, remote.name_source) == ("backend.internal", "process")


# Other libraries


@pytest.fixture(scope="module")
def musl(directory: Path) -> Path:
    """A program that is linked with musl."""
    if shutil.which("musl-gcc") is None:
        pytest.skip("needs musl-gcc")
    program = directory / "musl-lookups"
    source = Path(__file__).with_name("musl_lookups.c")
    subprocess.run(["musl-gcc", "-O1", "-o", program, source], check=True)
    return program


def test_musl(directory: Path, musl: Path) -> None:
    with ExitStack() as stack:
        inside = stack.enter_context(namespace(directory))
        dnsmasq(inside, [SERVER], "--local=/#/", "--host-record=db.svc.test,192.0.2.10,2001:db8::10")
        # found because a process has it mapped when nettop starts
        inside.play(dns_server.serve, addresses=[ODD_SERVER]).hear()
        waiting = inside.start(str(musl), *["silent-1.test"] * 100, nameserver=ODD_SERVER)
        wait_until(lambda: b"musl" in Path(f"/proc/{waiting.pid}/maps").read_bytes(), "musl to be mapped")
        watch = stack.enter_context(Watch(directory, "--netns", inside.name, "--lookups"))
        lab = Lab(inside, watch)
        program = inside.start(str(musl), "db.svc.test", "gone.test", "127.0.0.1", nameserver=SERVER)
        program.end()
        snapshot, rows = lab.lookups_of(program, 6)
        assert [(row.name, row.function, row.result) for row in rows] == [
            ("db.svc.test", "getaddrinfo", "OK"),
            ("db.svc.test", "gethostbyname", "OK"),
            ("db.svc.test", "gethostbyname_r", "OK"),
            ("gone.test", "getaddrinfo", "EAI_NONAME"),
            ("gone.test", "gethostbyname", "FAILED"),
            ("gone.test", "gethostbyname_r", "HOST_NOT_FOUND"),
        ]
        assert set(rows[0].addresses) == {"192.0.2.10", "2001:db8::10"}
        assert [len(queries_of(snapshot, row)) for row in rows] == [2, 1, 1, 2, 1, 1]
        assert snapshot.lookup_coverage is not None
        assert snapshot.lookup_coverage.libraries >= 2
        watch.stop()


def test_a_library_that_comes_later_is_counted_as_not_covered(directory: Path) -> None:
    copy = directory / "copy" / "libc.so.6"
    copy.parent.mkdir()
    own = next(line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libc.so.6" in line)
    with namespace(directory) as inside, Watch(directory, "--netns", inside.name, "--lookups") as watch:
        watch.until(lambda each: each.lookup_coverage is not None, "the coverage")
        shutil.copy(own, copy)
        program = inside.start("env", f"LD_LIBRARY_PATH={copy.parent}", "sleep", str(10 * PATIENCE_S))

        def said(snapshot: Snapshot) -> bool:
            coverage = snapshot.lookup_coverage
            assert coverage is not None
            return any(each.pid == program.pid for each in coverage.not_covered or ())

        snapshot = watch.until(said, "the copy of libc to be counted")
        assert snapshot.lookup_coverage is not None
        (copied,) = [each for each in snapshot.lookup_coverage.not_covered or () if each.pid == program.pid]
        assert (copied.name, copied.reason, copied.comm, copied.processes) == ("libc.so.6", "later", "sleep", 1)
        watch.stop()


# Where else they are told


def test_only_the_scope(directory: Path) -> None:
    with (
        namespace(directory) as inside,
        namespace(directory) as outside,
        Watch(directory, "--netns", inside.name, "--lookups") as watch,
    ):
        outside.play(lookup_programs.one, name="localhost").end()
        program = inside.play(lookup_programs.one, name="localhost")
        program.end()
        snapshot, _ = Lab(inside, watch).lookups_of(program, 1)
        assert {row.pid for row in snapshot.lookups} == {program.pid}
        watch.stop()


def test_a_snapshot_has_them_as_a_table(directory: Path) -> None:
    as_table = ("--format", "table", "--table", "lookups")
    with (
        namespace(directory) as inside,
        snapshot_running("--lookups", "--netns", inside.name, *as_table) as process,
    ):
        program = inside.play(lookup_programs.one, name="localhost", family=2)
        program.end()
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (0, b"")
    said = output.decode()
    assert [line.split()[1:4] for line in said.splitlines() if "localhost" in line] == [
        [str(program.pid), program_comm(said, program.pid), "-"]
    ]


def program_comm(said: str, pid: int) -> str:
    return next(line.split()[2] for line in said.splitlines() if str(pid) in line)


def test_a_stream_tells_each_once_when_it_is_over(lab: Lab) -> None:
    """One that waits for two seconds is pending at many ticks."""
    command = [*NETTOP, "stream", "--final", "--lookups", "--netns", lab.inside.name, "--interval", "0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        wait_until(lambda: attached(process.pid), "nettop to attach")
        patience = ("env", "RES_OPTIONS=timeout:1 attempts:2")
        programs = [
            lab.inside.play(lookup_programs.one, nameserver=ODD_SERVER, prefix=patience, name=name)
            for name in ("silent-final.test", "n1.test")
        ]
        for program in programs:
            program.end()
        process.send_signal(signal.SIGTERM)
        told = [json.loads(line) for line in process.communicate(timeout=PATIENCE_S)[0].splitlines()]
    rows = sorted((line["lookup"]["name"], line["lookup"]["result"]) for line in told if line["type"] == "lookup")
    assert rows == [("n1.test", "OK"), ("silent-final.test", "EAI_AGAIN")]
