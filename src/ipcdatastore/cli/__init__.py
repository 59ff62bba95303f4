"""The command ``ipcdatastore``. Needs the extra ``cli``, which nothing else in the package does.

:mod:`root` lists the verbs and knows the exit codes; each group of verbs is a module of its own.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from importlib.util import find_spec
from typing import List, Optional

__all__ = ["main"]


def main(arguments: Optional[List[str]] = None) -> None:
    """Run the command line, and exit with its code."""
    missing = [name for name in ("click", "rich") if find_spec(name) is None]
    if missing:
        print(
            f'ipcdatastore: the command line needs {" and ".join(missing)}: pip install "ipcdatastore[cli]"',
            file=sys.stderr,
        )
        sys.exit(2)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by whoever started us: nothing to read, nobody to tell
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - as long as the process
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # so that temporary files go
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that lacks a character shall not end the output
        sys.stdout.reconfigure(errors="backslashreplace")
    from .root import root

    root.main(arguments, prog_name="ipcdatastore")
