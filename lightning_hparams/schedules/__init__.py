"""Schedules: what an optimizer's value is multiplied by, as a function of (step, total).

Every one is called as ``schedule(step, total, **shape)`` with ``step`` the optimizer steps taken so
far (at least 0) and ``total`` those of the whole run (at least 1), and keeps nothing between calls:
the value of step 1000 is the same in a run that was stopped at 999. Past the end the last value
holds. ``functools.partial`` gives a schedule its shape; :func:`warmup` and :func:`join` make new
ones from existing ones. :mod:`.bounds` has the values they move between; this room may import
``optim``.

Where an argument counts steps, an int is a number of steps and a float a share of the run.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
