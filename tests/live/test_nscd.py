"""Look-ups (--lookups) that nscd answers: its clients send no query, and are seen by what they call."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.live import lookup_programs
from tests.live.lab import Namespace, Program, Watch, dnsmasq, namespace, wait_until

SERVER = "127.0.0.1"
SETTINGS = """
server-user root
enable-cache hosts yes
persistent hosts no
shared hosts no
enable-cache passwd no
enable-cache group no
enable-cache services no
enable-cache netgroup no
"""

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: uprobes"),
    pytest.mark.skipif(shutil.which("nscd") is None, reason="needs nscd"),
]


@dataclass
class Lab:
    inside: Namespace
    nscd: Program
    own: Sequence[str]  # a prefix for programs that ask this nscd


@pytest.fixture
def lab(directory: Path) -> Iterator[Lab]:
    """Its socket is in a place that only the programs here have: the host's may have one of its own."""
    shared, settings = directory / "nscd", directory / "nscd.conf"
    shared.mkdir()
    settings.write_text(SETTINGS)
    mounts = f"mount -t tmpfs none /run && mkdir /run/nscd && mount --bind {shared} /run/nscd"
    own = ("sh", "-c", f'{mounts} && exec "$@"', "sh")
    with namespace(directory) as inside:
        dnsmasq(inside, [SERVER], "--local=/#/", "--host-record=db.svc.test,192.0.2.10,2001:db8::10")
        nscd = inside.start(*own, "nscd", "--foreground", "--config-file", str(settings), nameserver=SERVER)
        wait_until((shared / "socket").exists, "nscd")
        yield Lab(inside, nscd, own)


def test_who_asked_is_seen_and_who_sent_the_queries(lab: Lab, directory: Path) -> None:
    with Watch(directory, "--netns", lab.inside.name, "--lookups") as watch:
        asked = {}
        for name in ("db.svc.test", "gone.test"):
            program = lab.inside.play(lookup_programs.one, nameserver=SERVER, prefix=lab.own, name=name)
            asked[name] = (program, program.hear())
            program.end()
        watch.until(lambda each: sum(row.status == "returned" for row in each.lookups) >= len(asked), "the look-ups")
        snapshot = watch.up_to_now()
        watch.stop()
    told = {row.name: row for row in snapshot.lookups}
    assert told.keys() == asked.keys()
    for name, (program, said) in asked.items():
        row = told[name]
        assert (row.pid, row.result, row.queries) == (program.pid, said["result"], 0)
        assert list(row.addresses) == said["addresses"]
    assert [said["result"] for _, said in asked.values()] == ["OK", "EAI_NONAME"]
    assert {(row.pid, row.lookup_id) for row in snapshot.dns} == {(lab.nscd.pid, None)}
    assert {row.qname for row in snapshot.dns} == asked.keys()
