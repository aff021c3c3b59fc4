"""The list of a repository's tags (distribution specification v1.1, "Listing tags")."""

from urllib.parse import urlencode

from starlette.requests import Request

from yarddesk.content.pull_through import PullThrough
from yarddesk.content.target import NotFound
from yarddesk.oci.link import render_next
from yarddesk.registry.answers import Answer, json_answer
from yarddesk.registry.paths import Route
from yarddesk.registry.requests import page_of
from yarddesk.registry.wire import STALE, Header


class Tags:
    """The union of ours and the upstream's, in lexical order, in pages."""

    def __init__(self, pull_through: PullThrough) -> None:
        self._pull_through = pull_through

    async def get(self, request: Request, route: Route) -> Answer:
        repository = route.name
        page = page_of(request)
        listed = await self._pull_through.tags(repository, last=page.last, limit=page.wanted)
        if listed is None:
            raise NotFound(f"There is no repository {repository}.")
        tags = list(listed.tags)
        headers: list[Header] = [STALE] if listed.stale else []
        if page.limit is not None and len(tags) > page.limit:
            del tags[page.limit :]
            if tags:
                query = urlencode({"n": page.limit, "last": tags[-1]})
                headers.append((b"link", render_next(f"/v2/{repository}/tags/list?{query}").encode()))
        return json_answer({"name": repository, "tags": tags}, *headers)
