"""``python -m ipcdatastore.selftest``: the self-test where neither click nor rich is installed."""

import argparse
import io
import json
import sys
from typing import List, Optional

from . import Step, run


def main(arguments: Optional[List[str]] = None) -> int:
    """Run the self-test with plain output. The exit code: 0 if all was proved, 1 if not."""
    parser = argparse.ArgumentParser(prog="python -m ipcdatastore.selftest", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="start no process")
    parser.add_argument("--directory", help="where the scratch regions go")
    parser.add_argument("--json", action="store_true", help="one JSON object, and nothing else")
    chosen = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # where a character cannot be written, that is no failure
        sys.stdout.reconfigure(errors="backslashreplace")
    report = run(None if chosen.json else show, chosen.quick, chosen.directory)
    if chosen.json:
        print(json.dumps(report.as_dict()))
    return 0 if report.ok else 1


def show(step: Step) -> None:
    """A line a step."""
    print(f"{'ok' if step.ok else 'FAILED'}\t{step.seconds:.3f}\t{step.name}\t{step.detail}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
