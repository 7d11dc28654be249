"""What the tests of the screen look at: a feed in their hands, and snapshots with something of everything."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

from textual.pilot import Pilot

from nettop.collector import Cutting, Feed, Jump, Playing
from nettop.model import rows
from nettop.model.cutting import Cuts, Order, Powers, Protected
from nettop.model.filter import Filter
from nettop.model.snapshot import Snapshot
from nettop.tui.app import NettopApp
from nettop.tui.table import RowTable
from nettop.view.look import DEFAULT_LOOK, Look
from tests import builders

Play = Callable[[Pilot[None]], Awaitable[None]]


CUTTING = Powers(
    allowed=True,
    closes=True,
    netns=builders.NETNS,
    protected=Protected(frozenset((1, 900)), frozenset(("198.51.100.6",))),
    tools=frozenset(("ss", "kill")),
    destroys=True,
)
"""Nobody may touch nginx, nor whoever is at 198.51.100.6."""


class FakeCutting:
    """A Cutting that remembers what it was told, and says what a test puts in."""

    def __init__(self, powers: Powers, state: Cuts = Cuts()) -> None:  # noqa: B008
        self.powers = powers
        self.state = state
        self.told: list[Order | int | None] = []

    def order(self, order: Order) -> None:
        self.told.append(order)

    def lift(self, number: int | None) -> None:
        self.told.append(number)


class FakeFeed:
    """A Feed that has what a test puts in, and remembers what it was told."""

    playing: Playing | None = None

    def __init__(self, latest: Snapshot | None = None, cutting: "FakeCutting | None" = None) -> None:
        self.cutting: Cutting | None = cutting
        self.latest = latest
        self.error: BaseException | None = None
        self.finished = False
        self.pace = "every 1 s"
        self.told: list[tuple[str, Any]] = []
        self.changed: Callable[[], None] = lambda: None

    def start(self, changed: Callable[[], None]) -> None:
        self.told.append(("start", None))
        self.changed = changed

    def stop(self) -> None:
        self.told.append(("stop", None))

    def adjust(self, step: int) -> None:
        self.told.append(("adjust", step))

    def hold(self, held: bool) -> None:
        self.told.append(("hold", held))


class FakePlayer(FakeFeed):
    """The same of a recording of a minute, which goes nowhere by itself."""

    def __init__(self, latest: Snapshot | None = None) -> None:
        super().__init__(latest)
        self.playing: Playing = self
        self.pace = "x1"
        self.going = False
        self.length_s: float | None = 67.0
        self.jump: Jump | None = None

    def go(self, seconds: float) -> None:
        self.told.append(("go", seconds))

    def go_to_start(self) -> None:
        self.told.append(("start again", None))

    def go_to_next_tick(self) -> None:
        self.told.append(("tick", None))

    def go_to_next_failure(self, chosen: Filter) -> None:
        self.told.append(("failure", chosen.text))


def play(
    steps: Play,
    feed: Feed,
    size: tuple[int, int] = (120, 40),
    *,
    look: Look = DEFAULT_LOOK,
    mode: str = "LIVE",
    chosen: str = "",
) -> NettopApp:
    """Run the steps on the screen, which has drawn what the feed has."""
    app = NettopApp(feed, mode=mode, chosen=Filter(chosen), look=look)

    async def run() -> None:
        async with app.run_test(size=size, notifications=True, tooltips=True) as pilot:
            await pilot.pause()
            app.tick()
            await pilot.pause()
            await steps(pilot)

    asyncio.run(run())
    return app


async def show(pilot: Pilot[None], latest: Snapshot) -> None:
    """The feed has a newer snapshot, and the screen looks."""
    app = the_app(pilot)
    feed = app._feed
    assert isinstance(feed, FakeFeed)
    feed.latest = latest
    app.tick()
    await pilot.pause()


async def until(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    """Where one pause is not enough: a screen that opens, Textual's smooth scrolling."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, text(pilot)
        await pilot.pause(0.01)


_STILL_FRAMES = 4


async def settled(pilot: Pilot[None]) -> None:
    """Nothing moves any more: some frames in a row are the same, each after all messages have been taken."""
    before, same = None, 0
    while same < _STILL_FRAMES:
        await pilot.pause()
        await pilot.pause(0.02)
        frame = pilot.app.screen._compositor.render_strips()
        before, same = frame, same + 1 if frame == before else 0


def the_app(pilot: Pilot[None]) -> NettopApp:
    assert isinstance(pilot.app, NettopApp)
    return pilot.app


def lines(pilot: Pilot[None]) -> list[str]:
    """What the topmost screen says, line by line."""
    strips = pilot.app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip).rstrip() for strip in strips]


def text(pilot: Pilot[None]) -> str:
    return "\n".join(lines(pilot))


