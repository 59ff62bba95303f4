"""Sub-interpreters of one process, as Kodi runs its addons: with one GIL for all, and each with a GIL of its own."""

import os
import sys
import threading

import pytest

import ipcdatastore
from children import crew, say


def interpreters(own_gil):
    """A class whose instances run code in an interpreter of their own; or a reason why there is none."""
    try:
        import _interpreters as api  # Python 3.13 and up
    except ImportError:
        try:
            import _xxsubinterpreters as api
        except ImportError:
            return f"Python {sys.version.split()[0]} has no module for sub-interpreters"
    if own_gil and sys.version_info < (3, 12):
        return "before Python 3.12 all interpreters share one GIL"
    prefix = f"import sys; sys.path[:] = {sys.path!r}\n"

    class Interpreter:
        def __init__(self):
            if api.__name__ == "_interpreters":
                self.id = api.create("isolated" if own_gil else "legacy")
            elif sys.version_info >= (3, 9):
                self.id = api.create(isolated=own_gil)
            else:
                self.id = api.create()

        def run(self, code):
            failed = api.run_string(self.id, prefix + code)  # up to 3.12 it raises
            if failed is not None:
                raise RuntimeError(getattr(failed, "errdisplay", None) or str(failed))

        def destroy(self):
            api.destroy(self.id)

    return Interpreter


def in_threads(jobs):
    """Run all at once, each in a thread of its own; the first error is raised again."""
    errors = []

    def run(job):
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - raised again
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def scenario(function, directory, own_gil):
    """Run it in a process of its own; then the region is whole."""
    with crew() as start:
        said = start(function, directory, own_gil, uses=(interpreters, in_threads)).finish()
    for line in said:
        if type(line) is str and line.startswith("skip: "):
            pytest.skip(line[6:])
    assert said == ["done"]
    with ipcdatastore.open("region", directory=directory) as store:
        assert store.check() == []


gils = pytest.mark.parametrize("own_gil", [False, True], ids=["one GIL", "own GIL"])


def write_and_read(directory, own_gil):
    interpreter = interpreters(own_gil)
    if type(interpreter) is str:
        say("skip: " + interpreter)
        return
    if own_gil and sys.version_info < (3, 13):
        # Making a region needs filelock, whose imports (hashlib, datetime) abort early releases of 3.12 by themselves.
        ipcdatastore.open("region", directory=directory).close()
    one, two = interpreter(), interpreter()
    opening = f"import ipcdatastore\nstore = ipcdatastore.open('region', directory={directory!r})\n"
    # The region is made inside of an interpreter too.
    one.run(opening + "store['a'] = {'x': [1]}; store[('t', 1)] = 'from one'; assert store['a'] == {'x': [1]}")
    two.run(opening + "assert store['a'] == {'x': [1]}; assert store[('t', 1)] == 'from one'; store['b'] = 2.5")
    with ipcdatastore.open("region", directory=directory) as store:
        assert store["b"] == 2.5
        store["a"] = "from main"
        one.run("assert store['a'] == 'from main'; assert store['b'] == 2.5; assert store.get('missing') is None")
        # Each has a handle of its own, and they exclude each other.
        one.run("store.update(p=1, q=1); assert store.get_many(['p', 'q']) == {'p': 1, 'q': 1}")
        two.run("t = store.transaction(); t['p'] += 1; t['q'] += 1; t.commit()")
        two.run("store['grown'] = b'x' * 300_000; store.namespace('n')['x'] = 1")
        assert store.get_many(["p", "q"]) == {"p": 2, "q": 2}
        assert len(store["grown"]) == 300_000
        one.run("assert len(store['grown']) == 300_000; assert sorted(store.namespace('n')) == ['x']")
        one.run("store.close()")
        two.run("assert store['a'] == 'from main'; assert store.check() == []")
        one.destroy()
        two.run("store['after'] = 1; assert store.increment('after') == 2")
        two.destroy()  # with its handle open
        store["c"] = 1
        assert store["after"] == 2
        assert store.check() == []
    say("done")


@gils
def test_write_in_one_read_in_another(directory, own_gil):
    scenario(write_and_read, directory, own_gil)


