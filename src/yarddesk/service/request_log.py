"""How requests are logged, from the settings."""

from yarddesk.registry.access import RequestLog
from yarddesk.service.logs import level_of
from yarddesk.settings.model import RequestLogSettings


def request_log(settings: RequestLogSettings) -> RequestLog | None:
    """None: not at all."""
    if not settings.enabled:
        return None
    return RequestLog(
        level_of(settings.level), settings.request_body, settings.response_body, tuple(settings.ignore_paths)
    )
