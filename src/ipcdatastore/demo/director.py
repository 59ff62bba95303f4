"""The demo from beginning to end."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import Any, Iterator, Protocol

from ipcdatastore import DatastoreError

from .compare import compare
from .crew import PATIENCE, Crew
from .figures import Report
from .gather import gather
from .kill import kill
from .place import Board, DemoError, Place, scratch
from .read import read
from .rewrite import rewrite
from .settings import Settings
from .verify import verify

TICK = 0.05  # seconds between two looks at the processes
PHASES = ("gather and read", "verify", "kill", "compare")


class Display(Protocol):
    """Whatever shows the report while it grows. Called some 20 times a second."""

    def show(self, report: Report) -> None:
        """Show it, or not yet."""


def run(settings: Settings, display: Display) -> Report:
    """Everything. Failures are in the report; ``KeyboardInterrupt`` passes through when all is cleaned up."""
    report = Report(settings.root)
    report.killing.wanted = settings.kills
    report.comparison.processes = max(1, settings.readers)
    begun = time.perf_counter()
    try:
        if not os.path.isdir(report.folder):
            raise DemoError(f"{report.folder} is not a folder")
        with _terminated_politely(), scratch(settings.directory, settings.timeout) as place:
            _Director(settings, place, report, display, begun).direct()
        report.finished = True
    except (DemoError, DatastoreError, OSError) as error:
        report.problems.append(str(error))
    report.problems.extend(one for one in report.killing.failures if one not in report.problems)
    report.seconds = time.perf_counter() - begun
    report.phase = ""
    display.show(report)
    return report


@contextlib.contextmanager
def _terminated_politely() -> Iterator[None]:
    """SIGTERM cleans up like Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Director:
    def __init__(self, settings: Settings, place: Place, report: Report, display: Display, begun: float) -> None:
        self.settings = settings
        self.place = place
        self.report = report
        self.display = display
        self.begun = begun
        for name in ("records", "board"):
            place.open(name, "n").close()
        self.board = Board(place, "director")
        self.board.set("stop", False)
        self.crew = Crew(place, self.board)

    def direct(self) -> None:
        """All phases. However they end, no process is left and both regions are closed."""
        try:
            self.phase(PHASES[0])
            self.gather_and_read()
            self.phase(PHASES[1])
            self.verify()
            self.phase(PHASES[2])
            kill(self.place, self.crew, self.report.killing, self.tell)
            self.phase(PHASES[3])
            compare(self.place, self.board, self.crew, self.report.comparison, self.settings.seconds, self.tell)
            self.last_look()
        finally:
            self.crew.end()
            self.board.close()

    def phase(self, name: str) -> None:
        self.report.phase = name
        self.tell()

    def tell(self) -> None:
        """Let the display show how things stand."""
        self.report.seconds = time.perf_counter() - self.begun
        self.display.show(self.report)

    def gather_and_read(self) -> None:
        """Until the time is over and everything is gathered."""
        report, settings = self.report, self.settings
        readers = [("reader", number) for number in range(1, settings.readers + 1)]
        self.crew.start("gatherer", gather, report.folder, settings.skip)
        for role in readers:
            self.crew.start(role, read, role[1])
        self.crew.start("rewriter", rewrite, 0)
        until = time.monotonic() + PATIENCE
        started = False
        while time.monotonic() < until or not report.gathering.done:
            self.crew.watch()
            if not started and self.all_started():  # only now, or a busy machine would leave no time to read
                started, until = True, time.monotonic() + settings.seconds
            self.collect(readers)
            self.tell()
            time.sleep(TICK)
        self.crew.stop()
        self.collect(readers)

    def all_started(self) -> bool:
        """Whether every process has done something, as far as there is anything to do."""
        report = self.report
        readers = [one for one in report.readers if one.reads]
        working = len(readers) == self.settings.readers and report.rewriting.writes > 0
        return working or (report.gathering.done and not report.gathering.files)

    def collect(self, readers: Any) -> None:
        """What the processes have put on the board."""
        get, report = self.board.get, self.report
        report.gathering = get("gatherer") or report.gathering
        report.rewriting = get("rewriter") or report.rewriting
        report.readers = [one for one in map(get, readers) if one is not None]

    def verify(self) -> None:
        """In a process that knows nothing but where the store is."""
        self.crew.start("verifier", verify, self.report.folder, self.report.gathering.files)
        running = True
        while running:
            time.sleep(TICK)
            try:
                running = bool(self.crew.watch())
            finally:
                self.report.verification = self.board.get("verifier") or self.report.verification
            self.tell()

    def last_look(self) -> None:
        """All the kills have cost none of the records, and the region is whole."""
        with self.place.open("records") as store:
            kept = sum(1 for key in store if type(key) is str)
            if kept != self.report.gathering.files:
                raise DemoError(f"{self.report.gathering.files} records were verified, {kept} are left after the kills")
            for problem in store.check():
                raise DemoError(f"check at the end: {problem}")
            stats = store.stats()
            self.report.store = {name: stats[name] for name in ("records", "file_bytes", "heap_bytes", "free_bytes")}
