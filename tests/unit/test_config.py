"""Settings: where they come from, what is refused, and that each does something."""

import json
import os
import pwd
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from textual.theme import BUILTIN_THEMES

from nettop.cli.main import main
from nettop.errors import UsageError
from nettop.export.json import event_json
from nettop.model.kinds import KINDS
from nettop.settings.declared import SETTINGS, THEMES, default_settings, setting
from nettop.settings.resolve import MAX_CONFIG_BYTES, as_toml, config_path, resolve
from tests.builders import connection as a_connection
from tests.builders import dns_query, identity, listener, start, tick, told

# one value per setting that is not the default, as config.toml and as the environment have it
OTHER: dict[str, tuple[str, str, Any]] = {
    "interval": ("0.5", "0.5", 0.5),
    "filter": ('"comm:curl"', "comm:curl", "comm:curl"),
    "theme": ('"nord"', "nord", "nord"),
    "panes": ('["processes", "dns"]', "processes, dns", ("processes", "dns")),
    "export_directory": ('"~/captures"', "~/captures", "~/captures"),
    "dns.ports": ("[53, 5353]", "53, 5353", (53, 5353)),
    "dns.columns": ('["name", "pid"]', "name,pid", ("name", "pid")),
    "dns.sort": ('"latency desc"', "latency desc", "latency desc"),
    "connections.columns": ('["remote", "rx"]', "remote, rx", ("remote", "rx")),
    "connections.sort": ('"rx"', "rx", "rx"),
    "processes.columns": ('["pid"]', "pid", ("pid",)),
    "hosts.columns": ('["scope"]', "scope", ("scope",)),
    "hosts.sort": ('"syns"', "syns", "syns"),
    "udp.columns": ('["remote"]', "remote", ("remote",)),
    "requests.enabled": ("false", "false", False),
    "metrics.series": ("5000", "5000", 5000),
    "requests.query": ("true", "1", True),
    "requests.mask": ('["bot[^/]+"]', "bot[^/]+", ("bot[^/]+",)),
    "requests.columns": ('["path", "status"]', "path, status", ("path", "status")),
    "requests.sort": ('"latency"', "latency", "latency"),
    "history.requests": ("600", "600", 600),
    "lookups.columns": ('["name", "result"]', "name, result", ("name", "result")),
    "lookups.sort": ('"latency"', "latency", "latency"),
    "history.lookups": ("700", "700", 700),
    "udp.sort": ('"tx"', "tx", "tx"),
    "history.seconds": ("600", "600", 600),
    "history.hosts": ("700", "700", 700),
    "history.udp": ("600", "600", 600),
    "processes.sort": ('"comm asc"', "comm asc", "comm asc"),
    "listeners.columns": ('["address", "queue"]', "address, queue", ("address", "queue")),
    "listeners.sort": ('"queue"', "queue", "queue"),
    "history.dns": ("100", "100", 100),
    "history.connections": ("1_000_000", "1000000", 1_000_000),
    "history.processes": ("500", "500", 500),
    "history.listeners": ("700", "700", 700),
    "keys": ('{ "pause" = "p, f5" }', "", {"pause": "p, f5"}),
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def refused(config: Path, text: str | bytes) -> tuple[str, str]:
    """Message, without the path, and remedy."""
    config.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError) as caught:
        resolve({}, config)
    assert str(config) in caught.value.message
    return caught.value.message.replace(f"{config} ", "").replace(f"{config}: ", ""), caught.value.remedy


def test_the_values_below_are_of_every_setting() -> None:
    assert set(OTHER) == {each.name for each in SETTINGS}


# Where they come from


def test_without_a_file_the_defaults_hold(config: Path) -> None:
    resolved = resolve({}, config)
    assert resolved.settings == default_settings()
    assert set(resolved.origins.values()) == {"default"}


