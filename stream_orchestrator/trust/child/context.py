"""What a script sees besides its inputs: `context` and `logger`."""

from __future__ import annotations

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

NOT_BUILT = frozenset(
    (
        *("get_cache", "set_cache", "get_task_cache", "set_task_cache"),
        *("get_circuit_breaker_state", "record_circuit_breaker_success", "record_circuit_breaker_failure"),
        *("get_error_rate", "get_current_batch", "wait_for_batch_completion"),
        *("get_global_state", "set_global_state", "get_persistent_state", "set_persistent_state"),
        *("get_shared_state", "set_shared_state", "get_pipeline_output", "get_loop_variable", "get_loop_iteration"),
    )
)


class SecretMissing(LookupError):
    """No secret of that name is where secrets are."""


class Context:
    """The `context` of a script: read from what it was started with; what it reports is carried out by the worker."""

    def __init__(self, info: Mapping[str, Any], *, reports: Reports, wire: Wire, fingerprint_key: bytes) -> None:
        self._info, self._reports, self._wire = info, reports, wire
        self._fingerprint_key = fingerprint_key

    def __getattr__(self, name: str) -> Any:
        if name in NOT_BUILT:
            raise NotImplementedError(f"`context.{name}` is not built yet")
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
        return str(self._info.get("run_id", ""))

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
