"""What the user may choose."""

from __future__ import annotations

import os
import sysconfig
from dataclasses import dataclass
from typing import FrozenSet, Optional


def standard_library() -> str:
    """The folder of the running Python's standard library."""
    return sysconfig.get_path("stdlib")


@dataclass
class Settings:
    """What the user may choose. ``folder=None`` is the standard library, without what was installed into it."""

    folder: Optional[str] = None
    readers: int = 2
    seconds: float = 8.0
    kills: int = 8
    directory: Optional[str] = None
    timeout: float = 10.0

    @property
    def root(self) -> str:
        """The folder to gather, absolute."""
        return os.path.abspath(standard_library() if self.folder is None else self.folder)

    @property
    def skip(self) -> FrozenSet[str]:
        """Names of folders that are left out: a folder that the user names is gathered whole."""
        return frozenset(("site-packages", "dist-packages", "__pycache__") if self.folder is None else ())
