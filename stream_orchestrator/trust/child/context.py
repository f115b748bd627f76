"""What a script sees besides its inputs: `context` and `logger`."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import sys
from collections.abc import Mapping
from typing import Any

import orjson

from .reports import Reports
from .trace import told
from .values import plain
from .wire import AskFailed, Wire


class SecretMissing(LookupError):
    """No secret of that name is where secrets are."""


class StateError(ValueError):
    """What a script wants to keep is too large, or there is no room for it."""


class Context:
    """The `context` of a script: read from what it was started with; what it reports is carried out by the worker."""

    def __init__(
        self,
        info: Mapping[str, Any],
        *,
        reports: Reports,
        wire: Wire,
        fingerprint_key: bytes,
        names: Mapping[str, Any] | None = None,
    ) -> None:
        self._names = names or {}
        self._info, self._reports, self._wire = info, reports, wire
        self._fingerprint_key = fingerprint_key

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"`context` has no `{name}`")

    def get_task_output(self, name: str, default: Any = None) -> Any:
        """The output of a task that came before; the default when there is none."""
        return self._info.get("outputs", {}).get(name, default)

    def get_variable(self, name: str, default: Any = None) -> Any:
        """An input variable of the run."""
        return self._info.get("variables", {}).get(name, default)

    def get_all_variables(self) -> dict[str, Any]:
        return dict(self._info.get("variables", {}))

    def get_pipeline_id(self) -> str:
        return str(self._info.get("pipeline", ""))

    def get_execution_id(self) -> str:
        """The run's id: the same when the script runs again."""
        return str(self._info.get("id") or self._info.get("run_id", ""))

    def get_secret(self, name: str) -> str:
        """The secret of that name, asked of the worker, which masks it in all that this script says."""
        try:
            return str(self._wire.ask("secret", name=str(name)))
        except AskFailed as error:
            raise SecretMissing(str(error)) from None

    def fingerprint(self, value: Any) -> str:
        """A keyed hash (32 hex digits): the same for the same value wherever the key is, and no way back."""
        if not self._fingerprint_key:
            raise RuntimeError("`context.fingerprint` needs a key: set STREAM_ORCHESTRATOR__TRUST__FINGERPRINT_KEY")
        data = orjson.dumps(plain(value, "value"), option=orjson.OPT_SORT_KEYS)
        return hmac.new(self._fingerprint_key, data, hashlib.sha256).hexdigest()[:32]

    def log_info(self, message: Any, **fields: Any) -> None:
        self._log("info", message, fields)

    def log_warning(self, message: Any, **fields: Any) -> None:
        self._log("warning", message, fields)

    def log_error(self, message: Any, **fields: Any) -> None:
        self._log("error", message, fields)

    def record_metric(self, name: str, value: float, **labels: Any) -> None:
        """Add a value to a metric of the pipeline."""
        if not isinstance(value, int | float):
            raise TypeError(f"the metric `{name}` needs a number, not {type(value).__name__}")
        texts = {label: str(text) for label, text in labels.items()}
        self._reports.effect("metric", name=str(name), value=plain(value, name), labels=texts)

    def log_audit_event(self, entry: Any, **fields: Any) -> None:
        self._reports.effect("audit", entry=plain(entry, "entry"), **_extra(fields))

    def send_alert(self, message: Any, **fields: Any) -> None:
        self._reports.effect("alert", message=str(message), **_extra(fields))

    def update_progress(self, progress: float, message: Any = "") -> None:
        """Say how far the script is; `progress` is from 0 to 1."""
        share = plain(float(progress), "progress")
        self._reports.log("info", f"{share:.0%} {message}".rstrip(), progress=share)
        self._state("progress", share=share, message=str(message))

    def get_error_rate(self) -> float:
        """The share of this pipeline's runs that failed in the last 5 minutes, from 0 to 1."""
        return float(self._state("error_rate"))

    def get_pipeline_output(self, name: str, default: Any = None) -> Any:
        """What the member of that name gave in this run; else the newest output of the pipeline of that name."""
        members = self._info.get("pipelines") or {}
        if str(name) in members:
            return members[str(name)]
        answer = self._state("output", name=str(name))
        return answer["value"] if answer["found"] else default

    def get_current_batch(self) -> list[dict[str, Any]]:
        """The members of the batch, each with the names bound for it. Outside batches: this run alone."""
        info = self._info
        return [{**info.get("variables", {}), **info.get("outputs", {}), **self._names}]

    def wait_for_batch_completion(self, timeout: Any = None) -> None:
        """Wait until the batch is whole. Outside batches it is."""

    def get_loop_variable(self, name: str, default: Any = None) -> Any:
        """A variable of the loop that this task is in."""
        return (self._info.get("loop") or {}).get("variables", {}).get(name, default)

    def get_loop_iteration(self) -> int:
        """Which turn of the loop this is, from 1; outside loops 0."""
        return int((self._info.get("loop") or {}).get("iteration", 0))

    # --- state that outlives the run -----------------------------------------------------------------------------

    def get_global_state(self, key: str, default: Any = None) -> Any:
        """What any run of this pipeline has set, at most 1 s ago; what this run has set, at once."""
        return self._get("global", key, default)

    def set_global_state(self, key: str, value: Any, ttl: Any = None) -> None:
        """Keep a value for all runs and versions of this pipeline; None takes it away."""
        self._set("global", key, value, ttl=ttl)

    def get_persistent_state(self, key: str, default: Any = None) -> Any:
        return self._get("persistent", key, default)

    def set_persistent_state(self, key: str, value: Any) -> None:
        """Keep a value for good."""
        self._set("persistent", key, value)

    def get_shared_state(self, key: str, default: Any = None, namespace: str | None = None) -> Any:
        return self._get("shared", key, default, namespace=namespace)

    def set_shared_state(self, key: str, value: Any, namespace: str | None = None, ttl: Any = None) -> None:
        """Keep a value for all pipelines that use the namespace."""
        self._set("shared", key, value, ttl=ttl, namespace=namespace)

    def get_cache(self, key: str, default: Any = None) -> Any:
        return self._get("cache", key, default)

    def set_cache(self, key: str, value: Any, ttl: Any = None) -> None:
        """Keep a value for a while (an hour, unless `ttl` says otherwise); a full cache drops what goes first."""
        self._set("cache", key, value, ttl=ttl)

    def get_task_cache(self, key: str, default: Any = None) -> Any:
        return self._get("task_cache", key, default)

    def set_task_cache(self, key: str, value: Any, ttl: Any = None) -> None:
        """As `set_cache`, for this task alone."""
        self._set("task_cache", key, value, ttl=ttl)

    def get_circuit_breaker_state(self, name: str) -> str:
        """`closed`, `open` or `half_open`; who hears `half_open` may try, and says what came of it."""
        return str(self._state("breaker", name=str(name)))

    def record_circuit_breaker_success(self, name: str) -> None:
        self._state("record", name=str(name), failure=False)

    def record_circuit_breaker_failure(self, name: str) -> None:
        self._state("record", name=str(name), failure=True)

    def _get(self, kind: str, key: Any, default: Any, **more: Any) -> Any:
        answer = self._state("get", kind=kind, key=str(key), **more)
        return answer["value"] if answer["found"] else default

    def _set(self, kind: str, key: Any, value: Any, *, ttl: Any = None, namespace: str | None = None) -> None:
        seconds = ttl.total_seconds() if isinstance(ttl, datetime.timedelta) else ttl
        given = {"value": plain(value, f"value of {key}"), "ttl": plain(seconds, "ttl"), "namespace": namespace}
        answer = self._state("set", kind=kind, key=str(key), **given)
        if not answer["stored"]:
            self._log("warning", f"`{key}` is not cached: {answer['why']}", {})

    def _state(self, do: str, **details: Any) -> Any:
        try:
            return self._wire.ask("state", do=do, **details)
        except AskFailed as error:
            raise StateError(str(error)) from None

    def _log(self, level: str, message: Any, fields: Mapping[str, Any]) -> None:
        self._reports.log(level, str(message), **_extra(fields))


