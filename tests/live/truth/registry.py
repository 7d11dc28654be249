"""All scenarios, in the order of the laboratory's list; imported, the modules register theirs."""

from tests.live.truth import (
    dns_scenarios,
    drop_scenarios,
    host_scenarios,
    listener_scenarios,
    lookup_scenarios,
    owner_scenarios,
    process_scenarios,
    request_scenarios,
    tcp_scenarios,
)
from tests.live.truth.scenario import SCENARIOS

SUBJECTS = (
    dns_scenarios,
    tcp_scenarios,
    process_scenarios,
    owner_scenarios,
    listener_scenarios,
    drop_scenarios,
    host_scenarios,
    request_scenarios,
    lookup_scenarios,
)
__all__ = ["SCENARIOS", "SUBJECTS"]
