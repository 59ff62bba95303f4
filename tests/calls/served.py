"""Objects that the tests serve, here and in other processes, and what both ends of a test use."""

import contextlib
import os
import threading
import time
from pathlib import Path

import ipcdatastore

PATIENCE = 30.0  # seconds after which a test gives up on what hangs
BRIEFLY = 0.1  # a time-out that is meant to pass


def eventually(condition):
    """Wait until `condition()` holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never comes true"
        time.sleep(0.002)


def note(path, text):
    """Add a line to a file: what a process did, however it ends."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(fd, f"{text}\n".encode())
    finally:
        os.close(fd)


def noted(path):
    return Path(path).read_text(encoding="ascii").split() if os.path.exists(path) else []


class Plain(Exception):
    """An exception as most are."""


class Rich(Exception):
    """One with a state of its own, that pickle can carry."""

    def __init__(self, code, detail):
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail

    def __reduce__(self):
        return Rich, (self.code, self.detail)


class Demanding(Exception):
    """Can be pickled, but not made anew: its constructor wants more than its arguments."""

    def __init__(self, code, detail):
        super().__init__(f"{code} {detail}")


class Locked(Exception):
    """Cannot be pickled at all."""

    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


class Frozen(Exception):
    """Takes no attribute, like one that is a frozen dataclass."""

    def __setattr__(self, name, value):
        raise TypeError(f"{name} cannot be set")


class Speechless(Exception):
    def __str__(self):
        raise ValueError("no text")


class Bomb:
    """Explodes when it is written."""

    def __reduce__(self):
        raise Plain("not to be written")


class LateBomb:
    """Explodes when it is read."""

    def __reduce__(self):
        return _explode, ()


def _explode():
    raise Plain("not to be read")


class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __eq__(self, other):
        return type(other) is Point and (self.x, self.y) == (other.x, other.y)

    __hash__ = None


class Closing:
    """An iterator that notes its end."""

    def __init__(self, numbers, path):
        self.numbers = iter(numbers)
        self.path = path

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.numbers)

    def close(self):
        note(self.path, "closed")


ERRORS = {
    error.__name__: error
    for error in (Plain, Rich, Demanding, Locked, Frozen, Speechless, KeyError, ValueError, OSError, ZeroDivisionError)
}


class Thing:
    """Marks nothing: its public methods can be called."""

    level = 7

    def __init__(self):
        self.total = 0
        self.calls = []
        self.produced = 0
        self._guard = threading.Lock()

    def give(self, value=None, *more, **named):
        return [value, list(more), named] if more or named else value

    def add(self, number):
        with self._guard:
            self.total += number
            return self.total

    def append(self, item):
        self.calls.append(item)

    def taken(self):
        items, self.calls = self.calls, []
        return items

    def make(self, size, byte=120):
        return bytes([byte]) * size

    def length(self, data):
        return len(data)

    def pattern(self, data):
        """The same bytes backwards: a message that was mixed up is seen."""
        return data[::-1]

    def fail(self, name, *arguments):
        raise ERRORS[name](*arguments)

    def fail_because(self):
        try:
            raise KeyError("the reason")
        except KeyError as reason:
            raise ValueError("the consequence") from reason

    def fail_with_note(self):
        error = ValueError("noted")
        error.add_note("look at this")
        raise error

    def fail_with_local(self):
        class Local(Exception):
            pass

        raise Local("unknown elsewhere")

    def fail_hugely(self, size):
        raise ValueError("x" * size)

    def fail_base(self, name):
        raise {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt, "GeneratorExit": GeneratorExit}[name]

    def dig(self, depth):
        return self.dig(depth + 1)

    def nested(self, depth):
        found = []
        for _ in range(depth):
            found = [found]
        return found

    def unpicklable(self):
        return threading.Lock()

    def bomb(self):
        return Bomb()

    def late_bomb(self):
        return LateBomb()

    def point(self, x, y):
        return Point(x, y)

    def local_object(self):
        class Hidden:
            pass

        Hidden.__qualname__ = "Hidden"
        return Hidden()

    def is_point(self, value):
        return type(value).__name__

    def count(self, many, path=None):
        """A generator."""
        try:
            for number in range(many):
                self.produced = number + 1
                yield number
        finally:
            if path is not None:
                note(path, "closed")

    def iterator(self, many, path):
        return Closing(range(many), path)

    def how_far(self):
        return self.produced

    def count_badly(self, many, name="Plain"):
        yield from range(many)
        raise ERRORS[name]("in the end")

    def big_items(self, many, size):
        for number in range(many):
            yield bytes([number % 256]) * size

    def odd_items(self):
        yield 1
        yield threading.Lock()
        yield 2

    def hold(self, path, value=None):
        """Comes back when there is a file."""
        eventually(lambda: os.path.exists(path))
        return value

    def hold_marked(self, log, number, path):
        note(log, number)
        eventually(lambda: os.path.exists(path))
        return number

    def note(self, path, text):
        note(path, text)
        return text

    def note_big(self, path, data):
        note(path, "ran")
        return len(data)

    def thread(self):
        return threading.get_ident()

    def pid(self):
        return os.getpid()

    @property
    def secret(self):
        return "a property is an attribute"

    @staticmethod
    def static(value):
        return value

    @classmethod
    def of_class(cls, value):
        return cls.__name__, value

    def _private(self):
        return "never"

    def __dunder(self):
        return "never"


