"""The status bar says what is going on, what is left out, and loudly what is missing."""

from typing import Any, get_args

import pytest
from rich.cells import cell_len

from nettop.model import rows
from nettop.model.filter import Filter
from nettop.model.rows import End, TcpState
from nettop.model.snapshot import Snapshot
from nettop.text import cell_width
from nettop.view import format as human
from nettop.view.headline import MAX_SPARKLINE_CELLS, MIN_SPARKLINE_CELLS, Status, headline, losses, notices, remarks
from nettop.view.outcomes import Outcomes, SinceLast, outcomes
from nettop.view.words import ENDS, RESULTS, STATES, STATUS_BAR
from tests import builders
from tests.tui.scene import LOSSES, busy, closed, flow, process, query, snapshot

WIDE = 300


def status(**changes: Any) -> Status:
    fields: dict[str, Any] = {
        "mode": "LIVE", "paused": False, "new_rows": 0, "filter": Filter(""), "traffic": [1.0, 2.0],
        "pace": "every 1 s", "open_connections": 5, "dns_per_s": 12.4, "dns": Outcomes(all=10, nxdomain=0, failed=0),
    }  # fmt: skip
    return Status(**fields | changes)


def first(seen: Snapshot, width: int = WIDE, **changes: Any) -> str:
    return "".join(text for text, _ in headline(seen, status(**changes), width))


def second(seen: Snapshot, width: int = WIDE, **changes: Any) -> str:
    return "".join(text for text, _ in notices(seen, status(**changes), width))


class TestHeadline:
    def test_what_it_says(self) -> None:
        said = first(busy(), dns=Outcomes(all=8, nxdomain=1, failed=2))
        for part in (
            " LIVE ",
            " 12:01:00 host 1m00s every 1 s ",
            "tx 1.2M/s rx 68.4K/s",
            "conn 5",
            "dns 12/s 25% failed",
        ):
            assert part in said
        assert said.endswith(" 12% nxdomain ")
        assert headline(busy(), status(), WIDE)[0] == (" LIVE ", "mode")

    def test_a_pause_says_since_when(self) -> None:
        said = first(busy(), paused=True, new_rows=17)
        assert said.startswith(" PAUSED (+17 new)  since 12:01:00 host ")
        assert headline(busy(), status(paused=True), WIDE)[0][1] == "paused"

    def test_at_eighty_columns_a_pause_hides_no_failure(self) -> None:
        said = first(busy(), 80, paused=True, new_rows=1234, dns=Outcomes(all=100, failed=73))
        assert cell_len(said) <= 80
        for part in ("PAUSED (+1234 new)", "since 12:01:00", "tx 1.2M/s rx 68.4K/s", "dns 12/s 73% failed"):
            assert part in said

    def test_failures_stand_out_and_are_not_there_when_nothing_failed(self) -> None:
        parts = headline(busy(), status(dns=Outcomes(all=300, nxdomain=3, failed=1)), WIDE)
        assert (" <1% failed", "failed") in parts
        assert (" 1% nxdomain", "doubtful") in parts
        assert first(busy()).endswith(" dns 12/s ")
        assert first(snapshot(), dns=Outcomes(), dns_per_s=0.0).endswith(" dns 0/s ")

    def test_of_a_snapshot_all_queries_count(self) -> None:
        assert first(busy(), mode="SNAPSHOT", dns=None).endswith(" dns 9 25% failed 12% nxdomain ")

    @pytest.mark.parametrize("width", range(60, 220, 7))
    def test_the_sparkline_takes_the_room_that_is_left(self, width: int) -> None:
        parts = headline(busy(), status(traffic=[1.0, 7_000.0, 2_000.0]), width)
        bars = [text for text, kind in parts if kind == "sparkline"]
        rest = sum(cell_len(text) for text, kind in parts if kind != "sparkline")
        assert ("every 1 s" in first(busy(), width)) == (width > 67)
        if not bars:
            assert width - rest - len(" peak 6.8K/s ") - 1 < MIN_SPARKLINE_CELLS
        else:
            assert (" peak 6.8K/s ", "label") in parts
            assert rest + cell_len(bars[0]) == min(width - 1, rest + MAX_SPARKLINE_CELLS)

    def test_the_peak_is_that_of_the_bars(self) -> None:
        long_ago = [9e9, *[1024.0] * 100]
        assert "peak 1.0K/s" in first(busy(), 130, traffic=long_ago)
        assert "peak" not in first(busy(), traffic=[0.0, 0.0])

    def test_what_gives_way_on_a_narrow_screen(self) -> None:
        seen = busy(host=rows.Host(name="ip-10-0-3-17.eu-west-1.example", kernel="", arch="", boot_id=None))
        assert " 12:01:00 ip-10-0-3-17 1m00s every 1 s " in first(seen)
        assert " 12:01:00 ip-10-0-3-17  tx " in first(seen, 78)
        assert " 12:01:00 every 2 s  tx " in first(seen, 74, pace="every 2 s", pace_is_new=True)
        assert first(seen, 60).startswith(" LIVE  12:01:00  tx 1.2M/s")


