"""All scenarios, in the order of the issue's list; imported, the three modules register theirs."""

from tests.live.truth import dns_scenarios, process_scenarios, tcp_scenarios
from tests.live.truth.scenario import SCENARIOS

SUBJECTS = (dns_scenarios, tcp_scenarios, process_scenarios)
__all__ = ["SCENARIOS", "SUBJECTS"]
