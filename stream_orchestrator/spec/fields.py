"""The types that fields of documents have, and the base of every model: strict, and closed except for `x-*`.

A bad value is a `PydanticCustomError` of type `bad_value` that holds `message` and `hint`; `spec.translate` shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from stream_orchestrator.spec import quantities
from stream_orchestrator.spec.quantities import BadQuantity

T = TypeVar("T")
FREE = "x-"  # keys that begin so are the user's own, everywhere


def bad_value(message: str, hint: str) -> PydanticCustomError:
    """An error about a value, in the user's words."""
    return PydanticCustomError("bad_value", "{message}", {"message": message, "hint": hint})


def about(description: str, default: Any = None, **more: Any) -> Any:
    """A field that may be left out, with the sentence that schema, help and docs say about it."""
    return Field(default=default, description=description, **more)


def needed(description: str, **more: Any) -> Any:
    """A field that must be there."""
    return Field(description=description, **more)


def _closed(schema: dict[str, Any]) -> None:
    schema["patternProperties"] = {f"^{FREE}": {}}


class Spec(BaseModel):
    """The base of all models. No coercion; unknown keys are errors. `noun` is what an error calls it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, json_schema_extra=_closed)
    noun: ClassVar[str] = "this map"

    @model_validator(mode="before")
    @classmethod
    def _without_free_keys(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if not (isinstance(key, str) and key.startswith(FREE))}


def is_template(value: Any) -> bool:
    """True for text with a Jinja expression or statement in it."""
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def _quantity(parse: Callable[[Any], T]) -> Callable[[Any], T]:
    def check(value: Any) -> T:
        try:
            return parse(value)
        except BadQuantity as wrong:
            raise bad_value(str(wrong), wrong.hint) from wrong

    return check


def _positive_seconds(value: Any) -> float:
    seconds = _quantity(quantities.duration)(value).seconds
    if seconds <= 0:
        raise bad_value(f"`{value}` leaves no time", 'write a duration above zero, such as "30 seconds"')
    return seconds


def _some_bytes(value: Any) -> int:
    found = _quantity(quantities.size)(value).bytes
    if found == 0:
        raise bad_value(f"`{value}` lets nothing be read", 'write a size above zero, such as "1MB"')
    return found


def _one_or_list(value: Any) -> Any:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise bad_value(f"must be text or a list of texts, not {kind_name(value)}", "write a name, or `[one, two]`")
    return value


def _text(value: Any) -> str:
    if isinstance(value, str) and not value.strip():
        raise bad_value("is empty, and must be text", "write the text; a key that is not needed can be left out")
    if not isinstance(value, str):
        raise bad_value(
            f"must be text, not {kind_name(value)}", "put it in quotes if it looks like a number or a word such as true"
        )
    return value


def _expression(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else _text(value)


def _number_or_template(value: Any) -> float | str:
    if is_template(value):
        return str(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise bad_value(f"must be a number, not {kind_name(value)}", 'write a number, or a template: "{{ name }}"')
    return value


def _count_or_template(value: Any) -> int | str:
    if is_template(value):
        return str(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        got = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else kind_name(value)
        raise bad_value(f"must be a whole number above zero, not {got}", 'write a number, or a template: "{{ name }}"')
    return value


def kind_name(value: Any) -> str:
    """What a value is, in the user's words."""
    if value is None:
        return "nothing"
    names = ((bool, "true or false"), (str, "text"), (int | float, "a number"), (list, "a list"), (dict, "a map"))
    return next((name for kind, name in names if isinstance(value, kind)), "that")


def _any_of(*kinds: str) -> WithJsonSchema:
    return WithJsonSchema({"type": list(kinds)} if len(kinds) > 1 else {"type": kinds[0]})


Text = Annotated[str, PlainValidator(_text), WithJsonSchema({"type": "string", "minLength": 1})]
Expression = Annotated[str, PlainValidator(_expression), _any_of("string", "boolean")]
Texts = Annotated[
    list[Text],
    BeforeValidator(_one_or_list),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
Seconds = Annotated[
    float, PlainValidator(lambda v: _quantity(quantities.duration)(v).seconds), _any_of("number", "string")
]
PositiveSeconds = Annotated[float, PlainValidator(_positive_seconds), _any_of("number", "string")]
Bytes = Annotated[int, PlainValidator(lambda v: _quantity(quantities.size)(v).bytes), _any_of("integer", "string")]
SomeBytes = Annotated[int, PlainValidator(_some_bytes), _any_of("integer", "string")]
Fraction = Annotated[float, PlainValidator(lambda v: _quantity(quantities.share)(v).value), _any_of("number", "string")]
Cores = Annotated[float, PlainValidator(lambda v: _quantity(quantities.cpu)(v).cores), _any_of("number", "string")]
MoneyAmount = Annotated[quantities.Money, PlainValidator(_quantity(quantities.money)), _any_of("number", "string")]
RateAmount = Annotated[quantities.Rate, PlainValidator(_quantity(quantities.rate)), _any_of("string")]
Bound = Annotated[quantities.Threshold, PlainValidator(_quantity(quantities.threshold)), _any_of("string")]
AlertCondition = Annotated[quantities.Condition, PlainValidator(_quantity(quantities.condition)), _any_of("string")]
Shift = Annotated[quantities.TrafficStep, PlainValidator(_quantity(quantities.traffic_step)), _any_of("string")]
NumberOrTemplate = Annotated[float | str, PlainValidator(_number_or_template), _any_of("number", "string")]
CountOrTemplate = Annotated[int | str, PlainValidator(_count_or_template), _any_of("integer", "string")]
