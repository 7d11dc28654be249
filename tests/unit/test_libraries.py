"""Which libraries processes have mapped, by the kernel's iterator and /proc; whether returns can be watched."""

import errno
import os
import platform
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from nettop.errors import CannotRunError
from nettop.kernel import library_probes, lookups, uretprobes
from nettop.kernel.abi import LibraryRecord, ProcessKey
from nettop.kernel.elf import function_codes, stub_of
from nettop.kernel.libraries import Library, Mapping, by_file, in_proc, may_have_tls, opened
from nettop.kernel.lookups import LookupProbes
from nettop.kernel.plaintext import _PLACES, PlaintextProbes

FUSE = 0x65735546
MAPS = """\
55d0c0a00000-55d0c0a02000 r-xp 00002000 fe:01 1201 /usr/bin/cat
7f0000000000-7f0000020000 r--p 00000000 fe:01 77 /usr/lib/x86_64-linux-gnu/libc.so.6
7f0000020000-7f0000180000 r-xp 00020000 fe:01 77 /usr/lib/x86_64-linux-gnu/libc.so.6
7f0000200000-7f0000210000 r-xp 00000000 fe:01 78 /usr/lib/x86_64-linux-gnu/libcrypto.so.3
7f0000300000-7f0000310000 r-xp 00000000 00:2f 79 /lib/ld-musl-x86_64.so.1 (deleted)
7f0000400000-7f0000410000 r-xp 00000000 00:30 80 /home/ada/fuse/libc.so.6
"""
MOUNTS = """\
21 1 254:1 / / rw - ext4 /dev/root rw
44 21 0:48 / /home/ada/fuse rw - fuse.sshfs ada@host: rw
"""


def record(inode: int, pid: int, name: bytes = b"libc.so.6", **changes: int) -> LibraryRecord:
    fields = {"begins": 0x1000, "ends": 0x2000, "device": 1, "file_system": 0xEF53, "executable": 0, **changes}
    return LibraryRecord(
        inode=inode, owner_pid=pid, owner_start_boot_ns=0, owner_uid=0, owner_comm=b"cat".ljust(16, b"\0"),
        name=name.ljust(32, b"\0"), **fields,
    )  # fmt: skip


def test_a_file_is_one_library_however_many_have_it_mapped() -> None:
    found = by_file([record(77, 1), record(77, 2), record(78, 2, b"ld-musl-x86_64.so.1"), record(77, 3, device=2)])
    assert [(each.key, each.name, [mapping.pid for mapping in each.mapped]) for each in found] == [
        ((1, 77), b"libc.so.6", [1, 2]),
        ((1, 78), b"ld-musl-x86_64.so.1", [2]),
        ((2, 77), b"libc.so.6", [3]),
    ]


@pytest.mark.parametrize("name", [b"libc.so.6", b"libc-2.31.so", b"libc.so", b"ld-musl-aarch64.so.1"])
def test_what_c_libraries_are_called(name: bytes) -> None:
    assert [each.name for each in by_file([record(1, 1, name)])] == [name]


@pytest.mark.parametrize("name", [b"libcap.so.2", b"libc.so.60", b"libc-client.so", b"libc++.so.1", b""])
def test_what_others_are_called(name: bytes) -> None:
    assert by_file([record(1, 1, name)]) == []


def test_a_c_library_that_runs_a_program_is_one_too() -> None:
    """musl's is also the program that loads others."""
    (found,) = by_file([record(1, 1, b"ld-musl-x86_64.so.1", executable=1)])
    assert (found.name, found.executable) == (b"ld-musl-x86_64.so.1", True)