def table(pilot: Pilot[None], kind: str = "connections") -> RowTable[Any]:
    """The table of a pane."""
    found: RowTable[Any] = the_app(pilot)._main.query_one(f"#table-{kind}", RowTable)
    return found


def ids(pilot: Pilot[None], kind: str = "connections") -> list[int]:
    """Ids of the rows of a pane (pids, of processes), in their order."""
    return [row.pid if kind == "processes" else row.id for row in table(pilot, kind).shown_rows]


def notices(pilot: Pilot[None]) -> list[str]:
    """What popped up so far."""
    return [note.message for note in pilot.app._notifications]


# Snapshots


def snapshot(
    dns: Sequence[rows.DnsQuery] = (),
    connections: Sequence[rows.Connection] = (),
    processes: Sequence[rows.Process] = (),
    seconds: float = 60.0,
    listeners: Sequence[rows.Listener] = (),
    **changes: Any,
) -> Snapshot:
    """These rows, so many seconds after the start."""
    fields: dict[str, Any] = {
        "nettop": "0.1.0",
        "host": rows.Host(name="host", kernel="6.1.0", arch="x86_64", boot_id="b007"),
        "started_at": builders.BASE,
        "captured_at": builders.BASE + timedelta(seconds=seconds),
        "elapsed_s": seconds,
        "scope": rows.Scope(),
        "hooks": {"dns_queries": "cgroup_skb egress"},
        "losses": rows.Losses(),
        "processes": tuple(processes),
        "connections": connections if isinstance(connections, tuple) else tuple(connections),
        "dns": tuple(dns),
        "listeners": tuple(listeners),
    }
    return Snapshot(**fields | changes)


_PEOPLE = {
    "curl": (4242, "ada", 1000),
    "nginx": (900, "www-data", 33),
    "chromium": (3111, "ada", 1000),
    "unbound": (612, "unbound", 105),
    "バックアップ": (5150, "backup", 34),
    "deploy🚀": (7001, "ci", 1001),
}


def _of(comm: str) -> dict[str, Any]:
    pid, _, _ = _PEOPLE[comm]
    return {"pid": pid, "comm": comm, "process_start_time": builders.at(-pid)}


def process(comm: str, **changes: Any) -> rows.Process:
    """One of the cast."""
    pid, user, uid = _PEOPLE[comm]
    fields: dict[str, Any] = {
        "pid": pid, "comm": comm, "user": user, "uid": uid, "start_time": builders.at(-pid), "cmdline": (comm, "--all"),
        "cgroup": f"/system.slice/{comm}.service", "unit": f"{comm}.service",
    }  # fmt: skip
    return builders.process(**fields | changes)


def query(number: int, comm: str, qname: str, result: str = "NOERROR", **changes: Any) -> rows.DnsQuery:
    """Asked at so many seconds."""
    fields: dict[str, Any] = {
        "id": number,
        "asked_at": builders.at(number),
        "qname": qname,
        "txid": number,
        **_of(comm),
    }
    if result in ("pending", "timeout"):
        return builders.dns_query(**fields | {"status": result, "attempts": 3 if result == "timeout" else 1} | changes)
    answer = rows.Answer(name=qname, type="A", ttl=60, data=f"198.51.100.{number}")
    known: dict[str, Any] = {"rcode": result, "answers": (answer,) if result == "NOERROR" else ()}
    return builders.answered(**fields | known | changes)


def connection(number: int, comm: str, name: str | None, **changes: Any) -> rows.Connection:
    """Opened at so many seconds, to 198.51.100.NUMBER."""
    remote = rows.RemoteEndpoint(
        address=f"198.51.100.{number}", port=443, name=name, name_source="process" if name else None
    )
    fields: dict[str, Any] = {
        "id": number, "opened_at": builders.at(number), "remote": remote, **_of(comm),
        "local": rows.Endpoint(address=builders.CLIENT_ADDRESS, port=40_000 + number),
    }  # fmt: skip
    return builders.connection(**fields | changes)


def closed(number: int, comm: str, name: str | None, end: str | None = "normal", **changes: Any) -> rows.Connection:
    """The same, one second later over."""
    over = {
        "state": "closed", "end": end, "closed_at": builders.at(number + 1), "duration_ms": 1000.0,
        "connect_ms": 25.0 if end in ("normal", None) else None,
    }  # fmt: skip
    return connection(number, comm, name, **over | changes)


def listener(number: int, comm: str, **changes: Any) -> rows.Listener:
    """Began to listen at so many seconds."""
    holder = rows.Holder(**_of(comm))
    return builders.listener(
        **{"id": number, "opened_at": builders.at(number), "holders": (holder,), **_of(comm)} | changes
    )


def request(number: int, comm: str, **changes: Any) -> rows.Request:
    """Sent at so many seconds."""
    return builders.request(**{"id": number, "asked_at": builders.at(number), **_of(comm)} | changes)


