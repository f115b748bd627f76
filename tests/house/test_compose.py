"""docker-compose.yml: what it says holds, and its workers' own command lines serve on a real Kafka."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from compose import ROOT, command_of, compose, environment_of, images_of, services

from stream_orchestrator.observe import metrics

COMMAND = str(Path(sys.executable).parent / "stream-orchestrator")
PIPELINE = "pipelines/production/support-triage-v1.1.0.yaml"
EVENTS = "pipelines/data/tickets.jsonl"

every_service = pytest.mark.parametrize("name", services())


@every_service
def test_images_are_pinned_to_a_version(name: str) -> None:
    for image in images_of(services()[name]):
        assert re.search(r":v?\d+\.\d+", image), image


@every_service
def test_a_service_says_whether_it_is_well(name: str) -> None:
    check = services()[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries"} <= set(check)


@every_service
def test_only_loopback_ports_are_published(name: str) -> None:
    ports = services()[name].get("ports", [])
    assert [port for port in ports if not re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)] == []


@every_service
def test_what_is_mounted_is_there(name: str) -> None:
    sources = [volume.split(":")[0] for volume in services()[name].get("volumes", [])]
    named = set(compose({})["volumes"])
    assert [source for source in sources if source not in named and not (ROOT / source).exists()] == []


def test_no_two_services_publish_the_same_port() -> None:
    published = [port.split(":")[1] for service in services().values() for port in service.get("ports", [])]
    assert len(set(published)) == len(published)


def test_kafka_is_as_safe_as_production_demands() -> None:
    nodes = [service for name, service in services().items() if name.startswith("kafka-")]
    assert len(nodes) == 3
    for node in map(environment_of, nodes):
        assert node["KAFKA_DEFAULT_REPLICATION_FACTOR"] == "3"
        assert node["KAFKA_MIN_INSYNC_REPLICAS"] == "2"
        assert node["KAFKA_UNCLEAN_LEADER_ELECTION_ENABLE"] == "false"


def test_models_are_offline_unless_asked_for() -> None:
    assert "--offline" in command_of(services()["worker-1"])
    assert "--offline" not in command_of(services({"MODELS": ""})["worker-1"])
    assert environment_of(services({"OPENAI_API_KEY": "key"})["worker-1"])["OPENAI_API_KEY"] == "key"


def test_workers_differ_in_nothing_but_who_they_are() -> None:
    one, two = (command_of(services()[name]) for name in ("worker-1", "worker-2"))
    assert [word.replace("worker-1", "worker-2") for word in one] == two != one


# --- the workers, as the file says, with other addresses --------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Collector(ThreadingHTTPServer):
    """Stands where the OpenTelemetry collector would: takes spans, and counts them by request."""

    taken = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taking)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Taking(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/traces" and isinstance(self.server, Collector):
            self.server.taken += 1
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


class Worker:
    """One of the file's workers as a process. Only addresses differ from what the file says."""

    def __init__(self, name: str, *, bootstrap: str, collector: str, folder: Path) -> None:
        service = services()[name]
        self.port, self.log = free_port(), folder / f"{name}.log"
        replaced = {
            "kafka://kafka-1:9092,kafka-2:9092,kafka-3:9092": f"kafka://{bootstrap}",
            "0.0.0.0:8080": f"127.0.0.1:{self.port}",
            "/pipelines/production": str(ROOT / "pipelines/production"),
            "http://otel-collector:4318": collector,
            "redis://redis:6379/0": f"redis://127.0.0.1:{free_port()}/0",
        }
        words = [replaced.get(word, word) for word in command_of(service)]
        environment = {key: replaced.get(value, value) for key, value in environment_of(service).items()}
        self.check = [word.replace("8080", str(self.port)) for word in service["healthcheck"]["test"][1:]]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [COMMAND, *words],
                env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            return answer.read().decode()

    def healthy(self) -> bool:
        """What the file's own health check says."""
        return subprocess.run([sys.executable, *self.check[1:]], capture_output=True).returncode == 0

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]


def until(state: Callable[[], bool], *, seconds: float, worker: Worker) -> None:
    deadline = time.monotonic() + seconds
    while not state():
        assert worker.process.poll() is None, f"the worker ended\n{worker.tail()}"
        assert time.monotonic() < deadline, f"not within {seconds} s\n{worker.tail()}"
        time.sleep(0.2)


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    yield server
    server.shutdown()
    server.server_close()


def tool(*words: str) -> str:
    done = subprocess.run([COMMAND, *words], cwd=ROOT, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.kafka
@pytest.mark.timeout(300)
def test_the_files_workers_serve_on_a_real_kafka(kafka3: Any, collector: Collector, tmp_path: Path) -> None:
    bootstrap = kafka3.settings.bootstrap
    broker = ("--broker", f"kafka://{bootstrap}")
    workers = [
        Worker(name, bootstrap=bootstrap, collector=collector.address, folder=tmp_path)
        for name in ("worker-1", "worker-2")
    ]
    try:
        for worker in workers:
            until(lambda worker=worker: worker.answers("/health/ready"), seconds=90, worker=worker)
            assert worker.healthy()
        sent = json.loads(tool("send", PIPELINE, "--input", EVENTS, "--json", *broker))
        lines = tool("results", "support-triage", "--count", "28", "--timeout", "90", "--json", *broker).splitlines()
        results = {result["run_id"]: result for result in map(json.loads, lines)}
        assert sent["sent"] == 28
        assert set(results) == set(sent["run_ids"])
        assert {result["status"] for result in results.values()} == {"succeeded"}
        shown = "".join(worker.metrics() for worker in workers)
        assert re.search(r'stream_orchestrator_runs_total\{[^}]*pipeline="support-triage"[^}]*\} [1-9]', shown)
        until(lambda: collector.taken > 0, seconds=30, worker=workers[0])
        assert [worker.stop() for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.wait()


def test_the_dashboard_asks_only_for_metrics_that_the_workers_have() -> None:
    dashboard = (ROOT / "deploy/grafana/dashboards/stream-orchestrator.json").read_text(encoding="utf-8")
    expressions = [target["expr"] for panel in json.loads(dashboard)["panels"] for target in panel["targets"]]
    asked = {name for each in expressions for name in re.findall(rf"{metrics.PREFIX}(\w+)", each)}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked} - set(metrics.HELP) == set()
    assert len(asked) >= 8
