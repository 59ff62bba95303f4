"""The real program, in a pipe and on a terminal."""

import os
import subprocess
import sys

import pytest

PROGRAM = [sys.executable, "-m", "ipcdatastore"]


def start(directory, *arguments, **options):
    """Start the real program, with the test's own directory."""
    environment = {**os.environ, "IPCDATASTORE_DIR": str(directory)}
    return subprocess.Popen([*PROGRAM, *arguments], env=environment, **options)


def on_terminal(directory, *arguments, columns=100, typed=""):
    """Exit code and output of the real program on a terminal."""
    pty = pytest.importorskip("pty")
    ours, its = pty.openpty()
    environment = {**os.environ, "IPCDATASTORE_DIR": str(directory), "TERM": "xterm", "COLUMNS": str(columns)}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen([*PROGRAM, *arguments], env=environment, stdout=its, stderr=its, stdin=its)
    os.close(its)
    os.write(ours, typed.encode())
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux's end of file
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    return process.wait(), shown.decode("utf-8")
