"""What each pipeline of the document is given, and what it must make of it. By slug; the texts are the test's own.

A check raises AssertionError, or says in a few words what came out, for the table.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stream_orchestrator.plan.models import current
from stream_orchestrator.testkit.models import Seen

Result = Mapping[str, Any]
OUTAGE = "OUTAGE of"  # in a prompt: the models that it names do not answer
POST = (
    "Streams carry what has happened; a <b>pipeline</b> says what is done about it &amp; when, once,   whatever fails. "
)


Asked = Sequence[Seen]
Check = Callable[[Result, Asked], str]


@dataclass(frozen=True, slots=True)
class Event:
    """One event and its check. `{site}` in a text is the page server's address."""

    inputs: dict[str, Any]
    check: Check


@dataclass(frozen=True, slots=True)
class Case:
    """The events of a pipeline, what the test had to bring along for it, and the findings of `lint` that are the
    point of it. `together`: its events are sent at once."""

    events: tuple[Event, ...]
    brought: str
    lint: tuple[str, ...] = ()
    together: bool = False


def succeeded(result: Result) -> Any:
    """The output of a run that ended well, and with what was asked for."""
    assert result["status"] == "succeeded", (result["status"], result["error"], result["degraded"])
    return result["output"]


def stored(result: Result, asked: Asked) -> str:
    output = succeeded(result)
    [question] = asked
    assert question.prompt == 'Enrich customer profile: {"email": "ada@example.org", "valid": true}'
    assert output == {"stored": True, "profile": f"[{question.model}] {question.prompt}"}
    return "stored"


def refused_customer(result: Result, asked: Asked) -> str:
    assert result["status"] == "failed"
    assert result["error"]["task"] == "validate_data"
    assert result["error"]["type"] == "ValueError"
    assert not asked, "a model was asked about a customer that is none"
    return "failed at validate_data"


def backed_up(result: Result, asked: Asked) -> str:
    assert succeeded(result) == {"backed_up": True}
    return "value of the last expression"


def summary_of(depth: str) -> Check:
    def check(result: Result, asked: Asked) -> str:
        output, prompts = succeeded(result), [question.prompt for question in asked]
        assert isinstance(output, str)
        assert output
        assert len(prompts) == 3
        assert all(depth in prompt for prompt in prompts), prompts
        assert all("sourdough" in prompt for prompt in prompts[:2]), prompts
        return f"{len(prompts)} prompts show {depth}"

    return check


def bad_address(result: Result, asked: Asked) -> str:
    assert result["status"] == "rejected"
    assert "article_url" in result["error"]["message"]
    return "rejected: article_url"


def valid_customer(result: Result, asked: Asked) -> str:
    assert succeeded(result) == {"valid": True, "errors": []}
    return "valid"


def strict_customer(result: Result, asked: Asked) -> str:
    assert result["status"] == "failed"
    assert result["error"]["type"] == "ValidationError"
    return "strict_mode raises"


def analysed(result: Result, asked: Asked) -> str:
    output = succeeded(result)
    assert result["outputs"]["expensive_data_processing"] == {"words": 3, "longest": "evaporation"}
    [question] = asked
    assert question.prompt == 'Analyze this data: {"words": 3, "longest": "evaporation"}'
    assert output.endswith(question.prompt)
    return "analysed"


