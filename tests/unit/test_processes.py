"""Processes: who they are, and that they are known after they have gone."""

import pytest
from msgspec.structs import replace

from nettop.kernel.abi import PROCESS_EXEC, PROCESS_EXEC_CUT, PROCESS_EXIT, ProcessKey
from nettop.model.events import ProcessChanged
from nettop.tracking import processes
from nettop.tracking.processes import CommandLine, Described, ProcessTracker, Sighting, command_line, split_arguments
from tests.builders import CLOCK, CURL, NETNS, at, comm, identity, ns, process_event

ALIVE = Described(CommandLine(("curl", "https://example.com/")), 4000, "/user.slice")
USERS = {0: "root", 1000: "ada"}


def tracker(*alive: ProcessKey) -> ProcessTracker:
    """One in whose /proc these processes live."""
    return ProcessTracker(CLOCK, lambda key: ALIVE if key in alive else None, USERS.get)


def sighting(name: str = "curl", seconds: float = 1.0, uid: int = 1000, key: ProcessKey = CURL) -> Sighting:
    return Sighting(key, uid, comm(name), ns(seconds))


def test_a_process_is_told_when_it_is_first_seen() -> None:
    subject = tracker(CURL)
    assert subject.seen(sighting(), NETNS, at(1)) == [ProcessChanged(time=at(1), process=identity())]
    assert subject.seen(sighting(seconds=2), NETNS, at(2)) == []


def test_a_process_that_is_gone_and_was_never_seen_to_execute() -> None:
    (event,) = tracker().seen(sighting(uid=4711), NETNS, at(1))
    assert event.process == identity(cmdline=None, parent_pid=None, cgroup=None, uid=4711, user=None)


def test_a_short_lived_process_keeps_its_command_line_and_its_end() -> None:
    """Its exit is told before the kernel closes its sockets, and /proc has forgotten it."""
    subject = tracker()
    assert subject.event(process_event(PROCESS_EXEC, 1.0, arguments=b"curl\0-s\0")) == []
    assert subject.event(process_event(PROCESS_EXIT, 1.2)) == []
    (event,) = subject.seen(sighting(), NETNS, at(1.3))
    assert event.process == identity(
        cmdline=("curl", "-s"), parent_pid=None, cgroup=None, first_seen=at(1.3), exited_at=at(1.2)
    )
    assert subject.seen(sighting(), NETNS, at(1.4)) == []


def test_what_nobody_can_ask_for_any_more_is_forgotten() -> None:
    """Every program that a machine runs comes by here, most of them never on the network."""
    subject = tracker()
    other = replace(CURL, pid=CURL.pid + 1)
    for key in (CURL, other):
        subject.event(process_event(PROCESS_EXEC, 1.0, owner_pid=key.pid, arguments=b"curl\0-s\0"))
    subject.event(process_event(PROCESS_EXIT, 1.2))
    late = processes.EXITS_KEPT.total_seconds()
    subject.tick(at(1 + late))
    (event,) = subject.seen(sighting(), NETNS, at(1 + late))
    assert (event.process.cmdline, event.process.exited_at) == (("curl", "-s"), at(1.2))
    subject.event(process_event(PROCESS_EXIT, 2.0))
    subject.tick(at(2 + late))
    assert subject._exits == {}
    assert list(subject._executed) == [other]  # it lives


def test_a_process_that_ended_long_ago_does_not_come_back() -> None:
    """Its connection may outlive it by minutes, when the far end does not answer."""
    subject = tracker(CURL)
    subject.seen(sighting(), NETNS, at(1))
    subject.event(process_event(PROCESS_EXIT, 2.0))
    subject.tick(at(1_000))
    assert subject.seen(sighting(), NETNS, at(1_000)) == []


def test_the_end_of_a_process() -> None:
    subject = tracker(CURL)
    subject.seen(sighting(), NETNS, at(1))
    assert subject.event(process_event(PROCESS_EXIT, 3.0)) == [
        ProcessChanged(time=at(3), process=identity(exited_at=at(3)))
    ]
    assert subject.seen(sighting(seconds=4), NETNS, at(4)) == []


def test_a_renamed_process() -> None:
    subject = tracker(CURL)
    subject.seen(sighting(), NETNS, at(1))
    (event,) = subject.seen(sighting("worker", 2), NETNS, at(2))
    assert event == ProcessChanged(time=at(2), process=identity(comm="worker"))


def test_a_process_that_became_another_user() -> None:
    subject = tracker(CURL)
    subject.seen(sighting(uid=0), NETNS, at(1))
    (event,) = subject.seen(sighting(seconds=2, uid=1000), NETNS, at(2))
    assert (event.process.uid, event.process.user) == (1000, "ada")


