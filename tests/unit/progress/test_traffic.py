"""Traffic is counted for next to nothing, and what is told of it is bounded."""

from __future__ import annotations

import timeit

from tests.support import prometheus_text
from yarddesk.control.traffic_metrics import render_traffic
from yarddesk.progress.traffic import ANSWER_SECONDS, Traffic


def test_a_count_costs_next_to_nothing() -> None:
    traffic = Traffic()
    for count in (
        lambda: traffic.request("GET", 200, 10, 1000, "store"),
        lambda: traffic.lookup("manifest", "hit"),
        lambda: traffic.answered("corp", 0.02),
    ):
        least = min(timeit.repeat(count, number=2000, repeat=20)) / 2000
        assert least < 2e-6, "some 150 ns on a machine that does nothing else"


def test_what_is_told_is_read_strictly_and_names_upstreams_of_the_settings_alone() -> None:
    traffic = Traffic()
    traffic.request("GET", 200, 0, 500, "upstream")
    traffic.request("GET", 206, 0, 50, "store")
    traffic.request("PROPFIND", 405, 7, 9, "other")
    traffic.request("PUT", 0, 3, 0, "other")
    traffic.lookup("blob", "miss")
    traffic.lookup("manifest", "stale")
    for seconds in (0.004, 0.02, 120.0):
        traffic.answered('co"rp', seconds)
    traffic.answered('co"rp', 1.0, "timeout")
    traffic.answered("gone", 1.0)
    traffic.fill_begun()
    traffic.fill_begun()
    traffic.fill_received(400)
    traffic.fill_received(600)
    traffic.fill_ended(whole=True)
    families = prometheus_text.read(render_traffic(traffic, ['co"rp', "silent"]))
    requests = families["yarddesk_requests_total"]
    assert requests.value(method="GET", status="2xx") == 2
    assert requests.value(method="other", status="4xx") == 1
    assert requests.value(method="PUT", status="cut") == 1
    assert requests.value(method="DELETE", status="2xx") == 0
    assert families["yarddesk_received_bytes_total"].value(source="clients") == 10
    assert families["yarddesk_received_bytes_total"].value(source="upstreams") == 1000
    assert families["yarddesk_sent_bytes_total"].value(source="upstream") == 500
    assert families["yarddesk_cache_lookups_total"].value(kind="blob", result="miss") == 1
    assert families["yarddesk_cache_lookups_total"].value(kind="manifest", result="stale") == 1
    assert families["yarddesk_fills_running"].value() == 1
    assert families["yarddesk_fills_total"].value(outcome="done") == 1
    took = families["yarddesk_upstream_seconds"]
    assert took.value("_bucket", upstream='co"rp', le="0.005") == 1
    assert took.value("_bucket", upstream='co"rp', le="60") == 2
    assert took.value("_bucket", upstream='co"rp', le="+Inf") == took.value("_count", upstream='co"rp') == 3
    assert took.value("_count", upstream="silent") == 0
    assert len(ANSWER_SECONDS) == 13
    assert families["yarddesk_upstream_errors_total"].value(upstream='co"rp', kind="timeout") == 1
    assert "gone" not in render_traffic(traffic, ['co"rp'])
