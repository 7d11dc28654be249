"""The formats that others read are, byte for byte, those of the files beside this one."""

from pathlib import Path
from typing import get_args

import msgspec
import pytest

from nettop.cli.checks import Check
from nettop.cli.main import main
from nettop.model.events import AnyEvent
from nettop.settings.declared import SETTINGS
from nettop.settings.resolve import resolve
from tests.golden import make

DATA = (".json", ".jsonl", ".toml")


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    return make.files()


@pytest.mark.parametrize("name", sorted(path.name for path in make.HERE.iterdir() if path.suffix in DATA))
def test_a_format_is_as_it_was(made: dict[str, bytes], name: str) -> None:
    """A field that is new here is a new line in CHANGELOG; one that is gone breaks what others have built."""
    kept = (make.HERE / name).read_bytes()
    assert made[name].decode().splitlines() == kept.decode().splitlines(), "run 'make golden', and read the diff"
    assert made[name] == kept


def test_every_format_is_kept(made: dict[str, bytes]) -> None:
    assert set(made) == {path.name for path in make.HERE.iterdir() if path.suffix in DATA}


def test_every_kind_of_event_is_among_them() -> None:
    assert {type(event) for event in make.recording()} == set(get_args(AnyEvent))


def test_every_status_of_a_check_is_among_them() -> None:
    statuses = {field.name: field.type for field in msgspec.structs.fields(Check)}["status"]
    assert {check.status for check in make.doctor().checks} == set(get_args(statuses))


@pytest.mark.parametrize(
    ("options", "name"),
    [([], "snapshot.json"), (["--filter", "dns:failed"], "snapshot-filtered.json")],
    ids=["all", "filtered"],
)
def test_the_stream_replays_to_the_snapshot(tmp_path: Path, options: list[str], name: str) -> None:
    output = tmp_path / name
    assert main(["replay", "--snapshot", *options, "-o", str(output), str(make.HERE / "stream.jsonl")]) == 0
    assert output.read_bytes() == (make.HERE / name).read_bytes()


def test_the_settings_are_read_as_they_are_printed() -> None:
    resolved = resolve({}, make.HERE / "config.toml")
    others = {each.attribute: getattr(resolved.settings, each.attribute) for each in SETTINGS}
    assert {name: value for name, value in others.items() if value != getattr(type(resolved.settings)(), name)} == {
        "interval": 2.0,
        "theme": "nord",
        "dns_ports": (53, 5355),
        "connections_sort": "rx asc",
        "keys": {"pause": "p, f5"},
    }
