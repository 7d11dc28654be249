"""Requests that are sent again, because their connection ended without a response."""

from collections import OrderedDict
from typing import NamedTuple

from nettop.kernel.abi import ProcessKey
from nettop.model.rows import Request
from nettop.tracking.owners import Owned

MAX_FAILED = 1_024  # requests that may be sent again
RETRY_NS = 60_000_000_000  # so soon

_Sent = tuple[ProcessKey, int, str, str, str]  # process, network namespace, method, host and path


class _Failed(NamedTuple):
    row_id: int
    failed_ns: int


class Retries:
    """Requests of clients that failed, until they are sent again."""

    def __init__(self) -> None:
        self._failed: OrderedDict[_Sent, _Failed] = OrderedDict()

    def failed(self, row: Request, owned: Owned, failed_ns: int) -> None:
        """Its connection has ended without a response."""
        sent = _sent(row, owned)
        if sent is None:
            return
        self._failed[sent] = _Failed(row.id, failed_ns)
        self._failed.move_to_end(sent)
        if len(self._failed) > MAX_FAILED:
            self._failed.popitem(last=False)

    def repeated_by(self, row: Request, owned: Owned, asked_ns: int) -> int | None:
        """The row that this request repeats."""
        sent = _sent(row, owned) if self._failed else None
        before = self._failed.pop(sent, None) if sent is not None else None
        if before is None or asked_ns - before.failed_ns > RETRY_NS:
            return None
        return before.row_id


def _sent(row: Request, owned: Owned) -> _Sent | None:
    process = owned.process
    if row.side != "client" or process is None or row.host is None or row.path is None or row.partial:
        return None
    return process, row.netns, row.method, row.host, row.path
