"""Which service answers a model name. The name alone decides, so that a plan is compiled without any key."""

from __future__ import annotations

from stream_orchestrator.plan.models import SERVICES, service_of

__all__ = ["SERVICES", "service_of"]
