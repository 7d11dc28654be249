"""The grammar of the filter language: from text to terms joined by and, or and not. What a term means, keys.py knows.

    alternatives: conjunction { ("or" | "|" | "||") conjunction }
    conjunction:  negation { ["and" | "&&"] negation }
    negation:     { "not" | "!" | "-" } ( term | "(" alternatives ")" )

A term is text without spaces; quotes keep spaces, other signs and the words and, or, not in it.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from nettop.errors import UsageError
from nettop.text import printable_text

MAX_DEPTH = 50  # parentheses in parentheses; what nobody writes must not exhaust the stack

_TOKEN = re.compile(
    r"""\s*(?:(?P<or>\|\|?)|(?P<open>\()|(?P<close>\))|(?P<minus>-)|(?P<not>!)"""
    r"""|(?P<word>(?:"[^"]*"|\([^\s()|"]*\)|[^\s|"()])+))"""
)
_WORDS = {"or": "or", "and": "and", "&&": "and", "not": "not"}


class FilterError(UsageError):
    """A filter that cannot be understood, with the place: columns start to end of `text`.

    `word` is what to leave out so that the rest may be understood. `unfinished`: more text at the end may mend it.
    """

    def __init__(  # noqa: PLR0913 - a sentence, its remedy, and the place
        self,
        message: str,
        remedy: str,
        text: str,
        place: tuple[int, int],
        *,
        word: tuple[int, int] | None = None,
        unfinished: bool = False,
    ) -> None:
        super().__init__(message, remedy)
        self.text = text
        self.start, end = place
        self.end = max(end, self.start + 1)
        self.word = word or (self.start, self.end)
        self.unfinished = unfinished

    @property
    def marked(self) -> str:
        """The expression, and under it a mark at the place."""
        shown = "".join(character if printable_text(character) == character else "?" for character in self.text)
        return f"{shown}\n{' ' * self.start}{'^' * (self.end - self.start)}"


class Term(NamedTuple):
    """Where a term stands in the text; `begins` includes the negation before it, if any."""

    begins: int
    start: int
    end: int


class Not(NamedTuple):
    """What must not hold."""

    node: "Node"


class All(NamedTuple):
    """What must hold, all of it."""

    nodes: tuple["Node", ...]


class Either(NamedTuple):
    """What must hold, any of it."""

    nodes: tuple["Node", ...]


Node = Term | Not | All | Either


class Token(NamedTuple):
    """A word or a sign, and where it stands."""

    kind: str  # or, and, not, minus, open, close, word, end
    start: int
    end: int


def parse(text: str) -> Node | None:
    """The tree of an expression; None for an empty one. Raises FilterError."""
    stray = re.search("[\ud800-\udfff]", text)
    if stray is not None:  # as Python reads an argument of other bytes
        raise FilterError("The filter is not UTF-8.", "Write ? for what cannot be written.", text, stray.span())
    if text.count('"') % 2:
        place = text.rindex('"')
        before = re.match(r".*[\s|()]", text[:place], re.DOTALL)
        word = 0 if before is None else before.end(), len(text)
        raise FilterError(
            "The quotation mark is never closed.",
            'Close it: comm:"my program".',
            text,
            (place, len(text)),
            word=word,
            unfinished=True,
        )
    return _Parser(text).whole()


_ITEM = re.compile(r'(?:"[^"]*"?|\[[^\]]*\]|[^,])*')


def items(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where the values of a list stand."""
    while True:
        found = _ITEM.match(text, start, end)
        ends = start if found is None else found.end()
        yield start, ends
        if ends >= end:
            return
        start = ends + 1


def tokens(text: str) -> Iterator[Token]:
    """The words and signs of a text, of which the last one may lack its quotation mark."""
    closed = text if text.count('"') % 2 == 0 else f'{text}"'
    for token in _tokens(closed):
        yield token._replace(end=min(token.end, len(text)))


def _tokens(text: str) -> Iterator[Token]:
    at = 0
    while (found := _TOKEN.match(text, at)) is not None:
        kind = str(found.lastgroup)
        start, at = found.span(kind)
        if kind == "word":
            kind = _WORDS.get(text[start:at].lower(), kind)
        yield Token(kind, start, at)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [*_tokens(text), Token("end", len(text), len(text))]
        self._at = 0
        self._depth = 0

    def whole(self) -> Node | None:
        if self._next.kind == "end":
            return None
        node = None if self._next.kind == "close" else self._alternatives()
        if self._next.kind == "close":
            raise self._error(self._next, "This parenthesis was never opened.", "Leave it out, or open it before.")
        return node

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _said(self, token: Token) -> str:
        return self._text[token.start : token.end]

    def _error(self, token: Token, message: str, remedy: str, unfinished: bool = False) -> FilterError:
        return FilterError(message, remedy, self._text, (token.start, token.end), unfinished=unfinished)

    def _alternatives(self) -> Node:
        nodes = [self._conjunction()]
        while self._next.kind == "or":
            joint = self._take()
            if self._next.kind in ("end", "close"):
                raise self._nothing_after(joint, "Write a term on both sides.")
            nodes.append(self._conjunction())
        return nodes[0] if len(nodes) == 1 else Either(tuple(nodes))

    def _conjunction(self) -> Node:
        if self._next.kind in ("or", "and"):
            raise self._error(
                self._next, f"There is nothing before this '{self._said(self._next)}'.", "Write a term on both sides."
            )
        nodes = [self._negation()]
        while self._next.kind not in ("or", "close", "end"):
            if self._next.kind == "and":
                joint = self._take()
                if self._next.kind in ("or", "and", "close", "end"):
                    raise self._nothing_after(joint, "Write a term on both sides.")
            nodes.append(self._negation())
        return nodes[0] if len(nodes) == 1 else All(tuple(nodes))

    def _nothing_after(self, token: Token, remedy: str) -> FilterError:
        said = self._said(token)
        last = "the last" if said == "|" else "this"
        return self._error(
            token, f"There is nothing after {last} '{said}'.", remedy, unfinished=self._next.kind == "end"
        )

    def _negation(self) -> Node:
        begins, negated = self._next.start, False
        while self._next.kind in ("not", "minus"):
            sign = self._take()
            negated = not negated
            apart = sign.kind == "minus" and self._next.start > sign.end  # "a - b" is no way to say not
            if apart or self._next.kind not in ("not", "minus", "open", "word"):
                raise self._nothing_after(sign, "Write the term to leave out.")
        node = self._group() if self._next.kind == "open" else self._term(begins)
        return Not(node) if negated else node

    def _term(self, begins: int) -> Node:
        token = self._take()
        return Term(begins, token.start, token.end)

    def _group(self) -> Node:
        opened = self._take()
        if self._next.kind == "close":
            raise FilterError(
                "There is nothing between these parentheses.", "Write terms, or leave them out.", self._text,
                (opened.start, self._next.end),
            )  # fmt: skip
        if self._next.kind == "end":
            raise self._error(opened, "This parenthesis is never closed.", "Close it: (pid:1 or pid:2).", True)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(opened, f"More than {MAX_DEPTH} parentheses are open here.", "Write it with fewer.")
        node = self._alternatives()
        self._depth -= 1
        if self._next.kind != "close":
            raise self._error(opened, "This parenthesis is never closed.", "Close it: (pid:1 or pid:2).", True)
        self._take()
        return node
