"""Which images compose and Kubernetes files name, in every form that they take."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yarddesk.cli.compose_variables import UnsetVariable, interpolate, read_dotenv
from yarddesk.cli.image_files import UnreadableFile, images_in
from yarddesk.errors import YarddeskError


def named(folder: Path, text: str, environ: dict[str, str] | None = None, name: str = "compose.yaml") -> list[str]:
    file = folder / name
    file.write_text(text)
    found = images_in(str(file), environ or {})
    assert found.unclear == []
    return list(found.images)


def test_services_with_anchors_merges_and_profiles(tmp_path: Path) -> None:
    text = """
name: shop
x-base: &base
  image: ghcr.io/org/base:1
  restart: always
services:
  web: {<<: *base, ports: ["80:80"]}
  worker:
    <<: *base
    image: "ghcr.io/org/worker@sha256:0000000000000000000000000000000000000000000000000000000000000000"
  db: {image: postgres:17, profiles: [tools]}
  again: {image: postgres:17}
  built: {build: ., image: local/built, volumes: ["x:/x", {type: image, source: "ghcr.io/org/files:1", target: /files}]}
  none: {command: ["true"]}
"""
    assert named(tmp_path, text) == [
        "ghcr.io/org/base:1",
        f"ghcr.io/org/worker@sha256:{'0' * 64}",
        "postgres:17",
        "ghcr.io/org/files:1",
    ]


def test_variables_come_from_the_environment_and_the_dotenv_beside_it(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "# tags\nexport TAG=1.2 # of the web\nDB='16'\nBOTH=\"${TAG}-x\"\nREGISTRY=from-dotenv\n"
    )
    text = """
services:
  a: {image: "${REGISTRY}/a:${TAG}"}
  b: {image: "b:${DB:?which}"}
  c: {image: "c:$BOTH"}
  d: {image: "d:${NONE:-latest}"}
  e: {image: "e:${EMPTY-x}e${EMPTY:-y}"}
  f: {image: "f:${TAG:+set}${NONE+no}"}
  g: {image: "g:${NONE:-${DB}}"}
  h: {image: "h$$"}
"""
    assert named(tmp_path, text, {"REGISTRY": "ghcr.io", "EMPTY": ""}) == [
        "ghcr.io/a:1.2", "b:16", "c:1.2-x", "d:latest", "e:ey", "f:set", "g:16", "h$"
    ]  # fmt: skip


def test_what_depends_on_a_variable_that_is_not_set_is_told_and_the_others_are_found(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text('services:\n  a: {image: "a:${TAG}"}\n  b: {image: "b:${WHAT:?say it}"}\n  c: {image: c}\n')
    found = images_in(str(file), {})
    assert list(found.images) == ["c"]
    assert [("service a" in each, "TAG" in each) for each in found.unclear[:1]] == [(True, True)]
    assert "WHAT is not set: say it" in found.unclear[1]


def test_what_is_included_and_extended(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "db.yaml").write_text("services:\n  db: {image: postgres}\n  unused: {image: unused}\n")
    (tmp_path / "parts" / "more.yaml").write_text(
        'services: {cache: {image: "redis:${REDIS}"}}\ninclude: [../compose.yaml]\n'
    )
    (tmp_path / "parts" / ".env").write_text("REDIS=7\n")
    text = """
include:
  - parts/more.yaml
  - path: [parts/db.yaml]
services:
  one: {extends: {file: parts/db.yaml, service: db}}
  two: {extends: three, ports: []}
  three: {image: three}
  own: {extends: {file: parts/db.yaml, service: unused}, image: own}
  built: {extends: three, build: .}
