"""What ships for many hosts says what nettop writes."""

from pathlib import Path

from nettop.metrics.families import FAMILIES, Family

PAGE = Path(__file__).resolve().parents[2] / "docs" / "fleet.md"


def row(family: Family) -> str:
    name = f"{family.name}_total" if family.type == "counter" else family.name
    labels = ", ".join(f"`{label.name}`" for label in family.labels) or "none"
    if not family.by_process:
        labels = f"{labels} (without unit and comm)"
    return f"| `{name}` | {family.type} | {labels} | {family.help.removesuffix('.')} |"


def test_the_page_has_every_metric() -> None:
    table = "\n".join(map(row, FAMILIES))
    assert table in PAGE.read_text(), f"docs/fleet.md has to say:\n{table}"
