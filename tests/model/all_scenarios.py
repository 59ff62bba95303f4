"""All scenarios, in the order of the table."""

from . import scenarios, scenarios_calls, scenarios_engine, scenarios_engine_txn, scenarios_events, scenarios_more
from .slow import SLOW

FAMILIES = (
    scenarios,
    scenarios_more,
    scenarios_engine,
    scenarios_engine_txn,
    scenarios_events,
    scenarios_calls,
)  # each fills its table on import
SCENARIOS = scenarios.TABLE + scenarios_engine.TABLE + scenarios_events.TABLE + scenarios_calls.TABLE

for scenario in SCENARIOS:
    scenario.slow = scenario.name in SLOW
