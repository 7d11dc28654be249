"""Requests inside TLS on each kernel of the matrix: both ends, the right connection, and nothing left after kill -9."""

from collections import Counter
from pathlib import Path

from nettop.kernel.compiled_cache import compiled_programs
from nettop.kernel.program import defines
from nettop.kernel.scope import Scope
from tests.kernels import PATIENCE_S
from tests.live import https_programs
from tests.live.decrypt_lab import joins, of
from tests.live.lab import Watch, existing_ids, namespace, wait_until

ADDRESS, PORT, VERSION = "127.0.0.1", 8443, "TLS 1.2"
REQUESTS = 9


def test_requests_inside_tls(tmp_path: Path) -> None:
    before = existing_ids()
    with namespace(tmp_path) as inside:
        server = inside.play(https_programs.serve_without_certificate, address=ADDRESS, port=PORT)
        assert server.hear(PATIENCE_S) == "listening"
        compiled_programs(defines(Scope(netns=(1,)), decrypt=True))  # takes an emulated machine minutes
        with Watch(tmp_path, "--decrypt", "--netns", inside.name) as watch:
            # its seccomp filter kills it for system calls that are new
            client = inside.play(
                https_programs.sandboxed, address=ADDRESS, port=PORT, requests=REQUESTS, version=VERSION
            )
            assert client.hear(PATIENCE_S) == [200] * REQUESTS
            client.end(PATIENCE_S)
            snapshot = watch.until(
                lambda now: all(
                    sum(row.status is not None for row in of(now, end)) == REQUESTS for end in (client, server)
                ),
                "the requests at both ends",
                PATIENCE_S,
            )
            for end in (client, server):
                rows = of(snapshot, end)
                assert {(row.status, row.decrypted, row.error) for row in rows} == {(200, True, None)}
                assert joins(snapshot, rows) == Counter(right=REQUESTS)
            looper = inside.play(https_programs.for_ever, address=ADDRESS, port=PORT, version=VERSION)
            assert looper.hear(PATIENCE_S) == "connected"
            watch.until(lambda now: bool(of(now, looper)), "its requests", PATIENCE_S)
            watch.kill()
        wait_until(
            lambda: all(existing_ids()[kind] <= before[kind] for kind in ("prog", "link")),
            "nothing to be left",
            PATIENCE_S,
        )
        looper.say("stop")
        assert looper.hear(PATIENCE_S) > REQUESTS
        looper.end(PATIENCE_S)
