"""Apache Kafka on this machine's JVM, one node or three: start, stop, restart, kill. `python tests/support/kafka.py`.

Promises
  * Loopback only; every node dies with this process, however it dies.
  * `start` and `restart` return when every live node is known to the cluster and every partition has a leader:
    an open port is not enough, producers and groups would meet errors for seconds.
  * A node keeps its ports and data over `kill` and `restart`.
The jars come by Maven, once, into `.kafka/`. Call from the main thread: to Linux the parent of a process is a thread.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import random
import shutil
import signal
import socket
import string
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from stream_orchestrator.streaming.brokers.embedded import is_open
from stream_orchestrator.streaming.brokers.leash import Leashed
from stream_orchestrator.streaming.settings import StreamSettings

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".kafka"
RECIPE = ROOT / "tests" / "kafka"
# 150 MB of memory a node and no second compiler: short runs never earn its work back.
FLAGS = ["-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:MaxMetaspaceSize=128m", "-Xss512k"]
START_WITHIN = 180.0  # some seconds, on a machine that has nothing else to do
KEYSTORE_PASSWORD = "changeit"


class NoKafka(Exception):
    """This machine cannot run the broker: no JVM, no Maven, or the jars cannot be fetched."""


@dataclass(slots=True)
class Node:
    """One broker and controller. `child` is None before the first start."""

    number: int
    folder: Path
    port: int
    controller_port: int
    secure_port: int
    behind_port: int
    front_port: int
    directory_id: str
    child: Leashed | None = None

    @property
    def alive(self) -> bool:
        return self.child is not None and self.child.alive


class KafkaCluster:
    """A cluster of one node or three. With `user` there is a second listener: SASL_SSL, SCRAM-SHA-256 and PLAIN.

    `proxied` makes one that tells clients to come to `front_port`, where a `support.proxy.Proxy` has to carry them to
    `behind_port`.
    """

    def __init__(
        self, folder: Path, *, nodes: int = 1, user: tuple[str, str] | None = None, proxied: bool = False
    ) -> None:
        self.folder = folder
        self.user = user
        self.proxied = proxied
        self.ca_file = folder / "ca.pem"
        ports = iter(stable_ports(5 * nodes))
        self.nodes = {
            n: Node(n, folder / f"node{n}", *(next(ports) for _ in range(5)), directory_id=short_id())
            for n in range(1, nodes + 1)
        }

    @property
    def bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes.values())

    @property
    def pids(self) -> dict[int, int]:
        """The pids of the nodes that run."""
        return {n: node.child.pid for n, node in self.nodes.items() if node.child is not None and node.alive}

    @property
    def settings(self) -> StreamSettings:
        """How to reach it, in the clear."""
        return StreamSettings(bootstrap=self.bootstrap)

    @property
    def proxied_settings(self) -> StreamSettings:
        """How to reach it through the proxies."""
        return StreamSettings(bootstrap=",".join(f"127.0.0.1:{node.front_port}" for node in self.nodes.values()))

    @property
    def secure_settings(self) -> StreamSettings:
        """How to reach it by TLS, as its user."""
        assert self.user is not None
        return StreamSettings(
            bootstrap=",".join(f"127.0.0.1:{node.secure_port}" for node in self.nodes.values()),
            security_protocol="SASL_SSL",
            sasl_mechanism="SCRAM-SHA-256",
            sasl_username=self.user[0],
            sasl_password=self.user[1],
            ssl_cafile=str(self.ca_file),
        )

    async def start(self) -> None:
        """Format and start every node. A failure leaves nothing behind."""
        jars()
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.user is not None:
            make_keystore(self.folder / "keystore.p12", self.ca_file)
        try:
            await self._format()
            for node in self.nodes.values():
                self._launch(node)
            await self.ready()
        except BaseException:
            self._end(self.nodes.values(), patience=0)
            raise

    async def stop(self) -> None:
        """Stop every node, all at the same time, orderly and then not."""
        for node in self.nodes.values():
            if node.alive and node.child is not None:
                node.child.send(signal.SIGTERM)
        self._end(self.nodes.values(), patience=3)  # the last of three waits for a quorum that is gone

    async def kill(self, number: int = 1) -> None:
        """SIGKILL one node: nothing is flushed, nothing is said."""
        self._end([self.nodes[number]], patience=0)

    async def restart(self, number: int = 1) -> None:
        """Start a node again that was stopped or killed; a running one is stopped first."""
        node = self.nodes[number]
        self._end([node], patience=10)
        self._launch(node)
        await self.ready()

    async def ready(self) -> None:
        """Wait until the live nodes know each other and lead every partition."""
        async with asyncio.timeout(START_WITHIN):
            while not await self._is_ready():
                if dead := [node for node in self.nodes.values() if node.child is not None and self._died(node)]:
                    raise NoKafka(f"node {dead[0].number} ended:\n{tail(dead[0].folder / 'out.log')}")
                await asyncio.sleep(0.05)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _launch(self, node: Node) -> None:
        command = self._java(node, "kafka.Kafka", str(node.folder / "server.properties"))
        with (node.folder / "out.log").open("ab") as output:
            node.child = Leashed(command, output=output, env=os.environ)

    def _end(self, nodes: Iterable[Node], *, patience: float) -> None:
        for node in nodes:
            if node.child is not None:
                node.child.end(patience=patience if node.alive else 0)
                node.child = None

    def _died(self, node: Node) -> bool:
        return node.child is not None and not node.child.alive

    async def _is_ready(self) -> bool:
        live = [node for node in self.nodes.values() if node.alive]
        if not live or not all(is_open(node.port) for node in live):
            return False
        # One round trip to each: a node that was just started may lag behind what the others know.
        return all(await asyncio.gather(*(knows(node.port, {n.number for n in live}) for node in live)))

    async def _format(self) -> None:
        """Give every node its identity; in parallel, each costs a JVM's start."""
        cluster, waits = short_id(), []
        for node in self.nodes.values():
            node.folder.mkdir()
            (node.folder / "server.properties").write_text(self._properties(node))
            tool = ["format", "-t", cluster, "-c", str(node.folder / "server.properties"), *self._quorum()]
            if self.user is not None:
                tool += ["--add-scram", f"SCRAM-SHA-256=[name={self.user[0]},password={self.user[1]}]"]
            command = self._java(node, "kafka.tools.StorageTool", *tool)
            waits.append(asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False))
        for done in await asyncio.gather(*waits):
            if done.returncode != 0:
                raise NoKafka(f"formatting failed:\n{done.stdout}{done.stderr}")

    def _quorum(self) -> list[str]:
        if len(self.nodes) == 1:
            return ["--standalone"]
        voters = (f"{n.number}@127.0.0.1:{n.controller_port}:{n.directory_id}" for n in self.nodes.values())
        return ["--initial-controllers", ",".join(voters)]

    def _properties(self, node: Node) -> str:
        listeners = [f"PLAINTEXT://127.0.0.1:{node.port}", f"CONTROLLER://127.0.0.1:{node.controller_port}"]
        values: dict[str, object] = {
            "node": node.number,
            "controllers": ",".join(f"127.0.0.1:{n.controller_port}" for n in self.nodes.values()),
            "data": node.folder / "data",
            "replication": min(3, len(self.nodes)),
            "in_sync": 2 if len(self.nodes) >= 3 else 1,
        }
        text = (RECIPE / "server.properties").read_text()
        if self.user is not None:
            listeners.append(f"SASL_SSL://127.0.0.1:{node.secure_port}")
            text += (RECIPE / "secure.properties").read_text()
            values |= {"user": self.user[0], "password": self.user[1]}
            values |= {"keystore": self.folder / "keystore.p12", "keystore_password": KEYSTORE_PASSWORD}
        advertised = list(listeners)
        if self.proxied:
            listeners.append(f"PROXIED://127.0.0.1:{node.behind_port}")
            advertised.append(f"PROXIED://127.0.0.1:{node.front_port}")
        return string.Template(text).safe_substitute(
            values, listeners=",".join(listeners), advertised=",".join(advertised)
        )

    def _java(self, node: Node, main: str, *arguments: str) -> list[str]:
        logging = [
            f"-Dlog4j2.configurationFile={RECIPE / 'log4j2.xml'}",
            f"-Dkafka.log.file={node.folder / 'kafka.log'}",
        ]
        return ["java", *FLAGS, *logging, "-cp", f"{CACHE / 'jars'}/*", main, *arguments]


