"""What every test may use."""

import os
import shutil
import tempfile
from pathlib import Path

import hypothesis
import pytest

from ipcdatastore import futex, waiting
from waiters import NEVER, Asleep

# Nothing here is judged by the clock: a busy machine is not a bug.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

MEMORY = Path("/dev/shm")
ROOM = 256 << 20  # containers often have 64 MiB there, which is less than the suite needs


def has_memory_directory():
    return os.access(MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(MEMORY).free >= ROOM


@pytest.fixture(scope="session", autouse=True)
def images(tmp_path_factory):
    """No test, and no child of one, writes into the real user's data."""
    base = tmp_path_factory.mktemp("images")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPCDATASTORE_IMAGES", str(base))
        yield base


@pytest.fixture
def directory(tmp_path):
    """A private directory for the regions of one test, in memory where the machine has such a place."""
    parent = MEMORY if has_memory_directory() else tmp_path
    path = Path(tempfile.mkdtemp(prefix="ipcdatastore-test-", dir=parent))  # mkdtemp makes it 0700
    yield path
    # Windows keeps a file that is still mapped, and a process that was killed may be slow to let go of it.
    shutil.rmtree(path, ignore_errors=os.name == "nt")


@pytest.fixture(params=["futex", "polling"])
def how(request, monkeypatch):
    """Both ways to sleep until the region changes, in this process. For children: ``before=waiters.BEFORE[how]``."""
    monkeypatch.setattr(futex, "_prepared", () if request.param == "futex" else None)
    if request.param == "futex" and not futex.available():
        pytest.skip("this system has no futex, or the environment switches it off")
    return request.param


@pytest.fixture
def no_tick(monkeypatch):
    """Whoever is not woken sleeps on. Where one polls this changes nothing."""
    monkeypatch.setattr(waiting, "TICK", NEVER)


@pytest.fixture
def asleep(monkeypatch):
    return Asleep(monkeypatch)
