"""What the word that is being typed in a filter may become, and how many rows each choice would find."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, filterfalse
from typing import Any, NamedTuple

from nettop.model import owners
from nettop.model.filter import Filter, FilterError, exactly, understood
from nettop.model.filter.grammar import Token, items, tokens
from nettop.model.filter.keys import FLAGS, KEYS, SPOKEN, TOO_SHORT, WRITTEN_KEY
from nettop.model.filter.values import plain
from nettop.model.kinds import KINDS, Kind
from nettop.model.snapshot import Snapshot
from nettop.view.panes import is_off

_MORE_THAN_A_KEY = 3  # letters
MAX_CHOICES = 40  # more than a line has room for, and than anybody reads
_AMOUNT = re.compile(r"[<>0-9]")  # how the examples of keys that take amounts begin


class Choice(NamedTuple):
    """What may stand instead of what is being typed; `rows` are those that have it, None where that says nothing."""

    text: str
    shown: str
    rows: int | None = None


class Completion(NamedTuple):
    """Choices for what stands from `start` to `end` in an expression."""

    start: int
    end: int
    choices: tuple[Choice, ...]

    def applied(self, text: str, number: int) -> tuple[str, int]:
        """The expression with this choice, and where the cursor stands then."""
        chosen = self.choices[number % len(self.choices)].text
        return f"{text[: self.start]}{chosen}{text[self.end :]}", self.start + len(chosen)


class Seen(NamedTuple):
    """What is on the screen while one types: of the active pane its kind of rows, and how many the filter leaves."""

    snapshot: Snapshot
    kind: Kind[Any]
    show_ended: bool = True
    shown: int = 0


class Candidates:
    """The rows that the rest of an expression leaves, and what they say: counted once, asked often."""

    def __init__(self) -> None:
        self._of: tuple[object, ...] = ()
        self._rows: dict[Kind[Any], Sequence[Any]] = {}
        self._counts: dict[tuple[Kind[Any], str], Counter[str]] = {}

    def choose(self, seen: Seen, rest: str) -> None:
        """Take these rows from now on."""
        if not (self._of and seen.snapshot is self._of[0] and (rest, seen.show_ended) == self._of[1:]):
            self._of, self._rows, self._counts = (seen.snapshot, rest, seen.show_ended), {}, {}
            self._seen, self._rest, self._owners = seen, understood(rest)[0], owners.Owners(seen.snapshot.processes)

    def rows(self, kind: Kind[Any]) -> Sequence[Any]:
        """Those of a kind."""
        if kind not in self._rows:
            chosen = self._passing(self._rest, kind, kind.rows_of(self._seen.snapshot))
            ended = None if self._seen.show_ended else kind.ended
            self._rows[kind] = list(chosen if ended is None else filterfalse(ended, chosen))
        return self._rows[kind]

    def counts(self, kind: Kind[Any], key: str) -> Counter[str]:
        """How many of them say what for a key."""
        place = kind, key
        if place not in self._counts:
            said: Iterable[Iterable[str | None]] = ()
            if key in kind.said:
                said = map(kind.said[key], self.rows(kind))
            elif key in kind.joined:
                said = (owners.said(key, row, self._owners) for row in self.rows(kind))
            self._counts[place] = Counter(filter(None, chain.from_iterable(said)))
        return self._counts[place]

    def having(self, kind: Kind[Any], expression: str) -> int:
        """How many of them pass."""
        return sum(1 for _ in self._passing(Filter(expression), kind, self.rows(kind)))

    def _passing(self, chosen: Filter, kind: Kind[Any], rows: Sequence[Any]) -> Iterator[Any]:
        snapshot = self._seen.snapshot
        test = chosen.test(kind, snapshot.captured_at, snapshot.started_at, self._owners)
        return iter(rows) if test is None else filter(test, rows)


def complete(text: str, cursor: int, seen: Seen, candidates: Candidates) -> Completion:
    """The choices for the word at the cursor. Rows are those of the active pane; if a key is for others, these."""
    parts = list(tokens(text))
    token = _at(parts, cursor)
    # what is an alternative to other terms finds rows besides those that these leave
    rest = "" if any(part.kind == "or" for part in parts) else f"{text[: token.start]} {text[token.end :]}"
    candidates.choose(seen, rest)
    typed = text[token.start : cursor]
    found = WRITTEN_KEY.match(typed)
    if found is None:
        return Completion(token.start, token.end, tuple(_words(typed, seen.kind, candidates))[:MAX_CHOICES])
    key, values_at = found["key"].lower(), token.start + found.end()
    *_, (start, _) = items(text, values_at, cursor)
    end = next((ends for begins, ends in items(text, values_at, token.end) if begins == start), token.end)
    choices = _values(key, text[start:cursor].replace('"', ""), seen.kind, candidates) if key in KEYS else ()
    return Completion(start, end, tuple(choices)[:MAX_CHOICES])


def _at(parts: Sequence[Token], cursor: int) -> Token:
    """The word that ends at the cursor, or goes on behind it; an empty one if there is none."""
    for part in parts:
        if part.start < cursor <= part.end and (part.kind == "word" or part.end - part.start > 1):
            return part  # a sign of more than one letter may become another word
    return Token("word", cursor, cursor)


def _words(typed: str, kind: Kind[Any], candidates: Candidates) -> Iterator[Choice]:
    """Keys and words that begin so, then values that can be named without their key.

    What is surely more than the beginning of a key, like `clos`, is first of all a state, an end or an answer.
    """
    asked = kind.tests.keys() | kind.timed.keys() | kind.joined.keys()
    mine = {key: (KEYS[key].asks or key) in asked for key in KEYS}
    spoken, named = (list(_without_key(keys, typed, kind, candidates)) for keys in (SPOKEN, ("comm", "host")))
    if len(typed) >= _MORE_THAN_A_KEY:
        yield from spoken
        spoken = []
    for key in sorted(KEYS, key=lambda key: not mine[key]):  # of this kind of rows first
        if key.startswith(typed.lower()) and (typed or mine[key]):
            yield Choice(f"{key}:", f"{key}:")
    for word in FLAGS:
        if word.startswith(typed.lower()) and word in asked:
            yield Choice(word, word, candidates.having(kind, word))
    yield from spoken
    yield from named


def _without_key(keys: Iterable[str], typed: str, kind: Kind[Any], candidates: Candidates) -> Iterator[Choice]:
    """Values of these keys that rows have and that begin so."""
    for key in keys if typed else ():
        if key in kind.said:
            for choice in _named(key, typed, kind, candidates, everywhere=False):
                if choice.rows and choice.shown not in TOO_SHORT:
                    yield choice._replace(text=f"{key}:{choice.text}", shown=f"{key}:{choice.shown}")


def _values(key: str, typed: str, kind: Kind[Any], candidates: Candidates) -> Iterator[Choice]:
    asks = KEYS[key].asks or key
    if not any(asks in tests for tests in (kind.tests, kind.timed, kind.joined)):
        kind = next(other for other in KINDS if asks in other.tests or asks in other.timed)
    yield from _named(key, typed, kind, candidates)
    for word in KEYS[key].words:
        if _AMOUNT.match(word) and word.startswith(typed):
            yield Choice(word, word, candidates.having(kind, f"{key}:{word}"))


def _named(
    key: str, typed: str, kind: Kind[Any], candidates: Candidates, *, everywhere: bool = True
) -> Iterator[Choice]:
    """Values that begin so, then those that contain it; of each the one that more rows have first."""
    counts = candidates.counts(kind, key)
    words = [word for word in KEYS[key].words if not _AMOUNT.match(word)]
    wanted, likewise = typed.lower(), plain(typed)
    places = {name: name.lower().find(wanted) for name in counts}
    places |= {word: plain(word).find(likewise) for word in words}
    for first in (True, False) if everywhere else (True,):
        names = [name for name, place in places.items() if (place == 0 if first else place > 0)]
        for name in sorted(names, key=lambda name: -counts[name])[:MAX_CHOICES]:
            yield Choice(exactly(key, name).removeprefix(f"{key}:"), name, counts[name])


class Hint(NamedTuple):
    """What is said under a filter while one types."""

    message: str
    wrong: FilterError | None  # where it cannot be right, whatever follows


def hint(expression: str, completion: Completion, seen: Seen) -> Hint:
    """What an expression leaves of the rows of the active pane, or what is wrong, and what is shown meanwhile."""
    chosen, error = understood(expression)
    rows = seen.kind.rows_of(seen.snapshot)
    what = f"{len(rows)} {seen.kind.plural}"
    left = f"{seen.shown} of {what}" if chosen.text or seen.shown < len(rows) else f"all {what}"
    if error is None:
        if chosen.text and rows and not seen.shown:
            left = _nothing(chosen, what, seen)
        return Hint(" · ".join((left, *_elsewhere(chosen, seen.snapshot), "enter keeps it")), None)
    meanwhile = f"Until then: {left}{f' by {chosen.text}' if chosen.text else ''}."
    begins, ends = error.word
    if completion.choices and begins <= completion.start and completion.end <= ends:
        return Hint(f"Not complete: tab takes the first of these. {meanwhile}", None)
    return Hint(f"{error.message} {error.remedy} {meanwhile}", None if error.unfinished else error)


def _nothing(chosen: Filter, what: str, seen: Seen) -> str:
    """Which term finds nothing, where that can be said."""
    for part in chosen.parts():
        whose = owners.Owners(seen.snapshot.processes)
        test = Filter(part).test(seen.kind, seen.snapshot.captured_at, seen.snapshot.started_at, whose)
        if test is not None and not any(map(test, seen.kind.rows_of(seen.snapshot))):
            return f"none of {what} has {part}"
    return f"none of {what} has all of this"


def _elsewhere(chosen: Filter, snapshot: Snapshot) -> Iterator[str]:
    """Terms that do not apply to all rows."""
    for term, kinds in chosen.terms().items():
        without = [kind.label for kind in KINDS if kind not in kinds and not is_off(kind, snapshot)]
        if without:
            only = len(kinds) <= len(without)
            labels = ", ".join(kind.label for kind in kinds) if only else ", ".join(without)
            yield f"{term} chooses {labels} only" if only else f"{term} does not choose {labels}"
