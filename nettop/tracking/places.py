"""Both ends of a connection, by which it is known before its socket is there."""

from typing import NamedTuple

from nettop.kernel.abi import HttpHead, SocketRecord
from nettop.tracking.addresses import address_of

SocketKey = tuple[int, int]  # of a socket that is there: kernel address and seen_ns


class Place(NamedTuple):
    """As its host sees it."""

    netns: int
    local: str
    local_port: int
    remote: str
    remote_port: int


def place_of(told: HttpHead | SocketRecord) -> Place:
    """Of the connection that a record is about."""
    local, remote = (address_of(told.family, raw) for raw in (told.local_address, told.remote_address))
    return Place(told.netns, local, told.local_port, remote, told.remote_port)
