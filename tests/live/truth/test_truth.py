"""Every scenario, and what nettop shows of it."""

import statistics

import pytest
from msgspec.structs import replace

from tests.live.conftest import Figures
from tests.live.lab import assert_nothing_lost
from tests.live.truth.registry import SCENARIOS
from tests.live.truth.scenario import Outcome, Scenario, play_all

CURL = "curl"  # begins the names of its scenarios


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    output: dict[str, Outcome] = {}
    unattributed_bytes = 0
    for played, snapshot in play_all(SCENARIOS, tmp_path_factory.mktemp("truth")):
        unattributed_bytes += snapshot.losses.udp_unattributed_bytes
        assert_nothing_lost(replace(snapshot.losses, udp_unattributed_bytes=0))
        output.update((outcome.scenario.name, outcome) for outcome in played)
    # what children send on a socket that they share is nobody's, and said to be (docs/limits.md)
    assert unattributed_bytes > 0
    return output


@pytest.mark.parametrize("scenario", [pytest.param(each, id=f"{each.subject}: {each.name}") for each in SCENARIOS])
def test_truth(scenario: Scenario, outcomes: dict[str, Outcome], figures: Figures) -> None:
    outcome = outcomes[scenario.name]
    if outcome.error is not None:
        raise outcome.error
    score = outcome.score
    figures.tell(f"{scenario.subject}: {scenario.name}: {score.line()}")
    assert not score.mismatches, "\n".join(score.mismatches)
    assert score.made > 0
    assert (score.recall, score.precision, score.pid_accuracy) == (1.0, 1.0, 1.0)
    assert score.byte_error in (0, None)
    # The clock is read before the question and after the answer, so nettop's time lies within; a rounding each.
    if not scenario.name.startswith(CURL):  # which has sent the question by then
        assert max(score.latency_errors_ms, default=0.0) <= 0.002


def test_times_of_requests(outcomes: dict[str, Outcome], figures: Figures) -> None:
    """Of curl, which reads its clock next to its socket; node, aiohttp and grpcio do much in between."""
    latency = [
        abs(error)
        for name, outcome in outcomes.items()
        for error in outcome.score.latency_errors_ms
        if name.startswith(CURL)
    ]
    figures.tell(f"median error of {len(latency)} latencies of requests {statistics.median(latency):.3f} ms")
    assert statistics.median(latency) <= 1.0


def test_times(outcomes: dict[str, Outcome], figures: Figures) -> None:
    """Half of all rows: a busy machine may wake a program late at any time, and it knows the time only then."""
    queries = [outcome for outcome in outcomes.values() if outcome.scenario.subject != "Requests"]
    latency = [abs(error) for outcome in queries for error in outcome.score.latency_errors_ms]
    duration = [abs(error) for outcome in outcomes.values() for error in outcome.score.duration_errors_ms]
    figures.tell(f"median error of {len(latency)} latencies {statistics.median(latency):.3f} ms")
    figures.tell(f"median error of {len(duration)} durations {statistics.median(duration):.3f} ms")
    assert statistics.median(latency) <= 1.0
    assert statistics.median(duration) <= 2.0
