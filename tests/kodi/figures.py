"""``python -m kodi.figures``, in ``tests``: what things cost in a real Kodi, in one run.

A table on the terminal, and the same as JSON (``--json``, by default ``build/kodi-figures.json``). They are of two
scripts, each in a sub-interpreter of its own, beside everything else that a Kodi does.
"""

import argparse
import json
import platform
import shutil
import statistics
import tempfile
from pathlib import Path

from . import staging
from .addon import Service
from .conftest import MEMORY, reboot, wait_until_up
from .harness import Kodi
from .staging import ONE, ROOT, TWO
from .test_quit import EVERYBODY, quit_with

TIMES = 10  # scripts, where something is measured once in each
CHANGES = 300
CALLS = 2000
POLL = 0.01


# --- run in Kodi -------------------------------------------------------------------------------------
def hot_figures():
    """Seconds a call of what is called all the time, the best of several rounds of each, in turns."""
    import time

    import ipc
    import xbmcgui

    window = xbmcgui.Window(10000)
    with ipc.open() as store:
        get, store_it = store.get, store.set
        store_it("property", "hello")
        window.setProperty("property", "hello")
        calls = {
            "get": (lambda: get("property"), 20_000),
            "getProperty": (lambda: window.getProperty("property"), 20_000),
            "set": (lambda: store_it("property", "hello"), 3000),
            "setProperty": (lambda: window.setProperty("property", "hello"), 3000),
        }
        best = {}
        for _ in range(7):
            for name, (call, times) in calls.items():
                begun = time.perf_counter()
                for _ in range(times):
                    call()
                best[name] = min(best.get(name, 1e9), (time.perf_counter() - begun) / times)
    return best


def start_figures():
    """Seconds of what each script does once."""
    import time

    times = [time.perf_counter()]
    import ipcdatastore

    times.append(time.perf_counter())
    import ipc

    times.append(time.perf_counter())
    store = ipc.open()
    times.append(time.perf_counter())
    store["a"] = 1
    times.append(time.perf_counter())
    store.close()
    names = ["import ipcdatastore", "import ipc, after that", "ipc.open()", "the first set"]
    return dict(zip([*names, ipcdatastore.__name__], [later - sooner for sooner, later in zip(times, times[1:])]))


def sets_now_and_then(changes):
    import random
    import time

    import ipc

    pauses = random.Random(1)
    with ipc.open("delay") as store:
        store.wait("ready", since=0, timeout=20)
        for number in range(changes):
            time.sleep(pauses.uniform(0.015, 0.03))
            store["stamp"] = (number, time.monotonic())


def sees_by_waiting(changes):
    """Seconds from each change to its being seen."""
    import time

    import ipc

    delays, version = [], 0
    with ipc.open("delay") as store:
        store["ready"] = True
        while True:
            version = store.wait("stamp", since=version, timeout=20)
            number, begun = store["stamp"]
            delays.append(time.monotonic() - begun)
            if number == changes - 1:
                return delays


def sees_by_looking(changes, poll):
    """The same by somebody who looks now and then."""
    import time

    import ipc

    delays, seen = [], None
    with ipc.open("delay") as store:
        store["ready"] = True
        while True:
            stamp = store.get("stamp")
            if stamp is not None and stamp[0] != seen:
                delays.append(time.monotonic() - stamp[1])
                seen = stamp[0]
                if seen == changes - 1:
                    return delays
            time.sleep(poll)


def serves_an_object(name):
    """As a script of 2014 does, until it is told to end."""
    import threading

    from ipc.ipcserver import IPCServer

    class Shared:
        def __init__(self):
            self.ended = threading.Event()

        def add(self, a, b):
            return a + b

        def end(self):
            self.ended.set()

    server = IPCServer(Shared(), name=name)
    server.start()
    server.expose_obj.ended.wait(120)
    server.stop()


def calls_an_object(name, calls):
    """Seconds of each call."""
    import time

    from ipc.ipcclient import IPCClient

    client = IPCClient(name=name)
    while not client.server_available():
        time.sleep(0.01)
    there, seconds = client.get_exposed_object(), []
    there.add(0, 0)
    for number in range(calls):
        begun = time.perf_counter()
        there.add(number, 1)
        seconds.append(time.perf_counter() - begun)
    there.end()
    return seconds


def values_of_old(times):
    """Seconds of a verb of `IPCClientX`, the best of several rounds of each."""
    import time

    from ipc.ipcclientx import IPCClientX

    client = IPCClientX()
    client.set("x", {"a": [1]})
    best = {}
    for _ in range(5):
        for name, call in (("get", lambda: client.get("x")), ("set", lambda: client.set("y", {"a": [1]}))):
            begun = time.perf_counter()
            for _ in range(times):
                call()
            best[name] = min(best.get(name, 1e9), (time.perf_counter() - begun) / times)
    return best