"""
    assert named(tmp_path, text) == ["postgres", "three", "own", "redis:7", "unused"]
    file = tmp_path / "circle.yaml"
    file.write_text("include: [absent.yaml]\nservices:\n  a: {extends: b}\n  b: {extends: a}\n")
    told = images_in(str(file), {}).unclear
    assert [("circle" in each, "absent.yaml" in each) for each in told] == [(True, False), (True, False), (True, True)]


def test_what_is_set_here_is_set_in_what_is_included_before_its_own_env_files(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "one.yaml").write_text('services:\n  a: {image: "a:${HERE}-${THERE}-${LATER}"}\n')
    (tmp_path / "parts" / "two.yaml").write_text('services:\n  b: {image: "b:${HERE}"}\n')
    (tmp_path / "parts" / "one.env").write_text("HERE=no\nTHERE=2\nLATER=no\n")
    (tmp_path / "parts" / "more.env").write_text("LATER=3\n")
    (tmp_path / ".env").write_text("HERE=1\n")
    text = """
include:
  - {path: parts/one.yaml, env_file: [parts/one.env, parts/more.env]}
  - {path: parts/two.yaml, project_directory: .}
"""
    assert named(tmp_path, text) == ["a:1-2-3", "b:1"]
    (tmp_path / "parts" / "more.env").unlink()
    told = images_in(str(tmp_path / "compose.yaml"), {}).unclear
    assert [("parts/one.yaml" in each, "more.env can't be read" in each) for each in told] == [(True, True)]


def test_what_extends_a_service_that_is_built_is_built(tmp_path: Path) -> None:
    text = """
services:
  built: {image: local/built, build: .}
  too: {extends: built}
  named: {extends: built, image: org/named}
"""
    assert named(tmp_path, text) == ["org/named"]


def test_services_say_what_platform_their_image_is_for(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text("""
services:
  a: {image: a, platform: linux/x86_64}
  b: {image: b, extends: a}
  c: {image: c, platform: "${WHICH:-linux/arm64/v8}"}
  both: {image: c}
  any: {image: d, platform: linux}
  wrong: {image: e, platform: linux/}
""")
    found = images_in(str(file), {})
    assert {image: list(platforms) for image, platforms in found.images.items()} == {
        "a": ["linux/amd64"],
        "b": ["linux/amd64"],
        "c": ["linux/arm64/v8", ""],
        "d": [""],
    }
    assert ["is not a platform" in each for each in found.unclear] == [True]


def test_tags_of_compose_s_own_are_no_mistake(tmp_path: Path) -> None:
    text = "services:\n  a: {image: a, ports: !reset [], environment: !override {X: y}, command: !reset null}\n"
    assert named(tmp_path, text) == ["a"]


def test_kubernetes_objects_of_any_kind_several_in_a_file(tmp_path: Path) -> None:
    text = """
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      initContainers: [{name: i, image: init:1}]
      containers:
        - {name: c, image: "ghcr.io/org/web:2"}
        - {name: s}
      ephemeralContainers: [{image: debug:3}]
      volumes:
        - {name: v, image: {reference: "quay.io/org/model:4", pullPolicy: Always}}
        - {name: e, emptyDir: {}}
---
---
apiVersion: v1
kind: List
items:
  - {apiVersion: batch/v1, kind: CronJob, spec: {jobTemplate: {spec: {template: {spec: {containers: [{image: cron:5}]}}}}}}
  - {apiVersion: v1, kind: ConfigMap, data: {image: not-this, text: "{{ .Values.x }}"}}
