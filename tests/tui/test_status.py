"""The status bar says what is going on, and loudly what is missing."""

from typing import Any

import pytest
from rich.cells import cell_len

from nettop.model import rows
from nettop.model.filter import Filter
from nettop.tui.status import MAX_SPARKLINE_CELLS, MIN_SPARKLINE_CELLS, Status, headline, notices
from nettop.view import format as human
from tests.tui.scene import LOSSES, busy, query, snapshot


def status(**changes: Any) -> Status:
    fields: dict[str, Any] = {
        "mode": "LIVE", "paused": False, "new_rows": 0, "filter": Filter(""), "traffic": [1.0, 2.0],
        "pace": "every 1 s", "dns_per_s": 12.4,
    }  # fmt: skip
    return Status(**fields | changes)


def test_the_headline() -> None:
    parts = headline(busy(), status(), 100)
    said = "".join(text for text, _ in parts)
    for part in ("LIVE", "1m00s every 1 s", "tx 1.2M/s rx 68.4K/s", "conn 5", "dns 12/s, 38% failed"):
        assert part in said
    assert parts[0] == (" LIVE ", "mode")


def test_paused() -> None:
    assert headline(busy(), status(paused=True, new_rows=17), 100)[0] == (" PAUSED (+17 new) ", "paused")


def test_what_is_pending_has_not_failed_yet() -> None:
    seen = snapshot([query(1, "curl", "a.example", "NXDOMAIN"), query(2, "curl", "b.example", "pending")])
    assert "100% failed" in "".join(text for text, _ in headline(seen, status(), 100))


@pytest.mark.parametrize("width", range(60, 220, 7))
def test_the_sparkline_takes_the_room_that_is_left(width: int) -> None:
    parts = headline(busy(), status(), width)
    bars = [text for text, kind in parts if kind == "sparkline"]
    rest = sum(cell_len(text) for text, kind in parts if kind != "sparkline")
    if width - rest - 1 < MIN_SPARKLINE_CELLS:
        assert bars == []
    else:
        assert rest + cell_len(bars[0]) == min(width, rest + MAX_SPARKLINE_CELLS + 1)


def test_nothing_lost_is_said_quietly() -> None:
    assert notices(busy(), status()) == [(" nothing lost ", "quiet")]


def test_losses_are_loud_and_first() -> None:
    parts = notices(busy(losses=LOSSES), status(filter=Filter("pid:1")))
    assert parts[0] == (" ! 12 lost, 3 map full, 7 evicted, 2 unparsed, 4.0K unattributed ", "losses")
    assert ("pid:1 ", "filter") in parts


@pytest.mark.parametrize(
    "lost",
    [
        rows.Losses(perf_buffer={"a": 1}), rows.Losses(map_full={"a": 1}), rows.Losses(missed_runs={"a": 1}),
        rows.Losses(evicted={"a": 1}), rows.Losses(dns_unparsed=1), rows.Losses(udp_unattributed_bytes=1),
        rows.Losses(tcp_unattributed_bytes=1),
    ],
)  # fmt: skip
def test_every_kind_of_loss_is_loud(lost: rows.Losses) -> None:
    assert notices(busy(losses=lost), status())[0][1] == "losses"


def test_the_scope_is_said() -> None:
    parts = notices(busy(scope=rows.Scope(pid=(42,), comm=("curl",), netns=(4026,))), status())
    assert parts[1:] == [(" only pid 42, curl, netns 4026 ", "label")]


def of_a_recording(**changes: Any) -> str:
    parts = notices(busy(**changes), status(mode=changes.pop("mode", "SNAPSHOT")))
    return "".join(text for text, _ in parts)


@pytest.mark.parametrize("mode", ["REPLAY", "END OF RECORDING", "SNAPSHOT"])
def test_a_recording_says_where_and_when_it_was_made(mode: str) -> None:
    said = "".join(text for text, _ in notices(busy(), status(mode=mode)))
    assert f" {busy().host.name} {human.timestamp(busy().captured_at, 'seconds')} " in said
    assert "recorded with filter" not in said


def test_a_filtered_recording_says_so_besides_the_filter_of_the_screen() -> None:
    parts = notices(busy(filter="dns:failed"), status(mode="SNAPSHOT", filter=Filter("pid:1")))
    said = "".join(text for text, _ in parts)
    assert said.index(" recorded with filter dns:failed ") < said.index(" filter pid:1 ")


def test_a_long_filter_of_a_recording_leaves_room_for_host_and_time() -> None:
    said = of_a_recording(filter="comm:nginx " * 20)
    assert " recorded with filter comm:nginx comm:nginx comm:nginx comm:n…  host " in said


def test_what_is_live_is_here_and_now() -> None:
    assert notices(busy(filter="dns:failed"), status()) == [(" nothing lost ", "quiet")]


def test_dns_ports_without_the_usual_one_are_a_scope() -> None:
    assert (" only DNS port 5353 ", "label") in notices(busy(scope=rows.Scope(dns_ports=(5353,))), status())
    assert len(notices(busy(scope=rows.Scope(dns_ports=(53, 5353))), status())) == 1
