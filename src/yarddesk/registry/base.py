"""`/v2/`: that this is a registry (distribution specification v1.1, end-1)."""

from starlette.requests import Request

from yarddesk.registry.answers import Answer, json_answer
from yarddesk.registry.paths import Route


async def get_base(_request: Request, _route: Route) -> Answer:
    """200 and an empty object: there is nobody to authenticate."""
    return json_answer({})
