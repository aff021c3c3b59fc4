"""The ASGI application for `/v2/…`."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from yarddesk.content.listener import PushListener
from yarddesk.content.pull_through import PullThrough
from yarddesk.content.store import Store
from yarddesk.errors import YarddeskError
from yarddesk.oci.error_codes import ErrorCode
from yarddesk.oci.name import InvalidTag
from yarddesk.registry.answers import Answer, FileAnswer, GrowingAnswer, StreamAnswer, error_answer, refusal
from yarddesk.registry.base import get_base
from yarddesk.registry.blobs import Blobs
from yarddesk.registry.catalog import Catalog
from yarddesk.registry.intake import ManifestIntake
from yarddesk.registry.locks import Gate
from yarddesk.registry.manifests import Manifests
from yarddesk.registry.naming import Named, Names, Naming
from yarddesk.registry.paths import Resource, Route
from yarddesk.registry.referrers import Referrers
from yarddesk.registry.requests import described
from yarddesk.registry.tags import Tags
from yarddesk.registry.uploads import Uploads
from yarddesk.registry.wire import SECURITY_HEADERS, Refused, outcome_of

logger = logging.getLogger(__name__)

Endpoint = Callable[[Request, Route], Awaitable[Answer | FileAnswer | GrowingAnswer | StreamAnswer]]

_NOT_FOUND: Final = {
    Resource.BLOB: ErrorCode.BLOB_UNKNOWN,
    Resource.UPLOAD: ErrorCode.BLOB_UPLOAD_UNKNOWN,
    Resource.MANIFEST: ErrorCode.MANIFEST_UNKNOWN,
}


class RegistryApp:
    """The OCI distribution specification v1.1 over a store; misses go to `pull_through`, pushes to `listener`.

    `names` knows how repositories are called; `rest` answers every path that is not of the specification. `deletes` is closed
    by whoever removes blobs: no manifest comes to need one meanwhile. Whatever becomes an image goes through `intake`.
    """

    def __init__(
        self,
        store: Store,
        pull_through: PullThrough,
        listener: PushListener,
        *,
        names: Names | None = None,
        rest: ASGIApp | None = None,
    ) -> None:
        self.deletes = deletes = Gate()
        self._naming = Naming(names)
        self._rest: ASGIApp = rest or refusal(404, "There is nothing here but /v2/.")
        self.intake = ManifestIntake(store, listener, deletes)
        self._manifests = Manifests(store, pull_through, listener, self.intake)
        blobs, uploads = Blobs(store, pull_through, deletes), Uploads(store)
        manifests = self._manifests
        # The keys are also what Allow lists.
        self._endpoints: dict[Resource, dict[str, Endpoint]] = {
            Resource.BASE: _read_only(get_base),
            Resource.CATALOG: _read_only(Catalog(store).get),
            Resource.TAGS: _read_only(Tags(pull_through).get),
            Resource.REFERRERS: _read_only(Referrers(pull_through).get),
            Resource.MANIFEST: _read_only(manifests.get) | {"PUT": manifests.put, "DELETE": manifests.delete},
            Resource.BLOB: {"GET": blobs.get, "HEAD": blobs.head, "DELETE": blobs.delete},
            Resource.UPLOADS: {"POST": uploads.begin},
            Resource.UPLOAD: _read_only(uploads.status)
            | {
                "PATCH": uploads.add,
                "PUT": uploads.end,
                "DELETE": uploads.cancel,
            },
        }

    def rename(self, names: Names) -> None:
        """Other routes are in force: names are read by them from now on."""
        self._naming = Naming(names)

    def answer_at_once(self, scope: Scope) -> Answer | None:
        """The answer to a request without a body where it needs no waiting; None: call the application."""
        if scope["method"] != "HEAD" or scope["query_string"]:
            return None
        try:
            route = self._naming.plain(scope["raw_path"])
            if route.resource is not Resource.MANIFEST:
                return None
            headers = dict(scope["headers"])
            return (
                None if b"if-match" in headers else self._manifests.head_at_once(route, headers.get(b"if-none-match"))
            )
        except YarddeskError:
            return None  # the application says what is wrong

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._naming.is_ours(scope["raw_path"]):
            await self._rest(scope, receive, _with_standing_headers(send))
            return
        try:
            answer = await self._answer(Request(scope, receive))
        except ClientDisconnect:
            logger.debug("%s: the client left", described(scope))
            return
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> ASGIApp:
        namespace, not_found = "", ErrorCode.NAME_UNKNOWN
        try:
            route, namespace = self._naming.route(_named_in(request))
            not_found = _NOT_FOUND.get(route.resource, not_found)
            answer = await self._endpoint(request, route)(request, route)
        except InvalidTag as error:
            outcome = outcome_of(error)
            if request.method in ("GET", "HEAD"):
                # The specification knows one failure of these: not found. So do clients that probe for odd tags.
                outcome = replace(outcome, status=404)
            answer = error_answer(outcome)
        except YarddeskError as error:
            outcome = outcome_of(error, not_found)
            if outcome.status >= 500:
                logger.warning("%s: %d: %s", described(request.scope), outcome.status, error)
            answer = error_answer(outcome)
        except ClientDisconnect:
            raise
        except Exception:
            logger.exception("%s failed", described(request.scope))
            answer = refusal(500, "The registry failed; its log says more.", ErrorCode.UNKNOWN)
        if namespace:
            answer.headers.append((b"oci-namespace", namespace.encode()))
        return answer

    def _endpoint(self, request: Request, route: Route) -> Endpoint:
        endpoints = self._endpoints[route.resource]
        endpoint = endpoints.get(request.method)
        if endpoint is None:
            allowed = ", ".join(endpoints).encode()
            message = f"{request.method} is nothing that can be done here."
            raise Refused(ErrorCode.UNSUPPORTED, message, headers=((b"allow", allowed),))
        return endpoint


def _named_in(request: Request) -> Named:
    server = request.scope.get("server")
    return Named(
        request.method,
        request.scope["raw_path"],
        request.query_params.get("ns", "") if request.scope["query_string"] else "",
        request.headers.get("host", ""),
        server[1] if server else None,
    )


def _with_standing_headers(send: Send) -> Send:
    async def send_with_them(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            given = {name for name, _ in headers}
            missing = [header for header in SECURITY_HEADERS if header[0] not in given]
            message = {**message, "headers": [*missing, *headers]}
        await send(message)

    return send_with_them


def _read_only(endpoint: Endpoint) -> dict[str, Endpoint]:
    # Answers leave their body out of what a HEAD gets, and have the same headers.
    return {"GET": endpoint, "HEAD": endpoint}
