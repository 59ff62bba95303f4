"""The demo: it verifies what is right, finds what is not, and leaves nothing behind however it ends."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import ipcdatastore
from ipcdatastore.demo import Settings, kill, run
from ipcdatastore.demo.figures import Killing, Verification
from ipcdatastore.demo.gather import describe, find_files
from ipcdatastore.demo.place import Place
from ipcdatastore.demo.plain import NoDisplay
from ipcdatastore.demo.verify import examine

PROGRAM = [sys.executable, "-m", "ipcdatastore.demo"]
SHORT = ["--seconds", "0.5", "--kills", "1"]
PATIENCE = 60


@pytest.fixture
def folder(tmp_path):
    """A folder with 40 files, some in folders of their own, one empty."""
    folder = tmp_path / "folder"
    for number in range(40):
        path = folder / f"part {number % 3}" / f"file {number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"line {number}\n" * number, encoding="utf-8")
    return folder


def settings(folder, directory, **changes):
    chosen = {"folder": str(folder), "directory": str(directory), "seconds": 0.5, "kills": 1, **changes}
    return Settings(**chosen)


def is_empty(directory):
    return list(directory.iterdir()) == []


class Once:
    """A display that calls a function when the report is as wanted, once."""

    def __init__(self, when, function):
        self.when = when
        self.function = function
        self.done = False

    def show(self, report):
        if not self.done and self.when(report):
            self.done = True
            self.function()


# --- the whole -------------------------------------------------------------------------------------------
def test_plain(folder, directory):
    result = subprocess.run(
        [*PROGRAM, str(folder), *SHORT, "--directory", str(directory)],
        capture_output=True, check=False, encoding="utf-8", env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    assert "\nverified   40 of 40 records equal the disk" in result.stdout
    for title in ("gathered", "looked up", "rewritten", "killed", "compared", "reader 1", "reader 2"):
        assert f"\n{title} " in result.stdout
    assert result.stdout.splitlines()[-1].startswith("all was verified in ")
    assert is_empty(directory)


def test_json(folder, directory):
    pytest.importorskip("click")
    pytest.importorskip("rich")
    command = [sys.executable, "-m", "ipcdatastore", "demo", str(folder), *SHORT, "--directory", str(directory)]
    result = subprocess.run([*command, "--readers", "1", "--json"], capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
    figures = json.loads(result.stdout)
    assert figures["verified"]
    assert figures["problems"] == []
    assert figures["gather"]["files"] == figures["verify"]["matching"] == 40
    assert figures["gather"]["bytes"] == sum(path.stat().st_size for path in folder.rglob("*.txt"))
    assert len(figures["readers"]) == 1
    assert 0 < figures["readers"][0]["uncached_reads"] < figures["readers"][0]["reads"]
    assert 0 < figures["readers"][0]["latency"]["p50_us"] <= figures["readers"][0]["latency"]["max_us"]
    assert figures["kill"]["kills"] >= 1
    assert figures["kill"]["acknowledged"] > 0
    assert figures["compare"]["manager_reads"] > 0
    assert is_empty(directory)


def test_an_empty_folder(tmp_path, directory):
    (tmp_path / "empty").mkdir()
    report = run(settings(tmp_path / "empty", directory), NoDisplay())
    assert report.problems == []
    assert report.verified
    assert report.gathering.files == 0


def test_a_file_that_changes_meanwhile_is_reported_and_no_failure(folder, directory):
    stop = threading.Event()

    def append():
        while not stop.is_set():
            with open(folder / "part 0" / "file 0.txt", "a", encoding="utf-8") as file:
                file.write("more\n")
            stop.wait(0.01)

    def change():
        (folder / "part 1" / "file 1.txt").unlink()
        thread.start()

    thread = threading.Thread(target=append)
    try:
        report = run(settings(folder, directory), Once(lambda report: report.gathering.done, change))
    finally:
        stop.set()
        thread.join()
    assert report.verified
    assert report.verification.matching == 38
    changed = [os.path.join("part 0", "file 0.txt"), os.path.join("part 1", "file 1.txt")]
    assert sorted(report.verification.changed_files) == changed


# --- what is wrong is found ------------------------------------------------------------------------------
def in_records(directory, function):
    (scratch,) = directory.iterdir()
    with ipcdatastore.open("records", directory=scratch, mode="w") as store:
        function(store)


def forge(store):
    key = os.path.join("part 2", "file 38.txt")  # not one of those that are rewritten
    store[key] = {**store[key], "lines": 5}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "phase", "reason"),
    [
        (forge, "verify", "has digest"),
        (lambda store: store.pop(os.path.join("part 2", "file 38.txt")), "verify", "40 records were stored, 39"),
        (lambda store: store.pop(("pair", "left")), "verify", "pair"),
        (lambda store: store.pop(os.path.join("part 2", "file 38.txt")), "compare", "40 records were verified, 39"),
    ],
)
def test_harm_is_found(folder, directory, harm, phase, reason):
    display = Once(lambda report: report.phase == phase, lambda: in_records(directory, harm))
    report = run(settings(folder, directory), display)
    assert not report.verified
    assert len(report.problems) == 1
    assert reason in report.problems[0]
    assert is_empty(directory)


def test_a_failure_is_told_on_stderr_and_by_the_exit_code(tmp_path, directory):
    missing = tmp_path / "missing"
    command = [*PROGRAM, str(missing), "--directory", str(directory)]
    result = subprocess.run(command, capture_output=True, check=False, encoding="utf-8")
    assert result.returncode == 1
    assert result.stderr == f"ipcdatastore: demo: {missing} is not a folder\n"
    assert result.stdout.splitlines()[-1].startswith("FAILED")


def test_a_process_that_dies_is_a_failure(folder, directory):
    def kill_a_child():
        import multiprocessing

        multiprocessing.active_children()[0].kill()

    report = run(settings(folder, directory), Once(lambda report: report.readers, kill_a_child))
    assert not report.verified
    assert "failed" in report.problems[0]
    assert is_empty(directory)


def verdict(folder, record, revision=0):
    figures = Verification()
    return examine(figures, str(folder), record["path"], record, revision), figures


def test_examine_tells_changed_files_from_wrong_records(folder):
    name = os.path.join("part 1", "file 7.txt")
    record = describe(str(folder), name)
    assert record["lines"] == 7
    assert verdict(folder, record)[0] is None
    assert "digest" in verdict(folder, {**record, "blake2b": "0" * 64})[0]
    assert "rewritten 2 times" in verdict(folder, record, 2)[0]
    (folder / name).write_text("changed", encoding="utf-8")
    failure, figures = verdict(folder, record)
    assert (failure, figures.changed, figures.changed_files) == (None, 1, [name])
    (folder / name).unlink()
    assert verdict(folder, record)[1].changed == 1


def test_a_lost_write_is_found(directory):
    place = Place(str(directory), 10.0)
    with place.open("records", "n") as store:
        for number in range(1, 501):
            kill.operate(store, number)
    figures = Killing(kills=1)
    assert kill.examine(place, 500, figures) == 500
    assert kill.examine(place, 499, figures) == 500  # done, and killed before it could say so
    assert figures.failures == []
    kill.examine(place, 501, figures)
    assert "after operation 501" in figures.failures[0]


def test_a_half_written_pair_is_found(directory):
    place = Place(str(directory), 10.0)
    with place.open("records", "n") as store:
        for number in range(1, 101):
            kill.operate(store, number)
        store[("kill", "left", 1)] = kill.value_of(5)
    figures = Killing(kills=1)
    kill.examine(place, 100, figures)
    assert "pair 1 is half-written" in figures.failures[0]


def test_only_regular_files_are_gathered(folder):
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "fifo")
        (folder / "link").symlink_to(folder / "part 1")
        (folder / "loop").symlink_to(folder)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "file.pyc").write_bytes(b"")
    assert len(list(find_files(str(folder), frozenset()))) == 41
    assert len(list(find_files(str(folder), frozenset(["__pycache__"])))) == 40


# --- however it ends -------------------------------------------------------------------------------------
def wait_until(condition):
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def nobody_left(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals and process groups")
@pytest.mark.parametrize(
    ("number", "moment", "code"),
    [
        ("SIGINT", "gather and read", 130),
        ("SIGINT", "kill", 130),
        ("SIGINT", "Manager().dict()", 130),
        ("SIGTERM", "kill", 143),
        ("SIGKILL", "gather and read", -9),
        ("SIGKILL", "kill", -9),
        ("SIGKILL", "Manager().dict()", -9),
    ],
)
def test_no_process_and_no_region_is_left(folder, directory, number, moment, code):
    seconds = "300" if moment == "gather and read" else "0.3"
    process = subprocess.Popen(
        [*PROGRAM, str(folder), "--seconds", seconds, "--kills", "2", "--directory", str(directory)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, encoding="utf-8",
    )  # fmt: skip
    for line in process.stdout:
        if moment in line and "the processes start" not in line:
            break
    if number == "SIGINT":  # a terminal sends it to the whole group
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(getattr(signal, number))
    _, errors = process.communicate(timeout=PATIENCE)
    if number == "SIGINT" and process.returncode == -signal.SIGINT:
        # It came when the interpreter was leaving already: the same to a shell, without our last line.
        wait_until(lambda: nobody_left(process.pid))
        return
    assert process.returncode == code
    if number == "SIGINT":
        assert errors == "ipcdatastore: interrupted; every process has ended, the scratch regions are gone\n"
    elif number == "SIGTERM":
        assert errors == ""
    wait_until(lambda: nobody_left(process.pid))
    if number != "SIGKILL" or moment == "gather and read":  # else there may have been nobody to clean up
        wait_until(lambda: is_empty(directory))


# --- the pictures ----------------------------------------------------------------------------------------
def test_the_terminal_view_and_the_picture(folder, directory, tmp_path):
    console_module = pytest.importorskip("rich.console")
    from ipcdatastore.demo import rich_display

    console = console_module.Console(record=True, width=100, force_terminal=True, file=open(os.devnull, "w"))  # noqa: SIM115
    with console.file, rich_display.RichDisplay(console) as display:
        report = run(settings(folder, directory), display)
        console.print(rich_display.summary(report))
        shown = console.export_text()
    assert report.problems == []
    assert "40 of 40 records equal the disk" in shown
    assert "all was verified" in shown
    rich_display.save_svg(report, str(tmp_path / "demo.svg"))
    picture = (tmp_path / "demo.svg").read_text(encoding="utf-8")
    assert picture.startswith("<svg")
    assert "verified" in picture


def test_the_summary_of_a_failure(tmp_path, directory):
    console_module = pytest.importorskip("rich.console")
    from ipcdatastore.demo import rich_display

    report = run(settings(tmp_path / "missing", directory), NoDisplay())
    console = console_module.Console(width=100, file=open(os.devnull, "w"), record=True)  # noqa: SIM115
    with console.file:
        console.print(rich_display.summary(report))
    assert "✘ failed" in console.export_text()
