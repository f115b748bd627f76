"""`model_tier_strategy`: which model a task means by `tier` or `use_case`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from stream_orchestrator.spec.located import Located, Path
from stream_orchestrator.spec.pipeline import ModelTier
from stream_orchestrator.spec.problems import Problems
from stream_orchestrator.spec.tasks import BaseTask


def tier_model(
    task: BaseTask, tiers: Mapping[str, ModelTier], path: Path, *, located: Located, problems: Problems
) -> tuple[str, Path] | None:
    """The first model of the tier that a task picks, and where it stands; None when it picks none.

    A tier or a use case that nobody describes is an error.
    """
    if task.tier is not None:
        name = task.tier if task.tier in tiers else None
        known, key = list(tiers), "tier"
    elif task.use_case is not None:
        cases = {case: name for name, tier in tiers.items() for case in tier.use_cases or ()}
        name, known, key = cases.get(task.use_case), list(cases), "use_case"
    else:
        return None
    asked = str(getattr(task, key))
    if name is None:
        near = difflib.get_close_matches(asked, known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"`model_tier_strategy` has: {', '.join(known) or 'none'}"
        message = f"there is no {'tier' if key == 'tier' else 'tier for the use case'} `{asked}`"
        problems.add(located.problem(f"unknown-{key.replace('_', '-')}", message, path=(*path, key), hint=hint))
        return None
    if not tiers[name].models:
        problems.add(
            located.problem("empty-tier", f"the tier `{name}` has no models", path=(*path, key), hint="add one")
        )
        return None
    return tiers[name].models[0], ("model_tier_strategy", name, "models", 0)
