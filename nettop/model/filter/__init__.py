"""The filter language, the same on the command line and on the screen.

    pid:42,43 comm:nginx port:443 host:*.example.com (state:close_wait or dns:failed) not age:<10m

Terms side by side must all hold, as with `and`; `or` and `|` bind weaker, `not`, `!` and `-` strongest, parentheses
first. Text is compared without regard to case; `*`, `?` and `[...]` are wildcards. Quotes keep spaces and commas:
comm:"my program". A comma separates values of which one must hold, a dash the ends of a range.

A bare word matches comm or host, or is a state, an end or an answer; a number is also a pid or a port. A host is a
name, an address in any spelling, a network (10.0.0.0/8), or one of these with a port (10.0.0.5:443, [::1]:53).

A term that says nothing about a kind of rows is left out for these, negated or not, next to others and as an
alternative: `comm:nginx port:443` and `comm:nginx | port:443` are both `comm:nginx` to processes.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, TypeVar

from msgspec.structs import replace

from nettop.model.amounts import Moment, Test
from nettop.model.filter import values
from nettop.model.filter.grammar import All, Either, Node, Not, Term, items, parse
from nettop.model.filter.grammar import FilterError as FilterError
from nettop.model.filter.keys import FLAGS, KEYS, SPOKEN, TOO_SHORT, WRITTEN_KEY, meant_key
from nettop.model.filter.values import Several, WrongValueError
from nettop.model.kinds import BARE, IN_SNAPSHOT, KINDS, PROCESSES, AnyRow, Kind
from nettop.model.owners import NOBODY, Owners
from nettop.model.rows import COMM_CHARACTERS
from nettop.model.snapshot import Snapshot
from nettop.model.timeline import of_processes

_RowT = TypeVar("_RowT", bound=AnyRow)
_Tests = Mapping[Kind[Any], Callable[[Moment], Test]]

FILTER_KEYS: dict[str, str] = {name: key.meaning for name, key in KEYS.items()}
"""Every key with what it means, for help texts."""
FILTER_WORDS = FLAGS
"""Every word that has a meaning of its own."""


class _Leaf(NamedTuple):
    text: str  # as it was written, with its negation
    asks: str  # the key among the tests of the kinds
    tests: _Tests


class Filter:
    """A parsed expression. An empty one lets everything pass."""

    def __init__(self, text: str) -> None:
        """Raises FilterError."""
        self.text = text.strip()
        self._tree = parse(text)
        self._leaves = {term: _leaf(text, term) for term in _terms(self._tree)}

    @property
    def has_alternatives(self) -> bool:
        """Whether it has to stand in parentheses next to others."""
        return isinstance(self._tree, Either)

    def test(
        self,
        kind: Kind[Any],
        now: datetime,
        start: datetime | None = None,
        owners: Owners = NOBODY,
        *,
        told: bool = False,
    ) -> Callable[[AnyRow], bool] | None:
        """The test for one kind of rows as they are at a time; None if every row passes.

        What began at `start` or later is new. `owners` are the processes that rows may belong to. A term that says
        nothing about this kind is left out; not_applied() names it. `told`: the rows are those of a stream, which have
        no sums.
        """
        return self._compiled(self._tree, kind, Moment(now, start, owners), told)

    def depends_on_time(self, kind: Kind[Any]) -> bool:
        """Whether the test of these rows is another at another time."""
        return any(leaf.asks in kind.timed for leaf in self._leaves.values())

    def asks_rows_alone(self, kind: Kind[Any]) -> bool:
        """Whether the test of a row of this kind stays the same as long as the row does."""
        return not self.depends_on_time(kind) and not any(leaf.asks in kind.joined for leaf in self._leaves.values())

    def not_applied(self, kind: Kind[Any], told: bool = False) -> tuple[str, ...]:
        """The terms that say nothing about this kind of rows, as they were written."""
        return tuple(leaf.text for leaf in self._leaves.values() if not _applies(leaf, kind, told))

    def left_out(self, told: bool = False) -> dict[str, tuple[str, ...]]:
        """For each kind of rows about which some terms say nothing, by its name: these terms."""
        return {kind.name: terms for kind in IN_SNAPSHOT if (terms := self.not_applied(kind, told))}

    def terms(self) -> dict[str, tuple[Kind[Any], ...]]:
        """Each term as it was written, with the kinds of rows about which it says something."""
        return {leaf.text: tuple(kind for kind in KINDS if kind in leaf.tests) for leaf in self._leaves.values()}

    def parts(self) -> tuple[str, ...]:
        """The texts of what must hold all together."""
        nodes = self._tree.nodes if isinstance(self._tree, All) else (self._tree,)
        return tuple(self._leaves[node].text for node in map(_without_not, nodes) if isinstance(node, Term))

    def apply(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with only the rows that pass; totals of processes stay what they are.

        What the snapshot was filtered by before stays true of it, so both are named.
        """
        if not self.text:
            return snapshot
        now, before = self.left_out(), snapshot.filter_not_applied
        not_applied = {kind.name: (*before.get(kind.name, ()), *now.get(kind.name, ())) for kind in IN_SNAPSHOT}
        owners = Owners(snapshot.processes)
        passing = {kind.name: self._passing(kind, snapshot, owners) for kind in KINDS}
        without = {
            kind.name: len(kind.rows_of(snapshot)) - len(passing[kind.name]) + snapshot.filtered_out.get(kind.name, 0)
            for kind in IN_SNAPSHOT
        }
        return replace(
            snapshot,
            filter=both(snapshot.filter, self.text),
            filter_not_applied={name: tuple(dict.fromkeys(terms)) for name, terms in not_applied.items() if terms},
            filtered_out={name: number for name, number in without.items() if number},
            timeline=of_processes(snapshot.timeline, set(map(PROCESSES.key, passing[PROCESSES.name]))),
            **passing,
        )

    def _passing(self, kind: Kind[_RowT], snapshot: Snapshot, owners: Owners) -> tuple[_RowT, ...]:
        test = self.test(kind, snapshot.captured_at, snapshot.started_at, owners)
        candidates = kind.rows_of(snapshot)
        return candidates if test is None else tuple(filter(test, candidates))

    def _compiled(self, node: Node | None, kind: Kind[Any], moment: Moment, told: bool) -> Test | None:
        match node:
            case Term():
                leaf = self._leaves[node]
                return leaf.tests[kind](moment) if _applies(leaf, kind, told) else None
            case Not(inner):
                test = self._compiled(inner, kind, moment, told)
                return None if test is None else _negated(test)
            case All(nodes) | Either(nodes):
                tests = [self._compiled(each, kind, moment, told) for each in nodes]
                applied = [test for test in tests if test is not None]
                return _joined(applied, _both if isinstance(node, All) else _either) if applied else None
        return None


