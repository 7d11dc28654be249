"""The values of the filter's keys, from text to what the kinds of rows are asked for. All raise WrongValueError."""

import ipaddress
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from fnmatch import translate
from functools import lru_cache, partial
from typing import Any

from nettop.model.amounts import Amount, Numbers, Window
from nettop.model.kinds import Place, TextTest
from nettop.model.owners import Wanted
from nettop.model.rows import COMM_CHARACTERS

MAX_PORT = 65_535
MAX_PID = 1 << 22  # PID_MAX_LIMIT
MAX_STATUS = 599
MAX_INODE = (1 << 32) - 1
_TEXTS_REMEMBERED = 16_384  # per term, 1 MB: most names and addresses come again with every tick
_LIST_CHARACTERS = 105
_WILDCARD = re.compile(r"[*?\[]")


class WrongValueError(ValueError):
    """What is wrong with a value, and what to write instead if that is not just any right value."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


def similar(text: str, words: Iterable[str]) -> str | None:
    """The word that was probably meant."""
    found = get_close_matches(text.lower(), list(words), n=1, cutoff=0.6)
    return found[0] if found else None


# Text


def text_test(pattern: str) -> TextTest:
    """Whether a text is like this, which may have wildcards; without regard to case."""
    matches = re.compile(translate(pattern.lower())).match

    @lru_cache(maxsize=_TEXTS_REMEMBERED)
    def test(text: str | None) -> bool:
        return text is not None and matches(text.lower()) is not None

    return test


def part_test(word: str) -> TextTest:
    """Whether a text contains a word, or is like it if that has wildcards."""
    word = _without_final_dot(word)
    return text_test(word if _WILDCARD.search(word) else f"*{word}*")


def comm(value: str) -> TextTest:
    """The name of a process."""
    # a backslash may begin the escape of one byte
    if value.isascii() and len(value) > COMM_CHARACTERS and not re.search(r"[*?\[\\]", value):
        kept = value[:COMM_CHARACTERS]
        raise WrongValueError(
            f"The kernel keeps {COMM_CHARACTERS} bytes of a process's name: '{kept}'.", f"Write comm:{kept}."
        )
    return text_test(value)


def named(value: str) -> Wanted:
    """What a process or something of it is called."""
    return Wanted(text_test(value), value.lower())


# Whole numbers


@dataclass(frozen=True)
class Whole:
    """Whole numbers up to `most`; `what` names one in a sentence."""

    what: str
    most: int

    def __call__(self, value: str) -> Numbers:
        """One, or a range: 80-90, >1024."""
        ranged = re.fullmatch(r"([0-9]+)(?:-|\.\.)([0-9]+)", value)
        than = re.fullmatch(r"(>=?|<=?)([0-9]+)", value)
        if ranged:
            first, last = self._number(ranged[1]), self._number(ranged[2])
        elif than:
            number, strict = self._number(than[2]), len(than[1]) == 1
            first, last = (number + strict, self.most) if than[1][0] == ">" else (0, number - strict)
        else:
            first = last = self._number(value)
        if first > last:
            raise WrongValueError(f"There is no number from {first} to {last}.")
        return first, last

    def _number(self, text: str) -> int:
        if not (text.isascii() and text.isdecimal()):
            raise WrongValueError(f"{self.what} is a whole number, not '{text}'.")
        if len(text) > len(str(self.most)) or int(text) > self.most:
            raise WrongValueError(f"{self.what} is never larger than {self.most}.")
        return int(text)


pid = Whole("A pid", MAX_PID)
port = Whole("A port", MAX_PORT)
status = Whole("A status code", MAX_STATUS)
netns = Whole("A network namespace's inode", MAX_INODE)


def listen(value: str) -> Numbers | None:
    """Ports, or None for a full queue."""
    return None if value.lower() == "full" else port(value)


# Amounts

_COMPARED = re.compile(r"(>=|<=|>|<)(.*)")
_TIMES = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0, "min": 60_000.0, "h": 3_600_000.0, "d": 86_400_000.0}
_TIME = re.compile(rf"([0-9]{{1,9}}(?:\.[0-9]{{1,6}})?)({'|'.join(sorted(_TIMES, key=len, reverse=True))})", re.ASCII)
_SIZES = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)([kmgt]?)i?b?(?:/s)?", re.ASCII)


@dataclass(frozen=True)
class Measured:
    """How amounts of one thing are written: `read` gives a number or None, `like` shows how."""

    what: str
    read: Callable[[str], float | None]
    like: str
    exact: bool = False  # whether a single number makes sense

    def __call__(self, value: str) -> Amount:
        """What is asked for."""
        compared = _COMPARED.fullmatch(value)
        if compared:
            sign, number = compared[1], self._number(compared[2], value)
            if sign[0] == ">":
                return Amount(low=number if len(sign) > 1 else math.nextafter(number, math.inf))
            return Amount(high=number if len(sign) > 1 else math.nextafter(number, -math.inf))
        low, dash, high = value.partition(".." if ".." in value else "-")
        if dash:
            first, last = self._number(low, value), self._number(high, value)
            if first > last:
                raise WrongValueError(f"'{low}' is more than '{high}'.")
            return Amount(first, last)
        number = self._number(value, value)
        if not self.exact:
            raise WrongValueError(f"{self.what} is hardly ever exactly {value}.", f"Write >{value} or <{value}.")
        return Amount(number, number)

    def _number(self, text: str, value: str) -> float:
        number = self.read(text.lower())
        if number is None:
            if self.read is _milliseconds and re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
                raise WrongValueError(f"The time '{text}' has no unit.", "Write ms, s, m, h or d behind it.")
            raise WrongValueError(f"{self.what} is written like {self.like}, not '{value}'.")
        return number


def _milliseconds(text: str) -> float | None:
    """Of a time as nettop writes it: 250ms, 1.5s, 4m05s."""
    if re.fullmatch(f"(?:{_TIME.pattern})+", text, re.ASCII) is None:
        return None
    return sum(float(number) * _TIMES[unit] for number, unit in _TIME.findall(text))


def _size(text: str) -> float | None:
    found = _SIZE.fullmatch(text)
    return None if found is None else float(found[1]) * 1024 ** _SIZES[found[2]]


def _count(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[0-9]{1,15}", text) else None


time = Measured("A time", _milliseconds, ">10s, <100ms or 1m-5m")
size = Measured("An amount of bytes", _size, ">1M, <500K or 1K-10K")
count = Measured("A number", _count, ">0, <10 or 3-5", exact=True)


# Moments


_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?", re.ASCII)
_MOMENTS = "2m (ago), 14:03 or 2026-03-01T14:03"


def since(value: str) -> Window:
    """From a moment until now."""
    first = _moment(value)
    return lambda now: (first(now), now)


def between(value: str) -> Window:
    """From one moment to another."""
    for at in [found.start() for found in re.finditer(r"\.\.|-", value)]:
        separator = ".." if value.startswith("..", at) else "-"
        try:
            ends = value[:at], value[at + len(separator) :]
            return partial(_window, _moment(ends[0]), _moment(ends[1]), bool(_CLOCK.fullmatch(ends[1])))
        except WrongValueError:
            continue
    raise WrongValueError(f"'{value}' does not name two moments, as {_MOMENTS}.", "Write between:5m-2m.")


def _window(
    begins: Callable[[datetime], datetime], ends: Callable[[datetime], datetime], by_clock: bool, now: datetime
) -> tuple[datetime, datetime]:
    first, last = begins(now), ends(now)
    if last < first and by_clock:  # it has not been that late today
        return first, last + timedelta(days=1)
    return min(first, last), max(first, last)


def _moment(text: str) -> Callable[[datetime], datetime]:
    ago = _milliseconds(text.lower())
    if ago is not None:
        return lambda now: _ago(now, ago)
    clock = _CLOCK.fullmatch(text)
    if clock:
        return lambda now: _at_clock(now, int(clock[1]), int(clock[2]), int(clock[3] or 0))
    try:
        if not re.match(r"[0-9]{4}-", text):
            raise ValueError
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise WrongValueError(f"A moment is written like {_MOMENTS}, not '{text}'.") from None
    return lambda _now: moment


def _ago(now: datetime, milliseconds: float) -> datetime:
    try:
        return now - timedelta(milliseconds=milliseconds)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def _at_clock(now: datetime, hour: int, minute: int, second: int) -> datetime:
    """The last time that the clock on the wall said this."""
    try:
        said = now.astimezone().replace(hour=hour, minute=minute, second=second, microsecond=0)
        return said if said <= now else said - timedelta(days=1)
    except (OverflowError, ValueError):  # too close to datetime's limits
        return now


# Places

_HOST_AND_PORT = re.compile(r"(?:\[(?P<bracketed>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]]+))(?::(?P<port>[0-9]+))?")
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def host(value: str) -> Place:
    """A name, an address, a network, or one of these with a port."""
    found = place(value)
    if found is not None:
        return found
    if re.fullmatch(r"[0-9]{1,3}(\.[0-9]{0,3}){0,2}\.?", value):
        raise WrongValueError(
            f"'{value}' is only the beginning of an address.",
            f"Write host:{value.rstrip('.')}.* for all that begin so.",
        )
    if re.fullmatch(r"[0-9]+(\.[0-9]*){3}", value):
        raise WrongValueError(f"'{value}' is not an address: it has four numbers from 0 to 255.")
    return Place(text_test(_without_final_dot(value)))


def place(value: str) -> Place | None:
    """An address, a network, or either or a name with a port; None for a mere name."""
    found = _HOST_AND_PORT.fullmatch(value)
    named = value if found is None else found["bracketed"] or found["host"]
    network = _network(named)
    if found is None or found["port"] is None:
        return None if network is None else Place(_network_test(network), network=True)
    number, _ = port(found["port"])
    test = text_test(_without_final_dot(named)) if network is None else _network_test(network)
    return Place(test, network is not None, number)


def _without_final_dot(name: str) -> str:
    """Rows have names without it."""
    return name[:-1] if name.endswith(".") and len(name) > 1 else name


def _network(text: str) -> _Network | None:
    """The network, of one address too; None for what is a name."""
    address, slash, _ = text.partition("/")
    try:
        mapped = getattr(ipaddress.ip_address(address), "ipv4_mapped", None)
    except ValueError:
        return None
    if mapped is not None and not slash:
        return ipaddress.ip_network(mapped)
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise WrongValueError(f"'{text}' is not a network; 10.0.0.0/8 and 2001:db8::/32 are.") from None


def _network_test(network: _Network) -> TextTest:
    @lru_cache(maxsize=_TEXTS_REMEMBERED)
    def test(text: str | None) -> bool:
        try:
            return text is not None and ipaddress.ip_address(text) in network
        except ValueError:
            return False

    return test


# Words


def plain(text: str) -> str:
    """A word without what people spell differently: CLOSE_WAIT, close-wait and closewait are the same."""
    return re.sub(r"[-_ ]", "", text.lower())


class Several(tuple[Any, ...]):
    """What all words stand for that a pattern fits."""

    __slots__ = ()


class Words:
    """A closed set of words. `never` are others that somebody may write: why no row has them, and what to write."""

    def __init__(
        self,
        what: str,
        meanings: Mapping[str, Any],
        aliases: Mapping[str, str] | None = None,
        never: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        self.what = what
        self.words = tuple(meanings)
        self._spelled = dict(meanings)
        self._meanings = {plain(word): meaning for word, meaning in meanings.items()}
        self._meanings |= {plain(other): meanings[word] for other, word in (aliases or {}).items()}
        self._never = {plain(word): why for word, why in (never or {}).items()}

    def meaning(self, text: str) -> Any:
        """What a word stands for; None if it is not one of these."""
        return self._meanings.get(plain(text))

    def __call__(self, value: str) -> Any:
        """What a word stands for; Several where it has wildcards."""
        meaning = self.meaning(value) or self._like(value)
        if meaning is not None:
            return meaning
        if plain(value) in self._never:
            raise WrongValueError(*self._never[plain(value)])
        meant = similar(value, self.words)
        raise WrongValueError(
            f"There is no {self.what} '{value}'.",
            f"Did you mean '{meant}'?" if meant else f"There are {_listed(self.words)}.",
        )

    def _like(self, pattern: str) -> Several | None:
        if _WILDCARD.search(pattern) is None:
            return None
        test = text_test(pattern.replace("_", "-"))
        return Several(meaning for word, meaning in self._spelled.items() if test(word)) or None


def _listed(words: Iterable[str]) -> str:
    """As many as two lines have room for next to the rest of the sentence."""
    text = ", ".join(words)
    return text if len(text) <= _LIST_CHARACTERS else f"{text[:_LIST_CHARACTERS].rpartition(',')[0]} and others"
