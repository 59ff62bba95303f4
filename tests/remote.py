"""Objects of another process, driven over a pipe: every call runs there, one after the other.

``spawn()`` starts a fresh interpreter; ``fork(...)`` a child that goes on with objects of this process.
A :class:`Remote` stands for an object over there: operations on it run there, and what cannot travel
(stores, transactions, views) comes back as another ``Remote``.
"""

import contextlib
import os
import pickle
import subprocess
import sys
import types
from collections.abc import MappingView

import ipcdatastore
from ipcdatastore.unit import Transaction


class Unpicklable:
    """A value that no serializer takes, though this module can send one to a helper."""

    def __reduce__(self):
        raise RuntimeError("not me")


STAYS = (ipcdatastore.Datastore, Transaction, MappingView)


# --- there -------------------------------------------------------------------------------------------
class Root:
    """What a helper process can do beside calling methods of what it has."""

    def open(self, name, **options):
        return ipcdatastore.open(name, **options)

    def set_clock(self, now):
        """From now on every module's expiry clock stands at `now`."""
        for module in clock_modules():
            module.now_ns = lambda: now

    def close(self, store):
        store.close()

    def run(self, function, *arguments):
        return function(*arguments)

    def become(self, uid):
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)

    def pid(self):
        return os.getpid()


def clock_modules():
    """The modules that have the expiry clock under its own name."""
    return [
        module
        for name, module in sorted(sys.modules.items())
        if name.split(".")[0] == "ipcdatastore" and hasattr(module, "now_ns")
    ]


class _Server:
    def __init__(self, objects):
        self.objects = [Root(), *objects]

    def serve(self, incoming, outgoing):
        while True:
            unpickler = pickle.Unpickler(incoming)
            unpickler.persistent_load = self._find
            try:
                target, name, arguments, options = unpickler.load()
            except EOFError:
                return
            try:
                result = getattr(target, name)(*arguments, **options)
                if isinstance(result, types.GeneratorType) or name == "__iter__":
                    result = list(result)
                answer = (True, result)
            except Exception as error:  # noqa: BLE001 - it goes to the caller
                answer = (False, error)
            _Pickler(outgoing, self._identify).dump(answer)
            outgoing.flush()

    def _find(self, found):
        number = found[0]
        return Unpicklable() if number is None else self.objects[number]

    def _identify(self, thing):
        if not isinstance(thing, STAYS):
            return None
        self.objects.append(thing)
        return RemoteView if isinstance(thing, MappingView) else Remote, len(self.objects) - 1


class _Pickler(pickle.Pickler):
    def __init__(self, file, identify):
        super().__init__(file, 5)
        self._identify = identify

    def persistent_id(self, thing):
        return self._identify(thing)


# --- here --------------------------------------------------------------------------------------------
class Peer:
    """A helper process. ``root`` is its :class:`Root`."""

    def __init__(self, outgoing, incoming, end):
        self._outgoing, self._incoming, self._end = outgoing, incoming, end
        self.root = Remote(self, 0)

    def call(self, number, name, arguments, options):
        _Pickler(self._outgoing, _identify).dump((Remote(self, number), name, arguments, options))
        self._outgoing.flush()
        unpickler = pickle.Unpickler(self._incoming)
        unpickler.persistent_load = lambda found: found[0](self, found[1])
        fine, result = unpickler.load()
        if fine:
            return result
        raise result

    def end(self):
        """The helper ends when its pipe does."""
        with contextlib.suppress(BrokenPipeError):
            self._outgoing.close()
        self._incoming.close()
        self._end()


def _identify(thing):
    if type(thing) is Unpicklable:
        return (None,)
    return (thing._number,) if isinstance(thing, Remote) else None


class Remote:
    """An object of a :class:`Peer`."""

    __hash__ = None

    def __init__(self, peer, number):
        self._peer, self._number = peer, number

    def _call(self, name, *arguments, **options):
        return self._peer.call(self._number, name, arguments, options)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *arguments, **options: self._call(name, *arguments, **options)

    def __getitem__(self, key):
        return self._call("__getitem__", key)

    def __setitem__(self, key, value):
        self._call("__setitem__", key, value)

    def __delitem__(self, key):
        self._call("__delitem__", key)

    def __contains__(self, key):
        return self._call("__contains__", key)

    def __iter__(self):
        return iter(self._call("__iter__"))

    def __len__(self):
        return self._call("__len__")

    def __eq__(self, other):
        return self._call("__eq__", other)

    def __enter__(self):
        return self._call("__enter__")

    def __exit__(self, kind, error, trace):
        return self._call("__exit__", kind, error, None)


class RemoteView(Remote):
    """A view of keys, values or items, which has no `keys` of its own."""

    def __getattr__(self, name):
        raise AttributeError(name)


def spawn():
    """A fresh interpreter."""
    process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    return Peer(process.stdin, process.stdout, process.wait)


def fork(*objects):
    """A forked child, and a Remote for each of `objects`, which it has inherited."""
    to_child, from_parent = os.pipe()[::-1]
    to_parent, from_child = os.pipe()[::-1]
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(to_child)
            os.close(from_child)
            _Server(objects).serve(os.fdopen(from_parent, "rb"), os.fdopen(to_parent, "wb"))
            status = 0
        finally:
            os._exit(status)
    os.close(from_parent)
    os.close(to_parent)
    peer = Peer(os.fdopen(to_child, "wb"), os.fdopen(from_child, "rb"), lambda: os.waitpid(pid, 0))
    return (peer, *(Remote(peer, number) for number in range(1, len(objects) + 1)))


def main():
    _Server([]).serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    import remote  # by its name: what this process pickles, the other has to find

    remote.main()