def understood(text: str) -> tuple[Filter, FilterError | None]:
    """What can be understood of an expression, and what is wrong first if that is not all of it."""
    first = None
    while True:
        try:
            return Filter(text), first
        except FilterError as error:
            first = first or error
            begins, ends = error.word
            text = f"{text[:begins].rstrip()} {text[ends:].lstrip()}"


def both(recorded: str | None, chosen: str) -> str:
    """What says that both expressions chose the rows; each keeps its wording, in parentheses if it has alternatives."""
    if not recorded or recorded == chosen:
        return chosen
    return " ".join(f"({text})" if _has_alternatives(text) else text for text in (recorded, chosen))


def _has_alternatives(text: str) -> bool:
    try:
        return Filter(text).has_alternatives
    except FilterError:  # of a recording that another version has made
        return "|" in text


def left_out(text: str | None) -> dict[str, tuple[str, ...]]:
    """The terms of the expression of a recorded stream that say nothing about a kind of rows.

    None where it cannot be understood.
    """
    with suppress(FilterError):
        return Filter(text or "").left_out(told=True)
    return {}


def exactly(key: str, value: str) -> str:
    """The term for just this value, whatever characters it has."""
    return _written(key, value, "*?[")


def like(key: str, pattern: str) -> str:
    """The term for what is like this, where only `*` is a wildcard."""
    return _written(key, pattern, "?[")


