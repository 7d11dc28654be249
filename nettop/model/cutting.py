"""What one can order nettop to cut (--allow-cut), what is blocked, and what came of it.

These values cross between the screen and the source.

What is cut is named so that it cannot be anything else: a process with its start, an address with its network
namespace, a connection by its id.
"""

from typing import Literal

from msgspec import Struct

from nettop.model.rows import Time

MINUTES = (1, 10, 60)  # that a block may last
SSH_SERVERS = ("sshd", "sshd-session", "sshd-auth", "dropbear")  # comms
INIT = 1  # pid


class OneProcess(Struct, frozen=True, gc=False):
    """A process, but not its children."""

    pid: int
    start_time: Time
    comm: str

    @property
    def said(self) -> str:
        """For people."""
        return f"{self.comm}[{self.pid}]"


class OneUnit(Struct, frozen=True, gc=False):
    """The systemd unit that this process is in, with all processes in it."""

    name: str
    member: OneProcess

    @property
    def said(self) -> str:
        """For people."""
        return self.name


class OneRemote(Struct, frozen=True, gc=False):
    """An address, for everybody in a network namespace."""

    address: str
    netns: int
    name: str | None = None

    @property
    def said(self) -> str:
        """For people."""
        return self.address if self.name is None else f"{self.name} ({self.address})"


class OneConnection(Struct, frozen=True, gc=False):
    """A TCP connection by the id of its row."""

    id: int
    netns: int
    remote: OneRemote
    owner: OneProcess | None

    @property
    def said(self) -> str:
        """For people."""
        return f"the connection to {self.remote.said}"


Target = OneProcess | OneUnit | OneRemote | OneConnection


class Order(Struct, frozen=True, gc=False):
    """What is to be done: `minutes` is how long a block lasts."""

    verb: Literal["close", "block", "end", "kill"]
    target: Target
    minutes: int = 0


class Block(Struct, frozen=True, gc=False):
    """What is blocked, for how long yet, and how many connections and datagrams were refused."""

    number: int
    target: OneProcess | OneUnit | OneRemote
    left_s: float
    refused: int


class Outcome(Struct, frozen=True, gc=False):
    """What came of the last order, in a sentence. Numbers count up."""

    number: int
    sentence: str
    failed: bool


class Cuts(Struct, frozen=True, gc=False):
    """How things stand."""

    blocks: tuple[Block, ...] = ()
    outcome: Outcome | None = None


class Protected(Struct, frozen=True, gc=False):
    """What is never cut: nettop, what it was started from up to process 1, and where their SSH sessions come from."""

    pids: frozenset[int] = frozenset((INIT,))
    addresses: frozenset[str] = frozenset()


class Powers(Struct, frozen=True, gc=False):
    """What can be done here: by nettop, and by commands that a person runs.

    `netns` is the inode number of the network namespace that nettop is in, the only one whose connections it can close.
    `destroys` says whether `ss -K` can: None if the kernel does not tell. `tools` are the commands that there are.
    """

    allowed: bool = False
    closes: bool = False
    netns: int = 0
    protected: Protected = Protected()
    tools: frozenset[str] = frozenset()
    has_systemd: bool = False
    destroys: bool | None = None


def why_not(order: Order, protected: Protected) -> str | None:
    """Why nettop will not do that, as a sentence; None if it will, as far as the order itself says."""
    target = order.target
    owner = target.owner if isinstance(target, OneConnection) else target if isinstance(target, OneProcess) else None
    remote = target.remote if isinstance(target, OneConnection) else target if isinstance(target, OneRemote) else None
    if owner is not None:
        if owner.pid == INIT:
            return "nettop never touches process 1."
        if owner.pid in protected.pids:
            return f"nettop never touches itself and what it was started from, and {owner.said} is that."
        if owner.comm in SSH_SERVERS:
            return f"nettop never touches SSH sessions, and {owner.said} may be yours."
    if remote is not None and remote.address in protected.addresses:
        return f"nettop never cuts off {remote.address}, where your SSH session comes from."
    return None
