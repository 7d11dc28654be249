"""The command line: whatever it is given, one sentence, one remedy, one exit code, and no traceback."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from nettop import __version__
from nettop.cli import screen, watching
from nettop.cli.main import main
from nettop.cli.parser import make_parser
from nettop.cli.scope import SCOPE_OPTIONS
from nettop.cli.watching import settings_of
from nettop.errors import CannotRunError, RunError
from nettop.export.json import event_json, snapshot_json
from nettop.kernel.btf import Btf, BtfError
from nettop.kernel.compiler import compile_apart
from nettop.kernel.place import require_linux, where_to_get_privileges
from nettop.model.store import replayed
from nettop.settings.declared import SETTINGS, THEMES
from nettop.sources import live
from tests.builders import a_recording

WHOLE = b"".join(map(event_json, a_recording()))
NETTOP = (sys.executable, "-m", "nettop")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "recording"
    path.write_bytes(WHOLE)
    return path


def outcome(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    code = main(list(map(str, arguments)))
    output = capfd.readouterr()
    return code, output.out, output.err


def run(*arguments: str | Path, prefix: Sequence[str] = NETTOP, redirection: str = "") -> tuple[int, str, str]:
    """The same of a process of its own, below a shell that redirects."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$@" {redirection}', "sh", *prefix, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["snapshot", "--for", "0"], "Argument --for: 0 is not between 0.1 and 604800 seconds."),
        (["snapshot", "--for", "-1"], "Argument --for: -1 is not between 0.1 and 604800 seconds."),
        (["snapshot", "--for", "nan"], "Argument --for: nan is not between 0.1 and 604800 seconds."),
        (["snapshot", "--for", "inf"], "Argument --for: inf is not between 0.1 and 604800 seconds."),
        (["snapshot", "--for", "1e9"], "Argument --for: 1e9 is not between 0.1 and 604800 seconds."),
        (["snapshot", "--for", "abc"], "Argument --for: 'abc' is not a number of seconds."),
        (["snapshot", "--for", ""], "Argument --for: '' is not a number of seconds."),
        (["snapshot", "--for"], "Argument --for: expected one argument."),
        (["snapshot", "--interval", "0"], "Argument --interval: 0 is not between 0.1 and 60 seconds."),
        (["snapshot", "--interval", "61"], "Argument --interval: 61 is not between 0.1 and 60 seconds."),
        (["snapshot", "--interval", "x"], "Argument --interval: 'x' is not a number of seconds."),
        (["snapshot", "--pid", "0"], "Argument --pid: '0' is not a pid."),
        (["snapshot", "--pid", "-5"], "Argument --pid: '-5' is not a pid."),
        (["snapshot", "--pid", "x"], "Argument --pid: 'x' is not a pid."),
        (["snapshot", "--pid", "٤٢"], "Argument --pid: '٤٢' is not a pid."),
        (["snapshot", "--pid", "4194304"], "Argument --pid: '4194304' is not a pid."),
        (["snapshot", "-o"], "Argument -o/--output: expected one argument."),
    ],
)
def test_a_wrong_value(capfd: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    remedy = f"See 'nettop {arguments[0]} --help'."
    assert outcome(capfd, *arguments) == (2, "", f"nettop: {message} {remedy}\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["snapshot", "--pid", "4194303"],
            "There is no process 4194303. Give the pid of a running process; 'pgrep NAME' finds it.",
        ),
        (["snapshot", "--comm", ""], "--comm needs a name. Give one as 'ps -o comm' shows it."),
        (
            ["snapshot", "--netns", "no-such"],
            "There is no network namespace 'no-such' (/run/netns/no-such: No such file or directory). Give a name from "
            "'ip netns', a path like /proc/PID/ns/net, or the pid of a process inside.",
        ),
        (
            ["snapshot", "--netns", "/etc/passwd"],
            "'/etc/passwd' is not a network namespace: /etc/passwd is a file of another kind. Give a name from "
            "'ip netns', a path like /proc/PID/ns/net, or the pid of a process inside.",
        ),
        (
            ["replay", "--snapshot", "/no/such"],
            "/no/such cannot be read: No such file or directory. Give a file that you may read.",
        ),
        (
            ["replay", "--snapshot"],
            "There is nothing to replay. Give a FILE written by 'nettop stream' or 'nettop snapshot', or --demo.",
        ),
        (
            ["replay", "--demo", "file"],
            "FILE and --demo cannot be combined. Give one of them.",
        ),
        (
            ["--decrypt", "replay", "--demo"],
            "--decrypt chooses what to watch; it does not apply to a recording. Leave it out.",
        ),
        (
            ["metrics", "--lookups"],
            "--lookups has nothing to show in metrics. Leave it out, or use 'nettop stream --lookups'.",
        ),
        (
            ["metrics", "--decrypt"],
            "Metrics do not count what --decrypt finds. Leave it out, or use 'nettop stream --decrypt'.",
        ),
        (["snapshot", "--no-such"], "Unrecognized arguments: --no-such. See 'nettop --help'."),
        (["snapshot", "extra"], "Unrecognized arguments: extra. See 'nettop --help'."),
        (["snapshot", "--netns", "\x1b[2J"], None),
        (["replay", "--snapshot", "/no/\x1b[2J\x9b"], None),
    ],
)
def test_wrong_usage(capfd: pytest.CaptureFixture[str], arguments: list[str], text: str | None) -> None:
    code, output, error = outcome(capfd, *arguments)
    assert (code, output) == (2, "")
    assert error.startswith("nettop: ")
    assert error.count("\n") == 1
    assert error[:-1].isprintable()
    assert text is None or error == f"nettop: {text}\n"


