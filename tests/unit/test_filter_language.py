"""The filter language as people write it: joining, lists, amounts, moments, spellings, and what is unfinished."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from nettop.model import events
from nettop.model.filter import Filter, FilterError, both, exactly, understood
from nettop.model.kinds import CONNECTIONS, DNS, HOSTS, LISTENERS, LOOKUPS, PROCESSES, REQUESTS, UDP, AnyRow, Kind
from nettop.model.rows import Connection, DnsTotals, Endpoint, RemoteEndpoint, TcpTotals
from nettop.model.store import replayed
from nettop.model.stream_filter import StreamFilter
from tests.builders import (
    BASE,
    a_recording,
    answered,
    at,
    connection,
    dns_query,
    identity,
    listener,
    process,
    remote_host,
    udp_socket,
)

START = at(-600)  # when nettop started; rows are looked at when it is BASE


def passes(kind: Kind[Any], expression: str, row: AnyRow) -> bool:
    test = Filter(expression).test(kind, BASE, START)
    return test is None or test(row)


@pytest.mark.parametrize(
    ("expression", "passed"),
    [
        ("comm:wget or comm:curl", True),
        ("comm:wget OR comm:curl", True),
        ("comm:wget || comm:curl", True),
        ("comm:curl and pid:4242", True),
        ("comm:curl AND pid:1", False),
        ("comm:curl && pid:4242", True),
        ("not comm:curl", False),
        ("not comm:wget", True),
        ("NOT NOT comm:curl", True),
        ("!comm:curl", False),
        ("! comm:wget", True),
        ("!!comm:curl", True),
        ("--curl", True),
        ("-(pid:1 or pid:4242)", False),
        ("!(pid:1 or pid:2)", True),
        ("not (pid:1 or pid:2) curl", True),
        # and binds more strongly than or, whether it is written or not
        ("pid:4242 or pid:1 comm:wget", True),
        ("pid:4242 or pid:1 and comm:wget", True),
        ("(pid:4242 or pid:1) comm:wget", False),
        ("(pid:4242|pid:1)comm:curl", True),
        ("comm:wget pid:1 or comm:curl pid:4242", True),
        # not binds most strongly
        ("not comm:wget or comm:wget", True),
        ("not comm:curl comm:curl", False),
        ("((curl))", True),
        ('"or"', False),
        ("nor", False),
        ("comm=curl", True),
        ("comm==curl", True),
        ("comm!=curl", False),
        ("comm!=wget", True),
        ("!comm!=curl", True),
        ("comm:!=curl", False),
        ("comm:!=wget", True),
        ("comm:!curl", False),
        ("comm:=curl", True),
        ("comm:!wget,curl", False),
        ('comm:"!curl"', False),
        ("pid>4000", True),
        ("pid:>=4242", True),
        ("pid:<4242", False),
        ("pid:<=4242", True),
        ("pid:4000-5000", True),
        ("pid:4000..5000", True),
        ("pid:1,2", False),
        ("pid:1,4242", True),
        ("pid:1-3,4242", True),
        ("-pid:1,4242", False),
        ("comm:wget,curl", True),
        ('comm:"wget,curl"', False),
        ('comm:"wget","curl"', True),
        ("comm:[xc,]url", True),
    ],
)
def test_terms_are_joined_as_one_expects(expression: str, passed: bool) -> None:
    assert passes(PROCESSES, expression, process()) is passed


def test_a_name_may_have_parentheses_and_commas() -> None:
    assert passes(PROCESSES, "comm:(sd-pam)", process(comm="(sd-pam)"))
    assert passes(PROCESSES, "(comm:(sd-pam))", process(comm="(sd-pam)"))
    assert passes(PROCESSES, "(sd-pam)", process(comm="(sd-pam)"))
    assert passes(PROCESSES, exactly("comm", "a,b (c) or"), process(comm="a,b (c) or"))


@pytest.mark.parametrize(
    "state", ["close-wait", "CLOSE-WAIT", "close_wait", "CLOSE_WAIT", "closewait", "CloseWait", '"close wait"']
)
def test_a_state_in_any_spelling(state: str) -> None:
    row = connection(state="close-wait")
    assert passes(CONNECTIONS, f"state:{state}", row)
    assert passes(CONNECTIONS, f"state={state}", row)
    assert not passes(CONNECTIONS, f"state:{state}", connection())
    if " " not in state:
        assert passes(CONNECTIONS, state, row)  # also without the key
        assert not passes(CONNECTIONS, state, connection())


REFUSED = connection(state="closed", end="refused", direction="outbound", opened_at=at(-60), closed_at=at(-59))
SLOW = connection(
    direction="inbound", opened_at=at(-700), opened_before_start=False, srtt_ms=120.0, connect_ms=51.0, retransmits=3,
    tx_bytes=1_048_576, rx_bytes=1, tx_bytes_per_s=2_000_000.0, rx_bytes_per_s=1.0,
    local=Endpoint(address="10.77.0.1", port=5432), remote=RemoteEndpoint(address="10.77.0.9", port=51000),
)  # fmt: skip
OLD = connection(opened_at=None, opened_before_start=True, direction="unknown", duration_ms=None)
MISSED = replace(OLD, opened_before_start=None)


@pytest.mark.parametrize(
    ("expression", "row", "passed"),
    [
        ("dir:in", SLOW, True),
        ("dir:inbound", SLOW, True),
        ("dir:IN", SLOW, True),
        ("dir:out", SLOW, False),
        ("inbound", SLOW, True),
        ("outbound", SLOW, False),
        ("dir:out", REFUSED, True),
        ("dir:in,out", SLOW, True),
        ("dir:unknown", OLD, True),
        ("dir:?", OLD, True),
        ("state:open", SLOW, True),
        ("state:open", REFUSED, False),
        ("refused", REFUSED, True),
        ("refused", SLOW, False),
        ('"refused"', REFUSED, False),  # in quotes it is a name
        ("end:reset_by_peer,refused", REFUSED, True),
        ("end:ref*", REFUSED, True),
        ("end:REF?SED", REFUSED, True),
        ("end:*", REFUSED, True),
        ("end:*", SLOW, False),
        ("end:reset-*", REFUSED, False),
        ("state:*-*", REFUSED, False),
        ("state:CLOSE_*", REFUSED, False),
        ("end!=reset*,ref*", REFUSED, False),
        ("state:[a-d]*", REFUSED, True),
        ("state:[d-z]*", REFUSED, False),
        ("dir:in*", SLOW, True),
        ("dir:out*", SLOW, False),
        ("failed", REFUSED, True),
        ("failed", SLOW, False),
        ("-failed", SLOW, True),
        ("not FAILED", REFUSED, False),
        ('"failed"', REFUSED, False),
        ("rtt:>100ms", SLOW, True),
        ("rtt>100ms", SLOW, True),
        ("rtt:>120ms", SLOW, False),
        ("rtt:>=120ms", SLOW, True),
        ("rtt:<=120ms", SLOW, True),
        ("rtt:<120ms", SLOW, False),
        ("rtt:0.1s-0.2s", SLOW, True),
        ("rtt:1us..100ms", SLOW, False),
        ("rtt:<1ms,>100ms", SLOW, True),
        ("rtt:>0s", REFUSED, False),  # unknown
        ("-rtt:>0s", REFUSED, True),
        ("connect:>50ms", SLOW, True),
        ("connect:>51ms", SLOW, False),
        ("rtx:>0", SLOW, True),
        ("rtx>0", SLOW, True),
        ("rtx:3", SLOW, True),
        ("rtx:1-2", SLOW, False),
        ("rtx:>0", REFUSED, False),
        ("rate:>1M", SLOW, True),
        ("rate:>1.9MB/s", SLOW, True),
        ("rate:>2MiB", SLOW, False),
        ("bytes:>1M", SLOW, True),
        ("bytes:>=1048577", SLOW, True),
        ("bytes:>1048577B", SLOW, False),
        ("bytes:1k-2m", SLOW, True),
        ("age:>10m", SLOW, True),
        ("age:>11m40s", SLOW, False),
        ("age:>=11m40s", SLOW, True),
        ("age:<=11m40s", SLOW, True),
        ("age:<11m40s", SLOW, False),
        ("age:11m-12m", SLOW, True),
        ("age:>1d", SLOW, False),
        ("age:<1d", SLOW, True),
        ("age:>1000000d", SLOW, False),
        ("age:<1000000d", SLOW, True),
        # older than nettop, which has run for ten minutes: at least as old, and nobody knows how old
        ("age:>9m", OLD, True),
        ("age:>=10m", OLD, True),
        ("age:>10m", OLD, False),
        ("age:<1h", OLD, False),
        ("age:9m-1h", OLD, False),
        ("age:>9m", MISSED, False),
        ("since:2m", REFUSED, True),
        ("since:30s", REFUSED, False),
        ("since:59.5s", REFUSED, True),  # it ended then
        ("since:1h", OLD, False),
        ("between:70s-50s", REFUSED, True),
        ("between:50s-70s", REFUSED, True),
        ("between:50s..40s", REFUSED, False),
        ("new", REFUSED, True),
        ("new", SLOW, False),
        ("new", OLD, False),
        ("-new", OLD, True),
        ("10.77.0.1:5432", SLOW, True),
        ("host:10.77.0.1:5432", SLOW, True),
        ("host:10.77.0.0/24", SLOW, True),
        ("host:10.78.0.0/24,10.77.0.0/24", SLOW, True),
        (":5432", SLOW, True),
        (":443", SLOW, False),
        ("5432", SLOW, True),
        ("*:5432", SLOW, True),
        ("host:*:5432", SLOW, True),
        ("port:443,5432", SLOW, True),
        ("port:>5000", SLOW, True),
        ("port:<5000", SLOW, False),
    ],
)  # fmt: skip
def test_what_one_asks_of_connections(expression: str, row: Connection, passed: bool) -> None:
    assert passes(CONNECTIONS, expression, row) is passed


FAILING = process(tcp=TcpTotals(failed=1, retransmits=2), tx_bytes=5000, tx_bytes_per_s=3000.0)


@pytest.mark.parametrize(
    ("kind", "expression", "row", "passed"),
    [
        (DNS, "latency:>100ms", answered(latency_ms=101.0), True),
        (DNS, "latency:>100ms", answered(latency_ms=100.0), False),
        (DNS, "latency:<1h", dns_query(), False),
        (DNS, "failed", dns_query(status="timeout"), True),
        (DNS, "failed", answered(), False),
        (DNS, "nxdomain", answered(rcode="NXDOMAIN"), True),
        (DNS, "dns:nxdomain,servfail", answered(rcode="SERVFAIL"), True),
        (DNS, "type:a,AAAA", dns_query(qtype="AAAA"), True),
        (DNS, "since:10s", dns_query(asked_at=at(-9)), True),
        (DNS, "since:10s", dns_query(asked_at=at(-11)), False),
        (DNS, "since:10s", answered(asked_at=at(-11), latency_ms=1_500.0), True),  # it was answered then
        (DNS, "new", dns_query(asked_at=at(-9)), True),
        (PROCESSES, "failed", FAILING, True),
        (PROCESSES, "failed", process(dns=DnsTotals(timeouts=1)), True),
        (PROCESSES, "failed", process(), False),
        (PROCESSES, "rtx:>1", FAILING, True),
        (PROCESSES, "bytes:>4K", FAILING, True),
        (PROCESSES, "rate:>4K", FAILING, False),
        (PROCESSES, "age:>1m", process(start_time=at(-61)), True),
        (PROCESSES, "age:>1m", process(start_time=at(-90), exited_at=at(-40)), False),
        (PROCESSES, "since:1m", process(start_time=at(-90), exited_at=at(-40)), True),
        (PROCESSES, "new", process(start_time=at(-601)), False),
        (PROCESSES, "new", process(start_time=at(-600)), True),
        (HOSTS, "rtt:>1ms", remote_host(srtt_ms=2.0), True),
        (HOSTS, "failed", remote_host(failed=1), True),
        (HOSTS, "failed", remote_host(), False),
        (HOSTS, "pid:1,4242", remote_host(), True),
        (HOSTS, "bytes:>100G", remote_host(), False),
        (LISTENERS, "failed", listener(queue=512), True),
        (LISTENERS, "age:>5m", listener(opened_at=None, opened_before_start=True), True),
        (LISTENERS, "age:>5m", listener(opened_at=at(-10), opened_before_start=False), False),
        (LISTENERS, "listen:79-81,443", listener(), True),
        (LISTENERS, "listen:443,full", listener(), False),
        (LISTENERS, "new", listener(opened_at=None, opened_before_start=True), False),
        (UDP, "bytes:>0", udp_socket(rx_bytes=0, tx_bytes=1), True),
    ],
)
def test_what_one_asks_of_others(kind: Kind[Any], expression: str, row: AnyRow, passed: bool) -> None:
    assert passes(kind, expression, row) is passed


@pytest.mark.parametrize(
    ("expression", "kinds"),
    [
        ("dir:in", (CONNECTIONS,)),
        ("latency:>1s", (DNS, REQUESTS, LOOKUPS)),
        ("failed", (DNS, CONNECTIONS, PROCESSES, LISTENERS, HOSTS, REQUESTS, LOOKUPS)),
        ("new", (DNS, CONNECTIONS, PROCESSES, LISTENERS, REQUESTS, LOOKUPS)),
        ("age:>1s", (CONNECTIONS, PROCESSES, LISTENERS)),
        ("rate:>1", (CONNECTIONS, PROCESSES, HOSTS)),
        ("close_wait", (DNS, CONNECTIONS, PROCESSES, LISTENERS, HOSTS, UDP, REQUESTS, LOOKUPS)),  # which may be a name
    ],
)
def test_about_which_rows_a_term_says_something(expression: str, kinds: tuple[Kind[Any], ...]) -> None:
    assert Filter(expression).terms() == {expression: kinds}


def test_moments_by_the_clock() -> None:
    now = BASE.astimezone().replace(hour=14, minute=3, second=0)

    def asked(minutes: float, expression: str) -> bool:
        test = Filter(expression).test(DNS, now)
        assert test is not None
        return test(dns_query(asked_at=now - timedelta(minutes=minutes)))

    assert asked(2, "since:14:00")
    assert not asked(4, "since:14:00")
    assert asked(4, "since:13:58:30")
    assert asked(60, "since:14:05")  # it was that late yesterday
    assert asked(2, "between:14:00-14:05")
    assert not asked(4, "between:14:00-14:05")
    assert asked(10, "between:13:50-13:55")
    assert not asked(2, "between:13:50-13:55")
    moment = (now - timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M")
    assert asked(4, f"since:{moment}")
    assert not asked(6, f"since:{moment}")
    assert asked(4, f"between:{moment}-14:00")
    assert not asked(2, f"between:{moment}..14:00")


@pytest.mark.parametrize(
    "value", ["", "yesterday", "25:00", "14:60", "2026-13-01", "2m-", "20260101", "0001-01-01T00:00+23:00"]
)
def test_what_is_no_moment(value: str) -> None:
    with pytest.raises(FilterError):
        Filter(f"since:{value}")


def test_between_needs_two_moments() -> None:
    with pytest.raises(FilterError) as caught:
        Filter("between:14:00")
    assert caught.value.message == "'14:00' does not name two moments, as 2m (ago), 14:03 or 2026-03-01T14:03."


# What is not finished


@pytest.mark.parametrize(
    ("text", "shown", "unfinished"),
    [
        ("comm:nginx state:", "comm:nginx", True),
        ("comm:nginx state:clo", "comm:nginx", False),
        ("state:clo comm:nginx", "comm:nginx", False),
        ("comm:nginx or", "comm:nginx", True),
        ("comm:nginx and not", "comm:nginx", True),
        ("comm:nginx (", "comm:nginx", True),
        ("comm:nginx (pid:1 or", "comm:nginx pid:1", True),
        ('comm:nginx comm:"my prog', "comm:nginx", True),
        ("comm:nginx -pid:x", "comm:nginx", False),
        ("pid:1,", "", True),
        ("not", "", True),
        ("((((", "", True),
        ("comm:nginx", "comm:nginx", False),
    ],
)
def test_what_can_be_understood_of_it(text: str, shown: str, unfinished: bool) -> None:
    chosen, error = understood(text)
    assert " ".join(chosen.text.split()) == shown
    assert (error is None) is (text == shown)
    if error is not None:
        assert error.text == text
        assert error.unfinished is unfinished


# In files


def test_a_filter_upon_a_filter_can_be_read_again() -> None:
    assert both("a or b", "c") == "(a or b) c"
    assert both("(a or b) c", "c or d") == "(a or b) c (c or d)"
    assert both("a | b", "(a | b)") == "(a | b) ((a | b))"
    assert both("not a", "comm:or") == "not a comm:or"
    assert both(None, "a or b") == both("", "a or b") == both("a or b", "a or b") == "a or b"
    assert both("later-language:<<a|b>>", "c") == "(later-language:<<a|b>>) c"
    Filter(both("a or b", "c or d"))


def test_a_snapshot_says_how_much_was_left_out() -> None:
    whole = replayed(a_recording()).snapshot()
    assert whole.filtered_out == {}
    once = Filter("comm:nobody").apply(whole)
    assert once.filtered_out == {
        name: len(getattr(whole, name))
        for name in ("processes", "connections", "dns", "hosts", "udp", "listeners", "requests", "lookups")
        if getattr(whole, name)
    }  # fmt: skip
    one = Filter("dir:in or dir:out").apply(whole)
    none = Filter("dir:unknown").apply(one)
    assert none.filtered_out["connections"] == len(whole.connections)


@pytest.mark.parametrize(
    "expression", ["drop:*", "bytes:>1M", "rate:>1", "rtx:>0", "failed", "-failed", "age:>1s failed"]
)
def test_a_stream_tells_processes_whatever_is_asked_of_their_sums(expression: str) -> None:
    passes = StreamFilter(Filter(expression)).passes
    first, *_ = a_recording()
    assert passes(first)
    assert passes(events.ProcessChanged(time=at(5), process=identity(start_time=at(0))))
    assert Filter(expression).not_applied(PROCESSES, told=True) != ()


def test_a_stream_knows_when_it_began() -> None:
    passes = StreamFilter(Filter("new")).passes
    (first, *_), row = a_recording(), connection(opened_at=at(-1))
    assert passes(first)
    assert not passes(events.ConnectionChanged(time=at(5), connection=row))
    assert passes(events.ConnectionChanged(time=at(5), connection=replace(row, id=99, opened_at=at(5))))


def test_a_recorded_stream_names_what_did_not_choose() -> None:
    start, *rest = a_recording()
    assert isinstance(start, events.Start)
    snapshot = replayed([replace(start, filter="failed"), *rest]).snapshot()
    assert snapshot.filter_not_applied == dict.fromkeys(("processes", "hosts", "udp"), ("failed",))