async def knows(port: int, numbers: set[int]) -> bool:
    """Whether the node at that port knows these nodes, and a leader for every partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=f"127.0.0.1:{port}", request_timeout_ms=5000)
    with suppress(KafkaError, OSError):
        try:
            await admin.start()
            cluster, topics = await admin.describe_cluster(), await admin.describe_topics()
        finally:
            await admin.close()
        known = {broker["node_id"] for broker in cluster["brokers"]}
        led = all(part["leader"] in numbers for topic in topics for part in topic["partitions"])
        return numbers <= known and led
    return False


def jars() -> None:
    """Fetch the broker's jars into `.kafka/jars`, once for each recipe; `NoKafka` says what is missing."""
    recipe, mark = (RECIPE / "pom.xml").read_text(), CACHE / "jars" / "pom.xml"
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            raise NoKafka(f"`{tool}` is not on the PATH (Debian: apt install default-jre-headless maven)")
    if mark.is_file() and mark.read_text() == recipe:
        return
    CACHE.mkdir(exist_ok=True)
    fresh = Path(
        tempfile.mkdtemp(prefix="fetch-", dir=CACHE)
    )  # renamed when whole: an interrupted fetch leaves no half
    command = [
        "mvn",
        "-q",
        "-B",
        "-f",
        str(RECIPE / "pom.xml"),
        "dependency:copy-dependencies",
        f"-DoutputDirectory={fresh}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        shutil.rmtree(fresh)
        raise NoKafka(f"Maven could not fetch the jars:\n{done.stdout[-1500:]}{done.stderr[-500:]}")
    (fresh / "pom.xml").write_text(recipe)
    shutil.rmtree(CACHE / "jars", ignore_errors=True)
    fresh.rename(CACHE / "jars")


def make_keystore(keystore: Path, certificate: Path) -> None:
    """A key for 127.0.0.1 that signs itself, and the certificate that clients trust."""
    common = ["-alias", "broker", "-keystore", str(keystore), "-storetype", "PKCS12", "-storepass", KEYSTORE_PASSWORD]
    names = ["-dname", "CN=localhost", "-ext", "SAN=ip:127.0.0.1,dns:localhost"]
    run = ["keytool", "-genkeypair", "-keyalg", "EC", "-groupname", "secp256r1", *names, *common]
    subprocess.run(run, check=True, capture_output=True)
    subprocess.run(
        ["keytool", "-exportcert", "-rfc", "-file", str(certificate), *common], check=True, capture_output=True
    )


def stable_ports(count: int) -> list[int]:
    """Free ports below the range of outgoing connections: a killed node must find its own port free again."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
    return found


def short_id() -> str:
    """A random id as Kafka writes them; never with a leading dash, which a command line would take for a flag."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")


def tail(log: Path) -> str:
    """The end of a log, for a message."""
    return log.read_text(errors="replace")[-2000:] if log.is_file() else ""


async def serve(nodes: int, folder: Path) -> None:
    """Run a cluster until a signal comes."""
    done = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, done.set)
    async with KafkaCluster(folder, nodes=nodes) as cluster:
        print(f"kafka://{cluster.bootstrap}", flush=True)
        print(f"{nodes} node(s), data and logs in {folder}; Ctrl-C stops and removes them", file=sys.stderr, flush=True)
        await done.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="Apache Kafka in the foreground, for development")
    parser.add_argument("--nodes", type=int, default=1, choices=(1, 3))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kafka-") as folder:
        try:
            asyncio.run(serve(options.nodes, Path(folder)))
        except NoKafka as fault:
            raise SystemExit(f"error: {fault}") from fault


if __name__ == "__main__":
    main()
