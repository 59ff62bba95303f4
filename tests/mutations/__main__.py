"""``python -m tests.mutations [WORDS]``: break the source in every listed way (or those whose name has WORDS).

For each, the tests named with it run first, then, if they see nothing, the whole suite. Ends with 1 if a break
survived that too. A run that hangs counts as seen.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .patches import SOURCE, read_patches

ROOT = Path(__file__).parents[2]
PATIENCE = 600  # seconds for the tests named with a break; the whole suite may take three times that
WHERE = "import ipcdatastore, sys; sys.exit(not ipcdatastore.__file__.startswith(sys.argv[1]))"


def broken_source(patch, parent):
    """A copy of the package with one break. The directory to import it from."""
    place = Path(tempfile.mkdtemp(prefix="broken-", dir=parent))
    shutil.copytree(SOURCE, place / "ipcdatastore", ignore=shutil.ignore_patterns("__pycache__"))
    path = place / "ipcdatastore" / patch.path
    path.write_text(patch.apply(path.read_text(encoding="utf-8")), encoding="utf-8")
    return place


def run_tests(place, names, patience):
    """Which test saw the break, "hang" if one did not end, "" if none did."""
    environment = dict(os.environ, PYTHONPATH=str(place), PYTHONDONTWRITEBYTECODE="1")
    subprocess.run([sys.executable, "-c", WHERE, str(place)], env=environment, check=True, cwd=str(place))
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=no", *names]
    with tempfile.TemporaryFile("w+") as output:
        child = subprocess.Popen(
            command, cwd=str(ROOT), env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = child.wait(patience)
        except subprocess.TimeoutExpired:
            return "hang"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        output.seek(0)
        lines = output.read().splitlines()
    if code == 0:
        return ""
    seen = [line.split(" - ")[0].split(" ", 1)[1] for line in lines if line.startswith(("FAILED ", "ERROR "))]
    return seen[0] if seen else f"exit {code}: {lines[-1] if lines else ''}"


def judge(patch, parent, *, full):
    """(name, who saw it, seconds)"""
    began = time.monotonic()
    place = broken_source(patch, parent)
    try:
        seen = run_tests(place, patch.tests, PATIENCE)
        if not seen and full:
            seen = run_tests(place, ["tests", "--deselect=tests/test_mutations.py"], 3 * PATIENCE)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return patch.name, seen, time.monotonic() - began


def main():
    parser = argparse.ArgumentParser(prog="mutations", description=__doc__.split("\n\n")[0])
    parser.add_argument("words", nargs="*", help="only the breaks whose name contains one of these")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (2)")
    parser.add_argument("--named", action="store_true", help="only the tests named with a break, not the whole suite")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    words = options.words or [""]
    chosen = [patch for patch in read_patches() if any(word in patch.name for word in words)]
    survivors = []
    with tempfile.TemporaryDirectory() as parent, ThreadPoolExecutor(options.jobs) as pool:
        results = pool.map(lambda patch: judge(patch, parent, full=not options.named), chosen)
        for number, (name, seen, seconds) in enumerate(results, 1):
            if options.json:
                print(json.dumps({"break": name, "seen": seen, "seconds": round(seconds, 1)}), flush=True)
            else:
                print(f"{number:3} of {len(chosen)}  {seconds:6.1f} s  {name}: {seen or 'NOT SEEN'}", flush=True)
            if not seen:
                survivors.append(name)
    if not options.json:
        print(
            f"{len(chosen) - len(survivors)} of {len(chosen)} breaks were seen"
            + "".join(f"\n  not: {s}" for s in survivors)
        )
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
