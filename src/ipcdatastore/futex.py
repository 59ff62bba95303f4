"""Waiting for a shared word to change: a futex, where Linux has it, through ``_ctypes``; elsewhere nobody is woken.

The word is ``CHANGE`` of the mapped header, the same for all processes since the kernel knows it by file and offset.
Each waiter names some of 32 bits, each wake-up too, and only those meet that have one in common: a writer of one
key does not wake who waits for another (but one time in 32).

A wake-up may be lost (its writer died first), so every wait is bounded, and whoever waits looks again.

``_ctypes`` is the C half of ``ctypes``. The Python half takes ten times as long to import (3 ms, at the first write of
every program that runs while somebody waits), and leaves 150 KiB behind in each sub-interpreter that ends.
"""

from __future__ import annotations

import os
import struct
import time

from .layout import ALL_KEYS

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional, Tuple

_WAIT_BITSET, _WAKE_BITSET = 9, 10
_ALL = 0x7FFFFFFF
# The system call's number, by machine and width of a pointer: a 32-bit Python on a 64-bit kernel uses the 32-bit one.
_NUMBERS = {
    ("x86_64", 8): 202,
    ("x86_64", 4): 240,
    ("i686", 4): 240,
    ("i386", 4): 240,
    ("aarch64", 8): 98,
    ("aarch64", 4): 240,
    ("armv7l", 4): 240,
    ("armv6l", 4): 240,
    ("armv8l", 4): 240,
    ("riscv64", 8): 98,
    ("loongarch64", 8): 98,
    ("ppc64le", 8): 221,
    ("s390x", 8): 238,
}
_TIMESPEC = struct.Struct("@ll")


class Bell:
    """One word of one mapping, to wait for and to ring."""

    __slots__ = ("_address", "_call", "_number", "_word")

    def __init__(self, data: Any, index: int, call: Callable[..., int], number: int, types: Any) -> None:
        import _ctypes

        self._word = types["I"].from_buffer(data, 4 * index)  # keeps the mapping
        self._address = types["P"](_ctypes.addressof(self._word))
        self._call = call
        self._number = number

    def wait(self, seen: int, seconds: float, bits: int = ALL_KEYS) -> None:
        """Sleep until somebody rings one of `bits`, at most `seconds`; not at all if the word is not `seen` now."""
        due = time.clock_gettime_ns(time.CLOCK_MONOTONIC) + int(seconds * 1e9)
        timespec = _TIMESPEC.pack(due // 10**9, due % 10**9)
        self._call(self._number, self._address, _WAIT_BITSET, seen, timespec, None, bits)

    def ring(self, bits: int = ALL_KEYS) -> None:
        """Wake everybody who waits for one of `bits`."""
        self._call(self._number, self._address, _WAKE_BITSET, _ALL, None, None, bits)


_prepared: Any = ()


def _system_call() -> Any:
    """(function, number, types) of the system call; None where there is none, or ``IPCDATASTORE_FUTEX`` is ``0``."""
    global _prepared  # noqa: PLW0603 - looked up once
    if _prepared == ():
        _prepared = None
        try:
            system = os.uname()
            number = _NUMBERS.get((system.machine, struct.calcsize("P")))
            if system.sysname == "Linux" and number and os.environ.get("IPCDATASTORE_FUTEX") != "0":
                call, types = _function("syscall", "l", "lPiIzPI")
                _prepared = call, number, types
        except (ImportError, AttributeError, OSError):
            pass
    return _prepared


def _function(name: str, result: str, arguments: str) -> Tuple[Any, Dict[str, Any]]:
    """The C library's function `name`, and the types that it takes by their letters, which are those of `array`, and
    ``P`` for a pointer, ``z`` for bytes.
    """
    import _ctypes

    types = {letter: type(letter, (_ctypes._SimpleCData,), {"_type_": letter}) for letter in {result, *arguments}}
    kind = type(name, (_ctypes.CFuncPtr,), {"_flags_": _ctypes.FUNCFLAG_CDECL, "_restype_": types[result]})
    program: Any = None  # and all libraries that it has loaded
    function = kind(_ctypes.dlsym(_ctypes.dlopen(program, 0), name))
    function.argtypes = [types[letter] for letter in arguments]
    return function, types


def available() -> bool:
    """Whether waits are woken here, not polled."""
    return _system_call() is not None


def bell(data: Any, index: int) -> Optional[Bell]:
    """The word `index` of a mapping that may be written; None where nobody can be woken."""
    prepared = _system_call()
    if prepared is None:
        return None
    try:
        return Bell(data, index, *prepared)
    except (TypeError, ValueError):  # a read-only mapping, or one that was closed
        return None
