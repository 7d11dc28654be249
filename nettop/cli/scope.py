"""What --unit and --container mean, by the cgroups and containers that there are."""

import re
from collections.abc import Iterable

from nettop.cli.messages import note
from nettop.errors import UsageError
from nettop.kernel import cgroups
from nettop.kernel.privileges import require_privileges
from nettop.kernel.scope import Scope
from nettop.model.services import short, unit_cgroup_names, unit_name
from nettop.sources.container_names import RuntimeFiles, running

_WHOLE_ID = re.compile(r"[0-9a-f]{64}")
_PART_OF_ID = re.compile(r"[0-9a-f]{4,63}")


def units_named(given: Iterable[str]) -> tuple[str, ...]:
    """The units by their whole names; prints a note about one that does not run. Raises UsageError."""
    units = tuple(dict.fromkeys(map(_unit, given)))
    there = {cgroup.path.rpartition("/")[2] for cgroup in cgroups.walk()} if units else set()
    for unit in units:
        if there.isdisjoint(unit_cgroup_names(unit)):
            note(f"no unit '{unit}' runs yet; waiting for it to start.")
    return units


def _unit(text: str) -> str:
    if not text or "/" in text or "*" in text or "?" in text:
        raise UsageError(
            f"'{text}' is not the name of a unit.",
            "Give one as 'systemctl status' shows it, like nginx.service; several: --filter 'unit:web*'.",
        )
    return unit_name(text)


def container_ids(given: Iterable[str], files: RuntimeFiles | None = None) -> frozenset[str]:
    """What the containers stand for that are given by name or id. Raises NettopError if one does not run."""
    containers = set(given)
    if not containers:
        return frozenset()
    require_privileges()  # or nobody could tell what containers are called
    names, there = files or RuntimeFiles(), running()
    return frozenset(one for container in containers for one in _meant(container, there, names))


def _meant(text: str, there: list[str], names: RuntimeFiles) -> set[str]:
    """The ids that a name, an id or the beginning of one stands for."""
    if text in there:
        return {text}
    if _WHOLE_ID.fullmatch(text):
        note(f"no container '{short(text)}' runs yet; waiting for it to start.")
        return {text}
    part = _PART_OF_ID.fullmatch(text) is not None
    meant = set()
    for container in there:
        called = names(container)
        if (part and container.startswith(text)) or (called is not None and called.name == text):
            meant.add(container)
    if not meant:
        raise UsageError(
            f"No container '{text}' runs here, or its name cannot be read.",
            "Give its name, or its id as its tools show it; of one that starts later the whole id.",
        )
    return meant


SCOPE_OPTIONS = "--pid, --comm, --netns, --unit and --container"


def require_few(scope: Scope) -> None:
    """Raise UsageError if there are more values of a kind than the kernel side holds."""
    kinds = (scope.pids, scope.comms, scope.netns, scope.units, scope.container_ids)
    if any(len(given) > Scope.MAX_ENTRIES for given in kinds) or len(scope.cgroup_names) > Scope.MAX_NAMES:
        raise UsageError(f"{SCOPE_OPTIONS} take at most {Scope.MAX_ENTRIES} values each.", "Use --filter instead.")