def _written(key: str, value: str, literal: str) -> str:
    """The term for a value of which these characters are not wildcards."""
    if _PLAIN.fullmatch(value if "*" in literal else value.replace("*", "")) and not (
        key == "comm" and len(value) > COMM_CHARACTERS
    ):
        return f"{key}:{value}"
    # a bracket makes a wildcard of the filter language literal; what cannot be written there may be any character
    text = "".join(f"[{character}]" if character in literal else character for character in value)
    if key == "comm" and len(value) > COMM_CHARACTERS:  # as no kernel has one, but a recording may
        text = f"{text}*"
    return f'{key}:"{"".join(c if c.isprintable() and c != chr(34) else "?" for c in text)}"'


_PLAIN = re.compile(r"[\w.:/@%+-]+")  # what needs no quotes


# Trees and tests


def _terms(node: Node | None) -> Iterator[Term]:
    match node:
        case Term():
            yield node
        case Not(inner):
            yield from _terms(inner)
        case All(nodes) | Either(nodes):
            for each in nodes:
                yield from _terms(each)


def _without_not(node: Node | None) -> Node | None:
    return node.node if isinstance(node, Not) else node


def _applies(leaf: _Leaf, kind: Kind[Any], told: bool) -> bool:
    return kind in leaf.tests and not (told and leaf.asks in kind.summed)


def _joined(tests: list[Test], join: Callable[[Test, Test], Test]) -> Test:
    """One test of many, by halves: all() and any() with a generator cost more than most tests."""
    if len(tests) == 1:
        return tests[0]
    middle = len(tests) // 2
    return join(_joined(tests[:middle], join), _joined(tests[middle:], join))


def _both(first: Test, second: Test) -> Test:
    return lambda row: first(row) and second(row)


def _either(first: Test, second: Test) -> Test:
    return lambda row: first(row) or second(row)


def _negated(test: Test) -> Test:
    return lambda row: not test(row)


# Terms


def _leaf(text: str, term: Term) -> _Leaf:
    written, word = text[term.begins : term.end], text[term.start : term.end]
    found = WRITTEN_KEY.match(word)
    key = "" if found is None else found["key"].lower()
    if found is None or (key not in KEYS and key not in FLAGS and not _looks_like_key(key)):
        return _Leaf(written, BARE, _bare(text, term)) if word.lower() not in FLAGS else _flag(written, word.lower())
    if key not in KEYS:
        raise _no_such_key(text, term, found["key"])
    tests = _keyed(text, term, key, term.start + found.end())
    if "!" in found["sign"]:
        tests = {kind: partial(_negated_at, test) for kind, test in tests.items()}
    return _Leaf(written, KEYS[key].asks or key, tests)


def _negated_at(test: Callable[[Moment], Test], moment: Moment) -> Test:
    return _negated(test(moment))


def _looks_like_key(text: str) -> bool:
    """A word of letters is meant as a key; hexadecimal groups are more likely an IPv6 address."""
    return text.isalpha() and not re.fullmatch(r"[0-9a-fA-F]{1,4}", text)


def _no_such_key(text: str, term: Term, key: str) -> FilterError:
    meant = meant_key(key)
    if key.lower() in FLAGS:
        message, remedy = f"The word '{key}' has no value.", f"Write {key}."
    else:
        message = f"There is no filter key '{key}'."
        remedy = f"Did you mean {meant}:?" if meant else "Write comm:, host:, port:, state: or another one of the help."
    return FilterError(message, remedy, text, (term.start, term.start + len(key)), word=(term.begins, term.end))


