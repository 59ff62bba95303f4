"""The system fails: disks that are full or broken, no descriptors, no locks, files changed by others.

After each fault: the process lives, the error is ours, nothing acknowledged is lost, and all works again when the fault
has ended. Full disks that are real are in ``test_bad_input.py`` and ``test_snapshot.py``.
"""

import errno
import os
import shutil
import subprocess

import pytest

import ipcdatastore
from children import crew, say
from crash.scenarios import SCENARIOS
from crash.tape import contents, open_copy
from disks import place  # noqa: F401 - a fixture
from ipcdatastore import image, platform
from ipcdatastore.attach import Options
from ipcdatastore.engine import Engine
from ipcdatastore.layout import IMAGE_NUMBER

GROWING = [scenario for scenario in SCENARIOS if scenario[0] not in ("check", "delete", "clear")]


# --- no space ----------------------------------------------------------------------------------------------
class NoSpace:
    """Stands in for `platform.reserve`; from call `number` (from 0) on, or at that one only, the disk is full."""

    def __init__(self, number, *, for_ever):
        self.number, self.for_ever = number, for_ever
        self.calls = 0
        self.real = platform.reserve

    def __call__(self, fd, offset, length):
        self.calls += 1
        if self.calls - 1 == self.number or (self.for_ever and self.calls > self.number):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.real(fd, offset, length)


@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("scenario", GROWING, ids=[name for name, _, _ in GROWING])
def test_no_space_at_any_allocation(directory, monkeypatch, scenario, for_ever):
    """A growth, if the operation takes one, is refused: then other room is found, or nothing has happened."""
    name, set_up, operate = scenario
    engine = Engine("origin", str(directory), Options())
    set_up(engine)
    before = contents(engine)
    prepared = (directory / "origin.region").read_bytes()
    operate(engine)
    after = contents(engine)
    engine.close()
    for number in range(20):
        engine = open_copy(prepared, directory)
        full = NoSpace(number, for_ever=for_ever)
        monkeypatch.setattr(platform, "reserve", full)
        try:
            operate(engine)
            refused = False
        except ipcdatastore.StoreFullError:
            refused = True
        monkeypatch.setattr(platform, "reserve", full.real)
        assert engine.check() == []
        if "evict" not in name:
            assert contents(engine).keys() == (before if refused else after).keys()
        operate(engine)  # the disk has room again
        assert engine.check() == []
        engine.close()
        if full.calls <= number:
            return
    raise AssertionError("so many allocations?")


@pytest.mark.parametrize("number", range(6))
def test_no_space_while_a_store_comes_back(place, monkeypatch, number):  # noqa: F811
    with place.open(persist=True) as store:
        store.update({f"k{n}": os.urandom(9000) for n in range(60)})
        held = dict(store)
        store.flush()
    place.reboot()
    full = NoSpace(number, for_ever=True)
    monkeypatch.setattr(platform, "reserve", full)
    try:
        place.open().close()
    except (ipcdatastore.PlaceError, ipcdatastore.StoreFullError):
        assert full.calls > number
        left = [entry for entry in os.listdir(place.regions) if not entry.endswith(".lock")]
        assert left == [], "half of a region was left"
    monkeypatch.setattr(platform, "reserve", full.real)
    with place.open() as store:
        assert dict(store) == held
        assert store.check() == []


# --- a disk that fails -------------------------------------------------------------------------------------
class BadDisk:
    """Stands in for the `os` of `image`: reads of one part of a file that is opened fail, or one kind of call does."""

    def __init__(self, first, last):
        self.first, self.last = first, last

    def __getattr__(self, name):
        return getattr(os, name)

    def fdopen(self, *arguments, **options):
        return BadFile(os.fdopen(*arguments, **options), self.first, self.last)


class BadFile:
    def __init__(self, file, first, last):
        self.file, self.first, self.last = file, first, last

    def __getattr__(self, name):
        return getattr(self.file, name)

    def read(self, length):
        at = self.file.tell()
        if at < self.last and at + length > self.first:
            if at < self.first:
                return self.file.read(self.first - at)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self.file.read(length)


@pytest.fixture(params=["raw", "entries"])
def kept(request, place):  # noqa: F811
    """A store with one image. What it held."""
    with place.open(persist=request.param == "raw") as store:
        for number in range(60):
            store.set(f"k{number}", os.urandom(2000), persist=True)
        held = dict(store)
        store.flush()
    return held


