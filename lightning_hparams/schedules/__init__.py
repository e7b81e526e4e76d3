"""Schedules as functions of (step, total) -> multiplier; may import no other room.

A schedule is called as ``schedule(step, total, **shape)``, with the optimizer steps taken so far
(at least 0) and those of the whole run (at least 1). It is stateless: step 1000 has the same value
in a run that was stopped at 999. Past the end, the last value holds. ``functools.partial`` fixes
the shape; :func:`warmup` and :func:`join` combine schedules. ``bounds`` has the values between
which they move; this room may import ``optim``.

Where an argument counts steps, an int is a number of steps and a float a share of the run; step
sizes of cycles, which may be fractions as torch's, are a share if below 1.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
