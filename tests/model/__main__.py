"""``python -m tests.model [-t] [NAME...]``: search scenarios by part of their name, print the table."""

import sys
import time

from .all_scenarios import SCENARIOS


def report(scenario, trace):
    """Search one scenario, print its lines; (states, was it unexpected)."""
    model = scenario.build()
    result, states, seconds, why = model.run()
    surprise = result != scenario.expect
    print(
        "%-6s %-88s %8d states %6.1f s  returns %7d  fallbacks %6d%s"
        % (
            result,
            scenario.name,
            states,
            seconds,
            model.returns,
            model.fallbacks,
            "   <-- UNEXPECTED" if surprise else "",
        )
    )
    if why:
        print("         " + why)
        for line in model.counterexample() if trace else ():
            print("            " + line)
    sys.stdout.flush()
    return states, surprise


def main(args):
    names = [arg for arg in args if arg not in ("-t", "-q")]
    total = unexpected = 0
    started = time.time()
    for scenario in SCENARIOS:
        if names and not any(name in scenario.name for name in names):
            continue
        if "-q" in args and scenario.slow:
            continue
        states, surprise = report(scenario, "-t" in args)
        total += states
        unexpected += surprise
    print("total %d states, %.0f s, %d unexpected" % (total, time.time() - started, unexpected))
    return unexpected


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
