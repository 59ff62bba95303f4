"""A real Kodi for the tests below: they are collected with ``--kodi`` only, as in ``pytest tests/kodi --kodi``.

``--kodi-root=DIR`` takes the Kodi that is installed in a Debian root, instead of this machine's.
"""

import functools
import os
import shutil
import tempfile
from pathlib import Path

import pytest

import ipcdatastore

from . import staging
from .addon import SERVICE, Service
from .harness import Kodi

REGION = "kodi"
MEMORY = Path("/dev/shm")
NOTE = "figure"
# What must not be in Kodi's log, unless a test says that it brought it about.
PROBLEMS = ("Traceback", "EXCEPTION Thrown", "didn't stop in", "let's kill it", "warning <general>: [service.")


def pytest_addoption(parser):
    parser.addoption("--kodi", action="store_true", help="run the tests that need a real Kodi")
    parser.addoption("--kodi-root", default="/", help="the root of the system whose Kodi that is (default: this one)")


def pytest_ignore_collect(config):
    return None if config.getoption("--kodi", default=False) else True


@pytest.fixture
def note(record_property):
    """``note(line)``: print a figure below the results, also if the test ran in another process."""
    return functools.partial(record_property, NOTE)


def pytest_terminal_summary(terminalreporter):
    reports = terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", [])
    properties = [pair for report in reports if report.when == "call" for pair in report.user_properties]
    lines = [line for name, line in properties if name == NOTE]
    if lines:
        terminalreporter.section("figures")
    for line in lines:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def staged(tmp_path_factory):
    """The directories of all addons."""
    out = tmp_path_factory.mktemp("addons")
    return [*staging.stage(out), *staging.stage_own(out)]


@pytest.fixture(scope="module")
def memory():
    """Where the regions of this module are."""
    path = Path(tempfile.mkdtemp(prefix="ipcdatastore-kodi-", dir=MEMORY))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def booting(request, staged, memory, tmp_path_factory):
    """``booting(**options)``: another Kodi with a home of its own, that uses the same regions. It has not started."""
    made = []

    def make(name="home", addons=staged, **options):
        environment = {"IPCDATASTORE_DIR": str(memory)}
        root = request.config.getoption("--kodi-root")
        kodi = Kodi(tmp_path_factory.mktemp(name) / "home", addons, environment, root=root, **options)
        kodi.expected = []  # texts of the lines of its log that may look like problems
        made.append(kodi)
        return kodi

    yield make
    for kodi in made:
        kodi.close()
    for kodi in made:
        assert problems_of(kodi) == []


@pytest.fixture(scope="module")
def kodi(booting):
    """A Kodi with all addons, whose service is up and has tested itself."""
    kodi = booting()
    kodi.start()
    wait_until_up(kodi)
    yield kodi
    kodi.close()
    assert kodi.exit_code == 0
    assert kodi.lines("[service.ipcdatastore] stopped")


@pytest.fixture
def service(kodi):
    """That Kodi's service, for its settings and dialogs; after the test the settings are as they were."""
    service = Service(kodi)
    yield service
    kodi.to_home()
    service.restore()


@pytest.fixture
def outside(kodi, memory):
    """This process's own handle on the region of that Kodi."""
    with ipcdatastore.open(REGION, directory=memory, mode="w") as store:
        yield store
        assert store.check() == []


@pytest.fixture
def content_of(tmp_path):
    """``content_of(image)``: everything in it."""

    def read(image):
        with ipcdatastore.open("scratch", directory=tmp_path / "scratch") as scratch:
            scratch.restore(image)
            assert scratch.check() == []
            return dict(scratch)

    return read


def images_of(kodi, name=REGION):
    """The images that the service of that Kodi has written, the newest last."""
    return sorted((kodi.home.addon_data(SERVICE) / "images" / name).glob("*.image"))


def wait_until_up(kodi):
    kodi.wait_for(lambda: kodi.lines("[service.ipcdatastore] self-test: "), 30, "the service's self-test")


def reboot(memory):
    """What a reboot leaves of memory."""
    for path in memory.iterdir():
        if path.is_dir():  # of an object that was served
            shutil.rmtree(path)
        else:
            path.unlink()


def problems_of(kodi):
    lines = [line for line in kodi.log().splitlines() if any(problem in line for problem in PROBLEMS)]
    return [line for line in lines if not any(text in line for text in kodi.expected)]


@pytest.fixture(scope="session", autouse=True)
def no_image_elsewhere(images):
    """A Kodi never sees where the suite has its images: it has a home."""
    assert "IPCDATASTORE_IMAGES" in os.environ
