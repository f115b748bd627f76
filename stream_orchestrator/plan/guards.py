"""`privacy_settings` and `security`: what a pipeline says of its data, for the plan, and what cannot go together."""

from __future__ import annotations

from collections.abc import Iterator

from stream_orchestrator.plan.model import Guards, Plan
from stream_orchestrator.spec.documents import Document
from stream_orchestrator.spec.inputs import InputRules
from stream_orchestrator.spec.pipeline import Pipeline, Privacy, Security
from stream_orchestrator.spec.problems import Problem

RUN_SECONDS = 86_400.0
_GUARD = {("cost_management", "budget_limit"): "budget"}
_AT_START = (
    (
        ("cost_management", "budget_limit"),
        "this version does not keep budgets: a worker starts only where no call costs money",
        "answer every model here (--offline), or say `calls: {budgets: unkept}` in the config",
    ),
)


def guards_of(pipeline: Pipeline) -> Guards:
    """The plan's form."""
    privacy, security = pipeline.privacy_settings or Privacy(), pipeline.security or Security()
    return Guards(
        anonymize=bool(privacy.anonymization),
        residency=(privacy.data_residency or "").strip().upper(),
        retention=privacy.retention_period,
        tls=bool(security.encryption_in_transit),
        at_rest=bool(security.encryption_at_rest),
        budget=str(pipeline.cost_management.budget_limit or "") if pipeline.cost_management else "",
    )


def rules_of(plan: Plan) -> InputRules:
    """What an event of this plan must be."""
    return InputRules.from_plan(plan.inputs, plan.input_validation, anonymize=plan.guards.anonymize)


def problems_of_guards(document: Document) -> Iterator[Problem]:
    """What would break a promise: files cannot be anonymised, and what is not done yet may not be deleted."""
    pipeline, located = document.model, document.located
    if not isinstance(pipeline, Pipeline):
        return
    guards = guards_of(pipeline)
    for name, variable in (pipeline.input_variables or {}).items():
        if guards.anonymize and variable.type == "file":
            message = f"the file `{name}` cannot be anonymised, and `anonymization` promises that all input is"
            hint = "pass its text as a string, or set `anonymization: false`"
            yield located.problem("file-not-anonymized", message, path=("input_variables", name, "type"), hint=hint)
    for path, message, hint in _AT_START:
        if getattr(guards, _GUARD[path]):
            yield located.problem("checked-at-start", message, path=path, hint=hint, severity="warning")
    longest = pipeline.timeout or RUN_SECONDS
    if guards.retention is not None and guards.retention < longest:
        message = f"events would be deleted after {guards.retention:g} s, and a run may take {longest:g} s"
        hint = "keep them as long as a run may take (`timeout:`, default 24 hours), or shorten that"
        path = ("privacy_settings", "retention_period")
        yield located.problem("retention-too-short", message, path=path, hint=hint)
