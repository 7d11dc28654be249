"""`nettop diagnose` on traffic that goes wrong, and where all is well."""

import json
import signal
import subprocess

from jsonschema import Draft202012Validator

from nettop.export.schema import schemas
from tests.live import programs
from tests.live.lab import NETTOP, PATIENCE_S, Namespace, attached, nettop, wait_until

CLOSED_PORT, TIMES = 7990, 4


def test_connects_that_are_refused(quiet: Namespace) -> None:
    program = quiet.play(programs.fail_to_connect, addresses=["127.0.0.1"] * TIMES, port=CLOSED_PORT)
    assert program.hear() == "ready"
    command = [*NETTOP, "diagnose", "--netns", quiet.name, "--for", "600", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            wait_until(lambda: process.poll() is not None or attached(process.pid), "nettop diagnose to attach")
            program.say("go")
            assert len(program.hear()) == TIMES
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    program.end()
    assert process.returncode == 1
    document = json.loads(said)
    Draft202012Validator(schemas()["findings.schema.json"]).validate(document)
    (finding,) = document["findings"]
    assert finding["sentence"].startswith(
        f"unlucky[{program.pid}]: {TIMES} connects to 127.0.0.1:{CLOSED_PORT} were refused in the last "
    )
    assert (finding["rule"], finding["table"]) == ("connect-fails", "connections")
    assert [row["end"] for row in finding["rows"]] == ["refused"] * TIMES


def test_all_is_well(quiet: Namespace) -> None:
    done = nettop("diagnose", "--netns", quiet.name, "--for", "0.5")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Nothing found on ")


def test_what_could_not_watch_found_nothing() -> None:
    done = nettop("diagnose", "--netns", "no-such-namespace", "--for", "1")
    assert (done.returncode, done.stdout) == (2, "")
