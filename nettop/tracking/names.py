"""Names of addresses, from the DNS answers that were seen."""

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Literal, NamedTuple, TypeVar

from nettop.model.rows import Answer

MAX_NAMES = 32_768  # per table; about 8 MB. A busy resolver's clients talk to far fewer addresses at a time

MAX_OTHERS = 7  # per address; a content network's has hundreds, and two are as unclear as those

_ADDRESS_TYPES = ("A", "AAAA")
_Key = TypeVar("_Key", bound=Hashable)


class Name(NamedTuple):
    """What an address was looked up as, and by whom. `others` are what else other processes have looked it up as."""

    name: str
    source: Literal["process", "other-process"]
    others: tuple[str, ...] = ()


class NameTable:
    """Address to name, per process and as a second choice per network namespace; the latest look-up wins.

    Where the look-ups of a namespace disagree, all names are kept: which one a process means that asked for none is not
    known.
    """

    def __init__(self, capacity: int = MAX_NAMES) -> None:
        self._capacity = capacity
        self._own: OrderedDict[tuple[Hashable, str], str] = OrderedDict()
        self._any: OrderedDict[tuple[int, str], str] = OrderedDict()
        self._more: dict[tuple[int, str], tuple[str, ...]] = {}  # earlier names of those that have several
        self.evicted = 0

    def learn(self, process: Hashable, netns: int, qname: str, answers: tuple[Answer, ...]) -> None:
        """Remember the addresses that answers give for qname, CNAMEs followed; other records are not taken on trust."""
        self.learn_addresses(process, netns, qname, addresses_of(qname, answers))

    def learn_addresses(self, process: Hashable, netns: int, name: str, addresses: Iterable[str]) -> None:
        """Remember what a name was looked up to be."""
        for address in addresses:
            self._put(self._own, (process, address), name)
            self._keep_other((netns, address), name)
            self._put(self._any, (netns, address), name)

    def forget(self, process: Hashable, netns: int, qname: str, answers: tuple[Answer, ...]) -> None:
        """Take back what was learned last from answers that did not arrive."""
        for address in addresses_of(qname, answers):
            if self._own.get((process, address)) == qname:
                del self._own[process, address]
            if self._any.get((netns, address)) == qname:
                self._forget_last((netns, address))

    def find(self, process: Hashable | None, netns: int, address: str) -> Name | None:
        """The name under which this process looked the address up, else somebody else in the netns."""
        if process is not None:
            own = self._own.get((process, address))
            if own is not None:
                return Name(own, "process")
        key = (netns, address)
        other = self._any.get(key)
        return None if other is None else Name(other, "other-process", self._more.get(key, ()))

    def _keep_other(self, key: tuple[int, str], name: str) -> None:
        """Before this name takes its place."""
        last = self._any.get(key)
        if last is not None and not _is_same(last, name):
            earlier = (other for other in self._more.get(key, ()) if not _is_same(other, name))
            self._more[key] = (last, *earlier)[:MAX_OTHERS]

    def _forget_last(self, key: tuple[int, str]) -> None:
        earlier = self._more.pop(key, ())
        if not earlier:
            del self._any[key]
            return
        self._any[key] = earlier[0]
        if earlier[1:]:
            self._more[key] = earlier[1:]

    def _put(self, table: OrderedDict[_Key, str], key: _Key, name: str) -> None:
        table[key] = name
        table.move_to_end(key)
        if len(table) > self._capacity:
            oldest, _ = table.popitem(last=False)
            self.evicted += 1
            if table is self._any:
                self._more.pop(oldest, None)  # type: ignore[call-overload] # the keys of that table


def _is_same(name: str, other: str) -> bool:
    """Names do not differ by case (RFC 1035 section 2.3.3), in which some resolvers mix them."""
    return name == other or name.lower() == other.lower()


def addresses_of(qname: str, answers: tuple[Answer, ...]) -> list[str]:
    """The addresses at the ends of the CNAME chains that start at qname (RFC 1034 section 3.6.2)."""
    asked_for = [answer.data for answer in answers if answer.type in _ADDRESS_TYPES and answer.name == qname]
    if len(asked_for) == len(answers):  # as most are, and the rest takes five times as long
        return asked_for
    targets: dict[str, list[str]] = {}  # a hostile chain is long and backwards: one pass, not one a link
    for answer in answers:
        if answer.type == "CNAME":
            targets.setdefault(answer.name.lower(), []).append(answer.data.lower())
    reached = set()
    ahead = [qname.lower()]
    while ahead:
        name = ahead.pop()
        if name not in reached:
            reached.add(name)
            ahead.extend(targets.get(name, ()))
    return [answer.data for answer in answers if answer.type in _ADDRESS_TYPES and answer.name.lower() in reached]
