"""Every benchmark of this folder, one after another: `python -m bench`.

One whose first line asks for HOST:PORT gets a Kafka: one node on this machine's JVM, started for it and stopped after.
Without a JVM and Maven such a one is left out, loudly.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from support.kafka import KafkaCluster, NoKafka  # noqa: E402 - the tests' cluster is found by the line above


def benchmarks() -> dict[Path, bool]:
    """The programs, and whether each wants a broker."""
    found = sorted(path for path in HERE.glob("*.py") if not path.name.startswith("__"))
    return {path: "HOST:PORT" in path.read_text(encoding="utf-8").split("\n", 1)[0] for path in found}


def run(path: Path, *arguments: str) -> bool:
    print(f"\n== {path.name} {' '.join(arguments)}".rstrip(), flush=True)
    return subprocess.run([sys.executable, "-m", f"bench.{path.stem}", *arguments], cwd=HERE.parent).returncode == 0


async def on_kafka(paths: list[Path]) -> list[Path]:
    """Those that failed."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with KafkaCluster(Path(folder)) as cluster:
            return [path for path in paths if not await asyncio.to_thread(run, path, cluster.bootstrap)]


def main() -> int:
    wanted = benchmarks()
    failed = [path for path, broker in wanted.items() if not broker and not run(path)]
    on_broker = [path for path, broker in wanted.items() if broker]
    try:
        failed += asyncio.run(on_kafka(on_broker)) if on_broker else []
    except NoKafka as fault:
        print(f"not run, for want of a Kafka: {', '.join(path.name for path in on_broker)} ({fault})", file=sys.stderr)
    for path in failed:
        print(f"failed: {path.name}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