def count_in_threads(directory, own_gil):
    interpreter = interpreters(own_gil)
    if type(interpreter) is str:
        say("skip: " + interpreter)
        return
    times = 150
    code = f"""
import ipcdatastore
with ipcdatastore.open("region", directory={directory!r}) as store:
    for n in range({times}):
        store.increment("n")
        store.set_many({{"p": n, "q": n}})
        both = store.get_many(["p", "q"])
        assert both["p"] == both["q"], both
"""
    ipcdatastore.open("region", directory=directory).close()
    these = [interpreter() for _ in range(3)]
    in_threads([lambda i=i: i.run(code) for i in these] + [lambda: exec(code, {})])
    with ipcdatastore.open("region", directory=directory) as store:
        assert store["n"] == 4 * times
        assert store.check() == []
    for one in these:
        one.destroy()
    say("done")


@gils
def test_increments_from_several_in_threads(directory, own_gil):
    scenario(count_in_threads, directory, own_gil)


def exclude(directory, own_gil):
    """A write in one interpreter keeps another's out: the lock is no process's, but a handle's."""
    interpreter = interpreters(own_gil)
    if type(interpreter) is str:
        say("skip: " + interpreter)
        return
    with ipcdatastore.open("region", directory=directory) as store:
        store["a"] = 1
        one = interpreter()
        entered, go_on = os.pipe(), os.pipe()
        thread = threading.Thread(
            target=one.run,
            args=(
                f"""
import os
import ipcdatastore
store = ipcdatastore.open("region", directory={directory!r})
words = store._engine.region.words
class Gate:
    armed = True
    def __getitem__(self, index):
        return words[index]
    def __len__(self):
        return len(words)
    def __setitem__(self, index, value):
        words[index] = value
        if self.armed and index == 26:
            self.armed = False
            os.write({entered[1]}, b".")
            os.read({go_on[0]}, 1)
store._engine.region.words = Gate()
store["a"] = 2
store.close()
""",
            ),
        )
        thread.start()
        assert os.read(entered[0], 1) == b"."
        with ipcdatastore.open("region", directory=directory, timeout=0.05) as second:
            assert second["a"] == 1
            try:
                second["b"] = 1
            except ipcdatastore.LockTimeoutError:
                pass
            else:
                raise AssertionError("two writers in one region")
        # Nor does the end of a third handle on the file let go of it.
        with ipcdatastore.open("region", directory=directory, timeout=0.05) as third:
            try:
                third["b"] = 1
            except ipcdatastore.LockTimeoutError:
                pass
            else:
                raise AssertionError("two writers in one region")
        os.write(go_on[1], b".")
        thread.join()
        assert store["a"] == 2
        store["b"] = 1
        assert store.check() == []
        one.destroy()
    say("done")


@gils
@pytest.mark.skipif(os.name == "nt", reason="the pipes' numbers are the C library's")
def test_interpreters_exclude_each_other(directory, own_gil):
    scenario(exclude, directory, own_gil)


def left_open(directory, own_gil):
    """The process ends while interpreters live, with open handles, in the middle of everything."""
    interpreter = interpreters(own_gil)
    if type(interpreter) is str:
        say("skip: " + interpreter)
        return
    ipcdatastore.open("region", directory=directory).close()
    code = f"""
import ipcdatastore
store = ipcdatastore.open("region", directory={directory!r})
view = store.namespace("n")
store["a"] = [1]; view["b"] = 2
assert store["a"] == [1] and view["b"] == 2
"""
    for _ in range(5):
        one = interpreter()
        one.run(code)
        one.destroy()
    these = [interpreter() for _ in range(2)]
    for one in these:
        one.run(code)
    exec(code, {})
    say("done")
    if own_gil or sys.version_info >= (3, 12):
        for one in these:  # ending the process with own-GIL interpreters alive is the interpreter's own affair
            one.destroy()


@gils
def test_teardown_with_open_handles(directory, own_gil):
    scenario(left_open, directory, own_gil)


def one_after_the_other(directory, own_gil):
    try:
        from _testcapi import run_in_subinterp
    except ImportError:
        say("skip: this Python has no _testcapi")
        return
    prefix = f"import sys; sys.path[:] = {sys.path!r}\nimport ipcdatastore\n"
    with ipcdatastore.open("region", directory=directory) as store:
        store["n"] = 0
        for n in range(8):
            leave = "" if n % 2 else "store.close()"
            code = f"""{prefix}
store = ipcdatastore.open("region", directory={directory!r})
assert store.increment("n") == {n + 1}
{leave}
"""
            assert run_in_subinterp(code) == 0
            assert store["n"] == n + 1
        assert store.check() == []
    say("done")


def test_addons_one_after_the_other(directory):
    scenario(one_after_the_other, directory, False)
