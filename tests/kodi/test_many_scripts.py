"""A hundred scripts later Kodi is what it was."""

import re
from pathlib import Path

from .staging import ONE, TWO

ROUNDS, SCRIPTS, WARM_UP = 10, 10, 30
MEMORY = 8 << 10  # KiB by which it may grow: a script that does nothing at all leaves 15 to 45 KiB behind


def uses_everything(number):
    import ipc

    with ipc.open() as store:
        store.set("number", number)
        store.increment("sum")
        with store.transaction() as unit:
            unit["a"], unit["b"] = number, bytes(number * 100)
        with store.lock("one by one"):
            events = store.watch()
            store.pop("a")
            found = len(events.poll())
        store.wait("never", timeout=0.001)
    own = ipc.open()  # and one that nobody closes
    return [found, own.get("number")]


def figures(kodi):
    """(descriptors, threads, resident KiB) of Kodi."""
    process = Path(f"/proc/{kodi.pid}")
    status = (process / "status").read_text()
    resident, threads = (int(re.search(rf"{name}:\s+(\d+)", status).group(1)) for name in ("VmRSS", "Threads"))
    return len(list((process / "fd").iterdir())), threads, resident


def still(kodi):
    """The figures, once the last script has gone: the lowest of threads and descriptors."""
    seen = []

    def is_still():
        seen.append(figures(kodi))
        return len(seen) > 10 and len({line[:2] for line in seen[-10:]}) == 1

    kodi.wait_for(is_still)
    return seen[-1]


def test_scripts_leave_nothing_behind(kodi, outside, note):
    for number in range(WARM_UP):
        kodi.run((ONE, TWO)[number % 2], uses_everything, number)
    series = [still(kodi)]
    for _ in range(ROUNDS):
        for number in range(SCRIPTS):
            assert kodi.run((ONE, TWO)[number % 2], uses_everything, number) == [1, number]
        series.append(still(kodi))
    rows = "  ".join(f"{descriptors}/{threads}/{resident}" for descriptors, threads, resident in series)
    note(f"descriptors/threads/resident KiB after each {SCRIPTS} of {ROUNDS * SCRIPTS} scripts: {rows}")
    descriptors, threads, resident = zip(*series)
    assert max(descriptors) <= descriptors[0] + 1  # Kodi itself opens one now and then
    assert max(threads) <= threads[0] + 1
    assert resident[-1] <= resident[0] + MEMORY
