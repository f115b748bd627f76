"""Advice on documents: everything `validate` says, and what experience says. Rules are published by their ids."""

from __future__ import annotations

from stream_orchestrator.plan.lint.catalog import RULES, lint
from stream_orchestrator.plan.lint.model import Edit, Finding, Rule

__all__ = ["RULES", "Edit", "Finding", "Rule", "lint"]
