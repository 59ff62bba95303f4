"""``nox -s bench``, or ``python -m benchmarks.bench``: the figures that the project promises, as ratios in one run.

``--quick`` leaves out what needs a million keys; ``--json FILE`` also writes the figures there.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path

if __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "benchmarks"

from benchmarks import calls, figures, persistence, waiting


def environment():
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            model = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": model,
        "cores": os.cpu_count(),
        "date": time.strftime("%Y-%m-%d"),
    }


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text} ...", end="", file=sys.stderr, flush=True)


def note(text):
    """A figure that is left out."""
    clear = "\r\033[K" if sys.stdout.isatty() else ""
    print(f"{clear}--   {text}", flush=True)


def measure(directory, quick):
    """Every figure, as it comes."""
    progress("hot reads")
    yield figures.hot_immutable(directory)
    yield figures.hot_mutable(directory)
    progress("10,000 keys against LMDB")
    yield from figures.against_lmdb(directory, 10_000, 2.5, 2.2)
    progress("100,000 keys against LMDB")
    yield from figures.against_lmdb(directory, 100_000, 2.0)
    progress("space")
    yield figures.space(directory)
    progress("start-up")
    yield from figures.start_up(directory)
    progress("two readers")
    yield figures.two_readers(directory)
    yield from persistence.everything(directory, progress)
    progress("waiting")
    yield from waiting.waiting(directory)
    yield from calls.everything(directory, progress, note)
    if not quick:
        yield from figures.million(directory, progress)


def show(figure):
    limit = "      " if figure.limit is None else f"{'≥' if figure.at_least else '≤'} {figure.limit:<4g}"
    measured = f"{figure.measured:.2f}{' ' + figure.unit if figure.unit else ''}"
    verdict = "ok  " if figure.holds else "OVER"
    if sys.stdout.isatty():
        verdict = f"\033[{32 if figure.holds else 31}m{verdict}\033[0m"
        print("\r\033[K", end="")
    print(f"{verdict} {figure.name:<58} {measured:>9}  {limit} {figure.detail}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="leave out what needs a million keys")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    facts = environment()
    print("; ".join(f"{name} {value}" for name, value in facts.items()))
    memory = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="ipcdatastore-bench-", dir=memory if memory.is_dir() else None))
    found = []
    try:
        for figure in measure(directory, options.quick):
            found.append(figure)
            show(figure)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    over = [figure for figure in found if not figure.holds]
    print(f"{len(found) - len(over)} of {len(found)} figures within their limits")
    if options.json:
        rows = [{**figure._asdict(), "holds": figure.holds} for figure in found]
        options.json.write_text(json.dumps({"environment": facts, "figures": rows}, indent=1) + "\n", encoding="utf-8")
    return bool(over)


if __name__ == "__main__":
    sys.exit(main())
