"""Files of strangers, files that lie, full disks, no descriptors, directories that vanish."""

import os
import resource
import shutil
import subprocess
import time
from zlib import crc32

import pytest

import ipcdatastore
from children import say
from ipcdatastore.calls import clients, files, layout, server
from waiters import Catching

from .served import PATIENCE, Elsewhere, Thing, eventually, left_in

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX owners and modes")
as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can make files of other users, or mount"
)


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(clients, "LOOK_AT_CLIENTS", 0.01)
    monkeypatch.setattr(server, "SERVER_TICK", 0.01)


@pytest.fixture
def served(directory):
    with ipcdatastore.serve_object("thing", Thing(), directory=directory, max_message=1 << 20).start() as running:
        yield running


@pytest.fixture
def witness(served, directory):
    """A client that must go on being served."""
    proxy = ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)
    assert proxy.give(1) == 1
    yield proxy
    assert proxy.give(2) == 2
    assert ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE).give(3) == 3


def look_again(served):
    """Have the server look at its directory."""
    served._shared.words[layout.CONNECT] = (served._shared.words[layout.CONNECT] + 2) & layout.MASK
    served._ring()


def static(served, **changed):
    fields = {
        "magic": layout.CLIENT_MAGIC,
        "version": layout.VERSION,
        "order": layout.BYTE_ORDER_MARK,
        "requests": 4096,
        "responses": 4096,
        "id": served.id,
        "pid": os.getpid(),
    }
    fields.update(changed)
    packed = layout.CLIENT_STATIC.pack(*fields.values())
    return packed + layout.STATIC_CRC.pack(crc32(packed))


def put_file(served, data, size=layout.PAGE + 8192, name="0123456789abcdef", mode=0o600):
    path = os.path.join(served.path, name + layout.CLIENT_SUFFIX)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, mode), "wb") as file:
        file.write(data.ljust(size, b"\0"))
    os.chmod(path, mode)
    return path


def passes_over(served, path):
    """The server has looked at the file, and does not serve it."""
    look_again(served)
    eventually(lambda: path in served._clients._refused or path not in files.entries(served.path, layout.CLIENT_SUFFIX))
    assert path not in served._clients._sessions


