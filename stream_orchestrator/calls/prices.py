"""What a call costs. The table ships with the package (genai-prices), so a price never needs a network.

A model that nobody knows costs 0.0 and `known` says False: callers show it as unknown, never as free.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

Overrides = Mapping[str, tuple[float, float]]
_MILLION = 1_000_000
_NONE: Overrides = {}


def cost(model: str, input_tokens: int, output_tokens: int, *, overrides: Overrides = _NONE) -> float:
    """USD for one call. An override (USD per 1M tokens in, out) wins over the table; offline models cost nothing."""
    if _is_offline(model):
        return 0.0
    if model in overrides:
        per_input, per_output = overrides[model]
        return (input_tokens * per_input + output_tokens * per_output) / _MILLION
    price = _calculate(model, input_tokens, output_tokens)
    return 0.0 if price is None else float(price.total_price)


def known(model: str, *, overrides: Overrides = _NONE) -> bool:
    """Whether the price of a model is known."""
    return _is_offline(model) or model in overrides or _in_table(model)


def load() -> None:
    """Read the table now (0.6 s once); without this the first price does."""
    _in_table("gpt-4o")


def _is_offline(model: str) -> bool:
    return model == "offline" or model.startswith("offline/")


@lru_cache(maxsize=4096)
def _in_table(model: str) -> bool:
    return _calculate(model, 1, 1) is not None


def _calculate(model: str, input_tokens: int, output_tokens: int) -> Any:
    return _calculated(model, input_tokens, output_tokens, int(time.time() // 60))


@lru_cache(maxsize=4096)  # the same prompt has the same size, and a price is looked up in a thousand steps
def _calculated(model: str, input_tokens: int, output_tokens: int, _minute: int) -> Any:
    """By the minute: some prices depend on the hour."""
    from genai_prices import Usage, calc_price  # 0.4 s: not at the start of every command

    try:
        return calc_price(
            Usage(input_tokens=max(0, input_tokens), output_tokens=max(0, output_tokens)),
            model.removeprefix("anthropic/").removeprefix("openai/"),
        )
    except LookupError:
        return None