def test_in_proc(tmp_path: Path) -> None:
    for name, text in {"12/maps": MAPS, "12/comm": "cat\n", "self/mountinfo": MOUNTS, "13/comm": "gone\n"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = {each.inode: each for each in in_proc(tmp_path)}
    assert found.keys() == {77, 79, 80}
    assert found[77].mapped == (Mapping(12, b"cat", 0x7F0000020000, 0x7F0000180000),)
    assert found[77].device == 0xFE << 20 | 1
    assert found[79].name == b"ld-musl-x86_64.so.1 (deleted)"
    assert [each.is_foreign for each in found.values()] == [False, False, True]


def test_a_file_of_a_program_is_not_even_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("it may never return"))
    (library,) = by_file([record(1, 1, file_system=FUSE)])
    assert opened(library) is None


def test_coverage_names_what_is_missing_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_probes, "opened", lambda library: None if library.inode == 2 else 0)
    monkeypatch.setattr(os, "close", lambda _: None)
    monkeypatch.setattr(LookupProbes, "_attach_to", lambda _self, _file: [])
    probes = LookupProbes(lambda _: 0, with_returns=True)
    found = by_file([record(1, 10), record(2, 11), record(2, 12)])
    probes.attach(found)
    later = [*found, Library(1, 3, b"libc.so.6", False, False, (Mapping(13, b"java", 0, 0),))]
    coverage = probes.coverage(later)
    assert (coverage.libraries, probes.covered) == (1, 1)
    assert [(each.library.inode, each.reason) for each in coverage.not_covered] == [(2, "unreadable"), (3, "later")]


def test_more_libraries_than_are_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_probes, "opened", lambda _: 0)
    monkeypatch.setattr(os, "close", lambda _: None)
    monkeypatch.setattr(LookupProbes, "_attach_to", lambda _self, _file: [])
    probes = LookupProbes(lambda _: 0, with_returns=True)
    found = by_file([record(number, number) for number in range(1, lookups.MAX_LIBRARIES + 3)])
    probes.attach(found)
    coverage = probes.coverage(found)
    assert coverage.libraries == lookups.MAX_LIBRARIES
    assert [each.reason for each in coverage.not_covered] == ["too-many", "too-many"]


def test_a_refusal_says_what_newer_kernels_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: LookupProbes, _file: Path) -> list[int]:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(library_probes, "opened", lambda _: 0)
    monkeypatch.setattr(os, "close", lambda _: None)
    monkeypatch.setattr(LookupProbes, "_attach_to", refuse)
    with pytest.raises(CannotRunError, match="Operation not permitted; newer kernels ask for CAP_SYS_ADMIN"):
        LookupProbes(lambda _: 0, with_returns=True).attach(by_file([record(1, 1)]))


TLS_MAPS = """\
55d0c0a00000-55d0c0a02000 r-xp 00002000 fe:01 1201 /usr/bin/cat
7f0000000000-7f0000020000 r-xp 00000000 fe:01 77 /usr/lib/x86_64-linux-gnu/libssl.so.3
7f0000200000-7f0000210000 r-xp 00000000 fe:01 78 /usr/lib/x86_64-linux-gnu/libssl3.so
7f0000300000-7f0000310000 r-xp 00000000 fe:01 79 /opt/libssl.so.1.1 (deleted)
7f0000400000-7f0000410000 r-xp 00000000 fe:01 80 /usr/lib/x86_64-linux-gnu/libgnutls.so.30.34.3
7f0000500000-7f0000510000 r-xp 00000000 fe:01 81 /usr/lib/x86_64-linux-gnu/libgnutls-dane.so.0.4.1
"""


def test_what_may_have_tls(tmp_path: Path) -> None:
    """OpenSSL's and GnuTLS's libraries, not NSS's; and each program, which may have it in itself."""
    (tmp_path / "12").mkdir()
    (tmp_path / "12" / "maps").write_text(TLS_MAPS)
    (tmp_path / "12" / "comm").write_text("cat\n")
    (tmp_path / "12" / "exe").symlink_to("/usr/bin/cat")
    found = {each.inode: each.executable for each in in_proc(tmp_path, may_have_tls)}
    assert found == {1201: True, 77: False, 79: False, 80: False}