@pytest.mark.parametrize("option", ["--lookups", "--decrypt"])
def test_what_metrics_refuse_is_not_in_their_help(capfd: pytest.CaptureFixture[str], option: str) -> None:
    of_metrics, of_stream = (outcome(capfd, command, "--help")[1] for command in ("metrics", "stream"))
    assert option in of_stream
    assert option not in of_metrics


def test_an_unknown_command(capfd: pytest.CaptureFixture[str]) -> None:
    code, output, error = outcome(capfd, "watch")
    assert (code, output) == (2, "")
    assert error.startswith("nettop: Argument COMMAND: invalid choice: 'watch' (choose from ")


def test_more_of_a_kind_than_the_kernel_side_holds(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nettop.kernel.scope.Scope.MAX_ENTRIES", 1)
    assert outcome(capfd, "snapshot", "--pid", str(os.getpid()), "--pid", str(os.getppid())) == (
        2,
        "",
        f"nettop: {SCOPE_OPTIONS} take at most 1 values each. Use --filter instead.\n",
    )


@pytest.mark.parametrize("command", [["snapshot"], ["stream"], ["replay", "--demo", "--snapshot"]])
def test_a_malformed_filter_is_shown_with_the_place(capfd: pytest.CaptureFixture[str], command: list[str]) -> None:
    assert outcome(capfd, *command, "--filter", "comm:a pid:xyz") == (
        2,
        "",
        "nettop: A pid is a whole number, not 'xyz'. Write for example pid:42.\ncomm:a pid:xyz\n           ^^^\n",
    )


def test_a_control_character_in_a_filter_does_not_move_the_mark(capfd: pytest.CaptureFixture[str]) -> None:
    _, _, error = outcome(capfd, "snapshot", "--filter", "a\x1bb pid:x")
    assert error.splitlines()[1:] == ["a?b pid:x", "        ^"]


@pytest.mark.parametrize("option", ["--pid=1", "--comm=x", "--netns=x", "--unit=x", "--container=x"])
def test_a_recording_has_its_scope(capfd: pytest.CaptureFixture[str], option: str, recording: Path) -> None:
    code, _, error = outcome(capfd, option, "replay", "--snapshot", recording)
    assert (code, error) == (
        2,
        f"nettop: {SCOPE_OPTIONS} choose what to watch; they do not apply to a recording. "
        "Use --filter, for example --filter pid:42.\n",
    )


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert outcome(capfd, "--version") == (0, f"nettop {__version__}\n", "")


# Replays


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        ("metrics", "--interval", 0.5),
        ("metrics", "--filter", "pid:1"),
        ("metrics", "--dns-ports", (53, 5300)),
        ("metrics", "--series", 200),
        ("replay", "--theme", THEMES[-1]),
    ],
)
def test_what_an_option_says_is_the_setting(command: str, option: str, value: Any) -> None:
    declared = next(each for each in SETTINGS if each.option == option)
    said = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    rest = ("recording",) if command == "replay" else ()
    given = make_parser().parse_args([command, option, said, *rest])
    assert getattr(settings_of(given), declared.attribute) == value != declared.default


