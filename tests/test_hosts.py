"""What hosts like Kodi need: waits that end when the host does, and nothing that must be installed."""

import subprocess
import sys
import types

import pytest

import ipcdatastore
from ipcdatastore import platform
from ipcdatastore.lockfile import LockFile
from ipcdatastore.locks import lock_path
from waiters import held_by_a_thread


class HostEnds:
    """Lets a wait begin, and then ends it."""

    def __init__(self, pauses):
        self.pauses = pauses

    def __call__(self):
        self.pauses -= 1
        if self.pauses < 0:
            raise ipcdatastore.WaitEndedError("the host ends")


@pytest.fixture
def store(directory):
    with ipcdatastore.open("demo", directory=directory) as store:
        yield store
        ipcdatastore.on_wait(None)
        assert store.check() == []


@pytest.fixture
def ends():
    ipcdatastore.on_wait(HostEnds(3))
    yield
    ipcdatastore.on_wait(None)


def never(transaction):
    raise ipcdatastore.ConflictError("always")


WAITS = {
    "wait": lambda store: store.wait("never"),
    "watch": lambda store: next(iter(store.watch())),
    "get_or_set": lambda store: store.get_or_set("taken", int),
    "lock": lambda store: store.lock("taken").acquire(),
    "transact": lambda store: store.transact(never),
}


@pytest.mark.parametrize("futex", ["1", "0"])
@pytest.mark.parametrize("name", WAITS)
def test_every_wait_ends_with_its_host(store, monkeypatch, ends, name, futex):
    if futex == "0":
        monkeypatch.setattr("ipcdatastore.futex._prepared", None)
    lock, value = (LockFile(lock_path(store._engine, kind, b"staken"), 1) for kind in ("lock", "value"))
    with lock, value, pytest.raises(ipcdatastore.WaitEndedError, match="the host ends"):
        WAITS[name](store)


def test_waiting_for_the_writer_lock_ends_with_its_host(store, directory, ends):
    with ipcdatastore.open("demo", directory=directory) as other:
        other._engine.coordinator.take()
        with pytest.raises(ipcdatastore.WaitEndedError):
            store.set("a", 1)
        with pytest.raises(ipcdatastore.WaitEndedError):
            store.increment("a")
        other._engine.coordinator.release()
    ipcdatastore.on_wait(None)
    store.set("a", 2)
    assert store["a"] == 2


def test_waiting_for_a_thread_ends_with_the_host(store, ends):
    with held_by_a_thread(store._engine.coordinator), pytest.raises(ipcdatastore.WaitEndedError):
        store.set("a", 1)
    ipcdatastore.on_wait(None)
    store.set("a", 1)


def test_waiting_for_a_creator_ends_with_the_host(directory, ends, monkeypatch):
    monkeypatch.setitem(sys.modules, "filelock", None)
    with LockFile(f"{directory}/demo.region.create.lock", 1), pytest.raises(ipcdatastore.WaitEndedError):
        ipcdatastore.open("demo", directory=directory)


@pytest.mark.parametrize("function", [3, "stop", ()])
def test_only_functions_are_called(function):
    with pytest.raises(ipcdatastore.ArgumentError, match="on_wait"):
        ipcdatastore.on_wait(function)


class TestWithoutPackages:
    @pytest.fixture(autouse=True)
    def _nothing_installed(self, monkeypatch):
        for name in ("filelock", "portalocker", "platformdirs"):
            monkeypatch.setitem(sys.modules, name, None)

    def test_a_region_is_made(self, directory):
        with ipcdatastore.open("demo", directory=directory) as store:
            store["a"] = 1
            assert store.check() == []

    def test_the_lock_for_making_it_is_waited_for(self, directory):
        path = f"{directory}/demo.region.create.lock"
        with LockFile(path, 1), pytest.raises(ipcdatastore.LockTimeoutError, match=r"create\.lock"):
            ipcdatastore.open("demo", directory=directory, timeout=0.01)

    @pytest.mark.skipif(platform.IS_WINDOWS, reason="there it has the package")
    def test_it_is_the_same_lock_as_that_of_the_package(self, directory):
        script = (
            "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print('locked', flush=True); "
        )
        script += "sys.stdin.read()"
        path = f"{directory}/demo.region.create.lock"
        command = [sys.executable, "-c", script, path]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout.readline() == "locked\n"
            with pytest.raises(ipcdatastore.LockTimeoutError) as caught:
                ipcdatastore.open("demo", directory=directory, timeout=0.01)
            assert not sys.platform.startswith("linux") or caught.value.holder == child.pid
            child.stdin.close()
        with ipcdatastore.open("demo", directory=directory) as store:
            assert store.check() == []

    def test_windows_own_lock(self, tmp_path, monkeypatch):
        """Only that it is asked for the right bytes: there is no Windows here."""
        locked, asked = set(), []

        def locking(fd, kind, count):
            asked.append((kind, count, platform.os.lseek(fd, 0, 1)))
            if kind == "unlock":
                locked.clear()
            elif locked:
                raise PermissionError(13, "locked")
            else:
                locked.add(fd)

        msvcrt = types.SimpleNamespace(LK_NBLCK="lock", LK_UNLCK="unlock", locking=locking)
        monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)
        monkeypatch.setattr(platform, "fcntl", None)
        path = str(tmp_path / "a.lock")
        with LockFile(path, 1), pytest.raises(ipcdatastore.LockTimeoutError):
            LockFile(path, 0.001).acquire()
        with LockFile(path, 0.001):
            pass
        assert set(asked) == {("lock", 1, 0), ("unlock", 1, 0)}
