"""Reads `patches.txt`: what is broken, how, and which tests see it."""

import re
from collections import namedtuple
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src" / "ipcdatastore"

_WHERE = re.compile(r"@ ([\w.]+): (.+)")


class Patch(namedtuple("Patch", "name module tests old new")):
    """One break. `old` and `new` are whole lines."""

    __slots__ = ()

    @property
    def path(self):
        """Of the module, below the package."""
        return Path(self.module.replace(".", "/") + ".py")

    def apply(self, text):
        """The module's source, broken. ``ValueError`` where the lines do not stand there just once."""
        if text.count(self.old) != 1:
            raise ValueError(f"{self.name}: {self.path} has its lines {text.count(self.old)} times: mend patches.txt")
        return text.replace(self.old, self.new)


def read_patches():
    """All of them, in their order."""
    patches = []
    for part in (HERE / "patches.txt").read_text(encoding="utf-8").split("\n# ")[1:]:
        name, where, *lines = part.split("\n=== ")[0].strip("\n").split("\n")
        module, tests = _WHERE.fullmatch(where).groups()
        old, new = ("".join(line[1:] + "\n" for line in lines if line[0] == sign) for sign in "-+")
        patches.append(Patch(name, module, ["tests/" + test for test in tests.split()], old, new))
    return patches