def combined(result: Result, asked: Asked) -> str:
    output = succeeded(result)
    chunks = [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert sorted(question.prompt for question in asked) == [f"Process this chunk: [{a}, {b}]" for a, b in chunks]
    texts = result["outputs"]["process_in_parallel"]
    assert [text.rsplit(": ", 1)[1] for text in texts] == ["[1, 2]", "[3, 4]", "[5, 6]", "[7, 8]"], "not in order"
    assert output["combined_results"] == list("".join(texts)), "`extend` of a text gives its letters"
    return f"4 chunks in order, {output['total_processed']} letters"


def three_models(result: Result, asked: Asked) -> str:
    output = succeeded(result)
    assert set(output) == {"simple_classification", "complex_analysis", "creative_writing"}
    by_model = {question.model: question for question in asked}
    wanted = ("gpt-3.5-turbo", "gpt-4", "claude-3-opus")
    assert set(by_model) == {current(name) for name in wanted}
    simple, complex_, creative = (by_model[current(name)] for name in wanted)
    assert (longest(simple), longest(complex_)) == (10, 2000)
    assert creative.is_anthropic
    assert creative.body["temperature"] == 0.8
    return "each model its own question"


def secured(result: Result, asked: Asked) -> str:
    output = succeeded(result)
    assert output["status"] == "success"
    assert output["records_processed"] == 3
    assert isinstance(output["connection_hash"], int)
    assert "sk-conformance" not in str(result)
    assert "correct horse" not in str(result)
    return "3 records, no secret in it"


def leaked(result: Result, asked: Asked) -> str:
    output = succeeded(result)
    assert set(output) == {"api_key", "result"}
    assert output["result"] == [1, 2]
    return "runs; lint says what is wrong"


def sanitized(result: Result, asked: Asked) -> str:
    assert succeeded(result) == {"sanitized_content": "Hello, is this fine? Yes - it is!"}
    return "sanitised"


def prohibited(result: Result, asked: Asked) -> str:
    assert result["status"] == "rejected"
    assert "user_content" in result["error"]["message"]
    return "rejected: user_content"


def wrong_extension(result: Result, asked: Asked) -> str:
    assert result["status"] == "rejected"
    assert "file_upload" in result["error"]["message"]
    return "rejected: file_upload"


def anonymised(result: Result, asked: Asked) -> str:
    outputs = result["outputs"]
    assert result["status"] == "succeeded", result["error"]
    assert outputs["audit_data_processing"] == {"audit_logged": True}
    text = str(result)
    for secret in ("ada@example.org", "555-123-4567", "078-05-1120"):
        assert secret not in text, f"{secret} is in the result"
    said = outputs["anonymize_personal_data"]["anonymized_data"]
    assert said == "Write to [EMAIL_REDACTED] or call [PHONE_REDACTED]; SSN [SSN_REDACTED].", said
    return "three marks, audited"


def unreachable(result: Result, asked: Asked) -> str:
    output = succeeded(result)
    assert output == {"status": "degraded", "data": None, "error": "External service unavailable"}
    return "the script's own fallback"


def detailed(result: Result, asked: Asked) -> str:
    output = succeeded(result)
    assert output.startswith(f"[{current('gpt-4')}] Provide detailed analysis: ")
    return "primary"


def degraded_to(name: str) -> Check:
    def check(result: Result, asked: Asked) -> str:
        assert result["status"] == "degraded", (result["status"], result["error"])
        assert [(entry["task"], entry["answered_by"]) for entry in result["degraded"]] == [("primary_processing", name)]
        output = result["output"]
        if name == "secondary_processing":
            assert output.startswith(f"[{current('gpt-3.5-turbo')}] Provide basic analysis: ")
        else:
            assert output["fallback_used"] is True
            assert output["sentiment"] == "neutral"
            assert output["analysis"].startswith("Basic analysis: ")
        return f"answered by {name}"

    return check


def monitored(result: Result, asked: Asked) -> str:
    output = succeeded(result)
    assert set(output) == {"text", "tokens", "cost", "model"}
    assert output["text"].endswith(" how are the metrics")
    assert output["tokens"] > 0
    return f"{output['tokens']} tokens"


def preprocessed(result: Result, asked: Asked) -> str:
    output = succeeded(result)
    assert output["original_length"] == len(POST * 2)
    assert "<b>" not in output["cleaned_content"]
    assert "  " not in output["cleaned_content"]
    assert " & " in output["cleaned_content"]
    assert output["cleaned_length"] == len(output["cleaned_content"])
    return f"{output['original_length']} to {output['cleaned_length']} characters"


def too_short(result: Result, asked: Asked) -> str:
    assert result["status"] == "rejected"
    assert "min_length" in result["error"]["message"]
    return "rejected: min_length"


def priced(model: str, tokens: int, word: str) -> Check:
    def check(result: Result, asked: Asked) -> str:
        output = succeeded(result)
        [question] = asked
        chosen = result["outputs"]["cost_aware_processing"]
        assert chosen["selected_model"] == model
        assert chosen["max_tokens"] == tokens
        assert question.model == current(model)
        assert longest(question) == tokens, "max_tokens is not the integer that the task before gave"
        assert f"Provide a {word} analysis of: " in question.prompt
        assert output.endswith(question.prompt)
        return f"{model}, {tokens} tokens"

    return check


def alone(result: Result, asked: Asked) -> str:
    """There are no batches yet: the window has one member and is closed, so the script waits for nothing and returns
    nothing, as it would for any window that its age has closed.
    """
    assert result["status"] == "succeeded", result["error"]
    assert result["output"] is None
    return "null: a batch of one"


def longest(question: Seen) -> int:
    """The `max_tokens` of a question, in either format."""
    found = question.body.get("max_completion_tokens", question.body.get("max_tokens"))
    assert isinstance(found, int), question.body
    return found


SCHEMA = {"type": "object", "properties": {"email": {"type": "string"}}, "required": ["email"]}
NOTE = {"name": "note.txt", "content_base64": base64.b64encode(b"a plain note").decode()}
TEXT = "Hello, is this fine? Yes - it is!"
PERSON = "Write to ada@example.org or call 555-123-4567; SSN 078-05-1120."
LONG = " ".join(f"word{number}" for number in range(900))

CASES: dict[str, Case] = {
    "customer-data-processor": Case(
        (Event({"input_data": {"email": "ada@example.org"}}, stored), Event({"input_data": {}}, refused_customer)),
        "2 helpers, 1 model",
    ),
    "everything-processor": Case((Event({}, backed_up),), "5 helpers", lint=("monolith-script",)),
    "research-article-analysis-pipeline": Case(
        (
            Event({"article_url": "{site}/bread.html"}, summary_of("detailed")),
            Event({"article_url": "{site}/bread.html", "analysis_depth": "shallow"}, summary_of("shallow")),
            Event({"article_url": "ftp://example.org/bread.html"}, bad_address),
        ),
        "a page on loopback, 1 model",
    ),
    "main-pipeline": Case(
        (
            Event({"customer_data_schema": SCHEMA, "raw_customer_data": {"email": "ada@example.org"}}, valid_customer),
            Event({"customer_data_schema": SCHEMA, "raw_customer_data": {"mail": "ada"}}, strict_customer),
        ),
        "",
    ),
    "optimized-analysis-pipeline": Case(
        (Event({"input_data": "rain follows evaporation"}, analysed),), "1 helper, 1 model"
    ),
    "parallel-processing-pipeline": Case((Event({"input_data": list(range(1, 9))}, combined),), "1 model"),
    "model-selection-best-practices": Case(
        (Event({"text": "fine", "complex_document": "a treaty", "theme": "rivers"}, three_models),), "3 models"
    ),
    "secure-pipeline": Case((Event({}, secured),), "1 helper, 2 secrets in the environment; a key for the session"),
    "block-10": Case((Event({"data": [1, 2]}, leaked),), "", lint=("hard-coded-credential",)),
    "input-validation-pipeline": Case(
        (
            Event({"user_content": TEXT, "file_upload": NOTE}, sanitized),
            Event({"user_content": "drop table; --'", "file_upload": NOTE}, prohibited),
            Event({"user_content": TEXT, "file_upload": {**NOTE, "name": "note.exe"}}, wrong_extension),
        ),
        "a clamd on loopback that finds nothing",
    ),
    "privacy-compliant-pipeline": Case((Event({"input_data": PERSON}, anonymised),), ""),
    "reliable-external-service-integration": Case(
        (Event({}, unreachable), Event({}, unreachable)), "api.example.com is not there"
    ),
    "graceful-degradation-pipeline": Case(
        (
            Event({"input_text": "all is well"}, detailed),
            Event({"input_text": f"{OUTAGE} {current('gpt-4')}"}, degraded_to("secondary_processing")),
            Event(
                {"input_text": f"{OUTAGE} {current('gpt-4')} and {current('gpt-3.5-turbo')}"},
                degraded_to("tertiary_processing"),
            ),
        ),
        "2 models, outages of them",
    ),
    "well-monitored-pipeline": Case((Event({"input_data": "how are the metrics"}, monitored),), "1 model"),
    "content-analysis-pipeline": Case(
        (Event({"content_text": POST * 2}, preprocessed), Event({"content_text": "I love it"}, too_short)), ""
    ),
    "cost-optimized-analysis-pipeline": Case(
        (
            Event({"content_text": "a short text"}, priced("gpt-3.5-turbo", 500, "concise")),
            Event({"content_text": " ".join(LONG.split()[:50])}, priced("gpt-4", 1000, "detailed")),
            Event({"content_text": LONG}, priced("gpt-4-turbo", 2000, "detailed")),
        ),
        "2 helpers, 3 models; leave to start although nobody keeps its budget",
    ),
    "resource-optimized-pipeline": Case((Event({"n": 1}, alone), Event({"n": 2}, alone)), "1 helper"),
}
