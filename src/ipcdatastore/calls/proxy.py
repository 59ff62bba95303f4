"""What stands for an object of another process: its methods are called there."""

from __future__ import annotations

from ..errors import ArgumentError
from . import layout
from .layout import CALL
from .links import Link, check_timeout

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Callable, List, Optional, Tuple

    from .pending import PendingCall


class Proxy:
    """Stands for an object that another process serves; made by ``ipcdatastore.connect``.

    Its methods run there and give back what they return, or raise what they raise. Safe from any thread, and in a
    forked child; a pickled one connects anew where it is unpickled. Names with an underscore are its own, all others
    the object's: ``ipcdatastore.link(proxy)`` has what is to be said about the proxy itself.
    """

    def __init__(self, link: Link) -> None:
        self.__dict__["_link"] = link

    def __getattr__(self, name: str) -> Any:
        """A method is remembered, and comes here once."""
        if name.startswith("_"):
            raise AttributeError(f"{name!r}: names with an underscore are never exposed")
        link = self._link
        described = link.describe()
        if name in described["methods"]:
            method = Method(link, name, name in described["oneway"])
            self.__dict__[name] = method
            return method
        if name in described["attributes"]:
            return link.ask(layout.GET, name, (), {}, link.timeout)
        from .exposed import not_exposed

        raise not_exposed(f"{link.name} ({described['class']})", name, described["methods"], described["attributes"])

    def __setattr__(self, name: str, value: Any) -> None:
        link = self._link
        if name.startswith("_"):
            raise AttributeError(f"{name!r}: names with an underscore are never exposed")
        link.ask(layout.SET, name, (value,), {}, link.timeout)

    def __dir__(self) -> List[str]:
        described = self._link.describe()
        return sorted({*described["methods"], *described["attributes"]})

    def __repr__(self) -> str:
        return f"<Proxy of {self._link.name!r} in {self._link.directory}>"

    def __reduce__(self) -> Tuple[Callable[..., Proxy], Tuple[Any, ...]]:
        link = self._link
        return _again, (link,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Proxy) and other._link.path == self._link.path

    def __hash__(self) -> int:
        return hash(self._link.path)


def _again(found: Link) -> Proxy:
    return Proxy(found)


def link(proxy: Proxy) -> Link:
    """The :class:`Link` through which `proxy` reaches its object.

    >>> with ipcdatastore.serve_object("docs", [3, 1]).start():
    ...     ipcdatastore.link(ipcdatastore.connect("docs")).available()
    True
    """
    if not isinstance(proxy, Proxy):
        raise ArgumentError(f"`link` is for what `connect` gives, not {proxy!r}", name="proxy", value=proxy)
    return proxy._link  # type: ignore[no-any-return]


class Method:
    """One method of an object of another process. Calling it calls that."""

    __slots__ = ("__name__", "_link", "_oneway", "_timeout")

    def __init__(self, link: Link, name: str, oneway: bool, timeout: Any = Ellipsis) -> None:
        self._link = link
        self._oneway = oneway
        self._timeout = timeout
        self.__name__ = name

    def __call__(self, /, *arguments: Any, **keywords: Any) -> Any:
        """Call the method there, and wait for what it returns, or raises."""
        link = self._link
        timeout = self._timeout
        if timeout is ...:
            timeout = link.timeout
        if self._oneway:
            return link.tell(self.__name__, arguments, keywords, timeout)
        return link.ask(CALL, self.__name__, arguments, keywords, timeout)

    def oneway(self, /, *arguments: Any, **keywords: Any) -> None:
        """Have the method called, and do not wait. Whatever it returns or raises is dropped.

        It is done after all that this thread asked for before; it is lost if the server ends before it begins.
        """
        self._link.tell(self.__name__, arguments, keywords, self._seconds())

    def submit(self, /, *arguments: Any, **keywords: Any) -> PendingCall:
        """Have the method called, and go on: a :class:`PendingCall` gives the result later, and can be awaited."""
        return self._link.submit(CALL, self.__name__, arguments, keywords, self._seconds())  # type: ignore[no-any-return]

    def within(self, seconds: Optional[float]) -> Method:
        """The same method with another time-out; None: as long as it takes."""
        return Method(self._link, self.__name__, self._oneway, check_timeout(seconds))

    def __reduce__(self) -> Tuple[Callable[..., Method], Tuple[Any, ...]]:
        return Method, (self._link, self.__name__, self._oneway, self._timeout)

    def _seconds(self) -> Any:
        return self._link.timeout if self._timeout is ... else self._timeout

    def __repr__(self) -> str:
        return f"<Method {self.__name__!r} of {self._link.name!r}>"


def connect(name: str, *, directory: Any = None, timeout: Optional[float] = None, wait: float = 0.0) -> Proxy:
    """A :class:`Proxy` of the object that another process serves as `name`.

    ``ServerUnavailableError`` if none does within `wait` seconds. `timeout` is for each call, in seconds (None: as long
    as it takes; a server that dies is noticed at once all the same). No lock is taken; a call is atomic as far as the
    object's own method is.

    >>> class Library:
    ...     def find(self, title): return title.upper()
    >>> with ipcdatastore.serve_object("docs", Library()).start():
    ...     ipcdatastore.connect("docs").find("Blade Runner")
    'BLADE RUNNER'
    """
    found = Link(name, directory, timeout)
    found.wait(wait)
    found.describe()
    return Proxy(found)
