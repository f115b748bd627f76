"""Makes `logs.jsonl` again: 24 made-up log excerpts of a shop's services, each with one story in it.

The stories (a quiet hour, a database that goes away, a memory leak, a slow neighbour, somebody trying passwords, a bad
release) are written down here; times, addresses and numbers come from a seed, so that the file is the same every time.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

HERE = Path(__file__).parent
SERVICES = ("checkout", "catalogue", "accounts", "shipping")
START = datetime(2026, 11, 2, 8, 0, 0)

Line = tuple[float, str, str]  # seconds since the start, level, source and message
Story = Callable[[random.Random], Iterator[Line]]


def ordinary(rng: random.Random, *, minutes: int = 20, slow: float = 1.0) -> Iterator[Line]:
    """Requests as on any day; a few warnings."""
    for _ in range(minutes * 6):
        took = rng.lognormvariate(4.2, 0.5) * slow
        path = rng.choice(("/cart", "/pay", "/items", "/login", f"/orders/{rng.randrange(10_000, 99_999)}"))
        yield rng.uniform(0, minutes * 60), "INFO", f"[http] GET {path} 200 took {took:.0f} ms"
    for _ in range(rng.randrange(3)):
        yield rng.uniform(0, minutes * 60), "WARN", f"[cache] miss rate {rng.uniform(0.2, 0.5):.2f}, still warming up"


def database_goes_away(rng: random.Random) -> Iterator[Line]:
    yield from ordinary(rng)
    began = rng.uniform(300, 700)
    for _ in range(rng.randrange(18, 40)):
        at = began + rng.uniform(0, 110)
        yield (
            at,
            "ERROR",
            f"[pool] connection to 10.0.3.{rng.randrange(2, 9)}:5432 refused after {rng.randrange(2, 6)} s",
        )
    yield began + 30, "FATAL", "[orders] no database connection for 30 s, refusing writes"
    yield began + 140, "INFO", "[pool] connected again"


def memory_leak(rng: random.Random) -> Iterator[Line]:
    yield from ordinary(rng, slow=1.6)
    for step in range(6):
        yield 120 + step * 150, "WARN", f"[gc] heap {70 + step * 5} % after collection, took {200 + step * 240} ms"
    yield (
        1080,
        "FATAL",
        "[runtime] out of memory: cannot allocate 67108864 bytes\n    at Basket.merge\n    at Session.load",
    )


def slow_neighbour(rng: random.Random) -> Iterator[Line]:
    yield from ordinary(rng)
    for _ in range(60):
        yield rng.uniform(200, 900), "INFO", f"[http] POST /rates 200 took {rng.uniform(1.2, 6.5):.2f} s"
    for _ in range(rng.randrange(4, 9)):
        yield rng.uniform(200, 900), "ERROR", f"[rates] call {rng.getrandbits(64):016x} timed out after 5 s"


def passwords_tried(rng: random.Random) -> Iterator[Line]:
    yield from ordinary(rng)
    address = f"198.51.100.{rng.randrange(1, 254)}"
    for _ in range(rng.randrange(12, 60)):
        user = rng.choice(("admin", "root", "test", "oracle", "anna", "info"))
        yield rng.uniform(60, 1100), "WARN", f"[auth] failed login for '{user}' from {address}"
    yield 500, "WARN", f"[auth] failed login for 'mia' from 192.0.2.{rng.randrange(1, 254)}"


def bad_release(rng: random.Random) -> Iterator[Line]:
    yield from ordinary(rng)
    yield 420, "INFO", f"[deploy] release 2026.11.{rng.randrange(1, 28)} is live"
    for _ in range(rng.randrange(25, 70)):
        order = rng.randrange(10_000, 99_999)
        text = f"[orders] order {order} failed: KeyError 'currency'\n  File \"orders.py\", line 88, in total"
        yield 425 + rng.expovariate(1 / 120), "ERROR", text


STORIES: tuple[Story, ...] = (
    ordinary,
    database_goes_away,
    memory_leak,
    slow_neighbour,
    passwords_tried,
    bad_release,
)


def excerpt(lines: Iterator[Line], start: datetime) -> str:
    ordered = sorted(lines)
    return "\n".join(
        f"{start + timedelta(seconds=int(at)):%Y-%m-%d %H:%M:%S} {lvl} {text}" for at, lvl, text in ordered
    )


def main() -> None:
    rng = random.Random(7)  # noqa: S311 - a story, not a secret
    events = []
    for number in range(24):
        start = START + timedelta(hours=number)
        event = {
            "service": SERVICES[number % len(SERVICES)],
            "environment": "staging" if number % 8 == 7 else "production",
            "log": excerpt(STORIES[number % len(STORIES)](rng), start),
        }
        events.append(event)
    (HERE / "logs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in events), encoding="utf-8")


if __name__ == "__main__":
    main()
