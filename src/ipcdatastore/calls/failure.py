"""How an exception travels: as it is, with the text of the server's traceback.

One that cannot be carried, or that the client cannot make (its class is not there), becomes a ``RemoteError``; so does
one that is no ``Exception``: what ends a server (``SystemExit``) is not to end its clients. Whatever an exception does
when it is looked at, pickled or made anew (they may do anything), there is a response.
"""

from __future__ import annotations

from .. import errors
from ..errors import DatastoreError, DecodeError, RemoteError

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any

    from .message import Messages

_HERE = __file__.rpartition("failure")[0]
_PLAIN = (str, int, float, bool, type(None))


class RemoteTraceback(Exception):  # noqa: N818 - it is no error, it says where one was
    """The ``__cause__`` of an exception that came from a server: where it was raised there. ``str`` gives the text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n\n{self.text}"


def remote_traceback(error: BaseException) -> str:
    """The server's traceback of an exception that a call raised; empty where there is none.

    >>> ipcdatastore.remote_traceback(ValueError("raised here"))
    ''
    """
    seen = 0
    cause: Any = error
    while cause is not None and seen < 100:  # a chain may be a ring
        if isinstance(cause, RemoteTraceback):
            return cause.text
        cause, seen = cause.__cause__ or cause.__context__, seen + 1
    return ""


# --- at the server -----------------------------------------------------------------------------------
def describe(error: BaseException, messages: Messages) -> bytes:
    """The payload of a response that says what a call raised: (what gives it back or None, class, text, traceback)."""
    kind = type(error)
    name = _exact(kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}")
    try:
        return messages.dumps((_carried(error, messages), name, _text(error), _traceback(error)), 5)
    except BaseException as second:  # noqa: BLE001 - a __reduce__ may raise SystemExit
        return messages.dumps((None, name, f"<of which nothing can be told: {type(second).__qualname__}>", ""), 5)


def _carried(error: BaseException, messages: Messages) -> Any:
    """What gives the exception back; None where nothing does. It is tried here, so that it will not fail there."""
    if messages.codec.serializer != "pickle":
        return list(error.args) if all(type(argument) in _PLAIN for argument in error.args) else None
    try:
        carried = messages.dumps(error, 5)
        if type(messages.loads(carried)) is type(error):
            return carried
    except Exception:  # noqa: BLE001 - whatever its class raises when it is written, or made anew
        return None
    return None


def _text(error: BaseException) -> str:
    try:
        return _exact(str(error))
    except Exception as second:  # noqa: BLE001 - a user's __str__ may raise anything
        return f"<whose str raises {type(second).__name__}>"


def _traceback(error: BaseException) -> str:
    import traceback

    try:
        inner = error.__traceback__
        # Frames of this library say nothing to whoever called.
        while inner is not None and inner.tb_next is not None and inner.tb_frame.f_code.co_filename.startswith(_HERE):
            inner = inner.tb_next
        return _exact("".join(traceback.format_exception(type(error), error, inner)))
    except Exception as second:  # noqa: BLE001 - it looks at attributes, which may raise anything
        return f"<which cannot be printed: {type(second).__name__}>"


def _exact(text: str) -> str:
    """A str, and no subclass of it: those may be pickled in their own way."""
    return "".join((text, ""))


# --- at the client -----------------------------------------------------------------------------------
def restore(payload: Any, messages: Messages, what: str) -> Exception:
    """The exception that a response of the method `what` brings."""
    try:
        carried, name, message, text = messages.loads(payload)
    except Exception as error:  # noqa: BLE001 - a damaged response
        return DecodeError(
            f"what {messages.name}.{what} raised cannot be read: {error}; call again",
            key=messages.name,
            module=None,
            name=None,
        )
    found: Any = None
    try:
        if messages.codec.serializer != "pickle":
            found = _known(name, message, carried)
        elif carried is not None:
            found = messages.loads(carried)
    except Exception:  # noqa: BLE001 - its class may not be importable here, or wants other arguments
        found = None
    if not isinstance(found, Exception):
        found = RemoteError(f"{messages.name}.{what} raised {name}: {message}", type_name=name)
    raised: Exception = found
    # Not by assignment: a class may refuse those, as a frozen dataclass does.
    BaseException.__dict__["__cause__"].__set__(raised, RemoteTraceback(text))
    return raised


def _known(name: str, message: str, arguments: Any) -> Any:
    """For a server that speaks JSON: an exception of Python's own, or of this library, by its name."""
    import builtins

    package, _, own = name.rpartition(".")
    kind = getattr(errors, own, None) if package == errors.__name__ else getattr(builtins, name, None)
    if not isinstance(kind, type) or not issubclass(kind, Exception):
        return None
    if issubclass(kind, DatastoreError):
        return kind(message)
    return kind(message) if arguments is None else kind(*arguments)