# --- files that are none -----------------------------------------------------------------------------------
GARBAGE = {
    "empty": lambda served: (b"", 0),
    "short": lambda served: (static(served), 100),
    "zeros": lambda served: (b"", 20_000),
    "noise": lambda served: (b"\xa5\x5a" * 10_000, 20_000),
    "magic": lambda served: (static(served, magic=layout.SERVER_MAGIC), 20_000),
    "version": lambda served: (static(served, version=layout.VERSION + 1), 20_000),
    "byte order": lambda served: (static(served, order=0x04030201), 20_000),
    "checksum": lambda served: (static(served)[:-1] + b"?", 20_000),
    "another server": lambda served: (static(served, id=b"x" * 16), 20_000),
    "odd ring": lambda served: (static(served, requests=5000), 20_000),
    "no ring": lambda served: (static(served, requests=0), 20_000),
    "tiny ring": lambda served: (static(served, responses=2048), 20_000),
    "huge ring": lambda served: (static(served, requests=1 << 31), 20_000),
    "ring beyond the end": lambda served: (static(served, responses=16384), 20_000),
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_a_client_file_that_is_none(served, witness, kind):
    data, size = GARBAGE[kind](served)
    path = put_file(served, data, size)
    passes_over(served, path)
    os.unlink(path)


def test_files_of_other_kinds(served, witness, tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(static(served).ljust(20_000, b"\0"))
    for name, make in (
        ("a" * 16, lambda path: os.symlink(victim, path)),
        ("b" * 16, lambda path: os.mkfifo(path, 0o600)),
        ("c" * 16, os.mkdir),
        ("d" * 16, lambda path: os.symlink("/dev/zero", path)),
        ("e" * 16, lambda path: os.symlink(tmp_path / "absent", path)),
    ):
        path = os.path.join(served.path, name + layout.CLIENT_SUFFIX)
        make(path)
        look_again(served)
        witness.give(1)
        witness.give(1)
        assert path not in served._clients._sessions
    assert victim.read_bytes() == static(served).ljust(20_000, b"\0")
    for entry in os.listdir(served.path):
        if len(set(entry[:16])) == 1:
            path = os.path.join(served.path, entry)
            os.rmdir(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_client_file_that_others_may_write(served, witness, mode):
    path = put_file(served, static(served), mode=mode)
    passes_over(served, path)
    os.unlink(path)


@as_root
def test_a_client_file_of_somebody_else(served, witness):
    path = put_file(served, static(served), name="f" * 16)
    os.unlink(path)
    source = path + ".new"
    with open(source, "wb") as file:
        file.write(static(served).ljust(20_000, b"\0"))
    os.chown(source, 1234, 1234)
    os.rename(source, path)
    passes_over(served, path)
    os.unlink(path)


class Liar:
    """A client that writes what it likes."""

    def __init__(self, served):
        self.shared = files.make_client(served.path, served.id, 4096)
        self.words = self.shared.words
        self.served = served

    def frame(self, length, kind, number, total, body=b""):
        head = self.words[layout.REQUEST_HEAD]
        at = layout.PAGE + head % 4096
        self.shared.data[at : at + 16] = layout.FRAME.pack(length, kind, number, total)
        self.shared.data[at + 16 : at + 16 + len(body)] = body
        return (head + length + 31) & -16 & layout.MASK

    def say(self, head):
        self.words[layout.REQUEST_HEAD] = head & layout.MASK
        look_again(self.served)

    def is_given_up(self):
        eventually(lambda: self.words[layout.GIVEN_UP])
        eventually(lambda: not os.path.exists(self.shared.path))
        self.shared.close()


class Evil:
    """Must never be unpickled by who was lied to."""

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize(
    ("length", "total", "head"),
    [
        (100, 100, 16),
        (100, 100, 8),
        (100, 100, 1),
        (0xFFFFFFFF, 0xFFFFFFFF, 128),
        (16, 1 << 31, 32),
        (16, (1 << 20) + 1, 32),
        (16, 8, 32),
        (0, 0, 5000),
        (0, 0, 1 << 31),
        (0, 0, 0xFFFFFFFF),
    ],
)
def test_a_client_whose_frames_lie(served, witness, length, total, head):
    liar = Liar(served)
    liar.frame(length, layout.CALL, 1, total)
    liar.say(head)
    liar.is_given_up()


@pytest.mark.parametrize("word", [layout.RESPONSE_HEAD, layout.RESPONSE_TAIL, layout.REQUEST_TAIL, layout.STARTED])
@pytest.mark.parametrize("value", [1, 8, 15, 4095, 4096, 4088, 1 << 31, 0xFFFFFFFF, 0xFFFFFFF0])
def test_a_client_whose_words_lie(served, witness, word, value):
    import pickle

    liar = Liar(served)
    liar.words[word] = value
    body = pickle.dumps(("give", ("x" * 200,), {}))
    for number in range(1, 6):
        liar.say(liar.frame(len(body), layout.CALL, number, len(body), body))
        witness.give(number)
    liar.words[layout.CLOSED] = 1
    look_again(served)
    for number in range(3):
        witness.give(number)
    liar.shared.close()
    eventually(lambda: witness.give(1) and not os.path.exists(liar.shared.path))


@pytest.mark.parametrize(
    "request_",
    [
        None,
        5,
        (),
        ("give",),
        ("give", 5, {}),
        ("give", (), 5),
        ("give", (), {1: 2}),
        (None, (), {}),
        ([], (), {}),
        (b"give", (), {}),
        ("give", (), {}, 1),
    ],
    ids=repr,
)
@pytest.mark.parametrize("kind", [0, *range(1, 10), 16, 99, 0xFFFFFFFF])
def test_a_client_whose_requests_say_nothing(served, witness, request_, kind):
    import pickle

    liar = Liar(served)
    body = pickle.dumps(request_)
    liar.say(liar.frame(len(body), kind, 1, len(body), body))
    eventually(lambda: liar.words[layout.REQUEST_TAIL] or liar.words[layout.GIVEN_UP])
    liar.words[layout.CLOSED] = 1
    look_again(served)
    eventually(lambda: not os.path.exists(liar.shared.path))
    liar.shared.close()


def test_nothing_of_a_liar_is_unpickled(served, witness, tmp_path):
    import pickle

    evil = Evil()
    evil.path = str(tmp_path / "evil")
    body = pickle.dumps(evil)
    path = put_file(served, static(served, version=9) + body)
    passes_over(served, path)
    os.unlink(path)
    liar = Liar(served)
    liar.frame(len(body), layout.CALL, 1, (1 << 20) + 1, body)
    liar.say(4000)
    liar.is_given_up()
    assert not os.path.exists(evil.path)


def test_a_client_that_was_given_up_is_told(served, witness, directory):
    """What ruined it need not have been its own."""
    thing = ipcdatastore.connect("thing", directory=directory)
    link = ipcdatastore.link(thing)
    thing.give(1)
    connection = link.connection()

    def ruin():
        call = thing.give.submit(0)
        assert call.result() == 0
        mine = link.connection()
        mine._words[layout.REQUEST_HEAD] = (mine._words[layout.REQUEST_HEAD] + (1 << 20)) & layout.MASK
        mine._ring()
        eventually(lambda: mine._words[layout.GIVEN_UP])
        pending = thing.give.submit(1)
        with pytest.raises(ipcdatastore.ServerUnavailableError, match="gave it up"):
            pending.result()
        assert thing.give(2) == 2, "with a new connection"

    ruined = Catching(ruin)
    ruined.start()
    ruined.result()
    assert thing.give(3) == 3
    assert connection.is_usable()


# --- servers that are none ---------------------------------------------------------------------------------
def test_a_server_file_that_is_garbage(served, witness, directory):
    path = os.path.join(served.path, "f" * 32 + layout.SERVER_SUFFIX)
    for data in (b"", b"\xa5" * 8192):
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
        assert witness.give(1) == 1, "who is connected does not care"
        for use in (
            lambda: ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE).give(1),
            lambda: ipcdatastore.serve_object("thing", Thing(), directory=directory),
        ):
            try:
                use()
            except ipcdatastore.ObjectServedError:
                continue
            except ipcdatastore.FormatError as error:
                assert "delete" in str(error) or "not what its name says" in str(error)
                assert error.path == path
        assert len(ipcdatastore.objects(directory)) <= 1
    os.unlink(path)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
@pytest.mark.parametrize("inner", [False, True])
def test_a_directory_that_others_may_write(directory, mode, inner):
    if inner:
        os.mkdir(directory / "thing.object", 0o700)
    where = directory / "thing.object" if inner else directory
    os.chmod(where, mode)
    with pytest.raises(ipcdatastore.UntrustedRegionError, match="chmod 700"):
        ipcdatastore.serve_object("thing", Thing(), directory=directory)
    os.chmod(where, 0o700)
    with ipcdatastore.serve_object("thing", Thing(), directory=directory).start():
        os.chmod(where, mode)
        with pytest.raises(ipcdatastore.UntrustedRegionError, match="chmod 700"):
            ipcdatastore.connect("thing", directory=directory)
        assert ipcdatastore.objects(directory) == []
        os.chmod(where, 0o700)
    assert left_in(directory) == []


@as_root
def test_a_directory_of_somebody_else(directory):
    os.mkdir(directory / "thing.object", 0o700)
    os.chown(directory / "thing.object", 1234, 1234)
    with pytest.raises(ipcdatastore.UntrustedRegionError, match="uid 1234"):
        ipcdatastore.serve_object("thing", Thing(), directory=directory)
    with pytest.raises(ipcdatastore.UntrustedRegionError, match="uid 1234"):
        ipcdatastore.connect("thing", directory=directory)


@pytest.mark.parametrize("mode", [0o660, 0o606])
def test_a_server_file_that_others_may_write(served, witness, directory, mode):
    os.chmod(served._shared.path, mode)
    with pytest.raises(ipcdatastore.UntrustedRegionError, match="nothing of it was read"):
        ipcdatastore.connect("thing", directory=directory)
    os.chmod(served._shared.path, 0o600)


def test_a_place_that_is_no_directory(directory):
    (directory / "thing.object").write_bytes(b"")
    with pytest.raises(ipcdatastore.PlaceError, match="not a directory"):
        ipcdatastore.serve_object("thing", Thing(), directory=directory)
    with pytest.raises(ipcdatastore.PlaceError, match="not a directory"):
        ipcdatastore.connect("thing", directory=directory)
    assert ipcdatastore.objects(directory) == []


# --- faults --------------------------------------------------------------------------------------------------
@as_root
def test_a_full_disk(tmp_path):
    place = tmp_path / "tiny"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=600k,mode=700", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this machine does not let us mount a file system")
    try:
        with ipcdatastore.serve_object("thing", Thing(), directory=place).start():
            first = ipcdatastore.connect("thing", directory=place, timeout=PATIENCE)
            kept = [first]
            with pytest.raises(ipcdatastore.PlaceError, match="cannot be made.*free space") as caught:
                for _ in range(10):
                    kept.append(ipcdatastore.connect("thing", directory=place, timeout=PATIENCE))
            assert str(place) in caught.value.path
            assert not [entry for entry in left_in(place) if entry.endswith(".new")]
            assert first.give(1) == 1
            assert len(first.make(2_000_000)) == 2_000_000, "what goes through a ring needs no disk"
            del kept, caught
            ipcdatastore.link(first).close()
            eventually(lambda: not files.entries(str(place / "thing.object"), layout.CLIENT_SUFFIX))
            assert first.give(2) == 2, "there is room again"
            (place / "filler").write_bytes(b"x")
        with open(place / "filler", "wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(b"x" * 4096)
        with pytest.raises((ipcdatastore.PlaceError, OSError)):
            ipcdatastore.serve_object("thing", Thing(), directory=place)
        os.unlink(place / "filler")
        ipcdatastore.serve_object("thing", Thing(), directory=place).stop()
        assert left_in(place) == []
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def few_descriptors(directory):
    from calls.served import Thing

    class Tight(Thing):
        def tighten(self, more):
            used = len(os.listdir("/proc/self/fd"))
            limit = used - 1 + more if more is not None else 1000
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

        def processor_time(self):
            return time.process_time()

    server = ipcdatastore.serve_object("thing", Tight(), directory=directory)
    say("ready")
    server.run_forever()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc")
@pytest.mark.parametrize("more", [0, 1, 2, 3])
def test_a_server_without_descriptors(directory, start, more):
    child = start(few_descriptors, directory, before="import resource")
    assert child.hear() == "ready"
    thing = ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)
    thing.tighten(more)
    late = Catching(lambda: ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE).give(5))
    late.start()
    eventually(
        lambda: not late.is_alive() or len(files.entries(str(directory / "thing.object"), layout.CLIENT_SUFFIX)) == 2
    )
    before = thing.processor_time()
    for number in range(50):
        assert thing.give(number) == number
    assert thing.processor_time() - before < 5
    thing.tighten(None)
    assert late.result() == 5, "there is a descriptor again"
    child.kill()