@pytest.mark.parametrize("name", OTHER)
def test_from_the_file(config: Path, name: str) -> None:
    text, _, value = OTHER[name]
    config.write_text(f"# a comment\n{name} = {text}\n")
    resolved = resolve({}, config)
    attribute = name.replace(".", "_")
    assert getattr(resolved.settings, attribute) == value
    assert resolved.origins == {each.attribute: "default" for each in SETTINGS} | {attribute: "file, line 2"}


@pytest.mark.parametrize("number", ["0", "99", "1000001", "99999999999"])
def test_the_environment_is_held_to_the_same_bounds(config: Path, monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    monkeypatch.setenv("NETTOP_HISTORY_DNS", number)
    with pytest.raises(UsageError, match="is not between 100 and 1000000"):
        resolve({}, config)


@pytest.mark.parametrize("name", [name for name in OTHER if name != "keys"])
def test_the_environment_comes_before_the_file(config: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    attribute = name.replace(".", "_")
    default = setting(attribute).default
    config.write_text(f"{name} = {json.dumps(default)}\n")
    monkeypatch.setenv(f"NETTOP_{attribute.upper()}", OTHER[name][1])
    resolved = resolve({}, config)
    assert getattr(resolved.settings, attribute) == OTHER[name][2]
    assert resolved.origins[attribute] == f"environment NETTOP_{attribute.upper()}"


@pytest.mark.parametrize("attribute", [each.attribute for each in SETTINGS if each.option])
def test_the_command_line_comes_first(config: Path, monkeypatch: pytest.MonkeyPatch, attribute: str) -> None:
    value = OTHER[setting(attribute).name][2]
    monkeypatch.setenv(f"NETTOP_{attribute.upper()}", "99999999")  # would be refused, but for the filter
    if attribute != "filter":
        with pytest.raises(UsageError):
            resolve({}, config)
    monkeypatch.setenv(f"NETTOP_{attribute.upper()}", OTHER[setting(attribute).name][1])
    resolved = resolve({attribute: value}, config)
    assert getattr(resolved.settings, attribute) == value
    assert resolved.origins[attribute] == f"command line {setting(attribute).option}"


def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "/home/ada")
    assert config_path() == Path("/home/ada/.config/nettop/config.toml")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/etc/ada")
    assert config_path() == Path("/etc/ada/nettop/config.toml")
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")  # which the specification says to ignore
    assert config_path() == Path("/home/ada/.config/nettop/config.toml")


def test_under_sudo_the_file_is_that_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    nobody = pwd.getpwnam("nobody")
    monkeypatch.setenv("SUDO_UID", str(nobody.pw_uid))
    monkeypatch.setenv("SUDO_GID", str(nobody.pw_gid))
    monkeypatch.setenv("XDG_CONFIG_HOME", "/root/elsewhere")
    assert config_path() == Path(nobody.pw_dir) / ".config/nettop/config.toml"


def test_a_caller_who_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_UID", "3999999999")
    monkeypatch.setenv("SUDO_GID", "0")
    monkeypatch.setenv("HOME", "/root")
    assert config_path() == Path("/root/.config/nettop/config.toml")


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    assert config_path() == Path("/.config/nettop/config.toml")


# What is refused


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("intervall = 1", "line 1: unknown setting 'intervall'.", "Did you mean 'interval'?"),
        ("\n[dns]\nport = [53]\n", "line 3: unknown setting 'dns.port'.", "Did you mean 'dns.ports'?"),
        ("[history]\ndns = 5", "line 2: history.dns: 5 is not between 100 and 1000000.",
         "Give another value, or remove it."),
        ("interval = 0", "line 1: interval: 0 is not between 0.1 and 60 seconds.", "Give another value, or remove it."),
        ("interval = nan", "line 1: interval: nan is not between 0.1 and 60 seconds.",
         "Give another value, or remove it."),
        ("interval = true", "line 1: interval: true is not a number of seconds.", "Give another value, or remove it."),
        ('interval = "1"', "line 1: interval: '1' is not a number of seconds.", "Give another value, or remove it."),
        ("history.dns = 1e3", "line 1: history.dns: 1000.0 is not a whole number.",
         "Give another value, or remove it."),
        ("history = 3", "line 1: 'history' is not a table.", "Write [history] on its own line."),
        ("filter = 3", "line 1: filter: 3 is not a string.", "Put it in quotes."),
        ('filter = "pid:x"', "line 1: filter: A pid is a whole number, not 'x'.", ""),
        ('theme = "nrod"', "line 1: theme: 'nrod' is not a theme.", "Did you mean 'nord'?"),
        ('export_directory = "~nobody-here/x"', "line 1: export_directory: ~nobody-here is nobody's home.",
         "Give another value, or remove it."),
        ('export_directory = ""', "line 1: export_directory: that is no path.", "Give another value, or remove it."),
        ("dns.ports = []", "line 1: dns.ports: [] is not a list of 1 to 8 ports.", "Write for example [53, 5353]."),
        ("dns.ports = 53", "line 1: dns.ports: 53 is not a list of 1 to 8 ports.", "Write for example [53, 5353]."),
        ("dns.ports = [0]", "line 1: dns.ports: 0 is not a port.", "Give numbers from 1 to 65535."),
        ('dns.columns = ["nmae"]', "line 1: dns.columns: 'nmae' is not a column of this pane.", "Did you mean 'name'?"),
        ("panes = []", "line 1: panes: [] is not a list of panes.", 'Write for example ["dns", "connections"].'),
        ('panes = ["nds"]', "line 1: panes: 'nds' is not a pane.", "Did you mean 'dns'?"),
        ('panes = ["dns", "dns"]', "line 1: panes: a pane is named twice.", "Name each once."),
        ('dns.columns = ["pid", "pid"]', "line 1: dns.columns: a column is named twice.", "Name each once."),
        ('processes.sort = "rxx desc"', "line 1: processes.sort: 'rxx' is not a column of this pane.",
         "Did you mean 'rx'?"),
        ('processes.sort = "rx down"', "line 1: processes.sort: 'rx down' is not a sort order.",
         "Write for example 'rx desc'."),
        ('[keys]\n"filter.edti" = "f5"', "line 1: keys: unknown key binding 'filter.edti'.",
         "Did you mean 'filter.edit'?"),
        ('[keys]\npause = ""', "line 1: keys: the keys of 'pause' are not a string.",
         'Write for example "pause" = "f5".'),
        ("keys = 3", "line 1: keys: it is not a table.", 'Write [keys], and below it for example "pause" = "p".'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(config: Path, text: str, message: str, remedy: str) -> None:
    said, what_to_do = refused(config, text)
    assert said == message
    assert what_to_do == remedy or not remedy


@pytest.mark.parametrize("text", ["[keys", "keys = [", "\x00", "a = 1\na = 2", "x = " + "[" * 999, "i = " + "9" * 5000])
def test_what_is_no_toml(config: Path, text: str) -> None:
    assert "is not TOML" in refused(config, text)[0]


def test_what_is_no_utf8(config: Path) -> None:
    assert refused(config, b"\xff\xfe")[0].endswith("is not UTF-8.")


def test_a_file_without_end_is_not_read_to_it(config: Path) -> None:
    assert "is longer than" in refused(config, b"#" * (MAX_CONFIG_BYTES + 1))[0]
    config.write_bytes(b"#" * MAX_CONFIG_BYTES)
    assert resolve({}, config).settings == default_settings()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_ordinary_file_is_refused_at_once(config: Path, make: Callable[[Path], None]) -> None:
    make(config)
    with pytest.raises(UsageError, match="is not a regular file"):
        resolve({}, config)


def test_a_link_to_an_own_file_is_followed(config: Path) -> None:
    target = config.with_name("dotfiles.toml")
    target.write_text("interval = 2")
    config.symlink_to(target)
    assert resolve({}, config).settings.interval == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_under_sudo_nothing_is_read_that_the_caller_could_not(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = pwd.getpwnam("nobody")
    monkeypatch.setenv("SUDO_UID", str(nobody.pw_uid))
    monkeypatch.setenv("SUDO_GID", str(nobody.pw_gid))
    config.write_text("interval = 2")
    config.chmod(0o600)
    with pytest.raises(UsageError, match="is owned by another user"):
        resolve({}, config)
    config.chmod(0o644)
    assert resolve({}, config).settings.interval == 2
    config.chmod(0o600)
    os.chown(config, nobody.pw_uid, nobody.pw_gid)
    assert resolve({}, config).settings.interval == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who may not read")
def test_a_home_that_one_may_not_look_into_has_no_settings(config: Path) -> None:
    script = (
        "import os, sys, nettop.settings.resolve; from pathlib import Path; path = Path(sys.argv[1]); "
        "os.setegid(65534); os.seteuid(65534); print(nettop.settings.resolve.resolve({}, path).settings.interval)"
    )

    def run() -> "subprocess.CompletedProcess[str]":
        return subprocess.run([sys.executable, "-c", script, config], capture_output=True, text=True, check=False)

    config.write_text("interval = 2")
    config.chmod(0o600)
    config.parent.chmod(0o700)
    assert run().stdout == "1.0\n"


@pytest.mark.parametrize(("text", "message"), [("x", "'x' is not a number of seconds."), ("\udcff", "is not UTF-8.")])
def test_a_wrong_variable(config: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
    monkeypatch.setenv("NETTOP_INTERVAL", text)
    with pytest.raises(UsageError) as caught:
        resolve({}, config)
    assert caught.value.message.startswith("NETTOP_INTERVAL")
    assert caught.value.message.endswith(message)


def test_an_unknown_variable(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETTOP_INTERVALL", "2")
    assert resolve({}, config).notes == (
        "ignored unknown settings in the environment: NETTOP_INTERVALL (did you mean NETTOP_INTERVAL?).",
    )


def test_what_kubernetes_names_after_a_service(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pods get these where a Service is called nettop; nettop runs there all the same."""
    for name in ("PORT", "PORT_80_TCP", "PORT_80_TCP_ADDR", "PORT_80_TCP_PORT", "SERVICE_HOST", "SERVICE_PORT"):
        monkeypatch.setenv(f"NETTOP_{name}", "tcp://10.0.0.1:80")
    resolved = resolve({}, config)
    assert resolved.settings == default_settings()
    assert resolved.notes == (
        "ignored unknown settings in the environment: "
        "NETTOP_PORT, NETTOP_PORT_80_TCP, NETTOP_PORT_80_TCP_ADDR, 3 more.",
    )


def test_what_is_known_is_not_noted(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETTOP_INTERVAL", "2")
    assert resolve({}, config).notes == ()


def test_the_themes_are_those_of_textual() -> None:
    assert set(THEMES) <= set(BUILTIN_THEMES)


def test_the_defaults_are_values() -> None:
    for each in SETTINGS:
        default = list(each.default) if isinstance(each.default, tuple) else each.default
        assert each.kind.check(default) == each.default, each.name


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
def test_any_bytes_are_settings_or_a_sentence(config: Path, content: bytes) -> None:
    config.write_bytes(content)
    with suppress(UsageError):
        resolve({}, config)


# nettop config


def _is_filter(text: str) -> bool:
    try:
        setting("filter").kind.check(text)
        text.encode()
    except (UsageError, UnicodeEncodeError):
        return False
    return True


@given(
    st.fixed_dictionaries({}, optional={
        "filter": st.text().filter(_is_filter),
        "interval": st.floats(0.1, 60),
        "dns_ports": st.lists(st.integers(1, 65535), min_size=1, max_size=8, unique=True).map(tuple),
        "theme": st.sampled_from(THEMES),
    })
)  # fmt: skip
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_is_printed_says_the_same_again(config: Path, given_values: dict[str, Any]) -> None:
    config.unlink(missing_ok=True)
    resolved = resolve(given_values, config)
    config.write_text(as_toml(resolved))
    assert resolve({}, config).settings == resolved.settings


def test_the_command_prints_values_and_where_they_came_from(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "nettop").mkdir()
    (tmp_path / "nettop/config.toml").write_text('theme = "nord"\n[keys]\npause = "p"\n')
    monkeypatch.setenv("NETTOP_DNS_PORTS", "53,5355")
    assert main(["--interval", "2", "config"]) == 0
    output = capfd.readouterr().out
    lines = output.splitlines()
    assert lines[0] == f"# {tmp_path}/nettop/config.toml"
    assert {
        "interval = 2.0  # command line --interval", 'filter = ""  # default', 'theme = "nord"  # file, line 1',
        "ports = [53, 5355]  # environment NETTOP_DNS_PORTS", '"pause" = "p"  # file, line 2',
    } <= set(lines)  # fmt: skip
    assert tomllib.loads(output)["dns"]["ports"] == [53, 5355]


def test_the_command_says_what_is_wrong(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "nettop").mkdir()
    (tmp_path / "nettop/config.toml").write_text('[keys]\npause = "z"\n')
    assert main(["config"]) == 2
    assert "'z' is bound to both" in capfd.readouterr().err


# What they do, where that needs neither a screen nor a kernel


@pytest.fixture
def long_recording(tmp_path: Path) -> Path:
    events = [start(), told(identity())]
    for number in range(1, 151):
        events += [
            told(dns_query(id=number)),
            told(a_connection(id=number, state="closed", end="normal")),
            told(identity(pid=10_000 + number, exited_at=tick(1).time)),
            told(listener(id=number, closed=True)),
        ]
    path = tmp_path / "recording"
    path.write_bytes(b"".join(map(event_json, [*events, tick(2)])))
    return path


@pytest.mark.parametrize("table", ["dns", "connections", "processes", "listeners"])
def test_history_bounds_what_is_kept(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, long_recording: Path, table: str
) -> None:
    monkeypatch.setenv(f"NETTOP_HISTORY_{table.upper()}", "100")
    assert main(["replay", "--snapshot", "--partial", str(long_recording)]) == 0
    snapshot = json.loads(capfd.readouterr().out)
    assert snapshot["losses"]["evicted"] == {kind.name: 0 for kind in KINDS} | {table: 50}
    assert len(snapshot[table]) == 100 + (table == "processes")  # and one that lives


def test_the_filter_holds_where_none_is_given(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, long_recording: Path
) -> None:
    monkeypatch.setenv("NETTOP_FILTER", "pid:10007")
    assert main(["replay", "--snapshot", "--partial", str(long_recording)]) == 0
    assert [row["pid"] for row in json.loads(capfd.readouterr().out)["processes"]] == [10_007]
    assert main(["replay", "--snapshot", "--partial", str(long_recording), "--filter", ""]) == 0
    assert len(json.loads(capfd.readouterr().out)["processes"]) == 151


# Documentation

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_pages_example_is_taken(config: Path) -> None:
    config.write_text(PAGE.read_text().partition("```toml\n")[2].partition("```")[0])
    resolved = resolve({}, config)
    assert resolved.settings.dns_ports == (53, 5353, 5355)
    assert resolved.settings.keys == {"filter.pid": "p"}


def test_requests_are_switched_off_in_place_of_their_table(config: Path) -> None:
    config.write_text("requests = false\n")
    assert resolve({}, config).settings.requests_enabled is False
    config.write_text("[requests]\nquery = true\n")
    settings = resolve({}, config).settings
    assert (settings.requests_enabled, settings.requests_query) == (True, True)
    assert refused(config, "dns = false\n")[0].endswith("'dns' is not a table.")


def test_requests_are_switched_off_by_the_tables_variable(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETTOP_REQUESTS", "false")
    resolved = resolve({}, config)
    assert (resolved.settings.requests_enabled, resolved.notes) == (False, ())


def test_a_mask_is_a_regular_expression(config: Path) -> None:
    message, _ = refused(config, 'requests.mask = ["("]\n')
    assert "is not a regular expression" in message
