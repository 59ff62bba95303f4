"""What the other process of :mod:`crowd` and :mod:`calls` does."""

from __future__ import annotations

import os
import sys
import threading
import time

import ipcdatastore

from .bench import until

QUESTIONS = 50
TIMES = 200


def main() -> None:
    """Play the role that the command line names, until that is done or the parent is gone."""
    directory, role = sys.argv[2:]
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if role == "victim":
        with ipcdatastore.open("killed", directory=directory, mode="w") as store:
            victim(store)
    if role == "server":
        with ipcdatastore.open("calls", directory=directory, mode="w") as store:
            ipcdatastore.serve_object("object", Adder(store), directory=directory).run_forever()
    with ipcdatastore.open("two", directory=directory, mode="w") as store:
        try:
            partner(store)
        except Exception as error:  # the parent reads it there
            store["error"] = f"{type(error).__name__}: {error}"
            raise


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def partner(store: ipcdatastore.Datastore) -> None:
    """Answer every question, then count."""
    for number in range(QUESTIONS):
        until(lambda: store.get("question") == {"number": number}, "a question")  # noqa: B023 - used at once
        store["answer"] = {"to": number}
    for _ in range(TIMES):
        store.increment("count")


def victim(store: ipcdatastore.Datastore) -> None:
    """Write pairs until killed."""
    number = 0
    while True:
        number += 1
        with store.transaction() as both:
            both["left"] = both["right"] = (number, b"x" * (number * 37 % 3001))
        store["done"] = number


class Adder:
    """What is served: each call is to be seen in the store, also if its server is killed."""

    def __init__(self, store: ipcdatastore.Datastore) -> None:
        self._store = store

    def add(self, delta: int, pause: float = 0.0) -> None:
        """Add, and take so long."""
        self._store.increment("sum", delta)
        time.sleep(pause)
