"""`make truth`: the table of how right nettop is, and the same scenarios as other tools see them. Needs root.

The others get the scenarios a few at a time and two seconds after each, so that none is measured by its refresh.
"""

import sys
import tempfile
import time
from pathlib import Path

from nettop.model.snapshot import Snapshot
from tests.live.truth import rivals
from tests.live.truth.registry import SCENARIOS
from tests.live.truth.scenario import Outcome, Scenario, play_all, stage
from tests.live.truth.score import Score

HEAD = ("scenario", "tool", "recall", "precision", "pid", "bytes off", "latency off ms", "duration off ms")
WIDTHS = (62, 14, 8, 9, 8, 12, 14, 15)
NOTES = """
Errors of time are medians, bytes are added up over all rows of a scenario. "-": the tool does not claim to show it, or
the program that made the traffic could not know it. A tool without a line claims nothing in that scenario.

tcplife shows connections that are over, in whole KB. nethogs shows bytes per process, the headers of packets included,
and no single connection. gethostlatency shows calls of getaddrinfo, not DNS: neither server, answer nor retries.
None of the three shows DNS queries.
"""
Figures = dict[str, list[tuple[str, Score]]]


def others(scenarios: list[Scenario], directory: Path, blank: Snapshot) -> tuple[Figures, dict[str, str]]:
    """Per scenario the scores of the tools that claim something there; and why a tool does not run."""
    figures: Figures = {}
    tools = {"tcplife": rivals.tcplife(directory), "gethostlatency": rivals.gethostlatency(directory)}
    reasons = {name: tool.reason for name, tool in tools.items() if tool.reason}
    try:
        for start in range(0, len(scenarios), 8):
            chunk = scenarios[start : start + 8]
            with stage(chunk, directory) as playing:
                hogs = [rivals.nethogs(directory, where) for where in playing.places]
                for hog in hogs:
                    if hog.reason:
                        reasons["nethogs"] = hog.reason
                playing.forward()
                time.sleep(2.5)
                for hog in hogs:
                    hog.stop()
                playing.take_truths()
                for outcome, hog in zip(playing.outcomes, hogs, strict=True):
                    figures[outcome.scenario.name] = _scores(outcome, blank, hog, tools)
    finally:
        for tool in tools.values():
            tool.stop()
    return figures, reasons


def _scores(
    outcome: Outcome, blank: Snapshot, hog: rivals.Tool, tools: dict[str, rivals.Tool]
) -> list[tuple[str, Score]]:
    truth = outcome.truth
    scores = [
        ("tcplife", rivals.score_tcplife(blank, truth, tools["tcplife"].said())),
        ("nethogs", rivals.score_nethogs(blank, truth, hog.said())),
        (
            "gethostlatency",
            rivals.score_gethostlatency(blank, outcome.scenario, truth, tools["gethostlatency"].said()),
        ),
    ]
    return [(name, score) for name, score in scores if score is not None]


def line(scenario: Scenario, tool: str, score: Score | None) -> str:
    """A row of the table."""
    if score is None:
        cells = ["-"] * 6
    else:
        cells = [
            f"{score.recall:.1%}",
            f"{score.precision:.1%}" if score.seen else "-",
            f"{score.pid_accuracy:.1%}" if score.matched else "-",
            "-" if score.byte_error is None else f"{score.byte_error:,}",
            *("-" if off is None else f"{off:.3f}" for off in (score.latency_error_ms, score.duration_error_ms)),
        ]
    return columns(f"{scenario.subject}: {scenario.name}" if tool == "nettop" else "", tool, *cells)


def columns(*cells: str) -> str:
    return " ".join(
        cell.ljust(width) if number < 2 else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(cells, WIDTHS, strict=True))
    ).rstrip()


def tell(text: str) -> None:
    sys.stdout.write(text + "\n")


def main() -> int:
    """Print the table; 1 if nettop is wrong anywhere."""
    wrong = []
    # all of them, or those whose names contain one of the words that are given
    chosen = [each for each in SCENARIOS if not sys.argv[1:] or any(word in each.name for word in sys.argv[1:])]
    with tempfile.TemporaryDirectory(prefix="nettop-truth-") as name:
        rounds = list(play_all(chosen, Path(name)))
        played = [outcome for outcomes, _ in rounds for outcome in outcomes]
        figures, reasons = others(chosen, Path(name), rounds[0][1])
    tell(columns(*HEAD))
    for outcome in played:
        scenario = outcome.scenario
        tell(line(scenario, "nettop", outcome.score))
        for tool, score in figures[scenario.name]:
            tell(line(scenario, tool, None if tool in reasons else score))
        if outcome.error is not None or outcome.score.mismatches:
            wrong.append(scenario.name)
    tell(NOTES)
    for tool, reason in reasons.items():
        tell(f"{tool} does not start here: {reason}")
    if wrong:
        tell(f"nettop is wrong in: {', '.join(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
