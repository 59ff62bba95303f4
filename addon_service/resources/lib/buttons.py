"""The buttons of the settings: each shows what it did in a dialog that a person can read."""

import datetime
import os
import platform
import time

import ipc
import xbmc
import xbmcaddon
import xbmcgui
from ipc import places

import ipcdatastore

from . import checks
from .clean import clean
from .texts import text
from .words import size

REPORT = "selftest.txt"


def test_connection():
    """Is the store there, can it be written and read, and does the service answer?"""
    monitor = xbmc.Monitor()
    with ipc.open() as store:
        _round_trip(store)  # the first one makes room
        begun = time.perf_counter()
        was_right = _round_trip(store)
        microseconds = (time.perf_counter() - begun) * 1e6
        facts = store.stats()
    answered = checks.ask(monitor) if ipc.is_running() else None
    lines = [
        text(32200, microseconds) if was_right else text(32201),
        text(32205) if answered is None else text(32204, answered * 1000),
        text(32203, facts["records"], size(facts["file_bytes"]), size(facts["max_size"])),
        facts["path"],
    ]
    xbmcgui.Dialog().ok(text(32150), clean("\n".join(lines)))


def _round_trip(store):
    store["test"] = token = os.urandom(8)
    return store.pop("test") == token


def full_selftest():
    """Every step, with a bar; then what each of them saw, on the screen and in a file."""
    from ipcdatastore import selftest

    monitor = xbmc.Monitor()
    names = selftest.step_names(quick=True)
    bar = xbmcgui.DialogProgress()
    bar.create(text(32151), names[0])
    done = []

    def progress(step):
        done.append(step)
        following = names[len(done)] if len(done) < len(names) else ""
        bar.update(100 * len(done) // len(names), f"{step.name}: {step.detail}\n{following}")
        if bar.iscanceled() or monitor.abortRequested():
            raise checks.EndedError

    try:
        report = checks.run(progress)
    except checks.EndedError:
        return
    finally:
        bar.close()
    answered = checks.ask(monitor) if ipc.is_running() else None
    title, body = describe(report, answered)
    path = os.path.join(places.translate(places.PROFILE), REPORT)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8", errors="replace") as file:
            file.write(f"{title}\n{datetime.datetime.now():%Y-%m-%d %H:%M:%S}\n\n{body}\n")
        where = text(32212, path)
    except OSError as error:
        where = text(32120, error)
    xbmcgui.Dialog().textviewer(title, clean(f"{body}\n\n{where}"), usemono=True)


def describe(report, answered):
    """(headline, lines) of a report of the self-test."""
    failed = sum(not step.ok for step in report.steps)
    title = text(32211, failed, len(report.steps)) if failed else text(32210, len(report.steps))
    lines = []
    for step in report.steps:
        lines.append(f"{text(32213) if step.ok else text(32214):<7}{step.name}  ({step.seconds * 1000:.0f} ms)")
        lines.append(f"       {step.detail}")
    lines.append("")
    lines.append(text(32205) if answered is None else text(32204, answered * 1000))
    addon = xbmcaddon.Addon(places.SERVICE)
    lines.append(f"ipcdatastore {ipcdatastore.__version__}, {places.SERVICE} {addon.getAddonInfo('version')}")
    # Not `System.OSVersionInfo`: Kodi finds that out later, and says "Busy".
    lines.append(f"Kodi {xbmc.getInfoLabel('System.BuildVersion')}")
    lines.append(f"Python {platform.python_version()}, {platform.platform()}")
    return title, "\n".join(lines)


def browse():
    """The window that shows what is in the store."""
    from .browse import main

    main()


def flush():
    """Write what is to be kept onto the disk, now."""
    with ipc.open_all() as store:
        path = store.flush()
    message = text(32221) if path is None else text(32220, size(os.path.getsize(path)), path)
    xbmcgui.Dialog().ok(text(32153), clean(message))


def clear():
    """Delete everything, of the disk too, if the user means it."""
    dialog = xbmcgui.Dialog()
    with ipc.open_all() as store:
        count = len(store)
        if dialog.yesno(text(32154), text(32230, count)):
            store.clear()
            dialog.ok(text(32154), text(32231, count))


BUTTONS = {"test": test_connection, "selftest": full_selftest, "browse": browse, "flush": flush, "clear": clear}
