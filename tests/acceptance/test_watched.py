"""`server.log`, `logger` and the metrics of traffic on a running instance: put in force without a restart, and telling the truth."""

import json
from functools import partial
from pathlib import Path

from tests.peers.yarddesk import YarddeskProcess
from tests.support.images import build_image
from tests.support.waiting import until

SIZES = (300_000, 2000)


def upstream(host: str) -> str:
    return f'upstreams:\n  - {{name: hub, prefix: hub, registry: "{host}", tls: {{plain_http: true}}}}\n'


def has_written(path: Path, words: str) -> bool:
    return path.exists() and words in path.read_text()


def asks_until(app, look) -> None:
    """Ask for something again and again until what is in the settings shows."""

    def asked() -> bool:
        app.manifest("absent", "v1")
        return bool(look())

    until(asked, 20)


def test_requests_are_logged_once_the_settings_say_so_and_the_log_goes_where_they_say(
    make_yarddesk, tmp_path: Path
) -> None:
    app = make_yarddesk(config="upstreams: []\n")
    app.manifest("absent", "before")
    app.configure("upstreams: []\nserver: {log: {enabled: true, level: warn, ignore_paths: [/healthz]}}\n")
    asks_until(app, lambda: "GET /v2/absent/manifests/v1 404" in app.output())
    assert "before" not in app.output()
    assert "does not act on it" not in app.output()
    lines = tmp_path / "lines.json"
    app.configure(
        f'upstreams: []\nlogger: {{output: "{lines}", encoding: json}}\nserver: {{log: {{enabled: true, level: info}}}}\n'
    )
    asks_until(app, partial(has_written, lines, "/v2/absent/manifests/v1"))
    told = [json.loads(line) for line in lines.read_text().splitlines()]
    assert {"GET /v2/absent/manifests/v1 404"} == {
        " ".join(line["message"].split()[:3]).rstrip(",") for line in told if line["logger"] == "yarddesk.requests"
    }
    app.configure('upstreams: []\nlogger: {output: "/dev/null/nowhere", level: debug}\n')
    until(
        partial(has_written, lines, "logger.output"),
        20,
        "what can't be written is refused, and said where the log goes still",
    )
    app.configure("upstreams: []\nserver: {log: {enabled: true, level: error}}\n")
    asks_until(app, lambda: "ERROR   yarddesk.requests: GET /v2/absent/manifests/v1 404" in app.output())


def test_the_metrics_tell_what_passed_and_how_the_upstream_answered(make_yarddesk, docker_registry) -> None:
    image = build_image("watched", SIZES)
    docker_registry.push("app", "v1", image)
    app = make_yarddesk(config=upstream(docker_registry.host))
    assert isinstance(app, YarddeskProcess)
    zero = app.metrics()
    assert zero["yarddesk_cache_lookups_total"].value(kind="manifest", result="miss") == 0
    assert zero["yarddesk_upstream_seconds"].value("_count", upstream="hub") == 0
    assert app.holds("hub/app", "v1", image)
    blobs = sum(len(blob.content) for blob in image.blobs)

    def cold() -> bool:
        now = app.metrics()
        return (
            now["yarddesk_fills_total"].value(outcome="done") == 3
            and now["yarddesk_received_bytes_total"].value(source="upstreams") == blobs
            and now["yarddesk_sent_bytes_total"].value(source="upstream") == blobs
            and now["yarddesk_sent_bytes_total"].value(source="store") == 0
            and now["yarddesk_cache_lookups_total"].value(kind="blob", result="miss") == 3
            and now["yarddesk_cache_lookups_total"].value(kind="manifest", result="miss") >= 1
            and now["yarddesk_upstream_seconds"].value("_count", upstream="hub") >= 4
            and now["yarddesk_fills_running"].value() == 0
        )

    until(cold, 10, "a cold pull is counted")
    assert app.holds("hub/app", "v1", image)
    warm = app.metrics()
    assert warm["yarddesk_sent_bytes_total"].value(source="store") == blobs
    assert warm["yarddesk_cache_lookups_total"].value(kind="blob", result="hit") == 3
    assert warm["yarddesk_cache_lookups_total"].value(kind="manifest", result="hit") >= 1
    docker_registry.stop()
    assert app.manifest("hub/other", "v1") is None
    gone = app.metrics()["yarddesk_upstream_errors_total"]
    assert sum(value for (_, labels), value in gone.samples.items() if ("upstream", "hub") in labels) >= 1
    ours = build_image("pushed", SIZES)
    app.push("mine", "v1", ours)
    pushed = app.metrics()["yarddesk_received_bytes_total"].value(source="clients")
    assert pushed >= sum(len(blob.content) for blob in (*ours.blobs, ours.manifest))
