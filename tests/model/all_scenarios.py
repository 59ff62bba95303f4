"""All scenarios, in the order of the table."""

from . import scenarios, scenarios_engine, scenarios_engine_txn, scenarios_more

FAMILIES = (scenarios, scenarios_more, scenarios_engine, scenarios_engine_txn)
SCENARIOS = scenarios.TABLE + scenarios_engine.TABLE
assert all(family.__doc__ for family in FAMILIES)  # each adds to its table when it is imported
