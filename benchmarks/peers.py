"""Other stores, measured in the same run on the same data. Dependencies of the benchmark alone."""

import pickle


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
