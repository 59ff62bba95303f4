"""Act at one line of an operation: what a signal, another thread or another process may do there."""

import os
import sys
from typing import Any, Callable

import ipcdatastore

SOURCE = os.path.dirname(os.path.abspath(ipcdatastore.__file__))


def count_lines(job: Callable[[], Any]) -> int:
    """How many lines of the library's code `job` runs."""
    return _trace(job, -1, lambda: None)


def at_line(job: Callable[[], Any], number: int, act: Callable[[], Any]) -> bool:
    """Run `job`, and `act` just before its line `number` (from 0) of the library's code. Whether it came so far.

    What `act` raises is raised at that line.
    """
    return _trace(job, number, act) > number


def _trace(job: Callable[[], Any], number: int, act: Callable[[], Any]) -> int:
    count = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(SOURCE):
            return None
        if event == "line":
            count += 1
            if count == number + 1:
                sys.settrace(None)
                act()
                return None
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        job()
    finally:
        sys.settrace(before)
    return count
