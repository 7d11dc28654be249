"""What a source tells the store, which is also what a line of `nettop stream` holds.

Each event carries whole rows, not differences: the last row with an id is the truth, so that a stream can be filtered
by row and is still a recording that replays.
"""

from typing import Final, Literal, Self

from msgspec import UNSET, Struct, UnsetType

from nettop.model import rows

STREAM_SCHEMA: Final = "nettop.stream/1"


class Origin(rows.Row, frozen=True, gc=False, kw_only=True):
    """Which run of nettop on which host: with it, the type and the id or process of a row are unique everywhere.

    `host_id` is that of machine-id(5), `started_at` the time of the Start.
    """

    host: str
    host_id: str | None
    boot_id: str | None
    started_at: rows.Time


class Event(Struct, frozen=True, gc=False, kw_only=True, tag_field="type"):
    """Base of all; `time` is when it happened, or for counters when they were read. `origin` is only in `--final`."""

    time: rows.Time
    origin: Origin | UnsetType = UNSET

    def __deepcopy__(self, _memo: object) -> Self:
        """As of a row: nothing changes it."""
        return self


class Start(Event, frozen=True, gc=False, kw_only=True, tag="start"):
    """The first line: what follows was seen on this host, with these hooks, in this scope."""

    schema: Literal["nettop.stream/1"] = STREAM_SCHEMA
    nettop: str
    host: rows.Host
    scope: rows.Scope
    hooks: dict[str, str]
    interval_s: rows.Seconds
    filter: str | None = None


class ProcessChanged(Event, frozen=True, gc=False, kw_only=True, tag="process"):
    """A process was first seen on the network, executed another program, was renamed, or ended."""

    process: rows.ProcessIdentity


class ConnectionChanged(Event, frozen=True, gc=False, kw_only=True, tag="connection"):
    """A connection was first seen, changed by the next tick, or ended."""

    connection: rows.Connection


class ListenerChanged(Event, frozen=True, gc=False, kw_only=True, tag="listener"):
    """A listening socket was first seen, changed by the next tick, or ended."""

    listener: rows.Listener


class DnsChanged(Event, frozen=True, gc=False, kw_only=True, tag="dns"):
    """A query was asked, asked again, answered, or timed out."""

    dns: rows.DnsQuery


class LookupChanged(Event, frozen=True, gc=False, kw_only=True, tag="lookup"):
    """A look-up has returned, was abandoned, or still waits: as the next tick found it."""

    lookup: rows.Lookup


class LookupsCovered(Event, frozen=True, gc=False, kw_only=True, tag="lookups_covered"):
    """Whose look-ups are seen: at the beginning of a watch with look-ups, and when that has changed."""

    coverage: rows.LookupCoverage


class DecryptCovered(Event, frozen=True, gc=False, kw_only=True, tag="decrypt_covered"):
    """Whose requests inside TLS are seen: at the beginning of a watch with `--decrypt`, and when that has changed."""

    coverage: rows.DecryptCoverage


class RequestChanged(Event, frozen=True, gc=False, kw_only=True, tag="request"):
    """A request was sent or came in, was answered, or failed: as the next tick found it."""

    request: rows.Request


class UdpChanged(Event, frozen=True, gc=False, kw_only=True, tag="udp"):
    """The counters of a UDP socket with one of its remote ends changed by the next tick, or it was released."""

    udp: rows.UdpFlow


class HostPacketsCounted(Event, frozen=True, gc=False, kw_only=True, tag="host_packets"):
    """Packets came from an address; the rest of a host's row is summed up from connections and UDP flows."""

    host_packets: rows.HostPackets


class OtherChanged(Event, frozen=True, gc=False, kw_only=True, tag="other"):
    """The same of a socket for neither TCP nor UDP, or of a raw one."""

    other: rows.OtherSocket


class Unlisted(Event, frozen=True, gc=False, kw_only=True, tag="unlisted"):
    """What a process did since the last of these that is counted only: in a flood not all of it gets rows.

    A stream has rows of everything and none of these.
    """

    unlisted: rows.Unlisted


class Dropped(Event, frozen=True, gc=False, kw_only=True, tag="dropped"):
    """Packets were dropped, resets or ICMP errors sent or received: how many since the last of these."""

    dropped: rows.Dropped


class LossesChanged(Event, frozen=True, gc=False, kw_only=True, tag="losses"):
    """Something could not be delivered or kept; counted since the start."""

    losses: rows.Losses


class Tick(Event, frozen=True, gc=False, kw_only=True, tag="tick"):
    """All that happened until `time` has been told; snapshots are made here, and rates unless `rates` is false.

    The last tick comes when the watch ends, maybe a moment after the one before: rates over that moment would say
    nothing, so those of the last whole interval stand.
    """

    rates: bool = True


class End(Event, frozen=True, gc=False, kw_only=True, tag="end"):
    """The last line. A recording without it was cut."""


AnyEvent = (
    Start
    | ProcessChanged
    | ConnectionChanged
    | ListenerChanged
    | DnsChanged
    | RequestChanged
    | LookupChanged
    | LookupsCovered
    | DecryptCovered
    | UdpChanged
    | OtherChanged
    | HostPacketsCounted
    | Unlisted
    | Dropped
    | LossesChanged
    | Tick
    | End
)