def test_an_executed_program_changes_name_command_line_and_user() -> None:
    subject = tracker(CURL)
    subject.seen(sighting("sh", uid=0), NETNS, at(1))
    assert subject.event(process_event(PROCESS_EXEC, 2.0, arguments=b"curl\0-v\0")) == [
        ProcessChanged(time=at(2), process=identity(cmdline=("curl", "-v")))
    ]


def test_a_socket_that_remembers_an_older_name_does_not_bring_it_back() -> None:
    """A shell connects and then executes a program, which inherits the connection."""
    subject = tracker(CURL)
    subject.seen(sighting("sh", 1), NETNS, at(1))
    subject.event(process_event(PROCESS_EXEC, 2.0, arguments=b"curl\0"))
    assert subject.seen(sighting("sh", 1), NETNS, at(3)) == []
    assert subject.seen(sighting("sh", 1.9), NETNS, at(3)) == []


def test_a_socket_that_is_first_seen_after_an_exec_does_not_bring_an_older_name_back() -> None:
    subject = tracker(CURL)
    subject.event(process_event(PROCESS_EXEC, 2.0, arguments=b"curl\0"))
    (event,) = subject.seen(sighting("sh", 1, uid=0), NETNS, at(3))
    assert (event.process.comm, event.process.uid, event.process.user) == ("curl", 1000, "ada")


def test_the_same_pid_with_another_start_is_another_process() -> None:
    later = ProcessKey(CURL.pid, CURL.start_boot_ns + 10_000_000)
    subject = tracker(CURL, later)
    subject.seen(sighting(), NETNS, at(1))
    subject.event(process_event(PROCESS_EXIT, 2.0))
    (event,) = subject.seen(sighting("wget", 3, key=later), NETNS, at(3))
    assert event.process == identity(
        comm="wget", start_time=CLOCK.wall_of_boot(later.start_boot_ns), first_seen=at(3), exited_at=None
    )


def test_after_lost_events_whoever_has_left_proc_has_ended() -> None:
    here = {CURL}
    subject = ProcessTracker(CLOCK, lambda key: ALIVE if key in here else None, USERS.get)
    subject.seen(sighting(), NETNS, at(1))
    assert subject.check_alive(at(2)) == []
    here.clear()
    assert subject.check_alive(at(3)) == [ProcessChanged(time=at(3), process=identity(exited_at=at(3)))]
    assert subject.check_alive(at(4)) == []


def test_command_lines_of_processes_not_seen_on_the_network_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MAX_COMMAND_LINES", 1)
    subject = tracker()
    subject.event(process_event(PROCESS_EXEC, arguments=b"curl\0"))
    subject.event(process_event(PROCESS_EXEC, owner_pid=5, arguments=b"other\0"))
    assert subject.seen(sighting(), NETNS, at(2))[0].process.cmdline is None
    other = sighting(key=ProcessKey(5, CURL.start_boot_ns))
    assert subject.seen(other, NETNS, at(2))[0].process.cmdline == ("other",)


def test_the_name_is_made_printable() -> None:
    assert tracker().seen(sighting("\x1b[2J"), NETNS, at(1))[0].process.comm == "\\x1b[2J"


@pytest.mark.parametrize(
    ("raw", "arguments"),
    [
        (b"", ()),
        (b"ls\0-l\0", ("ls", "-l")),
        (b"ls\0-l", ("ls", "-l")),
        (b"sh\0\0-c\0", ("sh", "", "-c")),
        (b"\0", ("",)),
        (b"echo\0\x1b[31m\xff\0", ("echo", "\\x1b[31m\\xff")),
    ],
)
def test_arguments(raw: bytes, arguments: tuple[str, ...]) -> None:
    assert split_arguments(raw) == arguments


def in_a_container() -> ProcessTracker:
    """One whose /proc shows other processes than those that the kernel's records name."""
    return ProcessTracker(CLOCK, None, USERS.get)


def test_nobody_is_told_to_be_dead_who_cannot_be_looked_up() -> None:
    subject = in_a_container()
    (event,) = subject.seen(sighting(), NETNS, at(1))
    assert event.process == identity(cmdline=None, parent_pid=None, cgroup=None)
    assert subject.check_alive(at(2)) == []
    for seconds in range(3, 9):
        assert subject.tick(at(seconds)) == []
    assert subject.seen(sighting(seconds=9), NETNS, at(9)) == []
    assert subject.event(process_event(PROCESS_EXIT, 10.0))[0].process.exited_at == at(10)