@pytest.mark.parametrize("part", ["first sector", "middle", "end"])
def test_an_image_that_cannot_be_read(place, kept, monkeypatch, part):  # noqa: F811
    path = place.newest()
    size = path.stat().st_size
    middle = size // 2 // 4096 * 4096
    bad = {"first sector": (0, 4096), "middle": (middle, middle + 4096), "end": (size - 60, size)}
    place.reboot()
    monkeypatch.setattr(image, "os", BadDisk(*bad[part]))
    with pytest.raises(ipcdatastore.PlaceError, match="cannot be read at byte"):
        place.open()
    assert not (place.regions / "s.region").exists(), "nothing is made: an empty store would be taken for the real one"
    with place.open("other", snapshot_directory=str(place.images.parent / "elsewhere")) as store:
        with pytest.raises(ipcdatastore.PlaceError, match="cannot be read at byte"):
            store.restore(path)
        restored = store.restore(path, salvage=True)
        assert any("cannot be read" in problem for problem in restored.problems)
        found = dict(store)
        assert all(kept[key] == value for key, value in found.items())
        # A record of 2,000 bytes shares a lost sector with three others at most; the raw copy's slots with all.
        assert len(found) >= (60 if part == "first sector" else 56)
        assert store.check() == []
    monkeypatch.undo()
    with place.open() as store:
        assert dict(store) == kept


def test_an_image_of_before_a_clear_that_cannot_be_read_is_told(place, kept, monkeypatch):  # noqa: F811
    """It may bring back what was deleted; and the newest must not go for it."""
    old = place.newest()
    real = image.Image.read

    def read(self, at, length):
        if self.path == str(old):
            raise ipcdatastore.PlaceError("EIO", path=self.path)
        return real(self, at, length)

    with place.open() as store:
        store._engine.region.words[IMAGE_NUMBER] = place.numbers()[0]
        monkeypatch.setattr(image.Image, "read", read)
        with pytest.raises(ipcdatastore.SnapshotError, match=r"images of before are still there.*EIO"):
            store.clear()
        store.set("after", 1, persist=True)
        with pytest.raises(ipcdatastore.SnapshotError, match="EIO"):
            store.flush()
        assert old.exists()
        monkeypatch.setattr(image.Image, "read", real)
        store.flush()
        assert not old.exists()
        assert store.check() == []
    place.reboot()
    with place.open() as store:
        assert dict(store) == {"after": 1}


# --- no descriptors ------------------------------------------------------------------------------------------
def without_descriptors(directory):
    """Every operation with 0, 1, 2, ... descriptors to be had."""
    import resource
    import traceback

    images = os.path.join(directory, "images")
    options = {"directory": directory, "snapshot_directory": images}
    store = ipcdatastore.open("region", **options)
    store.update({f"k{n}": "v" * n for n in range(20)})
    store.set("kept", 1, persist=True)
    store.flush()
    store.backup(os.path.join(directory, "backup"))
    operations = {
        "open": lambda: ipcdatastore.open("region", **options).close(),
        "open another": lambda: ipcdatastore.open("second", directory=directory).close(),
        "get": lambda: store.get(("absent", 1)),
        "set": lambda: store.set("k1", "x"),
        "grow": lambda: store.set("large", bytes(len(store.get("large", b"")) + 300_000)),
        "transaction": lambda: store.set_many({"k1": 1, "k2": 2}),
        "flush": lambda: (store.set("kept", 2, persist=True), store.flush()),
        "backup": lambda: store.backup(os.path.join(directory, "backup")),
        "restore": lambda: store.restore(os.path.join(directory, "backup")),
        "lock": lambda: store.lock("l").__enter__().release(),
        "check": store.check,
        "watch": lambda: store.watch(timeout=0).poll(),
        "clear": store.clear,
    }
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wrong, refused = [], 0
    for operation in operations.values():
        operation()  # imports what it needs: Python's own errors are not ours
    for name, operation in operations.items():
        if name == "open another":
            os.unlink(os.path.join(directory, "second.region"))
        for free in range(8):
            used = max(map(int, os.listdir("/proc/self/fd")))
            taken = [os.dup(0) for _ in range(used - len(os.listdir("/proc/self/fd")) + 2)]
            used = max(map(int, os.listdir("/proc/self/fd"))) - 1
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1 + free, hard))
            try:
                operation()
            except ipcdatastore.DatastoreError:
                refused += 1
            except Exception as error:  # noqa: BLE001 - the point of it
                wrong.append(f"{name} with {free} descriptors: {error!r}\n{traceback.format_exc()}")
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for fd in taken:
                    os.close(fd)
            problems = store.check()
            if problems:
                wrong.append(f"after {name} with {free}: {problems}")
        try:
            operation()
        except Exception as error:  # noqa: BLE001
            wrong.append(f"{name} with descriptors again: {error!r}")
    store.set("kept", "in the end", persist=True)
    store.flush()
    store.close()
    os.unlink(os.path.join(directory, "region.region"))
    with ipcdatastore.open("region", **options) as store:
        if store.get("kept") != "in the end":
            wrong.append("what was flushed did not come back")
    say([refused, wrong])


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc")
def test_no_descriptors_left(directory):
    with crew() as start:
        ((refused, wrong),) = start(without_descriptors, directory).finish()
    assert wrong == [], "\n".join(wrong)
    assert refused > 10


