"""What --decrypt, --lookups and --allow-cut cost the work that they are about, next to nettop without them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.bench.observers import OnScreen, Watching, headless, on_screen
from tests.bench.report import Findings, Table, number, spread
from tests.bench.settings import PATIENCE_S, Settings
from tests.bench.traffic import CONNECTIONS, CONNECTS, HTTPS, LOOKUPS, Load, served
from tests.live.lab import NETTOP, Namespace, namespace, nettop
from tests.live.terminal import Terminal
from tests.live.test_cutting import attempter, block, started

NOTES = (
    "Work done in a second, median of alternating runs, and (quartiles) of ratios within a round: `nettop` to nobody, "
    "an option to `nettop`. Client, server and nettop share all CPUs, as fast as they go. `--allow-cut` is an option "
    "of the screen, so `nettop` has its screen there; `blocking` is while another process is blocked.",
)

Watch = Callable[[Settings, Namespace], AbstractContextManager[Watching]]


@contextmanager
def blocking(settings: Settings, where: Namespace) -> Iterator[OnScreen]:
    """The screen, once it has blocked a process that has nothing to do with the load."""
    bystander = attempter(where)
    with Terminal([*NETTOP, "--allow-cut"], columns=160, cwd=settings.directory) as terminal:
        block(started(terminal), bystander)
        watching = OnScreen(terminal, settings.directory)
        watching.drain()
        try:
            yield watching
        finally:
            watching.stop()
            bystander.stop()


@dataclass(frozen=True)
class Power:
    """A load, and by which names of nettops it is watched: the first is the one without the option."""

    load: Load
    nettops: dict[str, Watch]


_CUT: dict[str, Watch] = {
    "nettop": on_screen,
    "--allow-cut": partial(on_screen, arguments=("--allow-cut",)),
    "--allow-cut, blocking": blocking,
}
POWERS = (
    Power(HTTPS, {"nettop": headless, "--decrypt": partial(headless, arguments=("--decrypt",))}),
    Power(LOOKUPS, {"nettop": headless, "--lookups": partial(headless, arguments=("--lookups",))}),
    Power(CONNECTIONS, _CUT),
    Power(CONNECTS, _CUT),
)
NOBODY = "nobody"


def run(settings: Settings, findings: Findings) -> None:
    """Each load in rounds: beside nobody, nettop, and nettop with the option."""
    rows = []
    for option in ("", "--decrypt", "--lookups"):  # has each compiled: the screen waits for that by itself
        nettop("snapshot", "--for", "0.1", *filter(None, [option]), timeout_s=PATIENCE_S)
    for power in POWERS:
        rounds = []
        with namespace(settings.directory) as where, served(power.load, where, settings.directory):
            for place in range(settings.rounds(9, 3)):
                rounds.append(_round(settings, power, where, place))
                findings.add({"load": power.load.name, "unit": power.load.unit, **rounds[-1]})
        rows += list(_rows(power, rounds))
    findings.tables.append(Table("Powers", ("load", "beside", "in a second", "ratio"), rows, NOTES))


def _round(settings: Settings, power: Power, where: Namespace, place: int) -> dict[str, float]:
    """Beside each of them, beginning with another one each time."""
    names = [NOBODY, *power.nettops]
    turn = place % len(names)
    rates = {}
    for name in names[turn:] + names[:turn]:
        if name == NOBODY:
            rates[name] = _rate(settings, power.load, where)
        else:
            with power.nettops[name](settings, where):
                rates[name] = _rate(settings, power.load, where)
    return rates


def _rate(settings: Settings, load: Load, where: Namespace) -> float:
    return load.run(where, settings.directory, settings.seconds(3, 2)).per_s


def _rows(power: Power, rounds: Sequence[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    plain = next(iter(power.nettops))
    for name in (NOBODY, *power.nettops):
        rate = spread([rates[name] for rates in rounds]).median
        told = "-"
        if name != NOBODY:
            against = NOBODY if name == plain else plain
            told = spread([rates[name] / rates[against] for rates in rounds]).told("{:.2f}".format)
        yield power.load.name, name, f"{number(rate)} {power.load.unit}", told