def test_who_is_named_after_an_end_that_was_only_inferred_lives() -> None:
    here = {CURL}
    subject = ProcessTracker(CLOCK, lambda key: ALIVE if key in here else None, USERS.get)
    subject.seen(sighting(), NETNS, at(1))
    here.clear()
    assert subject.check_alive(at(3))[0].process.exited_at == at(3)
    assert subject.seen(sighting(seconds=2.9), NETNS, at(4)) == []  # a socket of its own that is told late
    assert subject.seen(sighting(seconds=5), NETNS, at(5)) == [ProcessChanged(time=at(5), process=identity())]
    subject.event(process_event(PROCESS_EXIT, 6.0))
    assert subject.seen(sighting(seconds=6.001), NETNS, at(7)) == []  # it closes its sockets after its end is told


def test_an_end_that_was_inferred_and_then_told_is_not_taken_back() -> None:
    here = {CURL}
    subject = ProcessTracker(CLOCK, lambda key: ALIVE if key in here else None, USERS.get)
    subject.seen(sighting(), NETNS, at(1))
    here.clear()
    subject.check_alive(at(3))
    subject.event(process_event(PROCESS_EXIT, 4.0))
    assert subject.seen(sighting(seconds=4.001), NETNS, at(5)) == []


def test_who_was_gone_at_the_first_look_does_not_stay_alive() -> None:
    """Its end was lost, or forgotten before its last socket was told."""
    subject = tracker()
    subject.seen(sighting(), NETNS, at(1))
    assert subject.tick(at(2)) == []  # the record of its end may be on its way
    (event,) = subject.tick(at(3))
    assert (event.process.pid, event.process.exited_at) == (CURL.pid, at(1))
    assert subject._alive == {}
    assert subject.seen(sighting(), NETNS, at(4)) == []


def test_who_was_gone_at_the_first_look_has_the_end_that_is_told() -> None:
    subject = tracker()
    subject.seen(sighting(), NETNS, at(1))
    subject.tick(at(2))
    assert subject.event(process_event(PROCESS_EXIT, 1.5))[0].process.exited_at == at(1.5)
    assert [event for seconds in (3, 4, 5) for event in subject.tick(at(seconds))] == []


def test_a_command_line_of_which_the_kernel_told_the_beginning() -> None:
    """Of a process that is gone there is no more; it is not taken for all of it."""
    subject = tracker()
    subject.event(process_event(PROCESS_EXEC_CUT, arguments=b"java\0-cp\0/opt/a.j"))
    (event,) = subject.seen(sighting(), NETNS, at(2))
    assert (event.process.cmdline, event.process.cmdline_cut) == (("java", "-cp", "/opt/a.j", "[…]"), 3)


def test_a_command_line_of_which_the_kernel_told_the_beginning_is_read_where_the_process_lives() -> None:
    subject = tracker(CURL)
    subject.seen(sighting(), NETNS, at(1))
    (event,) = subject.event(process_event(PROCESS_EXEC_CUT, 2.0, arguments=b"curl\0htt"))
    assert (event.process.cmdline, event.process.cmdline_cut) == (ALIVE.command_line.arguments, None)


@pytest.mark.parametrize(
    ("head", "left_out", "tail", "line"),
    [
        (b"a\0b\0", 0, b"", CommandLine(("a", "b"))),
        (b"a\0b", None, b"", CommandLine(("a", "b", "[…]"), 2)),
        (b"a\0b", 7, b"c\0d\0", CommandLine(("a", "b", "[… 7 bytes …]", "c", "d"), 2)),
        (b"a\0", 7, b"\0d\0", CommandLine(("a", "[… 7 bytes …]", "d"), 1)),
    ],
)
def test_a_command_line(head: bytes, left_out: int | None, tail: bytes, line: CommandLine) -> None:
    assert command_line(head, left_out, tail) == line


def test_a_process_that_is_moved_into_its_cgroup_just_after_its_start() -> None:
    cgroups = ["/user.slice"]
    subject = ProcessTracker(CLOCK, lambda _: replace(ALIVE, cgroup=cgroups[-1]), USERS.get)
    subject.seen(sighting(), NETNS, at(1))
    cgroups.append("/system.slice/curl.service")
    assert subject.tick(at(10.9)) == []
    assert subject.tick(at(11)) == [ProcessChanged(time=at(11), process=identity(cgroup="/system.slice/curl.service"))]
    cgroups.append("/later")  # nobody moves processes then
    assert subject.tick(at(30)) == []