# --- here --------------------------------------------------------------------------------------------
def measure(kodi):
    """(figure, measured, unit, wanted) in the order of the table."""
    best = kodi.run(ONE, hot_figures, seconds=120)
    yield "get of a small string, hot", best["get"] * 1e6, "µs", None
    yield "Window.getProperty of the same", best["getProperty"] * 1e6, "µs", None
    yield "get / getProperty", best["get"] / best["getProperty"], "", 0.5
    yield "set of a small string", best["set"] * 1e6, "µs", None
    yield "Window.setProperty of the same", best["setProperty"] * 1e6, "µs", None
    yield "set / setProperty", best["set"] / best["setProperty"], "", None

    starts = [kodi.run((ONE, TWO)[number % 2], start_figures) for number in range(TIMES)]
    for name in starts[0]:
        wanted = 8.0 if name == "import ipcdatastore" else None
        yield f"{name} (median of {TIMES})", statistics.median(start[name] for start in starts) * 1e3, "ms", wanted

    for how, function, arguments in (
        ("store.wait", sees_by_waiting, [CHANGES]),
        (f"looks every {POLL * 1e3:.0f} ms", sees_by_looking, [CHANGES, POLL]),
    ):
        writer = kodi.start_script(ONE, sets_now_and_then, CHANGES)
        delays = sorted(kodi.run(TWO, function, *arguments, seconds=120))
        writer.result()
        kodi.run(ONE, forget)
        seen = f"a change seen by another addon, {how}"
        yield f"{seen}: median", statistics.median(delays) * 1e3, "ms", None
        yield f"{seen}: 99 of 100", delays[len(delays) * 99 // 100] * 1e3, "ms", None


def measure_objects(kodi):
    """The same of objects that one addon exposes, and another calls."""
    server = kodi.start_script(ONE, serves_an_object, "figures")
    seconds = sorted(kodi.run(TWO, calls_an_object, "figures", CALLS, seconds=120))
    server.result()
    yield "a call of another addon's object: median", statistics.median(seconds) * 1e3, "ms", 2.0
    yield "a call of another addon's object: 99 of 100", seconds[len(seconds) * 99 // 100] * 1e3, "ms", None
    best = kodi.run(TWO, values_of_old, 2000, seconds=120)
    for verb in ("get", "set"):
        yield f"IPCClientX.{verb} of a small dict", best[verb] * 1e6, "µs", None


def measure_quits(kodi, memory):
    """(figure, measured, unit, wanted) of the end of Kodi; it is started for each."""
    for who, functions in (("with nothing to do", []), (f"with {len(EVERYBODY)} scripts busy", EVERYBODY)):
        reboot(memory)
        kodi.start()
        wait_until_up(kodi)
        Service(kodi).set("persist", "true")
        yield f"Kodi quits {who}", quit_with(kodi, memory, functions), "s", 2.0


def forget():
    import ipc

    with ipc.open("delay") as store:
        store.clear()


def show(figures, version):
    width = max(len(name) for name, *_ in figures)
    print(f"Kodi {version}, {platform.machine()}, one run")
    for name, value, unit, wanted in figures:
        mark = "" if wanted is None else f"   wanted: {wanted:g}{'' if value <= wanted else ', MISSED'}"
        print(f"  {name:<{width}}  {value:>9.3f} {unit:<2}{mark}".rstrip())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "kodi-figures.json")
    parser.add_argument("--kodi-root", default="/")
    chosen = parser.parse_args()
    temporary = Path(tempfile.mkdtemp())
    memory = Path(tempfile.mkdtemp(prefix="ipcdatastore-kodi-", dir=MEMORY))
    try:
        addons = [*staging.stage(temporary), *staging.stage_own(temporary)]
        environment = {"IPCDATASTORE_DIR": str(memory)}
        with Kodi(temporary / "home", addons, environment, root=chosen.kodi_root) as kodi:
            wait_until_up(kodi)
            version = kodi.label("System.BuildVersion")
            figures = [*measure(kodi), *measure_objects(kodi)]
            kodi.quit()
            figures += measure_quits(kodi, memory)
    finally:
        shutil.rmtree(temporary)
        shutil.rmtree(memory)
    show(figures, version)
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    rows = [dict(zip(("name", "value", "unit", "wanted"), row)) for row in figures]
    chosen.json.write_text(json.dumps({"kodi": version, "figures": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
