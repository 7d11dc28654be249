"""What a filter asks of numbers and times, and the tests of rows that follow from what a kind of rows measures."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

Test = Callable[[Any], bool]  # of a row
Measure = Callable[[Any], float | None]  # of a row; None where that is unknown
When = Callable[[Any], datetime | None]

_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class Moment(NamedTuple):
    """When rows are looked at, and from when on they count as new: since nettop started, or since a mark."""

    now: datetime
    start: datetime | None = None


class Amount(NamedTuple):
    """What is asked of a number: that it is from `low` to `high`, both included. Times are in milliseconds."""

    low: float = -math.inf
    high: float = math.inf

    def covers(self, value: float | None) -> bool:
        """Whether a number is such; one that is not known never is."""
        return value is not None and self.low <= value <= self.high

    def begun(self, now: datetime) -> tuple[datetime, datetime]:
        """From when until when something must have begun to have lasted so long by now."""
        # times have microseconds: what has to be a bit more than ten seconds is a microsecond more
        return _before(now, self.high, math.floor), _before(now, self.low, math.ceil)


def _before(now: datetime, milliseconds: float, whole: Callable[[float], int]) -> datetime:
    if math.isinf(milliseconds):
        return _FIRST if milliseconds > 0 else _LAST
    try:
        return now - timedelta(microseconds=whole(milliseconds * 1000))
    except OverflowError:
        return _FIRST


Numbers = tuple[int, int]  # the first and the last of a range
Window = Callable[[datetime], tuple[datetime, datetime]]  # from now to the first and the last moment that are meant


def within(numbers: Numbers, measure: Measure) -> Test:
    """Whether a whole number of a row is in a range."""
    first, last = numbers
    if first == last:
        return lambda row: measure(row) == first
    return lambda row: (value := measure(row)) is not None and first <= value <= last


def compared(measure: Measure) -> Callable[[Amount], Test]:
    """How to ask for an amount of what a row measures."""

    def asking(amount: Amount) -> Test:
        low, high = amount
        return lambda row: (value := measure(row)) is not None and low <= value <= high

    return asking


def lasting(lasted_ms: Measure, began: When, over: Test, older: Test) -> Callable[[Amount, Moment], Test]:
    """How to ask for an age: of what is over, or by now.

    What is `older` than nettop has lasted at least as long as nettop has watched, and may have for ever.
    """

    def asking(amount: Amount, moment: Moment) -> Test:
        first, last = amount.begun(moment.now)
        at_least = moment.start is not None and math.isinf(amount.high) and moment.start <= last

        def test(row: Any) -> bool:
            lasted = lasted_ms(row)
            if lasted is not None:
                return amount.covers(lasted)
            if over(row):
                return False
            begun = began(row)
            return at_least and bool(older(row)) if begun is None else first <= begun <= last

        return test

    return asking


def happening(began: When, ended: When) -> Callable[[Window, Moment], Test]:
    """How to ask for what began or ended in a span of time."""

    def asking(window: Window, moment: Moment) -> Test:
        first, last = window(moment.now)

        def test(row: Any) -> bool:
            begun = began(row)
            if begun is not None and first <= begun <= last:
                return True
            over = ended(row)
            return over is not None and first <= over <= last

        return test

    return asking


def beginning(began: When) -> Callable[[Any, Moment], Test]:
    """How to ask for what is new."""

    def asking(_value: Any, moment: Moment) -> Test:
        start = moment.start or _FIRST
        return lambda row: (begun := began(row)) is not None and begun >= start

    return asking
