from . import scenarios, scenarios_engine

SCENARIOS = scenarios.TABLE + scenarios_engine.TABLE
