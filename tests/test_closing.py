"""A handle that is closed while it is used: at every line of a look, what comes out is a value or `ClosedError`."""

import contextlib
import functools

import pytest

import ipcdatastore
from tracing import at_line, count_lines

LOOKS = {
    "get": lambda store: store.get("k1"),
    "get absent": lambda store: store.get(("absent", 1)),
    "get_entry": lambda store: store.get_entry("k2"),
    "get_many": lambda store: store.get_many(["k1", "k2", "absent"]),
    "peek": lambda store: store.peek("list"),
    "in": lambda store: "k3" in store,
    "len": len,
    "keys": list,
    "items": lambda store: list(store.items()),
    "entries": lambda store: list(store.entries()),
    "namespace": lambda store: list(store.namespace("a").items()),
    "stats": lambda store: store.stats(),
    "check": lambda store: store.check(),
    "backup": lambda store: store.backup(store._engine.path + ".backup"),
    "wait": lambda store: store.wait("k1", 0, 0),
}


@pytest.mark.parametrize("look", LOOKS)
def test_close_at_every_line_of_a_look(directory, look):
    with ipcdatastore.open("region", directory=directory) as keeper:
        keeper.update({f"k{i}": i for i in range(4)}, list=[1])
        keeper.namespace("a").update(b=1, c=2)
        lines = count_lines(functools.partial(LOOKS[look], keeper))
        for line in range(0, lines, 1 + lines // 1000):
            store = ipcdatastore.open("region", directory=directory)

            def close(store=store):
                with contextlib.suppress(ipcdatastore.LockTimeoutError):  # inside a lock of its own: not now
                    store.close()

            try:
                at_line(functools.partial(LOOKS[look], store), line, close)
            except ipcdatastore.ClosedError:
                pass
            except Exception as error:
                raise AssertionError(f"after a close at line {line} of {look}: {error!r}") from error
            finally:
                store.close()
        assert lines > 3
