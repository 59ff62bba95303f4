"""``python -m soak``, from this directory: mixed load with kills, and memory, descriptors and region size over time.

Writers (one of them is killed and started again every few seconds), readers through the cache and past it, a waiter, a
watcher, an evicting store, and a service that writes images work on one machine for some minutes. Every second this
process notes what the two long-lived ones (a reader and writer, and the service) need. At the end the curves are judged
(the last third against the one before) and drawn as SVG.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import ipcdatastore
from children import crew, say
from conftest import MEMORY, has_memory_directory

KEYS = 2000
# What the last third may be above the one before: more is a leak.
SLACK = {"memory": 1 << 20, "descriptors": 3, "region": 1 << 20, "store that evicts": 1 << 20}
KILL_EVERY = 5.0
LIFE = 90  # seconds of a child: they have a fuse


def work(directory, number, seconds):
    """Everything that an ordinary process does."""
    rng = random.Random(number)
    ends = time.monotonic() + seconds
    with ipcdatastore.open("soak", directory=directory, timeout=60) as store, ipcdatastore.open(
        "full", directory=directory, max_size=4 << 20, evict="lru", timeout=60
    ) as full:
        say("ready")
        while time.monotonic() < ends:
            for _ in range(200):
                key = f"key {rng.randrange(2000)}"
                choice = rng.random()
                if choice < 0.4:
                    store.get(key)
                elif choice < 0.7:
                    store.set(key, [number, "x" * rng.choice([10, 100, 1000, 20000])])
                elif choice < 0.8:
                    store.pop(key, None)
                elif choice < 0.85:
                    store.set_many({f"key {rng.randrange(2000)}": rng.random() for _ in range(5)})
                elif choice < 0.9:
                    store.set(("mortal", rng.randrange(200)), b"m" * 500, expire=0.5)
                elif choice < 0.95:
                    store.increment(("count", number))
                else:
                    full[rng.randrange(10000)] = bytes(rng.choice([100, 3000]))
                    full.get(rng.randrange(10000))
            time.sleep(0.01)
        say("done")


def live_long(directory, seconds):
    """One handle for all the time: opens and closes others, forks, waits, watches."""
    ends = time.monotonic() + seconds
    with ipcdatastore.open("soak", directory=directory, timeout=60) as store, store.watch(timeout=0) as events:
        say("ready")
        number = 0
        while time.monotonic() < ends:
            number += 1
            for key in list(store)[:50]:
                assert isinstance(key, (str, tuple))
            for other in range(50):  # always the same, or the client cache would fill for half an hour
                store.get(f"key {other}")
            store["beat"] = number
            store.wait("nobody writes this", 0, 0.01)
            for _ in events:
                pass
            with ipcdatastore.open("soak", directory=directory, timeout=60) as other:
                other.get("beat")
                other.set(("other", number % 10), number)
            pid = os.fork()
            if not pid:
                try:
                    store.get("beat")
                    store.increment("children")
                finally:
                    os._exit(0)
            os.waitpid(pid, 0)
            time.sleep(0.05)
        say("done")


def serve(directory, images, seconds):
    with ipcdatastore.Service("soak", directory=directory, snapshot_directory=images, flush_interval=2):
        say("ready")
        time.sleep(seconds)
    say("done")


def memory_of(pid):
    """Bytes that are the process's own, mapped files left out."""
    found = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "RssAnon":
            found[name] = int(value.split()[0]) * 1024
    return found["RssAnon"]


def run(seconds, directory, show):
    """{name: [(second, value)]}"""
    images = os.path.join(directory, "images")
    regions = {"region": "soak", "store that evicts": "full"}
    curves = {}
    rng = random.Random(1)
    with crew() as start, ipcdatastore.open("full", directory=directory, max_size=4 << 20, evict="lru"):
        before = "import faulthandler; faulthandler.cancel_dump_traceback_later()"
        keepers = {
            "service": start(serve, directory, images, seconds + 5, before=before),
            "long-lived process": start(live_long, directory, seconds + 5, before=before),
        }
        for keeper in keepers.values():
            assert keeper.hear() == "ready"
        workers = [start(work, directory, number, LIFE) for number in range(2)]
        begun = last_kill = time.monotonic()
        kills = 0
        while time.monotonic() < begun + seconds:
            time.sleep(1)
            now = time.monotonic()
            for name, keeper in keepers.items():
                if keeper.process.poll() is not None:
                    raise AssertionError(f"the {name} ended: {keeper._complaint()}")
                curves.setdefault(f"memory, {name}", []).append((now - begun, memory_of(keeper.pid)))
                fds = len(os.listdir(f"/proc/{keeper.pid}/fd"))
                curves.setdefault(f"descriptors, {name}", []).append((now - begun, fds))
            for name, region in regions.items():
                size = os.stat(os.path.join(directory, region + ".region")).st_size
                curves.setdefault(name, []).append((now - begun, size))
            for index, worker in enumerate(workers):
                ended = worker.process.poll() is not None
                due = index == 0 and now - last_kill > KILL_EVERY
                if ended and worker.process.returncode not in (0, -signal.SIGKILL):
                    raise AssertionError(worker._complaint())
                if ended or due:
                    if due:
                        kills += 1
                        last_kill = now
                    worker.close()
                    workers[index] = start(work, directory, rng.getrandbits(30), LIFE)
            show(now - begun, kills, curves)
        for worker in workers:
            worker.close()
        for keeper in keepers.values():
            keeper.finish()
        with ipcdatastore.open("soak", directory=directory) as store:
            problems = store.check()
            if problems:
                raise AssertionError(problems[:3])
    return curves, kills


