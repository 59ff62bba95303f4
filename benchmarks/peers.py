"""Other stores, and other ways to call, measured in the same run. Dependencies of the benchmark alone."""

import importlib
import pickle


def installed(name):
    """Whether it is there, and works with this Python."""
    try:
        importlib.import_module(name)
    except Exception:  # noqa: BLE001 - whatever one that is too old for this Python raises
        return False
    return True


class Lmdb:
    """LMDB on the same file system, as fast as it goes: no syncs, writable map, values pickled."""

    def __init__(self, path):
        import lmdb

        self._environment = lmdb.open(str(path), map_size=1 << 32, sync=False, metasync=False, writemap=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._environment.close()

    def fill(self, names, blobs):
        with self._environment.begin(write=True) as transaction:
            for name, blob in zip(names, blobs):
                transaction.put(name.encode(), blob)

    def reads(self, names):
        begin, loads = self._environment.begin, pickle.loads

        def run():
            for name in names:
                with begin(buffers=True) as transaction:
                    loads(transaction.get(name.encode()))

        return run

    def writes(self, names, values):
        begin, dumps = self._environment.begin, pickle.dumps

        def run():
            for name, value in zip(names, values):
                with begin(write=True) as transaction:
                    transaction.put(name.encode(), dumps(value, 5))

        return run


def serve_pyro4(kind, pipe):
    """Serve an object of the class `kind` for ever; its address goes into the pipe."""
    import Pyro4

    Pyro4.config.SERIALIZERS_ACCEPTED = {"pickle"}
    daemon = Pyro4.Daemon(host="127.0.0.1")
    pipe.send(str(daemon.register(Pyro4.expose(kind)())))
    daemon.requestLoop()


def pyro4(uri):
    """A proxy of it."""
    import Pyro4

    Pyro4.config.SERIALIZER = "pickle"
    return Pyro4.Proxy(uri)


def serve_pyro5(kind, pipe):
    from Pyro5 import api

    daemon = api.Daemon(host="127.0.0.1")
    pipe.send(str(daemon.register(api.expose(kind)())))
    daemon.requestLoop()


def pyro5(uri):
    from Pyro5 import api

    return api.Proxy(uri)
