"""What has to be asked for, on each kernel of the matrix: look-ups in C libraries, and requests inside TLS.

One nettop does both, because loading what it needs takes an emulated machine as long as all else here. Named so that
pytest collects it only when asked for by name.
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.kernels import DOCTOR, PATIENCE_S, kernel_version
from tests.live import dns_server, https_programs, lookup_programs
from tests.live.decrypt_lab import joins, of
from tests.live.lab import Namespace, Watch, existing_ids, namespace, wait_until

SERVER, ADDRESSES = "127.0.0.1", ["192.0.2.1", "2001:db8::1"]  # what dns_server answers
PORT, VERSION = 8443, "TLS 1.2"
REQUESTS = 9
HAS_ITERATOR_OVER_MAPPINGS = (5, 12)


class Lab(NamedTuple):
    inside: Namespace
    watch: Watch
    ids_before: dict[str, set[int]]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("opt-in")
    before = existing_ids()
    with namespace(directory) as inside:
        inside.play(dns_server.serve, addresses=[SERVER]).hear(PATIENCE_S)
        # without a scope, as doctor has tried it; nothing else talks here
        watch = Watch(directory, "--lookups", "--decrypt")
        wait_until(lambda: watch.recording.stat().st_size > 0, "the stream's first line", PATIENCE_S)
        with watch:
            yield Lab(inside, watch, before)


def test_look_ups(lab: Lab) -> None:
    """With results, since on no kernel in Debian's archive a return is harmful, and never a dead program."""
    # its seccomp filter kills it for system calls that are new
    program = lab.inside.play(lookup_programs.sandboxed, nameserver=SERVER, name="db.test", times=3)
    assert [sorted(each["addresses"]) for each in program.hear(PATIENCE_S)] == [ADDRESSES] * 3
    program.end(PATIENCE_S)
    snapshot = lab.watch.until(
        lambda each: sum(row.pid == program.pid and row.status == "returned" for row in each.lookups) == 3,
        "three look-ups",
        PATIENCE_S,
    )
    rows = [row for row in snapshot.lookups if row.pid == program.pid]
    said = [(row.name, row.result, sorted(row.addresses)) for row in rows]
    assert said == [("db.test", "OK", ADDRESSES)] * 3
    for row in rows:
        sent = [query.qname for query in snapshot.dns if query.lookup_id == row.id]
        assert sent == ["db.test"] * 2
    coverage = snapshot.lookup_coverage
    assert coverage is not None
    assert (coverage.libraries >= 1, coverage.results) == (True, True)
    assert (coverage.not_covered is not None) is (kernel_version() >= HAS_ITERATOR_OVER_MAPPINGS)


def test_doctor_says_so() -> None:
    line = next(line for line in DOCTOR.read_text().splitlines() if "(--lookups)" in line)
    assert line.startswith("ok ")
    assert "sandboxed" not in line


def test_requests_inside_tls(lab: Lab) -> None:
    """Both ends, the right connection, and nothing left after kill -9."""
    server = lab.inside.play(https_programs.serve_without_certificate, address=SERVER, port=PORT)
    assert server.hear(PATIENCE_S) == "listening"
    # its seccomp filter kills it for system calls that are new
    client = lab.inside.play(https_programs.sandboxed, address=SERVER, port=PORT, requests=REQUESTS, version=VERSION)
    assert client.hear(PATIENCE_S) == [200] * REQUESTS
    client.end(PATIENCE_S)
    snapshot = lab.watch.until(
        lambda now: all(sum(row.status is not None for row in of(now, end)) == REQUESTS for end in (client, server)),
        "the requests at both ends",
        PATIENCE_S,
    )
    for end in (client, server):
        rows = of(snapshot, end)
        assert {(row.status, row.decrypted, row.error) for row in rows} == {(200, True, None)}
        assert joins(snapshot, rows) == Counter(right=REQUESTS)
    looper = lab.inside.play(https_programs.for_ever, address=SERVER, port=PORT, version=VERSION)
    assert looper.hear(PATIENCE_S) == "connected"
    lab.watch.until(lambda now: bool(of(now, looper)), "its requests", PATIENCE_S)
    lab.watch.kill()
    wait_until(
        lambda: all(existing_ids()[kind] <= lab.ids_before[kind] for kind in ("prog", "link")),
        "nothing to be left",
        PATIENCE_S,
    )
    looper.say("stop")
    assert looper.hear(PATIENCE_S) > REQUESTS
    looper.end(PATIENCE_S)
