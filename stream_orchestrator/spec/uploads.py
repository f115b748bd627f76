"""Values of inputs of type `file`: what an event says of one, and what scripts and templates get.

Promises
  * Pure: what has to be fetched or scanned was, before (`kernel.bringing`), and is handed in as `Brought`.
  * Fail-closed: a file that should have been scanned and was not is refused.
  * What is said of a bad file quotes neither its name nor its content.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stream_orchestrator.spec.filetypes import ending_of, sniff
from stream_orchestrator.spec.pipeline import Validation, Variable

Brought = Mapping[str, str]  # variable → its content in base64, or "" where the event itself has it
MAX_NAME = 255
_KEYS = {"name", "content_base64", "uri", "content_type"}


@dataclass(frozen=True, slots=True)
class FileRules:
    """The rules of one variable of type `file`."""

    extensions: frozenset[str] | None = None
    max_bytes: int | None = None
    scanned: bool = False

    @classmethod
    def of(cls, variable: Variable) -> FileRules:
        """From its declaration."""
        asks = variable.validation if isinstance(variable.validation, Validation) else Validation()
        listed = asks.allowed_extensions
        return cls(
            extensions=None if listed is None else frozenset(each.lower().removeprefix(".") for each in listed),
            max_bytes=asks.max_size,
            scanned=bool(asks.virus_scan),
        )

    def shape(self, value: Any) -> str:
        """What is wrong with the value before its content is looked at, or nothing."""
        if not isinstance(value, dict) or not isinstance(name := value.get("name"), str) or not name.strip():
            return "must be a file: a map of `name` and `content_base64`, or of `name` and `uri` (type)"
        if ("content_base64" in value) == ("uri" in value):
            return "must have `content_base64` or `uri`, and not both (type)"
        if not isinstance(value.get("content_base64", value.get("uri")), str):
            return "must have text as `content_base64` or `uri` (type)"
        if len(name) > MAX_NAME or not name.isprintable() or "/" in name or "\\" in name:
            return f"must have a name of at most {MAX_NAME} printable characters, without folders (type)"
        if strangers := sorted(set(value) - _KEYS):
            return f"has a key that files do not have: `{strangers[0][:50]}` (type)"
        if self.extensions is not None and ending_of(name) not in self.extensions:
            shown = ", ".join(sorted(self.extensions))
            return f"must be a file that ends in one of: {shown} (allowed_extensions)"
        return ""

    def needs(self, value: Any) -> bool:
        """Whether a file of good shape has to be fetched or scanned first."""
        return not self.shape(value) and ("uri" in value or self.scanned)

    def too_large(self, size: int) -> str:
        """What is wrong with a size, or nothing."""
        if self.max_bytes is None or size <= self.max_bytes:
            return ""
        return f"has {size:,} bytes, at most {self.max_bytes:,} are allowed (max_size)"

    def read(self, value: Any, brought: str | None) -> tuple[dict[str, Any] | None, str]:
        """The file as scripts see it, and what is wrong with it: one of the two."""
        if wrong := self.shape(value):
            return None, wrong
        if brought is None and self.needs(value):
            return None, "was not scanned (virus_scan)" if self.scanned else "was not fetched (uri)"
        encoded = value.get("content_base64") or brought or ""
        content = decoded(encoded)
        if content is None:
            return None, "must have base64 as `content_base64` (type)"
        if wrong := self.too_large(len(content)):
            return None, wrong
        return _file(value["name"], content)


def decoded(text: str) -> bytes | None:
    """The bytes of base64, or None."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _file(name: str, content: bytes) -> tuple[dict[str, Any] | None, str]:
    found = sniff(name, content)
    if found.wrong:
        return None, f"must have the content that its name says: it {found.wrong} (content)"
    file = {"name": name, "content_type": found.content_type, "bytes": len(content)}
    file |= {"sha256": hashlib.sha256(content).hexdigest(), "content_base64": base64.b64encode(content).decode()}
    return file | ({} if found.text is None else {"text": found.text}), ""