def _flag(written: str, word: str) -> _Leaf:
    return _Leaf(written, word, _tests(word, None))


def _keyed(text: str, term: Term, key: str, at: int) -> _Tests:
    """The tests of a term with a key, whose values begin at a place."""
    known, word = KEYS[key], (term.begins, term.end)
    if at == term.end:
        raise FilterError(
            f"The key '{key}' has no value.",
            f"Write {key}:{known.example}.",
            text,
            (term.start, term.end),
            word=word,
            unfinished=True,
        )
    alternatives = []
    for start, end in items(text, at, term.end):
        value = text[start:end].replace('"', "")
        if not value:
            raise FilterError(
                f"A value of '{key}' is missing here.", f"Write {key}:{known.example}.", text,
                (min(start, term.end - 1), end), word=word, unfinished=end == len(text),
            )  # fmt: skip
        try:
            meant = known.parse(value)
        except WrongValueError as error:
            remedy = error.remedy or f"Write for example {key}:{known.example}."
            raise FilterError(str(error), remedy, text, (start, end), word=word) from None
        alternatives += [_tests(key, each) for each in (meant if isinstance(meant, Several) else (meant,))]
    return _any_of(alternatives)


def _tests(key: str, value: Any) -> _Tests:
    """What a term with this value asks of the kinds of rows about which its key says something, at a time."""
    key = KEYS[key].asks or key if key in KEYS else key
    tests = {kind: _always(kind.tests[key](value)) for kind in KINDS if key in kind.tests}
    timed = {kind: partial(kind.timed[key], value) for kind in KINDS if key in kind.timed}
    joined = {kind: partial(_of_owners, kind.joined[key], value) for kind in KINDS if key in kind.joined}
    return {**tests, **timed, **joined}


def _of_owners(ask: Callable[[Any, Owners], Test], value: Any, moment: Moment) -> Test:
    return ask(value, moment.owners)


def _always(test: Test) -> Callable[[Moment], Test]:
    return lambda _moment: test


def _any_of(alternatives: list[_Tests]) -> _Tests:
    """Of each kind of rows about which any of them says something, what any of these asks."""
    if len(alternatives) == 1:
        return alternatives[0]

    def at(tests: list[Callable[[Moment], Test]], moment: Moment) -> Test:
        return _joined([test(moment) for test in tests], _either)

    asked = {kind: [tests[kind] for tests in alternatives if kind in tests] for kind in KINDS}
    return {kind: partial(at, tests) for kind, tests in asked.items() if tests}


def _bare(text: str, term: Term) -> _Tests:
    """What a word without a key asks."""
    word = text[term.start : term.end].replace('"', "")
    if not word:
        raise FilterError(
            "There is nothing between these quotation marks.", "Write a word, or leave them out.", text,
            (term.begins, term.end),
        )  # fmt: skip
    try:
        if re.fullmatch(r":[0-9]+", word):
            return _tests("port", values.port(word[1:]))
        quoted = '"' in text[term.start : term.end]
        return _any_of([_tests(BARE, values.part_test(word)), *([] if quoted else _also(word))])
    except WrongValueError as error:
        remedy = error.remedy or "Write a name, or part of one."
        raise FilterError(str(error), remedy, text, (term.start, term.end), word=(term.begins, term.end)) from None


def _also(word: str) -> Iterator[_Tests]:
    """What a word means besides being part of a name."""
    place = values.place(word)
    if place is not None:
        yield _tests("host", place)
    for key, number in (("pid", values.pid), ("port", values.port)):
        if word.isascii() and word.isdecimal() and len(word) <= len(str(number.most)) and int(word) <= number.most:
            yield _tests(key, number(word))
    for key, words in SPOKEN.items():
        if word.lower() not in TOO_SHORT and (meaning := words.meaning(word)) is not None:
            yield _tests(key, meaning)
