r"""Conversations of real programs, recorded on the loopback of a network namespace: segments as they were sent.

A file has a line for each segment: `>` from the client or `<` from the server, and its payload in hexadecimal, where
`(00*7)` is seven zeros. Lines that begin with `#` say which programs they are.
"""

import re
from pathlib import Path
from typing import NamedTuple

_FOLDER = Path(__file__).parent
_REPEATED = re.compile(r"\((\w+)\*(\d+)\)")


class Segment(NamedTuple):
    """A payload of a connection, where in its direction it stands, and which direction that is."""

    from_client: bool
    sequence: int
    payload: bytes


def conversation(name: str) -> tuple[Segment, ...]:
    """The segments of the file of this name."""
    segments: list[Segment] = []
    ends = {True: 0, False: 0}
    for line in (_FOLDER / f"{name}.txt").read_text("ascii").splitlines():
        if line.startswith("#"):
            continue
        from_client, payload = line[0] == ">", bytes.fromhex(_REPEATED.sub(_repeated, line[2:]))
        segments.append(Segment(from_client, ends[from_client], payload))
        ends[from_client] += len(payload)
    return tuple(segments)


def _repeated(run: re.Match[str]) -> str:
    return run[1] * int(run[2])


def names(prefix: str = "") -> tuple[str, ...]:
    """Of all conversations of a protocol."""
    return tuple(sorted(path.stem for path in _FOLDER.glob(f"{prefix}*.txt")))
