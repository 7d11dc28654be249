"""JSON of snapshots and streams: the rows, unchanged."""

import msgspec

from nettop.model.events import AnyEvent
from nettop.model.snapshot import Snapshot, with_ages

_ENCODER = msgspec.json.Encoder()


def snapshot_json(snapshot: Snapshot) -> bytes:
    """A snapshot as indented JSON with a final newline."""
    return msgspec.json.format(_ENCODER.encode(with_ages(snapshot)), indent=2) + b"\n"


def event_json(event: AnyEvent) -> bytes:
    """An event as one line of JSON with a newline."""
    return _ENCODER.encode(event) + b"\n"