class Chosen:
    """Marks what can be called."""

    plain = 5

    def __init__(self):
        self._volume = 3
        self.log = []

    @ipcdatastore.expose
    def find(self, title):
        return title.upper()

    def rebuild(self):
        return "not marked"

    @ipcdatastore.expose(oneway=True)
    def tell(self, item):
        self.log.append(item)

    @ipcdatastore.expose
    def told(self):
        return list(self.log)

    @ipcdatastore.expose
    @property
    def volume(self):
        return self._volume

    @volume.setter
    def volume(self, value):
        if value < 0:
            raise ValueError("too quiet")
        self._volume = value

    @ipcdatastore.expose
    @property
    def size(self):
        return 11

    @property
    def hidden(self):
        return "not marked"

    @ipcdatastore.expose
    @staticmethod
    def static(value):
        return value

    @ipcdatastore.expose
    @classmethod
    def of_class(cls, value):
        return [cls.__name__, value]


KINDS = {"Thing": Thing, "Chosen": Chosen}


@contextlib.contextmanager
def polling(server):
    """A host that calls ``poll`` in its own loop."""
    ended = threading.Event()
    errors = []

    def host():
        try:
            while not ended.is_set():
                server.poll(0.02)
        except BaseException as error:  # noqa: BLE001 - raised again
            errors.append(error)

    thread = threading.Thread(target=host)
    thread.start()
    try:
        yield server
    finally:
        ended.set()
        thread.join()
        server.stop()
    if errors:
        raise errors[0]


def in_child(directory, name, kind, options, path=None):
    """What a child process runs: a server that ends when its test says so, or is killed."""
    from calls.served import KINDS as kinds  # noqa: N811, PLW0406 - it runs in another process

    server = ipcdatastore.serve_object(name, kinds[kind](), directory=directory, **options)

    def listen():
        hear()  # noqa: F821 - the child's
        server.stop()

    threading.Thread(target=listen, daemon=True).start()
    say("ready")  # noqa: F821
    server.run_forever()


class Elsewhere:
    """A server in a process of its own."""

    def __init__(self, start, directory, name="thing", kind="Thing", before="", **options):
        self.child = start(in_child, directory, name, kind, options, before=before)
        assert self.child.hear() == "ready"
        self.pid = self.child.pid

    def kill(self):
        self.child.kill()

    def stop(self):
        self.child.say("stop")
        assert self.child.finish() == []


def left_in(directory):
    """Every file and directory that is there."""
    return sorted(str(path.relative_to(directory)) for path in Path(directory).rglob("*"))


def swept(directory, name="thing"):
    """What is left after the next server has come and gone: it clears up after the dead."""
    for path in Path(directory).rglob("*.new"):  # what nobody is finishing any more
        os.utime(path, (0, 0))
    ipcdatastore.serve_object(name, Thing(), directory=directory).stop()
    return left_in(directory)
