"""What the word being typed in a filter may become, what is said about it; the filters one has set, and searching."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from nettop.model.filter import Filter, understood
from nettop.model.kinds import CONNECTIONS, DNS, KINDS, PROCESSES, Kind
from nettop.model.owners import Owners
from nettop.view import completion, panes
from nettop.view.columns import CONNECTION_COLUMNS, Context
from nettop.view.completion import Candidates, Completion, Seen, complete, hint
from nettop.view.search import find
from nettop.view.selection import select
from nettop.view.trail import MAX_HISTORY, Trail
from tests.tui.scene import busy

HERE = busy()


def completed(expression: str, kind: Kind[Any] = CONNECTIONS, show_ended: bool = True) -> Completion:
    """With the cursor where a bar stands, else at the end."""
    before, _, after = expression.partition("¦")
    return complete(before + after, len(before), Seen(HERE, kind, show_ended), Candidates())


def shown(expression: str, kind: Kind[Any] = CONNECTIONS, show_ended: bool = True) -> list[str]:
    choices = completed(expression, kind, show_ended).choices
    return [choice.shown if choice.rows is None else f"{choice.shown} {choice.rows}" for choice in choices]


@pytest.mark.parametrize(
    ("expression", "begins"),
    [
        ("state:cl", ["closed 5", "close-wait 0", "closing 0"]),
        ("state:CLOSE_W", ["close-wait 0"]),
        ("state:wait", ["fin-wait-1 0", "fin-wait-2 0", "close-wait 0"]),  # which has it somewhere
        ("-state:cl", ["closed 5"]),
        ("not (state:cl", ["closed 5"]),
        ("state=cl", ["closed 5"]),
        ("comm:curl state:", ["closed 2", "established 1"]),  # of the rows that the rest leaves
        ("state:¦ comm:curl", ["closed 2", "established 1"]),
        ("comm:nginx or state:", ["open 5", "closed 5"]),  # besides those that the rest leaves
        ("pid:4242,9", ["900 2"]),
        ("dir:", ["out 8", "in 2", "unknown 0"]),
        ("age:", [">10s 5", ">1m 0"]),
        ("age:>10m", [">10m 0"]),
        ("age:<", []),
        ("dns:n", ["noerror 5", "nxdomain 1"]),  # which is of queries only
        ("st", ["state:"]),
        ("clos", ["state:closed 5", "close-wait:"]),
        ("fai", ["failed 3"]),
        ("ngi", ["comm:nginx 2"]),
        ("www", ["host:www.example.com 1"]),
        ("comm:curl and no", ["comm:node-exporter"][:0]),
        ("comm:zzz", []),
        ("zzz:", []),
        ("port:xyz", []),
        ('comm:"cu', ["curl 3"]),
        ("comm:[a,b¦]", []),
    ],
)
def test_choices(expression: str, begins: list[str]) -> None:
    found = shown(expression)
    assert found[: len(begins)] == begins
    assert bool(found) is bool(begins)


def test_an_empty_word_may_become_any_key_of_the_pane() -> None:
    assert {"pid:", "state:", "age:", "failed 3"} <= set(shown(""))
    assert "state:" not in shown("", PROCESSES)
    assert "user:" in shown("", PROCESSES)


def test_what_has_ended_is_not_counted_where_it_is_hidden() -> None:
    assert shown("state:cl", show_ended=False)[0] == "closed 0"


@pytest.mark.parametrize(
    ("expression", "number", "after", "cursor"),
    [
        ("state:cl", 0, "state:closed", 12),
        ("state:cl", 1, "state:close-wait", 16),
        ("state:cl", 3, "state:closed", 12),  # round and round
        ("-(state:cl", 0, "-(state:closed", 14),
        ("state:cl¦xyz pid:1", 1, "state:close-wait pid:1", 16),
        ("pid:4242,9¦,1", 0, "pid:4242,900,1", 12),
        ("st¦ pid:1", 0, "state: pid:1", 6),
        ("ngi", 0, "comm:nginx", 10),
        ('comm:"cu', 0, "comm:curl", 9),
    ],
)
def test_a_choice_takes_the_place_of_the_word(expression: str, number: int, after: str, cursor: int) -> None:
    text = expression.replace("¦", "")
    assert completed(expression).applied(text, number) == (after, cursor)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_choice_can_be_understood_and_finds_what_it_says(kind: Kind[Any]) -> None:
    for key in ("", *(choice.text for choice in completed("", kind).choices if choice.text.endswith(":"))):
        made = completed(key, kind)
        for number, choice in enumerate(made.choices):
            if choice.rows is not None:
                chosen = Filter(made.applied(key, number)[0])
                test = chosen.test(kind, HERE.captured_at, HERE.started_at, Owners(HERE.processes))
                assert test is not None
                assert sum(map(test, kind.rows_of(HERE))) == choice.rows, (key, choice)


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "all 10 connections · enter keeps it"),
        ("comm:curl", "3 of 10 connections · enter keeps it"),
        ("comm:curl dns:failed", "3 of 10 connections · dns:failed chooses DNS only · enter keeps it"),
        ("port:443", "9 of 10 connections · port:443 does not choose processes, hosts, look-ups · enter keeps it"),
        ("comm:zzz", "none of 10 connections has comm:zzz · enter keeps it"),
        ("comm:curl comm:nginx", "none of 10 connections has all of this · enter keeps it"),
        ("state:clo", "Not complete: tab takes the first of these. Until then: all 10 connections."),
        (
            "comm:curl or",
            "There is nothing after this 'or'. Write a term on both sides. "
            "Until then: 3 of 10 connections by comm:curl.",
        ),
        ("pid:x", "A pid is a whole number, not 'x'. Write for example pid:42. Until then: all 10 connections."),
    ],
)
def test_what_is_said(expression: str, says: str) -> None:
    chosen, _ = understood(expression)
    pane = next(pane for pane in panes.PANES if pane.kind is CONNECTIONS)
    left = select(pane, HERE.connections, chosen, True, Context(HERE.captured_at))
    seen = Seen(HERE, CONNECTIONS, True, len(left))
    said = hint(expression, completed(expression), seen)
    assert said.message == says
    assert (said.wrong is not None) is expression.startswith("pid")


def test_the_trail_keeps_its_bounds_and_no_repetition() -> None:
    trail = Trail()
    for number in range(120):
        trail.changed(f"pid:{number}", f"pid:{number + 1}")
    trail.changed("pid:120", "pid:100")
    trail.changed("pid:100", "pid:100")
    assert len(trail.history) == MAX_HISTORY
    assert trail.history[-2:] == ["pid:120", "pid:100"]
    assert trail.history.count("pid:100") == 1
    undone = [trail.undo() for _ in range(MAX_HISTORY + 1)]
    assert undone[:2] == ["pid:120", "pid:119"]
    assert undone[-1] is None


def test_searching_goes_round_and_looks_at_every_column() -> None:
    rows, context = HERE.connections, Context(HERE.captured_at)

    def found(text: str, start: int, step: int = 1) -> int | None:
        place = find(rows, CONNECTION_COLUMNS, context, text, start=start, step=step)
        return None if place is None else rows[place].id

    assert found("NGINX", 0) == 5
    assert found("nginx", 5) == 6
    assert found("nginx", 6) == 5
    assert found("nginx", 9, -1) == 6
    assert found("refused", 0) is not None
    assert found("nothing says this", 0) is None
    assert find((), CONNECTION_COLUMNS, context, "a", start=0, step=1) is None


def test_counting_is_done_once_for_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    candidates, seen, counted = Candidates(), Seen(HERE, DNS), []

    def counting(said: Iterable[str]) -> Counter[str]:
        counted.append(1)
        return Counter(said)

    monkeypatch.setattr(completion, "Counter", counting)
    for typed in ("dns:", "dns:n", "dns:nx"):
        complete(typed, len(typed), seen, candidates)
    assert len(counted) == 1


def test_what_is_known_of_the_processes_of_rows() -> None:
    typed = "user:a"
    choices = complete(typed, len(typed), Seen(HERE, CONNECTIONS), Candidates()).choices
    assert ("ada", 6) in [(choice.text, choice.rows) for choice in choices]
