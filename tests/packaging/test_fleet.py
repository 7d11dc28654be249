"""What ships for many hosts says what nettop writes."""

import json
import re
from pathlib import Path

import pytest

from nettop.metrics.families import FAMILIES, Family

ROOT = Path(__file__).resolve().parents[2]
PAGE, SHARE = ROOT / "docs" / "fleet.md", ROOT / "nettop" / "share"


def row(family: Family) -> str:
    name = f"{family.name}_total" if family.type == "counter" else family.name
    labels = ", ".join(f"`{label.name}`" for label in family.labels) or "none"
    if not family.by_process:
        labels = f"{labels} (without unit and comm)"
    return f"| `{name}` | {family.type} | {labels} | {family.help.removesuffix('.')} |"


def test_the_page_has_every_metric() -> None:
    table = "\n".join(map(row, FAMILIES))
    assert table in PAGE.read_text(), f"docs/fleet.md has to say:\n{table}"


def names_written() -> set[str]:
    """Of all samples that there can be."""
    suffixes = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    return {f"{family.name}{suffix}" for family in FAMILIES for suffix in suffixes[family.type]}


def queried(text: str) -> dict[str, set[str]]:
    """Names of metrics, each with the labels in its braces."""
    found: dict[str, set[str]] = {}
    for name, braces in re.findall(r"\b(nettop_\w+)(\{[^}]*\})?", text):
        found.setdefault(name, set()).update(re.findall(r"(\w+)(?:=~|!=|=)\"", braces))
    return found


@pytest.mark.parametrize("name", ["dashboard.json", "alerts.yml"])
def test_every_metric_and_label_that_is_asked_for_is_written(name: str) -> None:
    text = (SHARE / name).read_text().replace('\\"', '"')
    asked = queried(text)
    assert len(asked) > 10
    assert set(asked) <= names_written()
    of_family = {family.name: {*family.label_names, "instance"} for family in FAMILIES}
    for metric, labels in asked.items():
        family = re.sub(r"_(total|bucket|sum|count)$", "", metric)
        assert labels <= of_family[family], metric


def test_the_dashboard_shows_every_metric_by_process() -> None:
    shown = set(queried((SHARE / "dashboard.json").read_text().replace('\\"', '"')))
    for family in FAMILIES:
        names = {name for name in shown if name.startswith(family.name)}
        assert names or not family.by_process, family.name


def test_the_panels_lie_side_by_side() -> None:
    panels = json.loads((SHARE / "dashboard.json").read_text())["panels"]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len({panel["id"] for panel in panels}) == len(panels)
