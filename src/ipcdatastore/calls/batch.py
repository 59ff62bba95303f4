"""Several calls in one message: they run one after the other, with no other call of the same client between them."""

from __future__ import annotations

from ..errors import ArgumentError, DecodeError
from . import layout
from .failure import restore

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Callable, List, Tuple

    from .links import Link


class BatchCall:
    """One call of a batch; ``result()`` is there once the batch has run."""

    __slots__ = ("_done", "_error", "_value")

    def __init__(self) -> None:
        self._done = False
        self._value: Any = None
        self._error: Any = None

    def settle(self, value: Any, error: Any) -> None:
        """The batch has run."""
        self._value, self._error, self._done = value, error, True

    def done(self) -> bool:
        """Whether the batch has run."""
        return self._done

    def result(self) -> Any:
        """What the call returned; what it raised is raised here."""
        if self._error is not None:
            raise self._error
        if not self._done:
            raise RuntimeError(
                "the batch has not run yet: it does at the end of its `with` block, or when it is called"
            )
        return self._value


class Batch:
    """Calls that are gathered, sent as one message, and answered by one.

    ::

        with ipcdatastore.link(library).batch() as batch:
            found = batch.find("Alien")
            batch.forget("Solaris")
        found.result()

    All of them run, in order; each has its own result or exception. Nothing runs if the block is left by an exception.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._calls: List[Tuple[str, Any, Any]] = []
        self._waiting: List[BatchCall] = []

    def __getattr__(self, name: str) -> Callable[..., BatchCall]:
        if name.startswith("_"):
            raise AttributeError(name)

        def add(*arguments: Any, **keywords: Any) -> BatchCall:
            call = BatchCall()
            self._calls.append((name, arguments, keywords))
            self._waiting.append(call)
            return call

        return add

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            raise ArgumentError(
                f"a batch has methods only, so {name!r} was not set: set it at the proxy", name="name", value=name
            )
        object.__setattr__(self, name, value)

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, kind: Any, *exc: object) -> None:
        if kind is None and self._calls:
            _run(self)

    def __call__(self) -> List[Any]:
        """Run them now. The results in order; the first exception is raised, after all have run."""
        waiting = _run(self)
        return [call.result() for call in waiting]


def _run(batch: Batch) -> List[BatchCall]:
    link = batch._link
    calls, batch._calls = batch._calls, []
    waiting, batch._waiting = batch._waiting, []
    if not calls:
        return waiting
    try:
        messages, answers = link.ask(layout.BATCH, "a batch", calls, {}, link.timeout)
    except BaseException as error:
        for call in waiting:
            call.settle(None, error)
        raise
    for call, (name, _, _), (kind, payload) in zip(waiting, calls, answers):
        try:
            if kind == layout.ERROR:
                call.settle(None, restore(payload, messages, name))
            else:
                call.settle(messages.read_result(kind, payload, name), None)
        except DecodeError as error:
            call.settle(None, error)
    return waiting
