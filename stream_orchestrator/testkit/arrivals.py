"""When the events of a load test are due. Plain arithmetic: no clock, no chance, the same every time."""

from __future__ import annotations

import math
from collections.abc import Iterator


def arrivals(rate: float, *, duration: float, ramp_up: float = 0.0) -> Iterator[float]:
    """The instants, in seconds from the beginning, of an open loop: `rate` a second, growing evenly during `ramp_up`.

    Event number k is due when the rate has added up to k. They do not depend on any answer.
    """
    ramp = min(ramp_up, duration)
    top = rate if ramp_up <= duration else rate * duration / ramp_up  # the rate that the ramp gets to
    in_ramp = top * ramp / 2
    for number in range(math.ceil(in_ramp + top * (duration - ramp))):
        at = math.sqrt(2 * ramp * number / top) if number < in_ramp else ramp + (number - in_ramp) / top
        if at < duration:  # the last one may round up to the very end
            yield at


def joins(users: int, *, ramp_up: float = 0.0) -> list[float]:
    """When each user of a closed loop begins."""
    return [ramp_up * number / users for number in range(users)]