def test_a_client_without_descriptors(directory, start):
    server = Elsewhere(start, directory)
    thing = ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)
    assert thing.give(1) == 1
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    errors = []
    for more in range(5):
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1 + more, hard))
        try:
            assert thing.give(2) == 2
            assert ipcdatastore.link(ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)).available()
        except OSError as error:
            errors.append(error)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert errors
    assert not [error for error in errors if isinstance(error, ipcdatastore.ServerUnavailableError)], errors
    assert thing.give(3) == 3
    del errors
    server.stop()


def test_the_directory_is_deleted_under_a_running_server(directory, start):
    server = Elsewhere(start, directory)
    thing = ipcdatastore.connect("thing", directory=directory)
    assert thing.give(1) == 1
    shutil.rmtree(directory / "thing.object")
    with pytest.raises(ipcdatastore.ServerUnavailableError):
        while True:
            thing.give(2)
    server.child.process.wait()
    with pytest.raises(AssertionError, match="somebody removed its file"):
        server.child.finish()
    with ipcdatastore.serve_object("thing", Thing(), directory=directory).start():
        assert thing.give(3) == 3
    assert left_in(directory) == []


def test_a_client_whose_file_is_deleted(served, witness):
    """It was found before that: nothing changes."""
    os.unlink(ipcdatastore.link(witness).connection()._shared.path)
    for number in range(100):
        assert witness.give(number) == number


def test_counters_that_wrap(served, witness):
    words = served._shared.words
    for at in range(layout.HISTOGRAM, layout.HISTOGRAM + layout.HISTOGRAM_SIZE):
        words[at] = layout.MASK
    for number in range(50):
        assert witness.give(number) == number


def test_numbers_that_wrap(served, witness):
    """After four thousand million calls, and bytes."""
    connection = ipcdatastore.link(witness).connection()
    connection._number = layout.MASK - 20
    for number in range(50):
        assert witness.give(number) == number
        assert witness.give.submit(number).result() == number
