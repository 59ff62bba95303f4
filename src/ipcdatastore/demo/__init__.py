"""The main job on real files, measured and verified: ``ipcdatastore demo``, or ``python -m ipcdatastore.demo``.

One process gathers a record for each file of a folder, others look records up at full speed while some are
rewritten; then a fresh process verifies every record against the disk, a writer is killed in mid-work again
and again, and the same look-ups are made through a ``multiprocessing.Manager().dict()``.

:mod:`director` tells the story in order. The processes are in :mod:`gather`, :mod:`read`, :mod:`rewrite`,
:mod:`verify`, :mod:`kill` and :mod:`compare`; they are started by :mod:`crew` and report through a store of their
own, the board in :mod:`place`. All that is measured is defined in :mod:`figures`. Only :mod:`rich_display` needs
``rich``.
"""

from .director import run
from .figures import Report
from .settings import Settings, standard_library

__all__ = ["Report", "Settings", "run", "standard_library"]
