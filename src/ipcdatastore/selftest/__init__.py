"""Proves that the library works on this machine, in a few seconds: ``ipcdatastore selftest``,
``python -m ipcdatastore.selftest``, or from any program.

::

    report = ipcdatastore.selftest.run(progress=print)
    report.ok

All happens in scratch regions in a directory of their own, which is removed at the end. With `quick` no process is
started, for hosts that cannot. Needs neither click nor rich.

:mod:`bench` is what every step gets; the steps are in :mod:`basics`, :mod:`notice`, :mod:`calls`, :mod:`limits`,
:mod:`crowd`, :mod:`disk` and :mod:`damage`; :mod:`director` runs them.
"""

from .director import Report, Step, run, step_names

__all__ = ["Report", "Step", "run", "step_names"]