class TestNotices:
    def test_nothing_lost_is_said_quietly(self) -> None:
        assert notices(busy(), status(), WIDE) == [(" nothing lost ", "quiet")]

    def test_losses_are_loud_and_first(self) -> None:
        parts = notices(busy(losses=LOSSES), status(filter=Filter("pid:1")), WIDE)
        assert parts[0] == (" ! 12 lost, 3 map full, 2 unparsed ", "losses")
        assert parts[1] == (" 4.0K unattributed ", "doubtful")
        assert ("pid:1 ", "filter") in parts

    @pytest.mark.parametrize(
        "lost",
        [
            rows.Losses(perf_buffer={"a": 1}), rows.Losses(map_full={"a": 1}), rows.Losses(missed_runs={"a": 1}),
            rows.Losses(evicted={"names": 1}), rows.Losses(dns_unparsed=1), rows.Losses(dns_left_out=1),
            rows.Losses(drops_without_room=1), rows.Losses(packets_without_host=1),
        ],
    )  # fmt: skip
    def test_every_kind_of_loss_is_loud(self, lost: rows.Losses) -> None:
        ((_, style),) = notices(busy(losses=lost), status(), WIDE)
        assert style == "losses"

    @pytest.mark.parametrize(
        "lost",
        [
            rows.Losses(udp_unattributed_bytes=1), rows.Losses(tcp_unattributed_bytes=1), rows.Losses(dns_unasked=1),
            rows.Losses(other_unattributed_bytes=1), rows.Losses(unlisted={"dns": 1}),
        ],
    )  # fmt: skip
    def test_what_is_only_less_exact_is_not(self, lost: rows.Losses) -> None:
        ((_, style),) = notices(busy(losses=lost), status(), WIDE)
        assert style == "doubtful"

    def test_in_words(self) -> None:
        assert losses(rows.Losses(perf_buffer={"a": 0}, evicted={"dns": 7})) == []
        assert losses(rows.Losses(evicted={"dns": 7, "dns_open": 2, "names": 1_000})) == ["1,002 forgotten"]
        assert losses(rows.Losses(dns_repeats=1, dns_left_out=2)) == ["3 DNS left out"]
        assert remarks(rows.Losses(unlisted={"dns": 1_000, "connections": 5}, dns_unasked=9)) == [
            "1,005 not listed", "9 unasked answers",
        ]  # fmt: skip
        assert losses(rows.Losses(missed_runs={"a": 2}, perf_buffer={"b": 1})) == ["3 lost"]

    def test_that_old_rows_make_room_is_no_loss(self) -> None:
        seen = snapshot(
            dns=[query(5, "curl", "a.example"), query(50, "curl", "b.example")],
            connections=[closed(1, "curl", None, closed_at=builders.at(58)), closed(2, "curl", None, closed_at=None)],
            processes=[process("curl"), process("nginx", exited_at=builders.at(40))],
            udp=(flow(4, "curl", "192.0.2.1", 53, closed=True),),
            seconds=66,
            losses=rows.Losses(evicted={"dns": 1105, "connections": 3, "processes": 0, "udp": 2, "hosts": 1}),
            kept={
                "dns": rows.Kept(complete_since=builders.at(5)),
                "connections": rows.Kept(complete_since=builders.at(58)),
                "udp": rows.Kept(),
            },
        )
        assert notices(seen, status(), WIDE) == [
            (" nothing lost ", "quiet"),
            (
                " kept: DNS queries of the last 1m01s, ended connections of the last 8.0s, "
                "the newest quiet remote hosts, the newest ended UDP flows ",
                "quiet",
            ),
        ]
        assert "kept" not in second(busy())

    def test_the_scope_is_said_by_name(self) -> None:
        scope = rows.Scope(pid=(42,), comm=("curl",), netns=(4026, 4027), netns_name=("uxsrv", "815"))
        parts = notices(busy(scope=scope), status(), WIDE)
        assert parts[1:] == [(" only pid 42, curl, netns uxsrv, netns of pid… ", "label")]
        assert " only netns 4026, netns 4027 " in second(busy(scope=rows.Scope(netns=(4026, 4027))))
        assert " only netns of pid 815 " in second(busy(scope=rows.Scope(netns=(4026,), netns_name=("815",))))

    def test_dns_ports_without_the_usual_one_are_a_scope(self) -> None:
        assert " only DNS port 5353 " in second(busy(scope=rows.Scope(dns_ports=(5353,))))
        assert "only" not in second(busy(scope=rows.Scope(dns_ports=(53, 5353))))

    def test_hidden_rows_are_said(self) -> None:
        assert " ended rows hidden " in second(busy(), ended_hidden=True)

    def test_what_matters_stays_on_a_narrow_screen(self) -> None:
        seen = busy(
            losses=rows.Losses(evicted={"dns": 1}),
            scope=rows.Scope(comm=("a" * 15,), netns=(1,), netns_name=("uxsrv",)),
        )
        said = second(seen, 80, filter=Filter("comm:nginx dns:failed host:10.0.0.0/8"), ended_hidden=True)
        assert said == " filter comm:nginx dns:failed host:10.0.0.0/8  ended rows hidden "
        long = second(busy(), 80, filter=Filter("comm:nginx" + " pid:1" * 20))
        assert long.startswith(" nothing lost  filter comm:nginx pid:1 ")
        assert long.endswith("… ")
        assert len(long) == 80

    @pytest.mark.parametrize("mode", ["REPLAY", "END OF RECORDING", "SNAPSHOT"])
    def test_a_recording_says_where_and_when_it_was_made(self, mode: str) -> None:
        said = second(busy(), mode=mode)
        assert f" {busy().host.name} {human.timestamp(busy().captured_at, 'seconds')} " in said
        assert "recorded with filter" not in said

    def test_a_filtered_recording_says_so_besides_the_filter_of_the_screen(self) -> None:
        said = second(busy(filter="dns:failed"), mode="SNAPSHOT", filter=Filter("pid:1"))
        assert said.index(" recorded with filter dns:failed ") < said.index(" filter pid:1 ")

    def test_a_long_filter_of_a_recording_leaves_room_for_host_and_time(self) -> None:
        said = second(busy(filter="comm:nginx " * 20), mode="SNAPSHOT")
        assert " recorded with filter comm:nginx comm:nginx comm:nginx comm:n…  host " in said

    def test_what_is_live_is_here_and_now(self) -> None:
        assert notices(busy(filter="dns:failed"), status(), WIDE) == [(" nothing lost ", "quiet")]


