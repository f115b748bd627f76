"""What a call into the sandbox costs: `python bench/sandbox.py [CALLS]`.

One caller at a time gives the latency; twice as many callers as processes, and then 64 of them, the throughput: of 64,
several scripts travel to a message. Every value is checked.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

from stream_orchestrator.kernel.effects import RunScript
from stream_orchestrator.trust.pool import ScriptPool

ROWS = [{"id": n, "name": f"customer {n}"} for n in range(600)]


def script(body: str, **names: object) -> RunScript:
    source = f"{'async ' if 'await' in body else ''}def __step__(__b__):\n    pass\n    {body}\n"
    return RunScript(source=source, digest=body, names=names)


SCRIPTS = {
    "return n + 1": (script("return n + 1", n=1), 2),
    "async, awaits once": (script("import asyncio; await asyncio.sleep(0); return n", n=1), 1),
    "one log line": (script("print('hello'); return 1"), 1),
    "20 KB in, 20 KB out": (script("return rows", rows=ROWS), ROWS),
}


async def latency(pool: ScriptPool, script: RunScript, value: object, *, calls: int) -> list[float]:
    taken = []
    for _ in range(calls):
        begun = time.perf_counter()
        done = await pool.run(script)
        taken.append(time.perf_counter() - begun)
        assert done.value == value, done
    return sorted(taken)


async def throughput(pool: ScriptPool, script: RunScript, *, calls: int, callers: int) -> float:
    async def call() -> None:
        for _ in range(calls // callers):
            assert (await pool.run(script)).kind == "value"

    begun = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(callers)))
    return calls / (time.perf_counter() - begun)


async def main(calls: int) -> None:
    begun = time.perf_counter()
    async with ScriptPool(max_runs=1_000_000) as pool:
        size = pool.statistics().size
        print(
            f"{size} processes and a reserve on {os.cpu_count()} cores, started in {time.perf_counter() - begun:.2f} s"
        )
        print(f"{'script':<22} {'p50':>8} {'p99':>8} {'calls/s':>9} {'a core':>8} {'64 at once':>11}")
        for name, (script, value) in SCRIPTS.items():
            taken = await latency(pool, script, value, calls=calls)
            rate = await throughput(pool, script, calls=calls, callers=2 * size)
            p50, p99 = taken[len(taken) // 2], taken[len(taken) * 99 // 100]
            per_core = rate / (os.cpu_count() or 1)
            many = await throughput(pool, script, calls=calls, callers=64)
            figures = f"{rate:>9,.0f} {per_core:>8,.0f} {many:>11,.0f}"
            print(f"{name:<22} {p50 * 1e3:>5.2f} ms {p99 * 1e3:>5.2f} ms {figures}")
        begun = time.perf_counter()
        hang = RunScript(source="def __step__(__b__):\n    while True: pass\n", digest="5", timeout=0.1)
        await asyncio.gather(*(pool.run(hang) for _ in range(size)))
        await pool.run(next(iter(SCRIPTS.values()))[0])
        print(f"{size} hanging scripts (0.1 s each) and one more call: {time.perf_counter() - begun:.2f} s")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000))