def test_every_option_of_a_setting_is_tried() -> None:
    (tried,) = (mark for mark in test_what_an_option_says_is_the_setting.pytestmark if mark.name == "parametrize")
    assert {option for _, option, _ in tried.args[1]} == {each.option for each in SETTINGS if each.option}


def test_replay_of_a_recording(capfd: pytest.CaptureFixture[str], recording: Path) -> None:
    expected = snapshot_json(replayed(a_recording()).snapshot()).decode()
    assert outcome(capfd, "replay", "--snapshot", recording) == (0, expected, "")


def test_replay_of_a_snapshot(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = snapshot_json(replayed(a_recording()).snapshot())
    (tmp_path / "snapshot").write_bytes(text)
    assert outcome(capfd, "replay", "--snapshot", tmp_path / "snapshot") == (0, text.decode(), "")


def test_replay_of_the_demo(capfd: pytest.CaptureFixture[str]) -> None:
    code, output, error = outcome(capfd, "replay", "--demo", "--snapshot")
    assert (code, error) == (0, "")
    assert json.loads(output)["schema"] == "nettop.snapshot/1"


def test_replay_through_a_filter(capfd: pytest.CaptureFixture[str], recording: Path) -> None:
    code, output, error = outcome(capfd, "replay", "--snapshot", recording, "--filter", "comm:wget state:closed")
    snapshot = json.loads(output)
    assert code == 0
    assert (snapshot["processes"], snapshot["connections"], snapshot["dns"]) == ([], [], [])
    assert snapshot["filter"] == "comm:wget state:closed"
    assert error == (
        "nettop: the filter term 'state:closed' does not apply to processes, dns, hosts, udp, listeners and requests "
        "and is ignored for them.\n"
    )


def test_replay_of_a_filtered_recording_says_so(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    first, *rest = a_recording()
    path = tmp_path / "recording"
    path.write_bytes(b"".join(map(event_json, [msgspec.structs.replace(first, filter="dns:failed"), *rest])))
    code, output, _ = outcome(capfd, "replay", path, "--snapshot")
    assert (code, json.loads(output)["filter"]) == (0, "dns:failed")
    code, output, _ = outcome(capfd, "replay", path, "--snapshot", "--filter", "pid:1 | pid:2")
    assert (code, json.loads(output)["filter"]) == (0, "dns:failed (pid:1 | pid:2)")
    not_applied = json.loads(output)["filter_not_applied"]
    others = ("processes", "connections", "hosts", "udp", "listeners", "requests", "lookups")
    assert not_applied == {name: ["dns:failed"] for name in others}


@pytest.mark.parametrize(("command", "recorded"), [("snapshot", None), ("stream", "pid:1"), ("", None)])
def test_only_a_stream_leaves_out_what_its_filter_does_not_choose(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str, recorded: str | None
) -> None:
    """The screen's filter can be lifted; then an export has everything, and must not say otherwise."""
    monkeypatch.setattr(watching, "require_privileges", lambda: None)
    monkeypatch.setattr(screen, "require_terminal", lambda: None)
    monkeypatch.setattr(watching, "confinement", lambda: None)
    given: list[str | None] = []

    def source(_scope: object, _interval: float, text: str | None, *_: object, **_named: object) -> None:
        given.append(text)
        raise RunError("Enough.", "Go on.")

    monkeypatch.setattr(watching, "LiveSource", source)
    assert outcome(capfd, *command.split(), "--filter", "pid:1")[0] == 1
    assert given == [recorded]


def test_variables_of_others_are_noted(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETTOP_SERVICE_HOST", "10.0.0.1")
    code, _, error = outcome(capfd, "replay", "--demo", "--snapshot")
    assert (code, error) == (0, "nettop: ignored unknown settings in the environment: NETTOP_SERVICE_HOST.\n")


def test_a_name_that_the_kernel_cuts_is_noted(capfd: pytest.CaptureFixture[str]) -> None:
    assert watching._scope_comm("a-name-of-sixteen") == b"a-name-of-sixte"
    assert "every process named 'a-name-of-sixte' is watched" in capfd.readouterr().err


def test_what_is_named_twice_is_watched_once() -> None:
    own = str(os.getpid())
    options = make_parser().parse_args(
        ["--pid", own, "--pid", own, "--comm", "a", "--comm", "a", "--netns", own, "--netns", "/proc/self/ns/net"]
    )
    scope = watching._scope_of(options)
    assert (len(scope.pids), len(scope.comms), len(scope.netns)) == (1, 1, 1)
    assert scope.netns_names == (own,)  # as it was named first


def test_replay_of_a_recording_that_was_cut(capfd: pytest.CaptureFixture[str], recording: Path) -> None:
    recording.write_bytes(WHOLE[:-10])
    code, output, error = outcome(capfd, "replay", "--snapshot", recording)
    assert (code, output) == (2, "")
    assert error == (
        f"nettop: {recording} is truncated: it stops in the middle of line {len(a_recording())}. "
        "Add --partial to accept the complete lines.\n"
    )
    code, output, error = outcome(capfd, "replay", "--snapshot", "--partial", recording)
    assert (code, error) == (0, "")
    assert json.loads(output)["elapsed_s"] == 4.0


def test_replay_into_a_file(capfd: pytest.CaptureFixture[str], recording: Path, tmp_path: Path) -> None:
    path = tmp_path / "out"
    assert outcome(capfd, "replay", "--snapshot", recording, "-o", path) == (0, "", "")
    assert path.read_bytes() == snapshot_json(replayed(a_recording()).snapshot())


def test_replay_does_not_write_over_what_exists(
    capfd: pytest.CaptureFixture[str], recording: Path, tmp_path: Path
) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    assert outcome(capfd, "replay", "--snapshot", recording, "-o", path) == (
        2,
        "",
        f"nettop: {path} already exists. Give another path, or --force to replace it.\n",
    )
    assert path.read_text() == "old"
    assert outcome(capfd, "replay", "--snapshot", recording, "-o", path, "--force")[0] == 0
    assert json.loads(path.read_text())["elapsed_s"] == 4.0


def test_a_replay_that_fails_leaves_no_file(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(WHOLE[:-10])
    code, _, _ = outcome(capfd, "replay", "--snapshot", tmp_path / "bad", "-o", tmp_path / "out")
    assert code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["bad"]


# Standard output and error


@pytest.mark.parametrize(
    ("redirection", "code", "error"),
    [
        (">&-", 1, "nettop: Standard output is closed. Open it, or write to a file with -o PATH.\n"),
        (
            ">/dev/full",
            1,
            "nettop: Standard output could not be written: No space left on device. "
            "Free some space, or write elsewhere with -o PATH.\n",
        ),
        (">/dev/null 2>&-", 0, ""),
        (">/dev/null 2>/dev/full", 0, ""),
        (">/dev/null <&-", 0, ""),
    ],
)
def test_where_the_output_goes(recording: Path, redirection: str, code: int, error: str) -> None:
    arguments: list[str | Path] = ["replay", "--snapshot", recording]
    if "2>" in redirection:
        arguments += ["--filter", "port:1"]  # has something to note
    assert run(*arguments, redirection=redirection) == (code, "", error)


def test_a_reader_that_leaves_early(recording: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*NETTOP, "replay", "--snapshot", recording],
            cwd=ROOT,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    finally:
        os.close(writing)
    sentence = "Standard output was closed before everything was written. Keep the reader open, or use -o PATH."
    assert (done.returncode, done.stderr) == (1, f"nettop: {sentence}\n")


def test_with_standard_output_closed_a_file_is_still_written(recording: Path, tmp_path: Path) -> None:
    path = tmp_path / "out"
    assert run("replay", "--snapshot", recording, "-o", path, redirection=">&- 2>&- <&-") == (0, "", "")
    assert path.read_bytes() == snapshot_json(replayed(a_recording()).snapshot())


@pytest.mark.parametrize("option", ["--version", "--help"])
@pytest.mark.parametrize("buffered", ["", "-u"])
def test_printing_to_a_full_device(option: str, buffered: str) -> None:
    prefix = [part for part in (sys.executable, buffered, "-m", "nettop") if part]
    code, _, error = run(option, prefix=["env", "-u", "PYTHONUNBUFFERED", *prefix], redirection=">/dev/full")
    assert (code, error) == (
        1,
        "nettop: Standard output could not be written: No space left on device. "
        "Free some space, or write elsewhere with -o PATH.\n",
    )


def test_the_screen_needs_a_terminal(recording: Path) -> None:
    message = (
        "nettop: The screen needs a terminal. Run it in a terminal, or use 'nettop snapshot' or 'nettop stream'.\n"
    )
    for redirection in ("", "<&-", "</dev/null"):
        assert run("replay", recording, redirection=redirection) == (2, "", message)


@pytest.mark.parametrize("name", ["", "dumb"])
def test_the_screen_needs_a_terminal_that_can(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, recording: Path, name: str
) -> None:
    monkeypatch.setattr(os, "isatty", lambda _: True)
    monkeypatch.setenv("TERM", name)
    assert outcome(capfd, "replay", recording) == (
        2,
        "",
        f"nettop: The terminal (TERM={name}) cannot show a screen. "
        "Run it in a terminal, or use 'nettop snapshot' or 'nettop stream'.\n",
    )


# Where it cannot run


def without_privileges() -> list[str]:
    """The command without capabilities, but with root's right to read a tree in root's home."""
    return ["setpriv", "--bounding-set=-all", *NETTOP] if os.geteuid() == 0 else list(NETTOP)


@pytest.mark.parametrize("command", [[], ["snapshot"], ["stream"]])
def test_without_root(command: list[str]) -> None:
    assert run(*command, prefix=without_privileges()) == (
        3,
        "",
        "nettop: nettop is not allowed to watch the network here: it lacks CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN. "
        f"{where_to_get_privileges()}\n",
    )


def test_what_to_do_depends_on_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert where_to_get_privileges().startswith("Run it as root (sudo ")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert where_to_get_privileges().startswith("Root is restricted here, as in a container: ")


@pytest.mark.parametrize(
    ("called", "again"),
    [
        ("bin/nettop", "nettop"),  # the one in PATH
        ("nettop/__main__.py", "nettop"),  # python -m nettop
        (".venv/bin/nettop", ".venv/bin/nettop"),
        ("./nettop.pyz", "./nettop.pyz"),
    ],
)
def test_what_to_do_names_the_nettop_that_was_called(
    called: str, again: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "bin/nettop"
    installed.parent.mkdir()
    installed.touch(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(installed.parent))
    monkeypatch.setattr(sys, "argv", [called])
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert where_to_get_privileges().startswith(f"Run it as root (sudo {again}), ")


def test_wsl_1(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.release", lambda: "4.4.0-19041-Microsoft")
    assert outcome(capfd, "snapshot") == (
        3,
        "",
        "nettop: This is WSL 1, which has no Linux kernel. "
        "Move the distribution to WSL 2; in Windows: wsl --set-version NAME 2.\n",
    )
    monkeypatch.setattr("platform.release", lambda: "5.15.90.1-microsoft-standard-WSL2")
    require_linux()


def test_without_root_the_doctor_says_what_is_missing() -> None:
    code, output, error = run("doctor", "--json", prefix=without_privileges())
    report = json.loads(output)
    assert (code, error, report["can_run"]) == (3, "", False)
    assert [(check["mechanism"], check["status"], check["remedy"]) for check in report["checks"][1:4]] == [
        (name, "missing", where_to_get_privileges()) for name in ("CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN")
    ]


def test_the_doctor_tells_a_person_first_what_it_comes_to() -> None:
    code, output, _ = run("doctor", prefix=without_privileges())
    assert code == 3
    verdict, _, *rest = output.splitlines()
    assert re.fullmatch(rf"nettop {__version__} cannot run here yet \(Linux .+\)\.", verdict)
    assert "MISSING  permission to load programs that see packets: not held (CAP_NET_ADMIN)" in rest
    assert rest[rest.index("Not tried, because of what is missing:") + 1].endswith(
        "DNS answers, bytes received over UDP and other protocols, response times on TCP, requests"
    )
    assert rest[rest.index("What to do:") + 1 :] == [f"  - {where_to_get_privileges()}"]  # once, for all three


def as_on_a_first_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allowed, and with nothing in the cache."""
    monkeypatch.setattr(watching, "require_privileges", lambda: None)
    monkeypatch.setattr(
        live, "compiled_programs", lambda wanted, when_compiling: when_compiling() or compile_apart(wanted)
    )


def test_without_bcc(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    as_on_a_first_start(monkeypatch)
    monkeypatch.setitem(sys.modules, "bcc", None)
    code, output, error = outcome(capfd, "snapshot")
    assert (code, output) == (3, "")
    assert error.startswith("nettop: The Python module bcc cannot be imported: ")
    assert "python3-bpfcc (Debian, Ubuntu)" in error
    assert error.count("\n") == 1


def test_a_terminal_is_told_what_takes_so_long(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_on_a_first_start(monkeypatch)
    monkeypatch.setitem(sys.modules, "bcc", None)
    monkeypatch.setattr(os, "isatty", lambda descriptor: descriptor == 2)
    code, output, error = outcome(capfd, "snapshot")
    assert (code, output) == (3, "")
    assert error.startswith(
        "nettop: compiling the kernel programs, which takes some seconds.\nnettop: The Python module bcc"
    )


def test_with_pypis_bcc(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An unrelated package of the same name, without the class."""
    as_on_a_first_start(monkeypatch)
    monkeypatch.setitem(sys.modules, "bcc", ModuleType("bcc"))
    code, _, error = outcome(capfd, "snapshot")
    assert code == 3
    assert "PyPI's 'bcc' is an unrelated package; uninstall it if it is there." in error


def test_without_bcc_a_stream_leaves_no_file(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    as_on_a_first_start(monkeypatch)
    monkeypatch.setitem(sys.modules, "bcc", None)
    assert outcome(capfd, "stream", "-o", tmp_path / "out")[0] == 3
    assert list(tmp_path.iterdir()) == []


def test_without_btf(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bcc = ModuleType("bcc")
    bcc.BPF = bcc.libbcc = object  # type: ignore[attr-defined] # never gets so far
    without = Btf.of_running_kernel
    monkeypatch.setattr(Btf, "of_running_kernel", lambda: without(tmp_path / "vmlinux"))
    as_on_a_first_start(monkeypatch)
    monkeypatch.setitem(sys.modules, "bcc", bcc)
    assert outcome(capfd, "snapshot") == (
        3,
        "",
        f"nettop: This kernel offers no type information (BTF): {tmp_path}/vmlinux: No such file or directory. "
        "Run a kernel built with CONFIG_DEBUG_INFO_BTF=y, as distributions have shipped since 2020-2021.\n",
    )
    assert BtfError.exit_code == 3


# Failures


def test_details_are_for_debugging(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise CannotRunError("It cannot.", "Let it be.", "one\ntwo\x1b\n")

    monkeypatch.setattr(watching, "require_privileges", refuse)
    assert outcome(capfd, "snapshot") == (3, "", "nettop: It cannot. Let it be.\n")
    assert outcome(capfd, "--debug", "snapshot") == (3, "", "nettop: It cannot. Let it be.\none\ntwo\\x1b\n")
    assert outcome(capfd, "snapshot", "--debug") == (3, "", "nettop: It cannot. Let it be.\none\ntwo\\x1b\n")


def test_a_defect_is_a_sentence_too(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(watching, "require_privileges", fail)
    code, output, error = outcome(capfd, "snapshot")
    assert (code, output) == (1, "")
    assert error == (
        "nettop: nettop failed: ZeroDivisionError: division by zero. "
        "This is a bug: please run it again with --debug and report the output.\n"
    )
    assert "Traceback" in outcome(capfd, "snapshot", "--debug")[2]


def test_an_interrupt_is_no_failure(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watching, "require_privileges", interrupt)
    assert outcome(capfd, "snapshot") == (130, "", "")


@pytest.mark.parametrize(
    ("redirected", "said"),
    [
        (["_STDIN"], "standard input is not one. Run it without redirecting it, "),
        (["_STDOUT"], "standard output is not one. Run it without redirecting it, "),
        (["_STDERR"], "standard error is not one. Run it without redirecting it, "),
        (["_STDOUT", "_STDERR"], "standard output and standard error are not. Run it without redirecting them, "),
    ],
)
def test_what_is_redirected_is_named(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    recording: Path,
    redirected: list[str],
    said: str,
) -> None:
    primary, secondary = pty.openpty()
    try:
        with Path(os.devnull).open("rb") as elsewhere:
            for stream in ("_STDIN", "_STDOUT", "_STDERR"):
                descriptor = elsewhere.fileno() if stream in redirected else secondary
                monkeypatch.setattr(screen, stream, descriptor)
            code, _, error = outcome(capfd, "replay", recording)
    finally:
        os.close(primary)
        os.close(secondary)
    expected = f"nettop: The screen needs a terminal, but {said}or use 'nettop snapshot' or 'nettop stream'.\n"
    assert (code, error) == (2, expected)


def test_a_terminal_is_recognised_by_its_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own sys.stdin is None where it was closed at the start."""
    primary, secondary = pty.openpty()
    try:
        for descriptor in ("_STDIN", "_STDOUT", "_STDERR"):
            monkeypatch.setattr(screen, descriptor, secondary)
        monkeypatch.setattr(sys, "stdin", None)
        monkeypatch.setenv("TERM", "xterm")
        screen.require_terminal()
    finally:
        os.close(primary)
        os.close(secondary)
