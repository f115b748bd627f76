"""Envelopes around what internal topics and tables hold: AES-256-GCM, with a data key that the master key wraps.

Promises
  * What was sealed is opened only by who has the master key, and only as a record of the topic that it was sealed for.
  * A process seals with a data key of its own, new after `KEY_USES` records; nobody has seen one in the clear.
  * Bytes that are no envelope are given back as they are. An envelope that cannot be opened is a `MissingError`: the
    worker ends with nothing acknowledged, and another key may be tried.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from stream_orchestrator.errors import MissingError, UsageError

MAGIC = b"\xfeSO1"  # no JSON, no row and no UTF-8 text begins so
KEY_USES = 2**20  # random nonces of 96 bits are safe for 2**32
KEY_BYTES, NONCE, TAG, NAME = 32, 12, 16, 8
_WRAPPED = NONCE + KEY_BYTES + TAG
_HEAD = len(MAGIC) + NAME + _WRAPPED + NONCE
SETTING = "STREAM_ORCHESTRATOR__TRUST__ENCRYPTION_KEY"
KNOWN_KEYS = 4096  # unwrapped data keys kept: one for each process that wrote


class StaysClosed(MissingError):
    """An envelope that cannot be opened with the keys that are here."""


def fresh_key() -> str:
    """A master key as settings hold it."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


class Seal:
    """Seals with one master key; opens what that one, or a former one, has sealed."""

    def __init__(self, key: str, former: Sequence[str] = ()) -> None:
        self._master = _bytes_of(key)
        self._keys = (self._master, *map(_bytes_of, former))
        self._opened: dict[bytes, Any] = {}
        self._uses = KEY_USES
        self._data: Any = None
        self._wrapped = b""

    def __repr__(self) -> str:
        return "Seal(***)"

    @cached_property
    def _masters(self) -> dict[bytes, Any]:
        return {_name(each): _cipher(each) for each in self._keys}

    def check(self) -> None:
        """MissingError when what it takes to seal is not installed."""
        self._renew()

    def seal(self, value: bytes, topic: str) -> bytes:
        """The envelope of a record's value."""
        if self._uses >= KEY_USES:
            self._renew()
        self._uses += 1
        nonce = os.urandom(NONCE)
        head = MAGIC + _name(self._master) + self._wrapped + nonce
        sealed: bytes = self._data.encrypt(nonce, value, head + topic.encode())
        return head + sealed

    def open(self, value: bytes, topic: str) -> bytes:
        """What is in an envelope."""
        from cryptography.exceptions import InvalidTag

        head, sealed = value[:_HEAD], value[_HEAD:]
        name, wrapped = head[len(MAGIC) : len(MAGIC) + NAME], head[len(MAGIC) + NAME : -NONCE]
        master = self._masters.get(name)
        if master is None:
            raise _closed(topic, "it was sealed with another key", f"set {SETTING}, or that one as the former key")
        try:
            if wrapped not in self._opened:
                if len(self._opened) >= KNOWN_KEYS:
                    self._opened.clear()
                self._opened[wrapped] = _cipher(master.decrypt(wrapped[:NONCE], wrapped[NONCE:], name))
            opened: bytes = self._opened[wrapped].decrypt(head[-NONCE:], sealed, head + topic.encode())
        except InvalidTag as error:
            raise _closed(topic, "it was changed, or belongs to another topic", "restore the topic") from error
        return opened

    def _renew(self) -> None:
        key, nonce = os.urandom(KEY_BYTES), os.urandom(NONCE)
        name = _name(self._master)
        self._data, self._wrapped = _cipher(key), nonce + self._masters[name].encrypt(nonce, key, name)
        self._uses = 0


def opened(value: bytes | None, seal: Seal | None, topic: str) -> bytes | None:
    """A value as it was before it was sealed; what never was, as it is."""
    if value is None or not value.startswith(MAGIC):
        return value
    if seal is None:
        raise _closed(topic, "there is no key", f"set {SETTING} to the key that it was sealed with")
    return seal.open(value, topic)


def _bytes_of(key: str) -> bytes:
    try:
        found = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if len(found) != KEY_BYTES:
        raise UsageError("the encryption key is not 32 bytes in base64", hint="make one: openssl rand -base64 32")
    return found


def _name(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=NAME, person=b"so-seal").digest()


def _cipher(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise MissingError(
            "`encryption_at_rest` needs the package cryptography",
            hint="pip install 'stream-orchestrator[encryption]'",
        ) from error
    return AESGCM(key)


def _closed(topic: str, why: str, hint: str) -> StaysClosed:
    return StaysClosed(f"a record of {topic} cannot be opened: {why}", hint=hint)
