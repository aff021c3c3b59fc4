"""`_catalog`: the repositories that are here; upstreams are not asked."""

from urllib.parse import urlencode

from starlette.requests import Request

from yarddesk.content.store import Store
from yarddesk.oci.link import render_next
from yarddesk.registry.answers import Answer, json_answer
from yarddesk.registry.paths import Route
from yarddesk.registry.requests import page_of
from yarddesk.registry.wire import Header


class Catalog:
    """Docker's extension of the API, which the specification leaves out: pages with `n`, `last` and `Link`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, request: Request, _route: Route) -> Answer:
        page = page_of(request)
        found = list(await self._store.repositories(last=page.last, limit=page.wanted))
        headers: list[Header] = []
        if page.limit is not None and len(found) > page.limit:
            del found[page.limit :]
            if found:
                query = urlencode({"n": page.limit, "last": found[-1]})
                headers.append((b"link", render_next(f"/v2/_catalog?{query}").encode()))
        return json_answer({"repositories": found}, *headers)
