"""Act at one line, or one instruction, of an operation: what a signal, another thread or process may do there.

A line that is nothing but ``try:`` does not count: Python looks for no signal there, and gives the instruction, which
does nothing, to no handler.
"""

import linecache
import os
import sys
from typing import Any, Callable

import ipcdatastore

SOURCE = os.path.dirname(os.path.abspath(ipcdatastore.__file__))


def count_lines(job: Callable[[], Any], event: str = "line") -> int:
    """How many lines of the library's code `job` runs; or, with the event "opcode", how many instructions."""
    return _trace(job, -1, lambda: None, event)


def at_line(job: Callable[[], Any], number: int, act: Callable[[], Any], event: str = "line") -> bool:
    """Run `job`, and `act` just before its line `number` (from 0) of the library's code. Whether it came so far.

    What `act` raises is raised at that line.
    """
    return _trace(job, number, act, event) > number


def _trace(job: Callable[[], Any], number: int, act: Callable[[], Any], wanted: str) -> int:
    count = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(SOURCE):
            return None
        if wanted == "opcode":
            frame.f_trace_opcodes = True
        if event == wanted and linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip() != "try:":
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
