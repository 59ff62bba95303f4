"""docs/cli.md shows what really happens: its examples are run, in order, by one shell."""

import doctest
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ipcdatastore.cli.root import VERBS

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
END = "\x1e"  # between what two commands write
SCRIPT = """
ipcdatastore() {{ "$PYTHON" -m ipcdatastore "$@"; }}
{commands}
"""
# A program in the background has begun when it has written a line.
BACKGROUND = 'rm -f line; "$PYTHON" {command} > line 2>&1 & until test -s line; do sleep 0.02; done; cat line'
NEXT = "status=$?; printf '\\036'; (exit $status)"


def examples(page):
    """(command, what it writes) of each block, in order."""
    found = []
    for block in re.findall(r"(?ms)^```console\n(.*?)^```", page):
        for part in re.split(r"(?m)^\$ ", block)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


def programs(page):
    """(file, text) of each program that is shown."""
    return [(block.split()[1], block) for block in re.findall(r"(?ms)^```python\n(# \S+\.py\n.*?)^```", page)]


def in_shell(command):
    if not command.endswith("&"):
        return command
    program, _, arguments = command[:-1].partition(" ")
    return BACKGROUND.format(command=arguments if program == "python" else f"-m {program} {arguments}")


@pytest.mark.skipif(os.name == "nt" or shutil.which("sh") is None, reason="the examples are for a POSIX shell")
def test_the_examples_write_what_they_are_said_to_write(directory, tmp_path):
    page = PAGE.read_text(encoding="utf-8")
    wanted = examples(page)
    assert len(wanted) > 30
    for file, program in programs(page):
        (tmp_path / file).write_text(program, encoding="utf-8")
    script = SCRIPT.format(commands="\n".join(f"{in_shell(command)}\n{NEXT}" for command, _ in wanted))
    environment = {**os.environ, "IPCDATASTORE_DIR": str(directory), "IPCDATASTORE_IMAGES": str(tmp_path / "images")}
    environment.update(PYTHON=sys.executable, COLUMNS="80", LC_ALL="C.UTF-8")
    options = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "cwd": str(tmp_path),
    }
    done = subprocess.run(["sh", "-c", script], env=environment, check=False, **options)
    written = done.stdout.decode("utf-8").split(END)
    checker = doctest.OutputChecker()
    for (command, output), seen in zip(wanted, written):
        assert checker.check_output(output, seen, doctest.ELLIPSIS), (
            f"$ {command}\n{seen}\n-- but the page has:\n{output}"
        )
    assert len(written) == len(wanted) + 1


def test_every_verb_is_on_the_page():
    page = PAGE.read_text(encoding="utf-8")
    assert [verb for verb in VERBS if f"ipcdatastore {verb} " not in page and f"`{verb}`" not in page] == []


def test_exit_codes_are_those_of_the_help():
    from ipcdatastore.cli import root

    page = PAGE.read_text(encoding="utf-8")
    codes = [root.OK, root.NOT_FOUND, root.USAGE, root.FAILED, root.INTERRUPTED, root.BROKEN_PIPE]
    assert [int(code) for code in re.findall(r"(?m)^\| (\d+) \|", page)] == codes
    assert [int(code) for code in re.findall(r"(?m)^ +(\d+)  ", root.root.epilog)] == codes
