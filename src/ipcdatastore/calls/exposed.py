"""What of an object may be called from outside, and the calling.

Public methods, unless its class marks some with ``expose``: then those alone. Attributes only by choice: properties
that are marked, and names that the server was given. A name that begins with an underscore never.
"""

from __future__ import annotations

from ..errors import ArgumentError, NotExposedError

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, FrozenSet, Iterable, Optional

CO_COROUTINE, CO_ASYNC_GENERATOR = 0x80, 0x200  # as in `inspect`
MARK = "__ipcdatastore_exposed__"
ONEWAY = "__ipcdatastore_oneway__"


def expose(function: Any = None, *, oneway: bool = False) -> Any:
    """Mark a method, or a property, to be exposed: where a class marks any, nothing else of it is.

    With ``oneway`` proxies do not wait for the method: they get None at once, and no exception.

    >>> class Library:
    ...     @ipcdatastore.expose
    ...     def find(self, title): return title.upper()
    ...     def rebuild(self): "not exposed"
    """
    if function is None:
        return lambda marked: expose(marked, oneway=oneway)
    target = function
    if isinstance(function, (staticmethod, classmethod)):
        target = function.__func__
    elif isinstance(function, property):
        target = function.fget
    if isinstance(function, type) or not callable(target):
        raise ArgumentError(
            f"`expose` marks a method or a property, not {function!r}: a class that marks nothing exposes all of its "
            "public methods",
            name="function",
            value=function,
        )
    setattr(target, MARK, True)
    if oneway:
        setattr(target, ONEWAY, True)
    return function


class Exposed:
    """The public face of one object."""

    __slots__ = ("attributes", "methods", "object", "oneway", "writable")

    def __init__(self, target: Any, attributes: Iterable[str] = ()) -> None:
        self.object = target
        chosen = _checked(attributes)
        members = _members(target)
        marked = {name for name, member in members.items() if getattr(_function(member), MARK, False)}
        properties = {name for name, member in members.items() if isinstance(member, property)}
        self.methods = frozenset(
            name
            for name, member in members.items()
            if (name in marked or not marked)
            and name not in properties
            and name not in chosen
            and callable(member)
            and not _is_coroutine_function(member)
        )
        self.oneway = frozenset(name for name in self.methods if getattr(_function(members[name]), ONEWAY, False))
        self.attributes: FrozenSet[str] = chosen | (marked & properties)
        read_only = {name for name in properties if members[name].fset is None}
        self.writable = self.attributes - read_only
        missing = sorted(name for name in chosen if name not in dir(target))
        if missing:
            raise ArgumentError(
                f"{type(target).__qualname__} has no attribute {missing[0]!r}: give it one before it is served",
                name="attributes",
                value=missing[0],
            )
        if not self.methods and not self.attributes:
            raise ArgumentError(
                f"{type(target).__qualname__} has nothing to expose: no public method, and no attribute was chosen",
                name="obj",
                value=target,
            )

    def describe(self, in_full: bool = False) -> Dict[str, Any]:
        """What a proxy has to know; `in_full`, what people want to know: signatures and the docstrings' first lines."""
        described: Dict[str, Any] = {
            "class": type(self.object).__qualname__,
            "methods": sorted(self.methods),
            "oneway": sorted(self.oneway),
            "attributes": sorted(self.attributes),
            "writable": sorted(self.writable),
        }
        if in_full:
            described["signatures"] = {name: _signature(getattr(self.object, name)) for name in self.methods}
            described["docs"] = {name: _summary(self._documented(name)) for name in self.methods | self.attributes}
        return described

    def _documented(self, name: str) -> Any:
        """The method or property of that name. Of any other attribute nothing is documented: its value is no help."""
        if name in self.methods:
            return getattr(self.object, name)
        found = _in_class(type(self.object), name)
        return found if isinstance(found, property) else None

    def method(self, name: str) -> Callable[..., Any]:
        """The exposed method of that name."""
        if name not in self.methods:
            raise self._refused(name)
        return getattr(self.object, name)  # type: ignore[no-any-return]

    def get(self, name: str) -> Any:
        """The value of an exposed attribute."""
        if name not in self.attributes:
            raise self._refused(name)
        return getattr(self.object, name)

    def set(self, name: str, value: Any) -> None:
        """Give an exposed attribute a value."""
        if name not in self.writable:
            raise not_exposed(type(self.object).__qualname__, name, (), self.writable, writing=True)
        setattr(self.object, name, value)

    def _refused(self, name: Any) -> NotExposedError:
        return not_exposed(type(self.object).__qualname__, name, self.methods, self.attributes)


def not_exposed(
    kind: str, name: Any, methods: Iterable[str], attributes: Iterable[str], *, writing: bool = False
) -> NotExposedError:
    """The error for a name that cannot be used from outside."""
    how = " for writing" if writing else ""
    there = sorted({*methods, *attributes})
    shown = ", ".join(there[:20]) + (", ..." if len(there) > 20 else "")
    return NotExposedError(f"{kind} exposes no {name!r}{how}: it has {shown}", name=name)


def _checked(attributes: Iterable[str]) -> FrozenSet[str]:
    chosen = frozenset((attributes,) if isinstance(attributes, str) else attributes)
    for name in chosen:
        if type(name) is not str or not name.isidentifier() or name.startswith("_"):
            raise ArgumentError(
                f"`attributes` are names of public attributes, not {name!r}", name="attributes", value=name
            )
    return chosen


def _members(target: Any) -> Dict[str, Any]:
    """Every public member, by name; of properties the property itself, which is not asked for its value."""
    members: Dict[str, Any] = {}
    for name in dir(target):
        if name.startswith("_"):
            continue
        found = _in_class(type(target), name)
        if hasattr(found, "__get__") and not isinstance(found, property) and not _is_function(found):
            continue  # what is computed when it is looked at is not looked at
        if not isinstance(found, property):
            try:
                found = getattr(target, name)
            except Exception:  # noqa: BLE001 - a __getattr__ may raise anything
                continue
        members[name] = found
    return members


def _in_class(kind: type, name: str) -> Optional[Any]:
    for base in kind.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return None


def _signature(method: Any) -> str:
    """What may be passed; empty where nobody knows."""
    import inspect

    try:
        return str(inspect.signature(method))
    except Exception:  # noqa: BLE001 - a builtin has none, and the repr of a default value may raise anything
        return ""


def _summary(documented: Any) -> str:
    """The first line of a docstring."""
    import inspect

    try:
        return (inspect.getdoc(documented) or "").strip().partition("\n")[0] if documented is not None else ""
    except Exception:  # noqa: BLE001 - whatever a descriptor of its own kind raises
        return ""


def _is_coroutine_function(member: Any) -> bool:
    """``async def`` methods are left out: there is no loop to run them in."""
    code = getattr(getattr(member, "__func__", member), "__code__", None)
    return bool(getattr(code, "co_flags", 0) & (CO_COROUTINE | CO_ASYNC_GENERATOR))


def _is_function(member: Any) -> bool:
    return callable(member) or isinstance(member, (staticmethod, classmethod))


def _function(member: Any) -> Any:
    return member.fget if isinstance(member, property) else member
