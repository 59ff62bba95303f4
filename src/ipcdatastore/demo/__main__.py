"""``python -m ipcdatastore.demo``: the demo where neither click nor rich is installed."""

import argparse
import io
import json
import sys
from typing import List, Optional

from . import Settings, run
from .plain import NoDisplay, PlainDisplay, summary


def at_least_one(text: str) -> int:
    """An int from 1 on."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return int(text)


def main(arguments: Optional[List[str]] = None) -> int:
    """Run the demo with plain output. The exit code: 0 if all was verified, 1 if not."""
    defaults = Settings()
    parser = argparse.ArgumentParser(prog="python -m ipcdatastore.demo", description=__doc__)
    parser.add_argument("folder", nargs="?", help="what to gather; default: this Python's standard library")
    parser.add_argument("--readers", type=at_least_one, default=defaults.readers, help="reader processes")
    parser.add_argument("--seconds", type=float, default=defaults.seconds, help="of reading, at least")
    parser.add_argument("--kills", type=at_least_one, default=defaults.kills, help="of a writer")
    parser.add_argument("--directory", help="where the scratch regions go")
    parser.add_argument("--json", action="store_true", help="one JSON object, and nothing else")
    chosen = vars(parser.parse_args(arguments))
    as_json = chosen.pop("json")
    if isinstance(sys.stdout, io.TextIOWrapper):  # where a character cannot be written, that is no failure
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        report = run(Settings(**chosen), NoDisplay() if as_json else PlainDisplay())
    except KeyboardInterrupt:
        print("ipcdatastore: interrupted; every process has ended, the scratch regions are gone", file=sys.stderr)
        return 130
    print(json.dumps(report.as_dict()) if as_json else summary(report))
    for problem in report.problems:
        print(f"ipcdatastore: demo: {problem}", file=sys.stderr)
    return 0 if report.verified else 1


if __name__ == "__main__":
    sys.exit(main())