class TestOutcomes:
    def test_what_is_open_counts_for_nothing(self) -> None:
        seen = [
            query(1, "curl", "a.example", "NXDOMAIN"), query(2, "curl", "b.example", "pending"),
            query(3, "curl", "c.example", "timeout"), query(4, "curl", "d.example"),
        ]  # fmt: skip
        assert outcomes(seen) == Outcomes(all=3, nxdomain=1, failed=1)
        assert outcomes([builders.dns_query(status="forgotten")]) == Outcomes()

    def test_only_what_was_over_since_the_last_look(self) -> None:
        looks = SinceLast()
        old = query(1, "curl", "a.example", "SERVFAIL")
        assert looks.look([old, query(2, "curl", "b.example", "pending")]) is None
        assert looks.look([old, query(2, "curl", "b.example", "pending")]) == Outcomes()
        new = query(3, "curl", "c.example")
        assert looks.look([old, query(2, "curl", "b.example", "timeout"), new]) == Outcomes(all=2, failed=1)
        # it was over; an answer that comes later is no second end
        assert looks.look([old, query(2, "curl", "b.example"), new]) == Outcomes()

    def test_rows_that_made_room_and_times_that_go_back(self) -> None:
        looks = SinceLast()
        looks.look([query(1, "curl", "a.example", "pending"), query(2, "curl", "b.example", "pending")])
        assert looks.look([query(2, "curl", "b.example"), query(9, "curl", "c.example", "pending")]) == Outcomes(all=1)
        assert looks.look([]) == Outcomes()
        assert looks.look([query(3, "curl", "a.example", "SERVFAIL")]) is None  # a player that has gone back
        assert looks.copy().look([query(4, "curl", "a.example", "SERVFAIL")]) == Outcomes(all=1, failed=1)


def test_every_word_has_a_meaning() -> None:
    assert set(STATES) == set(get_args(TcpState))
    assert set(ENDS) == set(get_args(End))
    everything = rows.Losses(
        perf_buffer={"a": 1}, map_full={"a": 1}, missed_runs={"a": 1}, evicted={"names": 1, "dns": 1},
        unlisted={"dns": 1}, dns_unparsed=1, dns_unasked=1, dns_repeats=1, dns_left_out=1, drops_without_room=1,
        packets_without_host=1, udp_unattributed_bytes=1, handshakes_left_out=1,
    )  # fmt: skip
    said = [words.partition(" ")[2] for words in (*losses(everything), *remarks(everything))]
    assert set(said) <= set(STATUS_BAR)
    results = {text.removeprefix("! ") for text in ("NOERROR", "! NXDOMAIN", "! SERVFAIL", "! TIMEOUT", "pending")}
    assert results <= set(RESULTS)


