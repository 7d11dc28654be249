"""Which process a row belongs to, and what one can ask of it.

Rows carry the pid and start of their process. What else is known of it stands in its own row only, because it may be
learnt later: user, unit, container, pod.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from nettop.model.rows import HostPackets, Listener, ProcessIdentity, RemoteHost
from nettop.model.services import short

Key = tuple[int | None, datetime | None]


class Owners:
    """The processes that rows may belong to: those of a snapshot, or the last so many that a stream told of.

    Indexed when the first one is asked for: mostly none is.
    """

    def __init__(self, processes: Iterable[ProcessIdentity] = (), most: int = sys.maxsize) -> None:
        self._processes: Iterable[ProcessIdentity] = processes
        self._most = most
        self._by_key: dict[Key, ProcessIdentity] = {}
        self._by_pid: dict[int, dict[Key, ProcessIdentity]] = {}
        self._netns_names: dict[int, str | None] = {}

    def add(self, process: ProcessIdentity) -> None:
        """A process, or what is new of it."""
        key = (process.pid, process.start_time)
        self._by_key.pop(key, None)
        self._by_key[key] = process
        self._by_pid.setdefault(process.pid, {})[key] = process
        if process.netns_name is not None:
            self._netns_names[process.netns] = process.netns_name
        if len(self._by_key) > self._most:
            oldest = next(iter(self._by_key))
            forgotten = self._by_key.pop(oldest)
            del self._by_pid[forgotten.pid][oldest]

    def of(self, row: Any) -> ProcessIdentity | None:
        """The process that owns a row, or is it; None if that is not known."""
        if isinstance(row, ProcessIdentity):
            return row
        return self._known(row.pid, getattr(row, "process_start_time", None))

    def all_of(self, row: Any) -> Iterable[ProcessIdentity]:
        """All processes that a row belongs to: a listener has holders, and many may talk to a host."""
        owner = self.of(row) if not isinstance(row, RemoteHost | HostPackets) else None
        if owner is not None:
            yield owner
        if isinstance(row, RemoteHost):
            self._index()
            for pid in row.pids:
                yield from self._by_pid.get(pid, {}).values()
        if isinstance(row, Listener):
            for holder in row.holders:
                process = self._known(holder.pid, holder.process_start_time)
                if process is not None:
                    yield process

    def netns_name(self, inode: int) -> str | None:
        """What the network namespace is called, as some process in it was told; None if it has no name."""
        self._index()
        return self._netns_names.get(inode)

    def _known(self, pid: int | None, start_time: datetime | None) -> ProcessIdentity | None:
        self._index()
        return self._by_key.get((pid, start_time))

    def _index(self) -> None:
        if self._processes:
            for process in self._processes:
                self.add(process)
            self._processes = ()


NOBODY = Owners()


# What the filter asks of the process of a row


class Wanted(NamedTuple):
    """A name as a filter asks for it: whether a text is like it, and what was written."""

    test: Callable[[str | None], bool]
    text: str


_PART_OF_ID = re.compile(r"[0-9a-f]{4,64}")


def _has_user(wanted: Wanted, process: ProcessIdentity) -> bool:
    return wanted.test(process.user) or str(process.uid) == wanted.text


def _is_in_unit(wanted: Wanted, process: ProcessIdentity) -> bool:
    """In the unit or below it: a slice too, and with or without `.service`."""
    return any(
        wanted.test(name) or (name.endswith(".service") and wanted.test(name.removesuffix(".service")))
        for name in _units(process)
    )


def _units(process: ProcessIdentity) -> Iterator[str]:
    if process.unit is not None:
        yield process.unit
    for name in (process.cgroup or "").split("/"):
        if "." in name:
            yield name


def _is_in_container(wanted: Wanted, process: ProcessIdentity) -> bool:
    """By its name, its id, or the beginning of that."""
    container = process.container
    if container is None:
        return False
    if wanted.test(process.container_name) or wanted.test(container) or wanted.test(short(container)):
        return True
    return _PART_OF_ID.fullmatch(wanted.text) is not None and container.startswith(wanted.text)


def _is_in_pod(wanted: Wanted, process: ProcessIdentity) -> bool:
    """By its name, with or without its namespace, or its uid."""
    if process.pod is not None and wanted.test(f"{process.pod_namespace}/{process.pod}"):
        return True
    return wanted.test(process.pod) or wanted.test(process.pod_uid)


def _has_image(wanted: Wanted, process: ProcessIdentity) -> bool:
    """By its whole name, or by its last part with or without its tag: docker.io/library/nginx:1.25 is nginx too."""
    if process.image is None:
        return False
    last = process.image.rpartition("/")[2]
    return wanted.test(process.image) or wanted.test(last) or wanted.test(re.split("[:@]", last)[0])


def _of_process(test: Callable[[Wanted, ProcessIdentity], bool]) -> Callable[[Wanted, Owners], Callable[[Any], bool]]:
    def asking(wanted: Wanted, owners: Owners) -> Callable[[Any], bool]:
        return lambda row: any(test(wanted, process) for process in owners.all_of(row))

    return asking


def _in_netns(wanted: int | Wanted, owners: Owners) -> Callable[[Any], bool]:
    if isinstance(wanted, int):
        return lambda row: bool(row.netns == wanted)
    return lambda row: wanted.test(owners.netns_name(row.netns))


JOINED: Mapping[str, Callable[[Any, Owners], Callable[[Any], bool]]] = {
    "user": _of_process(_has_user),
    "unit": _of_process(_is_in_unit),
    "container": _of_process(_is_in_container),
    "pod": _of_process(_is_in_pod),
    "image": _of_process(_has_image),
    "netns": _in_netns,
}
"""From a key of the filter and its value to a test, which holds for every kind of rows through their processes."""