def judge(curves):
    """What grows."""
    wrong = []
    for name, points in curves.items():
        third = len(points) // 3
        middle, last = [max(value for _, value in part) for part in (points[third : 2 * third], points[2 * third :])]
        slack = next(value for start, value in SLACK.items() if name.startswith(start))
        if last > middle + slack:
            wrong.append(f"{name} grew from {middle:,} to {last:,}")
    return wrong


# --- the picture -------------------------------------------------------------------------------------------
WIDTH, HEIGHT, MARGIN = 900, 150, 48
FONT = 'font-family="DejaVu Sans, Verdana, sans-serif" font-size="13"'
COLOURS = ["#2a78b5", "#c05a28"]


def draw(curves, seconds, kills):
    """An SVG with three panels: memory, descriptors, sizes."""
    panels = [
        ("memory of their own, MiB", [n for n in curves if n.startswith("memory")], 1 << 20),
        ("open descriptors", [n for n in curves if n.startswith("descriptors")], 1),
        ("file of the region, MiB", [n for n in curves if n.startswith(("region", "store"))], 1 << 20),
    ]
    heading = f"Mixed load for {seconds / 60:.0f} minutes, {kills} writers killed"
    height = 60 + len(panels) * (HEIGHT + 60)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + 2 * MARGIN} {height}" {FONT}>',
        f'<rect width="{WIDTH + 2 * MARGIN}" height="{height}" fill="#ffffff"/>',
        f'<text x="{MARGIN}" y="30" font-size="17" fill="#222">{heading}</text>',
    ]
    for number, (title, names, unit) in enumerate(panels):
        top = 64 + number * (HEIGHT + 60)
        most = max(value for name in names for _, value in curves[name]) / unit * 1.25 or 1
        out.append(f'<text x="{MARGIN}" y="{top - 8}" fill="#444">{title}</text>')
        for share in (0, 0.5, 1):
            y = top + HEIGHT * (1 - share)
            out.append(f'<line x1="{MARGIN}" y1="{y}" x2="{MARGIN + WIDTH}" y2="{y}" stroke="#dddddd"/>')
            label = f"{most * share:.0f}" if most >= 10 else f"{most * share:.1f}"
            out.append(f'<text x="{MARGIN - 6}" y="{y + 4}" text-anchor="end" fill="#666">{label}</text>')
        for minute in range(0, int(seconds / 60) + 1, max(1, int(seconds / 60) // 6)):
            x = MARGIN + WIDTH * minute * 60 / seconds
            out.append(f'<text x="{x}" y="{top + HEIGHT + 17}" text-anchor="middle" fill="#666">{minute} min</text>')
        for name, colour in zip(names, COLOURS):
            step = max(1, len(curves[name]) // 600)
            points = " ".join(
                f"{MARGIN + WIDTH * second / seconds:.1f},{top + HEIGHT * (1 - value / unit / most):.1f}"
                for second, value in curves[name][::step]
            )
            out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
            label = name.partition(", ")[2] or ("the store with images" if name == "region" else name)
            x = MARGIN + WIDTH - 230 * (names.index(name) + 1) + 60
            out.append(f'<text x="{x}" y="{top - 8}" fill="{colour}">{label}</text>')
    return "\n".join([*out, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(prog="soak", description="Mixed load with kills; do memory and descriptors grow?")
    parser.add_argument("--minutes", type=float, default=30, help="how long (default: %(default)s)")
    parser.add_argument("--svg", help="where to draw the curves")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    seconds = 60 * arguments.minutes
    live = sys.stderr.isatty()
    shown = [0.0]

    def show(second, kills, curves):
        if not live and second < shown[0] + 60:
            return
        shown[0] = second
        last = {name: points[-1][1] for name, points in curves.items()}
        text = f"{second:5.0f} of {seconds:.0f} s  {kills} kills  " + "  ".join(
            f"{name} {value / 2**20:.1f} MiB" if value > 10_000 else f"{name} {value}" for name, value in last.items()
        )
        sys.stderr.write("\r" * live + text + ("\033[K" if live else "\n"))
        sys.stderr.flush()

    directory = tempfile.mkdtemp(prefix="soak-", dir=str(MEMORY) if has_memory_directory() else None)
    try:
        curves, kills = run(seconds, directory, show)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    wrong = judge(curves)
    figures = {"seconds": seconds, "kills": kills}
    for name, points in curves.items():
        third = len(points) // 3
        figures[name] = [max(v for _, v in points[:third]), max(v for _, v in points[-third:])]
    figures["wrong"] = wrong or "nothing"
    if arguments.svg:
        Path(arguments.svg).write_text(draw(curves, seconds, kills), encoding="utf-8")
    if arguments.json:
        print(json.dumps(figures, indent=2))
    else:
        for name, figure in figures.items():
            print(
                f"{name:>34}  "
                + (f"{figure[0]:,} to {figure[1]:,}" if isinstance(figure, list) and name != "wrong" else f"{figure}")
            )
    return bool(wrong)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sys.exit(main())
