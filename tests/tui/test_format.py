"""Numbers for people."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettop.view import format as human


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0B"), (1, "1B"), (999, "999B"), (1023, "1023B"), (1024, "1.0K"), (1536, "1.5K"), (23_456_789, "22.4M"),
     (9_999_999_999, "9.3G"), (10**15, "909.5T")],
)  # fmt: skip
def test_sizes(count: int, text: str) -> None:
    assert human.size(count) == text


@given(st.integers(min_value=0, max_value=2**63))
def test_sizes_have_room_in_their_column(count: int) -> None:
    assert len(human.size(count)) <= 6


@pytest.mark.parametrize(("rate", "text"), [(0.0, "-"), (0.4, "0B"), (999.6, "1000B"), (70_000.0, "68.4K")])
def test_rates_show_nothing_as_a_dash(rate: float, text: str) -> None:
    assert human.rate(rate) == text


@pytest.mark.parametrize(
    ("number", "text"), [(None, "?"), (0.0, "-"), (0.3, "0.3"), (9.94, "9.9"), (9.96, "10"), (9100.0, "9100")]
)
def test_numbers_a_second_are_no_sizes(number: float | None, text: str) -> None:
    assert human.number_per_s(number) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (None, "-"), (0.0, "0.00ms"), (0.123, "0.12ms"), (9.994, "9.99ms"), (9.996, "10ms"), (10.0, "10ms"),
        (345.4, "345ms"), (999.4, "999ms"), (999.5, "1.0s"), (12_340.0, "12.3s"), (59_940.0, "59.9s"),
        (59_960.0, "1m00s"), (60_000.0, "1m00s"), (245_000.0, "4m05s"), (3_599_000.0, "59m59s"),
        (3_600_000.0, "1h00m"), (11_520_000.0, "3h12m"), (3_605_000.0, "1h00m"), (86_400_000.0, "1d00h"),
        (198_000_000.0, "2d07h"), (86_400_000.0 * 400, "400d"),
    ],
)  # fmt: skip
def test_durations(milliseconds: float | None, text: str) -> None:
    assert human.duration(milliseconds) == text


@given(st.floats(min_value=0, max_value=86_400_000.0 * 9_999))
def test_durations_fit_into_six_cells(milliseconds: float) -> None:
    assert len(human.duration(milliseconds)) <= 6


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (None, "unknown"),
        (12.5, "12ms"),
        (61_000.0, "1 minute and 1 second"),
        (90_061_000.0, "1 day, 1 hour, 1 minute and 1 second"),
    ],
)
def test_durations_in_words(milliseconds: float | None, text: str) -> None:
    assert human.long_duration(milliseconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (9_999, "9999"), (10_000, "10k"), (999_999, "999k"), (1_000_000, "1M")],
)
def test_counts_in_four_cells(number: int, text: str) -> None:
    assert human.short_count(number, 4) == text


@pytest.mark.parametrize(("part", "whole", "text"), [(0, 0, "-"), (0, 9, "0%"), (1, 3, "33%"), (9, 9, "100%")])
def test_shares(part: int, whole: int, text: str) -> None:
    assert human.share(part, whole) == text


def test_counts_have_separators() -> None:
    assert human.count(1_234_567) == "1,234,567"


def test_times_are_local(monkeypatch: pytest.MonkeyPatch) -> None:
    import time  # noqa: PLC0415

    moment = datetime(2026, 3, 1, 23, 30, 5, 678_900, tzinfo=UTC)
    assert human.clock(moment) == "23:30:05"
    monkeypatch.setenv("TZ", "XXX-2")
    time.tzset()
    assert human.clock(moment) == "01:30:05"
    assert human.timestamp(moment) == "2026-03-02 01:30:05.678+02:00"
    assert (human.clock(None), human.timestamp(None)) == ("-", "unknown")
    assert human.clock(moment + timedelta(hours=1)) == "02:30:05"


@pytest.mark.parametrize(
    ("values", "width", "text"),
    [
        ([], 4, "    "), ([0, 0], 4, "    "), ([1], 4, "   █"), ([0, 1, 2, 4, 8], 5, " ▂▃▅█"),
        ([8, 4, 2, 1], 2, "█▅"), ([1e12, 1], 2, "█▁"),
    ],
)  # fmt: skip
def test_sparklines(values: list[float], width: int, text: str) -> None:
    assert human.sparkline(values, width) == text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.9, "0s"), (59.99, "59s"), (60, "1m"), (7_199, "119m"), (7_200, "2h"), (172_799, "47h"), (172_800, "2d")],
)
def test_whole_units_are_never_more_than_it_is(seconds: float, shown: str) -> None:
    assert human.whole(seconds * 1000) == shown