def test_who_is_not_covered_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_probes, "opened", lambda library: None if library.inode == 2 else 0)
    monkeypatch.setattr(os, "close", lambda _: None)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(PlaintextProbes, "_attach_to", lambda _self, _file: [])
    probes = PlaintextProbes(lambda _: 0)
    curl, unreadable = record(1, 10, b"libssl.so.3"), record(2, 11, b"libssl.so.3")
    probes.attach(by_file([curl, unreadable], may_have_tls))
    later = [
        record(3, 12, b"libssl.so.3"),
        record(3, 14, b"libssl.so.3"),
        record(1, 14, b"libssl.so.3"),
        record(4, 13, b"java", executable=1),
        record(4, 10, b"java", executable=1),
    ]
    speakers = [(ProcessKey(pid, 0), b"some") for pid in (10, 11, 12, 13, 14, 15)]  # the last has ended
    undecrypted = probes.undecrypted(speakers, by_file([curl, unreadable, *later], may_have_tls))
    assert [(each.process.pid, each.reason) for each in undecrypted] == [
        (11, "unreadable"), (12, "later"), (13, "other-library"), (14, "later")
    ]  # fmt: skip


OPENSSL_33 = """
int SSL_write_ex2(void *s, const void *b, unsigned long n, long flags, unsigned long *w) { return *w = n; }
int SSL_write_ex(void *s, const void *b, unsigned long n, unsigned long *w) { return SSL_write_ex2(s, b, n, 0, w); }
int SSL_write(void *s, const void *b, int n) { return n; }
int SSL_read(void *s, void *b, int n) { return n; }
void SSL_free(void *s) {}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
@pytest.mark.parametrize("ahead", ["", "-fcf-protection", "-Wl,-Bsymbolic"], ids=["plain", "marked", "direct"])
def test_a_function_that_does_nothing_but_jump_to_one_that_is_watched(tmp_path: Path, ahead: str) -> None:
    """As SSL_write_ex() does since OpenSSL 3.3, by a stub."""
    source, library = tmp_path / "ssl.c", tmp_path / "libssl.so.3"
    source.write_text(OPENSSL_33)
    if platform.machine() != "x86_64" and "cf-protection" in ahead:
        ahead = "-mbranch-protection=standard"
    command = ["gcc", "-O2", "-fPIC", "-shared", *filter(None, [ahead]), "-o", str(library), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    programs = [each.program for each in PlaintextProbes(lambda _: 0)._probed(library)]
    assert "tls_write_ex2" in programs
    assert ("tls_write_ex" in programs) == ("Bsymbolic" in ahead)
    (begin, code) = function_codes(library, ["SSL_write_ex"])["SSL_write_ex"]
    (stub,) = _PLACES[platform.machine()](code).continues
    assert stub_of(library, begin + stub) == (None if "Bsymbolic" in ahead else "SSL_write_ex2")


def test_without_any_library_there_is_nothing_to_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(CannotRunError, match="there is none that nettop knows"):
        PlaintextProbes(lambda _: 0).attach([])


@pytest.mark.parametrize(
    ("plain", "filtered", "harmless"),
    [
        (errno.ENOSYS, errno.EPERM, True),  # before Linux 6.11
        (-signal.SIGILL, -signal.SIGILL, True),  # since 6.14
        (-signal.SIGILL, errno.EPERM, False),  # in between: a filter is asked
        (-signal.SIGILL, 0, False),  # filters cannot be tried
        (errno.EPERM, errno.EPERM, False),  # nettop itself is in a sandbox
    ],
)
def test_whether_returns_are_harmless(
    monkeypatch: pytest.MonkeyPatch, plain: int, filtered: int, harmless: bool
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    outcomes = {False: plain, True: filtered}
    monkeypatch.setattr(uretprobes, "_outcome", lambda *, filtered: outcomes[filtered])
    assert uretprobes.are_harmless() is harmless


def test_returns_on_other_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(uretprobes, "_outcome", lambda **_: pytest.fail("there is no such call"))
    assert uretprobes.are_harmless()
