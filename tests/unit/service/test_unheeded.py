"""Nobody believes that a setting is in force which is not."""

from dataclasses import replace

from yarddesk.service.unheeded import unheeded_keys
from yarddesk.settings.loader import load_settings


def test_the_defaults_need_no_word():
    assert unheeded_keys(load_settings({}).settings) == []


def test_what_is_set_in_vain_is_named_and_nothing_else():
    environ = {"YARDDESK_SERVER_LOG_ENABLED": "true", "YARDDESK_CACHE_MAX_SIZE": "1GB"}
    settings = load_settings(environ).settings
    assert unheeded_keys(settings) == []
    first, second = (replace(upstream, create_repository=True) for upstream in settings.upstreams)
    ecr = replace(second, registry="123456789012.dkr.ecr.eu-central-1.amazonaws.com")
    settings = replace(settings, upstreams=(first, ecr))
    assert unheeded_keys(settings) == [f"upstreams[].create_repository of {first.name}"]
