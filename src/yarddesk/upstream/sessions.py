"""One upload at a registry (OCI distribution specification v1.1, "Pushing blobs"): its requests, and how far it has come."""

import re
from typing import Final, Self
from urllib.parse import quote

import httpx

from yarddesk.content.target import NotFound
from yarddesk.content.upstream import UpstreamDenied, UpstreamFailure, UpstreamMissing, UpstreamRefused
from yarddesk.errors import YarddeskError
from yarddesk.oci.digest import Digest
from yarddesk.oci.media_types import OCTET_STREAM
from yarddesk.oci.name import RepositoryName
from yarddesk.upstream.client import RegistryClient, Renewed, push_scope
from yarddesk.upstream.http import Answer, Body

_RANGE: Final = re.compile(r"(?:bytes=)?0-(\d{1,18})", re.ASCII)
_LOST: Final = frozenset({"BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN"})


class UploadLost(Exception):
    """The registry doesn't know this upload any more. `failure` is what that means where it can't be begun again."""

    def __init__(self, failure: UpstreamFailure) -> None:
        super().__init__(str(failure))
        self.failure = failure


class UploadSession:
    """`acknowledged`: the bytes that it said to have. `reached`: those that it may have, where the last request got no answer.

    It goes on at the latest Location.
    """

    def __init__(
        self, client: RegistryClient, repository: RepositoryName, location: httpx.URL, least_bytes: int
    ) -> None:
        self.least_bytes = least_bytes
        self.acknowledged = 0
        self.reached = 0
        self._is_unanswered = False
        self._client = client
        self._scopes = push_scope(repository)
        self._location = location

    @classmethod
    async def start(cls, client: RegistryClient, repository: RepositoryName, algorithm: str) -> Self:
        """Raises UpstreamMissing where the registry has no such repository, and other UpstreamFailures."""
        query = "" if algorithm == "sha256" else f"?digest-algorithm={algorithm}"
        url = client.url(f"{repository}/blobs/uploads/{query}")
        async with client.request("POST", url, push_scope(repository), repeatable=True) as answer:
            if answer.status == 202 and (location := client.location(answer)) is not None:
                return cls(client, repository, location, _least(answer))
            if answer.status == 202:
                raise client.failures.not_a_registry("It did not say where to send the content.", status=answer.status)
            failure = await client.failure(answer, f"pushes to {repository}")
            raise _unknown(client, repository, failure) if isinstance(failure, NotFound) else failure

    async def patch(self, body: Body, digest: Digest, *, start: int | None, resend: bool) -> None:
        """Add some bytes. start: where they lie, for a Content-Range; None sends none.

        resend: send them again where the authorization had to be renewed, in place of raising Renewed. Raises UploadLost.
        """
        headers = {"Content-Type": OCTET_STREAM}
        if start is not None:
            headers["Content-Range"] = f"{start}-{start + body.length - 1}"
        request = self._client.request("PATCH", self._location, self._scopes, headers=headers, body=body, resend=resend)
        self._is_unanswered = True
        try:
            async with request as answer:
                self._is_unanswered = False
                if answer.status not in (201, 202, 204):
                    raise await self._failure(answer, digest)
                self._moved(answer)
        except Renewed:
            self._is_unanswered = False
            raise
        self.acknowledged += body.length
        self.reached = max(self.reached, self.acknowledged)

    async def put(self, body: Body | None, digest: Digest) -> None:
        """Close it, with all bytes or after them. Raises UploadLost, and UpstreamUntrue where it kept other content."""
        query = self._location.query.decode("ascii")
        closing = f"{query}&" if query else ""
        path = self._location.raw_path.decode("ascii").partition("?")[0]
        url = self._location.copy_with(raw_path=f"{path}?{closing}digest={quote(digest, safe='')}".encode("ascii"))
        request = self._client.request(
            "PUT",
            url,
            self._scopes,
            headers={"Content-Type": OCTET_STREAM},
            body=body,
            answer_seconds=self._client.timeouts.commit_seconds,
        )
        self._is_unanswered = True
        async with request as answer:
            self._is_unanswered = False
            if answer.status in (201, 204):
                check_digest(self._client, answer, digest)
                return
            failure = await self._failure(answer, digest)
            if isinstance(failure, UpstreamRefused) and "DIGEST_INVALID" in failure.codes:
                raise self._client.failures.untrue(
                    f"{self._client.registry} got other bytes than were sent.", failure.message, status=answer.status
                )
            raise failure

    async def ask(self) -> bool:
        """Find out how many bytes it has, which then are acknowledged; False where that can't be known, or they aren't ours.

        Raises UpstreamFailure where the registry can't be asked just now.
        """
        is_known = not self._is_unanswered or self.reached == self.acknowledged
        if not self._client.profile.range_is_true:
            return is_known
        async with self._client.request("GET", self._location, self._scopes) as answer:
            if answer.status not in (200, 202, 204):
                failure = await self._client.failure(answer, "this upload")
                if isinstance(failure, NotFound | UpstreamRefused | UpstreamDenied):
                    return False  # denied: somebody else may be signed in by now than began it
                raise failure
            self._moved(answer)
            found = _RANGE.fullmatch(answer.headers.get("range", "").strip())
        if found is None:
            return is_known
        has = int(found[1]) + 1
        if has == 1:
            # One byte; but an upload without any is told of in this way as well.
            has = 0
            if not is_known:
                return False
        if has > self.reached:
            return False
        self.acknowledged = has
        return True

    async def cancel(self) -> None:
        async with self._client.request("DELETE", self._location, self._scopes) as answer:
            await answer.read()

    async def _failure(self, answer: Answer, digest: Digest) -> Exception:
        failure = await self._client.failure(answer, f"blob {digest.short}")
        if isinstance(failure, NotFound) or (answer.status in (400, 409) and _LOST.intersection(failure.codes)):
            return UploadLost(
                self._client.failures.untrue(
                    f"{self._client.registry} lost the upload that was going on.", failure.message, status=answer.status
                )
            )
        return failure

    def _moved(self, answer: Answer) -> None:
        self._location = self._client.location(answer) or self._location


def check_digest(client: RegistryClient, answer: Answer, digest: Digest) -> None:
    """Raises UpstreamUntrue where the registry reports another digest than that of what was sent."""
    reported = answer.headers.get("docker-content-digest", "")
    if reported and reported != digest:
        raise client.failures.untrue(
            f"{client.registry} kept other content than was sent.",
            f"It reports {reported[:160]} for {digest}.",
            status=answer.status,
        )


def _unknown(client: RegistryClient, repository: RepositoryName, failure: YarddeskError) -> UpstreamMissing:
    return UpstreamMissing(
        client.failures.name,
        f"{client.registry} has no repository {repository}.",
        failure.message,
        hint=client.profile.missing_repository_help,
        status=404,
    )


def _least(answer: Answer) -> int:
    text = answer.headers.get("oci-chunk-min-length", "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0
