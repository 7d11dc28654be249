"""Look-ups in C libraries on each kernel of the matrix: results where returns are harmless, never a dead program."""

from pathlib import Path

from nettop.kernel import uretprobes
from nettop.kernel.btf import Btf, BtfError
from nettop.kernel.compiled_cache import compiled_programs
from nettop.kernel.program import defines
from nettop.kernel.scope import Scope
from tests.kernels.inside import DOCTOR
from tests.live import dns_server, lookup_programs
from tests.live.lab import Watch, namespace

SERVER, ADDRESSES = "127.0.0.1", ["192.0.2.1", "2001:db8::1"]  # what dns_server answers


def has_iterator_over_mappings() -> bool:
    try:
        Btf.of_running_kernel().function("bpf_iter_task_vma")
    except BtfError:
        return False
    return True


def test_look_ups(tmp_path: Path) -> None:
    returns = uretprobes.are_harmless()
    with namespace(tmp_path) as inside:
        inside.play(dns_server.serve, addresses=[SERVER]).hear()
        # first, because it takes an emulated machine minutes: doctor has compiled them together with those of --decrypt
        compiled_programs(defines(Scope(), lookups="with-returns" if returns else "without-returns"))
        with Watch(tmp_path, "--lookups") as watch:
            # its seccomp filter kills it for system calls that are new
            program = inside.play(lookup_programs.sandboxed, nameserver=SERVER, name="db.test", times=3)
            assert [sorted(each["addresses"]) for each in program.hear()] == [ADDRESSES] * 3
            program.end()
            wanted = {"returned"} if returns else {"unknown"}
            snapshot = watch.until(
                lambda each: sum(row.pid == program.pid and row.status in wanted for row in each.lookups) == 3,
                "three look-ups",
            )
            watch.stop()
    rows = [row for row in snapshot.lookups if row.pid == program.pid]
    said = [(row.name, row.result, sorted(row.addresses)) for row in rows]
    assert said == [("db.test", *(("OK", ADDRESSES) if returns else (None, [])))] * 3
    for row in rows:
        sent = [query.qname for query in snapshot.dns if query.lookup_id == row.id]
        assert sent == (["db.test"] * 2 if returns else [])
    coverage = snapshot.lookup_coverage
    assert coverage is not None
    assert (coverage.libraries >= 1, coverage.results) == (True, returns)
    assert (coverage.not_covered is None) is not has_iterator_over_mappings()


def test_doctor_says_so() -> None:
    line = next(line for line in DOCTOR.read_text().splitlines() if "(--lookups)" in line)
    assert line.startswith("ok ")
    assert ("sandboxed" in line) is not uretprobes.are_harmless()