LOSSES = rows.Losses(
    perf_buffer={"tcp_events": 12, "dns_events": 0},
    map_full={"sockets": 3},
    evicted={"dns": 7},
    dns_unparsed=2,
    udp_unattributed_bytes=4_096,
)


_TURNS = rows.Turns(asked_by="local", count=8, answered=7, latency_ms=rows.TurnLatency(avg=21.5, max=90.0))
_ANSWERS = rows.TurnTotals(count=7, latency_ms=rows.AnswerTimes(p50=12.0, p95=90.0, max=90.0))


def busy(seconds: float = 60.0, **changes: Any) -> Snapshot:
    """A bit of everything."""
    dns = (
        query(1, "curl", "www.example.com", latency_ms=12.5),
        query(2, "curl", "ipv6.example.com", qtype="AAAA", latency_ms=0.21),
        query(3, "chromium", "no-such-name.example.net", "NXDOMAIN", latency_ms=48.0),
        query(4, "chromium", "a-name-that-is-much-too-long-for-any-column.and-goes-on.example.org"),
        query(5, "unbound", "broken.example.net", "SERVFAIL", latency_ms=1204.0),
        query(6, "unbound", "silent.example.net", "timeout"),
        query(7, "バックアップ", "日本語の名前.example", transport="tcp", truncated=True),
        query(8, "deploy🚀", "pending.example.com", "pending"),
        query(9, "curl", "cdn.example.com", server=rows.Endpoint(address="2001:db8::53", port=5353)),
    )
    connections = (
        connection(1, "curl", "www.example.com", tx_bytes=517, rx_bytes=70_321, rx_bytes_per_s=70_000.0, srtt_ms=11.4,
                   states_ms={"syn-sent": 25.0}, state_since=builders.at(1.025),
                   waits_for="remote", waits_since=builders.at(38), turns=_TURNS),
        closed(2, "curl", None, "refused"),
        closed(3, "chromium", "gone.example.net", "timeout", retransmits=6, drops={"NETFILTER_DROP": 7}),
        closed(4, "chromium", "cdn.example.com", tx_bytes=1_900, rx_bytes=9_999_999_999),
        connection(
            5, "nginx", None, direction="inbound", owner="listener", family="ipv6",
            local=rows.Endpoint(address="2001:db8::1", port=80),
            remote=rows.RemoteEndpoint(address="2001:db8:0:1:2:3:4:5", port=50_001), srtt_ms=0.07,
        ),
        connection(6, "nginx", None, direction="inbound", tx_bytes=12_000_000, tx_bytes_per_s=1_234_567.0),
        connection(7, "chromium", "slow.example.org", state="syn-sent", connect_ms=None, retransmits=2),
        closed(8, "バックアップ", "日本語の名前.example", "reset-by-peer"),
        connection(9, "deploy🚀", "registry.example.com", opened_before_start=True, opened_at=None, tx_bytes=88_000),
        closed(10, "curl", None, None),
    )  # fmt: skip
    processes = (
        process(
            "curl", tx_bytes=2_417, rx_bytes=70_321, rx_bytes_per_s=70_000.0,
            tcp=rows.TcpTotals(tx_bytes=2_417, rx_bytes=70_321, active=1, opened=3, failed=1),
            dns=rows.DnsTotals(queries=3, answered=3, latency_ms=rows.Latency(p50=12.5, max=12.5)),
        ),
        process(
            "nginx", tx_bytes=12_000_000, tx_bytes_per_s=1_234_567.0,
            tcp=rows.TcpTotals(tx_bytes=12_000_000, active=2, accepted=2),
        ),
        process(
            "chromium", rx_bytes=9_999_999_999, tx_bytes=1_900,
            tcp=rows.TcpTotals(rx_bytes=9_999_999_999, tx_bytes=1_900, active=1, opened=3, failed=1, retransmits=8),
            leaking=2,
            dns=rows.DnsTotals(queries=2, answered=2, failed=1),
            turns=rows.ProcessTurns(asked=_ANSWERS, was_asked=_ANSWERS),
        ),
        process(
            "unbound", tx_bytes=300, rx_bytes=900, udp=rows.UdpTotals(tx_bytes=300, rx_bytes=900, rx_dropped=17),
            other=rows.OtherTotals(tx_bytes=640, rx_bytes=1_280),
            dns=rows.DnsTotals(queries=2, answered=1, failed=1, timeouts=1),
        ),
        process("バックアップ", exited_at=builders.at(30), tcp=rows.TcpTotals(opened=1)),
        process("deploy🚀", tx_bytes=88_000, tcp=rows.TcpTotals(active=1)),
    )  # fmt: skip
    workers = tuple(rows.Holder(pid=pid, process_start_time=builders.at(-pid), comm="nginx") for pid in (900, 901, 902))
    listeners = (
        listener(
            1, "nginx", holders=workers, port=443, queue=512, drops=380, drops_per_s=38.0, syn_queue=12,
            accepted=12_000, accepted_per_s=210.0, open=1_200, opened_before_start=True, opened_at=None,
        ),
        listener(2, "unbound", address="::", family="ipv6", port=53, queue_limit=10, accepted=14, open=2, reuseport=1,
                 accepted_per_s=2.0),
        listener(3, "deploy🚀", address="127.0.0.1", port=8080, queue=3, queue_limit=9, drops=17, accepted=None,
                 accepted_per_s=None, open=None, closed=True, closed_at=builders.at(40)),
    )  # fmt: skip
    hosts = (
        host("198.51.100.1", "curl", name="www.example.com", name_source="process", connections=1, rx_bytes=70_321,
             tx_bytes=517, rx_bytes_per_s=70_000.0, srtt_ms=11.4, tx_packets=60, rx_packets=64, rx_packets_per_s=55.0),
        host("192.0.2.53", "unbound", udp_flows=1, tx_bytes=300, rx_bytes=900, tx_packets=4, rx_packets=3),
        host("10.0.0.9", "nginx", scope="private", connections=2, accepted=2, tx_bytes=12_000_000, srtt_ms=0.07,
             tx_bytes_per_s=1_234_567.0, retransmits=2, failed=1, syns=3, rx_packets=9_000),
        host("203.0.113.77", None, rx_packets=48_112, rx_packets_per_s=9_100.0, syns=48_112,
             unwanted_packets=48_112, interfaces=(
            rows.InterfacePackets(ifindex=2, interface="eth0", packets=48_112, bytes=1_924_480, syns=48_112),)),
        host("fe80::1", "バックアップ", scope="link"),
    )  # fmt: skip
    udp = (
        flow(1, "unbound", "192.0.2.53", 53, tx_bytes=300, rx_bytes=900, tx_packets=4, rx_packets=3, rx_dropped=17),
        flow(2, "chromium", "2001:db8::443", 443, tx_bytes=40_000, rx_bytes=9_000_000, tx_packets=400),
        flow(3, "chromium", None, 0, socket=2, tx_bytes=12, tx_packets=None, rx_packets=None),
        flow(4, "バックアップ", "198.51.100.9", 4433, closed=True),
    )
    requests = (
        request(1, "curl"),
        request(2, "nginx", side="server", method="POST", path="/orders", host=None, status=503, latency_ms=1_203.0,
                remote=rows.RemoteEndpoint(address="10.0.0.9", port=51_022)),
        request(3, "chromium", method="PROPFIND", path=None, status=None, latency_ms=None, response_bytes=None),
    )  # fmt: skip
    lookups = (
        lookup(1, "curl", name="www.example.com"),
        lookup(2, "chromium", name="no-such-name", result="EAI_NONAME", latency_ms=97.0, addresses=(), queries=6),
        lookup(3, "unbound", name="silent.example.net", status="pending", result=None, latency_ms=None, addresses=(),
               function="gethostbyname_r"),
        lookup(4, "バックアップ", name="日本語の名前.example", queries=0, latency_ms=1.2, more_addresses=True),
        lookup(5, "deploy🚀", name=None, status="unknown", result=None, latency_ms=None, addresses=(), queries=None),
    )  # fmt: skip
    told: dict[str, Any] = {
        "listeners": listeners, "hosts": hosts, "udp": udp, "requests": requests, "lookups": lookups,
    }  # fmt: skip
    return snapshot(dns, connections, processes, seconds, **{**told, **changes})


def host(address: str, comm: str | None, **changes: Any) -> rows.RemoteHost:
    """A remote host that this process talks to."""
    who: dict[str, Any] = {"pids": (), "comms": ()} if comm is None else {"pids": (_PEOPLE[comm][0],), "comms": (comm,)}
    return builders.remote_host(
        **{"address": address, "name": None, "name_source": None, "connections": 0, **who, **changes}
    )


def lookup(number: int, comm: str, **changes: Any) -> rows.Lookup:
    """A look-up of this process."""
    return builders.lookup(**{"id": number, "asked_at": builders.at(number), **_of(comm), **changes})


def flow(number: int, comm: str, address: str | None, port: int, **changes: Any) -> rows.UdpFlow:
    """What a socket of this process exchanged with a remote end."""
    remote = None if address is None else rows.RemoteEndpoint(address=address, port=port)
    fields: dict[str, Any] = {"socket": number, "tx_packets": 0, "rx_packets": 0, **_of(comm)}
    local = rows.Endpoint(address="0.0.0.0", port=40_000 + number)
    return builders.udp_socket(id=number, local=local, remote=remote, **{**fields, **changes})
