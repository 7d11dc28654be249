"""How the benchmark sums up and prints what it measured."""

import pytest

from tests.bench.report import Spread, Table, Target, markdown, percentile, spread, targets_table


def test_a_spread_is_the_median_between_the_quartiles() -> None:
    assert spread([5.0, 1.0, 3.0, 2.0, 4.0]) == Spread(median=3.0, low=2.0, high=4.0, number=5)
    assert spread([7.0]) == Spread(7.0, 7.0, 7.0, 1)
    assert spread([1.0, 2.0, 4.0]).told("{:.1f}".format) == "2.0 (1.5-3.0)"


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50.0), (0.95, 95.0), (0.951, 96.0), (1.0, 100.0), (0.0, 1.0)])
def test_a_percentile_is_one_of_the_values(share: float, expected: float) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], share) == expected


def test_a_table_is_markdown() -> None:
    table = Table("Sizes", ("what", "MB"), [("a", "1"), ("bcd", "1,024")], ["Of a kind."])
    assert markdown(table).splitlines() == [
        "### Sizes", "",
        "| what |    MB |", "| ---- | ----: |", "| a    |     1 |", "| bcd  | 1,024 |", "", "Of a kind.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("target", "row"),
    [
        (Target("start", 0.45, 0.44, " s"), ("start", "<= 0.45 s", "0.44 s", "yes")),
        (Target("start", 0.45, 0.46, " s"), ("start", "<= 0.45 s", "0.46 s", "NO")),
        (Target("rate", 0.9, 0.9, at_least=True), ("rate", ">= 0.9", "0.9", "yes")),
        (Target("rate", 0.9, 0.89, at_least=True), ("rate", ">= 0.9", "0.89", "NO")),
        (Target("memory", 180, None, " MB"), ("memory", "<= 180 MB", "-", "not measured")),
        (Target("rows", 10_000, 12_345.6), ("rows", "<= 10,000", "12,346", "NO")),
    ],
)
def test_a_target_stands_beside_what_was_measured(target: Target, row: tuple[str, ...]) -> None:
    assert targets_table([target]).rows == [row]
