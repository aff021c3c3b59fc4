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
    first, *others = settings.upstreams
    settings = replace(settings, upstreams=(replace(first, create_repository=True), *others))
    assert unheeded_keys(settings) == ["upstreams[].create_repository"]
