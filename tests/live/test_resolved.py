"""Look-ups by way of a real systemd-resolved and nss-resolve: the wire knows the resolver, nettop knows who asked."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nettop.model.snapshot import Snapshot
from tests.kernels.archive import cache_folder
from tests.live import lookup_programs
from tests.live.lab import Namespace, Program, Watch, dnsmasq, two_namespaces, wait_until
from tests.live.play import playing

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: uprobes")]

SERVER = "127.0.0.1"
PACKAGES = ("systemd-resolved", "libnss-resolve")
RESOLVER_USER = 991
# In a mount namespace of its own: what it reads and writes of /run and /etc is its alone.
RESOLVED = f"""
set -e
mount -t tmpfs none /run
mkdir -p /run/systemd/resolve /run/systemd/resolved.conf.d
cp /etc/passwd /etc/group /run/
echo systemd-resolve:x:{RESOLVER_USER}:{RESOLVER_USER}::/:/usr/sbin/nologin >>/run/passwd
echo systemd-resolve:x:{RESOLVER_USER}: >>/run/group
echo 'hosts: files resolve' >/run/nsswitch.conf
for file in passwd group nsswitch.conf; do mount --bind /run/$file /etc/$file; done
chown {RESOLVER_USER}:{RESOLVER_USER} /run/systemd/resolve
for line in '[Resolve]' DNS={SERVER} DNSStubListener=no LLMNR=no MulticastDNS=no DNSSEC=no CacheFromLocalhost=yes; do
    echo "$line"
done >/run/systemd/resolved.conf.d/test.conf
exec "$1"/lib/systemd/systemd-resolved
"""


@pytest.fixture(scope="module")
def unpacked() -> Path:
    """The programs of Debian's packages, which are not installed: that would change how this machine resolves names."""
    folder = cache_folder("resolved")
    if not (folder / "lib/systemd/systemd-resolved").exists():
        fetched = subprocess.run(
            ["apt-get", "-qq", "download", *PACKAGES], cwd=folder, capture_output=True, check=False
        )
        if fetched.returncode:
            pytest.skip("needs Debian's packages systemd-resolved and libnss-resolve, which apt-get cannot download")
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, folder], check=True)
    return folder


@dataclass
class Lab:
    inside: Namespace
    resolver: Program
    libraries: Path
    watch: Watch

    def beside_resolver(self, *command: str) -> Program:
        """Start a command that asks it by nss-resolve."""
        enter = ("nsenter", "--target", str(self.resolver.pid), "--mount", "--net", "--")
        return self.inside.start(*enter, "env", f"LD_LIBRARY_PATH={self.libraries}", *command)


@pytest.fixture(scope="module")
def lab(directory: Path, unpacked: Path) -> Iterator[Lab]:
    with two_namespaces(directory) as (inside, _):  # it asks nobody unless a link has an address
        dnsmasq(inside, [SERVER], "--local=/#/", "--local-ttl=600", "--host-record=www.example,192.0.2.7,2001:db8::7")
        resolver = inside.start("sh", "-c", RESOLVED, "sh", str(unpacked))
        varlink = Path(f"/proc/{resolver.pid}/root/run/systemd/resolve/io.systemd.Resolve")
        wait_until(varlink.exists, "systemd-resolved")
        with Watch(directory, "--netns", inside.name, "--lookups") as watch:
            (libraries,) = unpacked.glob("usr/lib/*-linux-gnu")
            yield Lab(inside, resolver, libraries, watch)
            watch.stop()


def lookups_of(
    snapshot: Snapshot, program: Program
) -> list[tuple[str | None, str | None, tuple[str, ...], int | None]]:
    rows = [row for row in snapshot.lookups if row.pid == program.pid and row.status == "returned"]
    return [(row.name, row.result, tuple(sorted(row.addresses)), row.queries) for row in rows]


def test_the_wire_knows_only_the_resolver_and_nettop_knows_who_asked(lab: Lab) -> None:
    program = lab.beside_resolver("getent", "ahosts", "www.example")
    assert "192.0.2.7" in program.end()
    snapshot = lab.watch.until(lambda each: bool(lookups_of(each, program)), "the look-up")
    assert lookups_of(snapshot, program) == [("www.example", "OK", ("192.0.2.7", "2001:db8::7"), 0)]
    assert {(row.pid, row.comm) for row in snapshot.dns} == {(lab.resolver.pid, "systemd-resolve")}
    assert {row.qname for row in snapshot.dns} == {"www.example"}


def test_what_the_resolver_has_in_its_cache_is_a_look_up_all_the_same(lab: Lab) -> None:
    before = len(lab.watch.up_to_now().dns)
    programs = [lab.beside_resolver("getent", "ahostsv4", "www.example") for _ in range(3)]
    for program in programs:
        program.end()
    snapshot = lab.watch.until(lambda each: all(lookups_of(each, program) for program in programs), "the look-ups")
    for program in programs:
        assert lookups_of(snapshot, program) == [("www.example", "OK", ("192.0.2.7",), 0)]
    assert len(snapshot.dns) == before


def test_a_name_that_does_not_exist(lab: Lab) -> None:
    program = lab.beside_resolver(*playing(lookup_programs.one, name="gone.example"))
    assert program.hear()["result"] == "EAI_NONAME"
    program.end()
    snapshot = lab.watch.until(lambda each: bool(lookups_of(each, program)), "the look-up")
    assert lookups_of(snapshot, program) == [("gone.example", "EAI_NONAME", (), 0)]