@pytest.mark.parametrize("text", ["", "abc", "grün", "バックアップ", "deploy🚀", "e\u0301", "▁▂█ ▾"])
def test_the_width_of_text(text: str) -> None:
    assert cell_width(text) == cell_len(text)


def test_a_share_that_is_not_nothing_does_not_look_like_it() -> None:
    assert [human.share(part, 1000) for part in (0, 1, 4, 5, 15, 1000)] == ["0%", "<1%", "<1%", "0%", "2%", "100%"]
    assert human.share(0, 0) == "-"


@pytest.mark.parametrize("width", [20, 60, 80, 100, 140])
def test_what_has_no_room_on_the_second_line_ends_in_an_ellipsis(width: int) -> None:
    """Of a recording with losses, recorded with a filter, looked at with another one since a mark."""
    recorded = snapshot(filter="comm:" + "x" * 60, losses=rows.Losses(perf_buffer={"dns": 1_234}), mark=builders.at(30))
    chosen = status(mode="REPLAY", filter=Filter("host:" + "y" * 60))
    said = "".join(text for text, _ in notices(recorded, chosen, width))
    whole = "".join(text for text, _ in notices(recorded, chosen, 500))
    assert cell_len(said) <= width
    assert said.endswith("…") or " since " in said
    assert "1,234 lost" in said or width == 20
    assert width < 80 or "filter host:yyy" in said
    assert "since" in whole
    assert whole.count("…") == 1  # of the recorded filter


class TestCoverageOfLookups:
    """Whose look-ups are seen, once somebody asked for them."""

    JAVA = rows.UncoveredLibrary(name="libc.so.6", reason="later", pid=812, comm="java", processes=3)
    NGINX = rows.UncoveredLibrary(name="ld-musl-x86_64.so.1", reason="too-many", pid=900, comm="nginx", processes=1)

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"libraries": 1, "not_covered": (), "not_covered_cut": 0}, "look-ups in 1 C library"),
            ({"libraries": 3}, "look-ups in 3 C libraries"),  # nobody knows what came later
            (
                {"libraries": 2, "not_covered": (JAVA,), "not_covered_cut": 0},
                "look-ups in 2 of 3 C libraries, not java[812]",
            ),
            (
                {"libraries": 1, "not_covered": (JAVA, NGINX), "not_covered_cut": 4},
                "look-ups in 1 of 7 C libraries, not java[812] and 5 more",
            ),
            ({"libraries": 1, "results": False}, "look-ups in 1 C library, without results"),
        ],
    )
    def test_it_is_said(self, changes: dict[str, Any], said: str) -> None:
        seen = snapshot(lookup_coverage=rows.LookupCoverage(**changes))
        style = "doubtful" if changes.get("not_covered") else "label"
        assert (f" {said} ", style) in notices(seen, status(), WIDE)

    def test_nothing_is_said_of_what_nobody_asked_for(self) -> None:
        assert "look-ups" not in second(snapshot())


class TestCoverageOfPlaintext:
    """That TLS is read is said as long as it is."""

    JAVA = rows.NotDecrypted(pid=812, comm="java", reason="other-library")
    CURL = rows.NotDecrypted(pid=900, comm="curl", reason="later")

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"libraries": 1, "not_covered": (), "not_covered_cut": 0}, "reads TLS of 1 library"),
            ({"libraries": 2}, "reads TLS of 2 libraries"),
            ({"libraries": 2, "http2_sessions": 1}, "reads TLS of 2 libraries, not HTTP/2 in 1 session"),
            ({"libraries": 2, "http2_sessions": 1234}, "reads TLS of 2 libraries, not HTTP/2 in 1,234 sessions"),
            (
                {"libraries": 2, "not_covered": (JAVA,), "not_covered_cut": 0},
                "reads TLS of 2 libraries, not of java[812] (other library)",
            ),
            (
                {"libraries": 1, "not_covered": (CURL, JAVA), "not_covered_cut": 3},
                "reads TLS of 1 library, not of curl[900] (later) and 4 more",
            ),
        ],
    )
    def test_it_is_said(self, changes: dict[str, Any], said: str) -> None:
        seen = snapshot(decrypt_coverage=rows.DecryptCoverage(**changes))
        shown = notices(seen, status(), WIDE)
        assert f" {said} " in "".join(text for text, _ in shown)
        assert {style for text, style in shown if text in said or "TLS" in text} == {"doubtful"}

    def test_it_is_said_where_there_is_no_room_for_more(self) -> None:
        coverage = rows.DecryptCoverage(libraries=2, not_covered=(self.JAVA,), not_covered_cut=0, http2_sessions=7)
        shown = "".join(text for text, _ in notices(snapshot(decrypt_coverage=coverage), status(), 40))
        assert " reads TLS " in shown
        assert "java" not in shown

    def test_nothing_is_said_of_what_nobody_asked_for(self) -> None:
        assert "TLS" not in second(snapshot())