class Logger:
    """The `logger` of a script: the methods of `logging.Logger` that scripts use."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def log(self, level: str, message: Any, *args: Any, **options: Any) -> None:
        text = _formatted(message, args)
        if options.get("exc_info"):
            error = sys.exception()
            text = f"{text}\n{told(error)}" if error else text
        self._reports.log(level, text)

    def debug(self, message: Any, *args: Any, **options: Any) -> None:
        self.log("debug", message, *args, **options)

    def info(self, message: Any, *args: Any, **options: Any) -> None:
        self.log("info", message, *args, **options)

    def warning(self, message: Any, *args: Any, **options: Any) -> None:
        self.log("warning", message, *args, **options)

    warn = warning

    def error(self, message: Any, *args: Any, **options: Any) -> None:
        self.log("error", message, *args, **options)

    critical = error

    def exception(self, message: Any, *args: Any, **options: Any) -> None:
        self.log("error", message, *args, **{**options, "exc_info": True})


def _formatted(message: Any, args: tuple[Any, ...]) -> str:
    if not args:
        return str(message)
    try:
        return str(message) % (args[0] if len(args) == 1 and isinstance(args[0], Mapping) else args)
    except (TypeError, ValueError, KeyError):  # a log line is no reason to fail a run: say what was given
        return f"{message} {args!r}"


def _extra(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"fields": plain(dict(fields), "fields")} if fields else {}
