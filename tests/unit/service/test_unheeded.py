"""Nobody believes that a setting is in force which is not."""

from yarddesk.service.unheeded import unheeded_keys
from yarddesk.settings.loader import load_settings


def test_the_defaults_need_no_word():
    assert unheeded_keys(load_settings({}).settings) == []


def test_what_is_set_in_vain_is_named():
    environ = {
        "YARDDESK_SERVER_LOG_ENABLED": "true",
        "YARDDESK_SYNC_CONCURRENCY": "2",
    }
    assert unheeded_keys(load_settings(environ).settings) == ["server.log"]