# --- no lock -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EINVAL, errno.EIO, errno.EBADF])
def test_a_lock_that_the_system_does_not_give(directory, code):
    with ipcdatastore.open("region", directory=directory) as store:
        store.update(a=1, b=2)
        before = dict(store)
        real = store._engine.coordinator.lock_file

        def refuse(fd, operation):
            if operation != platform.LOCK_UN:
                raise OSError(code, os.strerror(code))
            real(fd, operation)

        store._engine.coordinator.lock_file = refuse
        for operation in (
            lambda: store.set("a", 3),
            lambda: store.set_many({"a": 3, "b": 4}),
            lambda: store.__delitem__("a"),
            store.clear,
            store.check,
            store.repair,
        ):
            with pytest.raises(ipcdatastore.PlaceError, match="gives no lock"):
                operation()
        assert dict(store) == before
        store._engine.coordinator.lock_file = real
        store["a"] = 5
        assert store.check() == []


# --- files that others change ----------------------------------------------------------------------------------
def test_a_region_that_others_may_suddenly_write(directory):
    """Who has it open goes on, who opens it now is told."""
    with ipcdatastore.open("region", directory=directory) as store:
        store["a"] = 1
        path = directory / "region.region"
        path.chmod(0o666)
        with pytest.raises(ipcdatastore.UntrustedRegionError):
            ipcdatastore.open("region", directory=directory)
        store["a"] = 2
        path.chmod(0o600)
        with ipcdatastore.open("region", directory=directory) as other:
            assert other["a"] == 2
            assert other.check() == []


@pytest.mark.parametrize("how", ["removed", "replaced", "renamed"])
def test_a_region_that_goes_under_live_handles(directory, how):
    path = directory / "region.region"
    with ipcdatastore.open("region", directory=directory) as store:
        store["a"] = 1
        if how == "removed":
            path.unlink()
        elif how == "renamed":
            path.rename(directory / "elsewhere.region")
        else:
            shutil.copy(str(path), str(directory / "copy"))
            (directory / "copy").chmod(0o600)
            (directory / "copy").replace(path)
        assert store["a"] == 1  # cached
        store._engine.region.check_due = 0  # not to wait for the next look
        for operation in (lambda: store.set("a", 2), lambda: store.get("never read"), store.clear):
            with pytest.raises(ipcdatastore.RegionNotFoundError, match="removed or replaced"):
                operation()
    with ipcdatastore.open("region", directory=directory) as store:
        assert store.get("a") == (1 if how == "replaced" else None)
        store["a"] = 3
        assert store.check() == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount")
def test_a_read_only_file_system(tmp_path):
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", str(mounted)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("mounts are not allowed here")
    try:
        with ipcdatastore.open("region", directory=mounted) as store:
            store["a"] = 1
        subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
        for mode in ("c", "w", "n"):
            with pytest.raises(ipcdatastore.PlaceError, match="Read-only"):
                ipcdatastore.open("region", directory=mounted, mode=mode)
        with pytest.raises(ipcdatastore.PlaceError, match="Read-only"):
            ipcdatastore.open("another", directory=mounted)
        with ipcdatastore.open("region", directory=mounted, mode="r") as store:
            assert store["a"] == 1
            assert store.check() == []
            assert store.get_many(["a", "b"]) == {"a": 1}
            with pytest.raises(ipcdatastore.ReadOnlyError):
                store["a"] = 2
        subprocess.run(["mount", "-o", "remount,rw", str(mounted)], check=True)
        with ipcdatastore.open("region", directory=mounted) as store:
            store["a"] = 2
            assert store.check() == []
    finally:
        subprocess.run(["umount", "-l", str(mounted)], check=False)


# --- files of others ---------------------------------------------------------------------------------------------
class Marker:
    """Unpickled, it leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can make files of other users")
@pytest.mark.parametrize("how", ["owner", "mode"])
def test_a_crafted_store_of_another_user_is_never_unpickled(place, tmp_path, how):  # noqa: F811
    """Neither his region nor his image, whichever way it is opened; the same files of ours are."""
    marker = tmp_path / "marker"
    with place.open(persist=True) as store:
        store["trap"] = Marker(str(marker))
        store.flush()
    region, kept = place.regions / "s.region", place.newest()

    def hand_over(path):
        if how == "owner":
            os.chown(path, 12345, 12345)
        else:
            path.chmod(0o622)

    def take_back(path):
        os.chown(path, os.geteuid(), os.getegid())
        path.chmod(0o600)

    hand_over(region)
    for mode in ("r", "w", "c", "n"):
        with pytest.raises(ipcdatastore.UntrustedRegionError):
            place.open(mode=mode)
    take_back(region)
    hand_over(kept)
    with place.open("other", snapshot_directory=str(tmp_path / "elsewhere")) as store:
        for salvage in (False, True):
            with pytest.raises(ipcdatastore.UntrustedRegionError):
                store.restore(kept, salvage=salvage)
        assert len(store) == 0
    place.reboot()
    with pytest.raises(ipcdatastore.UntrustedRegionError):
        place.open()
    assert not marker.exists()
    take_back(kept)
    with place.open() as store:
        store["trap"].close()
        assert store.check() == []
    assert marker.exists()
