"""Large values in an S3-compatible store, in the same layout as in a folder: `<prefix>/<yyyymmddhh>/<sha256>`.

Credentials, region and endpoint are those of every AWS client: `AWS_ACCESS_KEY_ID`, `AWS_PROFILE`, `AWS_ENDPOINT_URL`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from stream_orchestrator.errors import MissingError
from stream_orchestrator.trust.blobs import hour_of, is_hour, is_place

SECONDS = 10.0  # to connect; reading a large value has a minute
AT_ONCE = 1000  # keys that one request deletes


class S3Blobs:
    """A bucket, and a prefix in it. What the store does wrong is an OSError, as a disk's is."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""
        self.uri = f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}"
        self._client = _client()

    def check(self) -> None:
        """A MissingError when nothing can be kept there."""
        key = f"{self._prefix}check-{uuid.uuid4().hex}"
        try:
            with _as_errors_of_a_disk(key):
                self._client.put_object(Bucket=self._bucket, Key=key, Body=b"")
                self._client.delete_object(Bucket=self._bucket, Key=key)
        except OSError as error:
            hint = "`blobs.url` is s3://BUCKET/PREFIX; credentials and AWS_ENDPOINT_URL are those of every AWS client"
            raise MissingError(f"large values cannot be kept in {self.uri}: {error}", hint=hint) from error

    def put(self, place: str, body: bytes) -> None:
        """Keep bytes. An object is there whole, or not at all."""
        with _as_errors_of_a_disk(place):
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + place, Body=body)

    def get(self, place: str, most: int) -> bytes:
        """The bytes, and no more than `most` and one."""
        with _as_errors_of_a_disk(place):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + place)
            body: bytes = answer["Body"].read(most + 1)
            answer["Body"].close()
            return body

    def sweep(self, now: float, most: int) -> int:
        """Delete values whose hour has passed."""
        with _as_errors_of_a_disk(self.uri):
            going = list(islice(self._passed(hour_of(now)), most))
            for start in range(0, len(going), AT_ONCE):
                objects = [{"Key": key} for key in going[start : start + AT_ONCE]]
                self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})
        return len(going)

    def _passed(self, hour: str) -> Iterator[str]:
        """The keys of values that nobody needs any more; those of others in the bucket are none of ours."""
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix, Delimiter="/"):
            for found in page.get("CommonPrefixes", ()):
                named = found["Prefix"][len(self._prefix) :].rstrip("/")
                if is_hour(named) and named < hour:
                    yield from self._in(found["Prefix"])

    def _in(self, folder: str) -> Iterator[str]:
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=folder):
            for each in page.get("Contents", ()):
                if is_place(each["Key"][len(self._prefix) :]):
                    yield each["Key"]


def _client() -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        hint = "pip install 'stream-orchestrator[s3]', or give the path of a folder that all workers share"
        raise MissingError("`blobs.url` at s3:// needs the package boto3", hint=hint) from error
    config = Config(
        connect_timeout=SECONDS,
        read_timeout=60,
        retries={"max_attempts": 3, "mode": "standard"},
        # Stores that are only compatible do not know the newer checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.client("s3", config=config)


@contextmanager
def _as_errors_of_a_disk(what: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in {"NoSuchKey", "404"}:
            raise FileNotFoundError(what) from error
        raise OSError(str(error)) from error
    except BotoCoreError as error:
        raise OSError(str(error)) from error