"""
    assert named(tmp_path, text, name="objects.yaml") == [
        "init:1", "ghcr.io/org/web:2", "debug:3", "quay.io/org/model:4", "cron:5"
    ]  # fmt: skip
    json = '{"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"image": "from/json"}]}}'
    assert named(tmp_path, json, name="pod.json") == ["from/json"]


def test_helm_templates_are_told_from_manifests(tmp_path: Path) -> None:
    file = tmp_path / "deployment.yaml"
    file.write_text(
        "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  {{- range .Values.all }}\n  - image: {{ .image }}\n"
    )
    with pytest.raises(UnreadableFile, match="helm template"):
        images_in(str(file), {})
    file.write_text('apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - image: "{{ .Values.image }}"\n  - image: b\n')
    found = images_in(str(file), {})
    assert list(found.images) == ["b"]
    assert "helm template" in found.unclear[0]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"apiVersion: v1\nkind: Pod\nspec: {containers: [{image: piped}]}\n"
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text)))
    assert list(images_in("-", {}).images) == ["piped"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"---\n# nothing\n", "is empty"),
        (b"just text", "neither a compose file"),
        (b"- a\n- b\n", "neither a compose file"),
        (b"version: 3\n", "neither services nor a kind"),
        (b"services: {a: [}\n", "line 1 is not valid YAML"),
        (b"services: {a: 1, a: 2}\n", "not valid YAML"),
        (b"\xff\xfe", "not UTF-8"),
        (b"#" * (8 * 1024 * 1024 + 1), "more than"),
    ],
)
def test_other_files_are_refused_with_words(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "file.yaml"
    file.write_bytes(content)
    with pytest.raises(UnreadableFile, match=words):
        images_in(str(file), {})
    with pytest.raises(UnreadableFile, match="can't be read"):
        images_in(str(tmp_path / "absent"), {})


def test_what_a_broken_file_holds_is_not_printed(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text("services:\n  a: {environment: {PASSWORD: hunter2, PASSWORD: hunter2}}\n")
    with pytest.raises(UnreadableFile) as told:
        images_in(str(file), {})
    assert "hunter2" not in str(told.value)


def test_anchors_that_grow_beyond_all_bounds(tmp_path: Path) -> None:
    merges = ["a0: &a0 {x: 1}"]
    merges += [f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)]
    (tmp_path / "compose.yaml").write_text("\n".join([*merges, "services: {a: {image: a}}"]))
    with pytest.raises(UnreadableFile):
        images_in(str(tmp_path / "compose.yaml"), {})
    lists = ["a0: &a0 [x]"]
    lists += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)]
    text = "\n".join(["apiVersion: v1", "kind: Pod", *lists, "containers: [{image: a}]"])
    assert named(tmp_path, text, name="pod.yaml") == ["a"]


_PLAIN = st.text(st.characters(exclude_characters="$}"), max_size=8)
_VARIABLES = {"SET": "value", "EMPTY": ""}


def _parts(inner: st.SearchStrategy[tuple[str, str]]) -> st.SearchStrategy[tuple[str, str]]:
    """What stands in a file, and what is to be read."""
    joined = st.lists(inner, max_size=3).map(lambda each: ("".join(a for a, _ in each), "".join(b for _, b in each)))
    return joined | joined.flatmap(
        lambda other: st.sampled_from(
            [
                (f"${{SET:-{other[0]}}}", "value"),
                (f"${{EMPTY:-{other[0]}}}", other[1]),
                (f"${{EMPTY-{other[0]}}}", ""),
                (f"${{NONE-{other[0]}}}", other[1]),
                (f"${{NONE:-{other[0]}}}", other[1]),
                (f"${{SET:+{other[0]}}}", other[1]),
                (f"${{EMPTY:+{other[0]}}}", ""),
                (f"${{EMPTY+{other[0]}}}", other[1]),
                (f"${{SET?{other[0]}}}", "value"),
            ]
        )
    )


@given(
    st.recursive(_PLAIN.map(lambda text: (text, text)) | st.just(("$$", "$")) | st.just(("${SET}", "value")), _parts)
)
def test_interpolation_reads_what_compose_reads(written: tuple[str, str]) -> None:
    text, meant = written
    assert interpolate(text, _VARIABLES) == meant


@given(st.text(alphabet="${}:-?+AB_ x", max_size=30))
def test_interpolation_either_reads_or_says_why_not(text: str) -> None:
    with contextlib.suppress(YarddeskError):
        assert isinstance(interpolate(text, {"A": "a"}), str)


def test_a_variable_that_is_not_set_is_no_empty_text() -> None:
    with pytest.raises(UnsetVariable, match="TAG is not set"):
        interpolate("nginx:$TAG", {})
    assert read_dotenv("A=$B\nC=${A:-c}\nnonsense\n=x\nD='$B'\nE=a b\n", {}) == {"C": "c", "D": "$B", "E": "a b"}
