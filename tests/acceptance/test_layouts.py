"""`yarddesk export` and `import` with the tools that read and write OCI image layouts."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peers.dockerd import Docker
from tests.peers.engines import Buildah, Podman, Skopeo
from tests.peers.registry import DockerRegistry
from tests.peers.umoci import Umoci
from tests.peers.yarddesk import YarddeskProcess
from tests.support.artifacts import cosign_referrer, cosign_signature, cosign_tag
from tests.support.images import THIS_PLATFORM, build_image, build_index, write_oci_layout
from tests.support.waiting import until

SIZES = [300_000, 2000]
IMAGE = build_image("app", SIZES)
INDEX = build_index("multi", ["linux/amd64", "linux/arm64", "linux/arm/v7"], SIZES)


@pytest.fixture
def yard(make_yarddesk: Callable[..., YarddeskProcess]) -> YarddeskProcess:
    """A running instance without upstreams, with team/app:v1 and team/multi:v1."""
    yard = make_yarddesk(environment={"YARDDESK_UPSTREAM": ""})
    yard.push("team/app", "v1", IMAGE)
    yard.push("team/multi", "v1", INDEX)
    return yard


@pytest.fixture(params=["oci", "oci-archive"])
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an export goes, as skopeo names it without a tag."""
    transport: str = request.param
    return f"{transport}:{tmp_path / ('out.tar' if transport == 'oci-archive' else 'out')}"


def path_of(layout: str) -> str:
    return layout.partition(":")[2]


def test_skopeo_reads_what_was_exported(yard: YarddeskProcess, skopeo: Skopeo, layout: str) -> None:
    done = yard.run("export", "team/app:v1", "team/multi", "-o", path_of(layout))
    assert done.stdout.splitlines() == [
        f"team/app:v1 → {layout}:v1",
        f"team/multi:v1 → {layout}:team/multi:v1",
    ]
    skopeo.copy(f"{layout}:v1", f"docker://{yard.registry}/back/app:v1")
    skopeo.copy(f"{layout}:team/multi:v1", f"docker://{yard.registry}/back/multi:v1", "--all")
    assert yard.holds("back/app", "v1", IMAGE)
    assert yard.holds("back/multi", "v1", INDEX)


def test_what_skopeo_wrote_is_imported(yard: YarddeskProcess, skopeo: Skopeo, layout: str) -> None:
    skopeo.copy(f"docker://{yard.registry}/team/multi:v1", f"{layout}:tagged", "--all")
    if layout.startswith("oci:"):  # skopeo adds to no archive
        skopeo.copy(f"docker://{yard.registry}/team/app:v1", f"{layout}:docker.io/library/app:2")
    refused = yard.run("import", path_of(layout), status=1)
    assert "which repository “tagged” belongs to" in refused.stderr
    tag = "tagged" if layout.startswith("oci:") else "v9"  # one image alone may get any tag
    yard.run("import", path_of(layout), f"new/multi:{tag}")
    assert yard.tags("new/multi") == [tag]
    assert yard.holds("new/multi", tag, INDEX)
    if layout.startswith("oci:"):
        yard.run("import", path_of(layout), "docker.io/library/app")
        assert yard.holds("docker.io/library/app", "2", IMAGE)


def test_podman_loads_what_was_exported_and_its_archive_is_imported(
    yard: YarddeskProcess, podman: Podman, tmp_path: Path
) -> None:
    yard.run("export", "team/app:v1", "-o", str(tmp_path / "out.tar"))
    podman.run("load", "--input", str(tmp_path / "out.tar"))
    shown = json.loads(podman.run("image", "inspect", "localhost/team/app:v1").stdout)
    assert shown[0]["Digest"] == IMAGE.manifest.digest
    podman.run("tag", "localhost/team/app:v1", f"{yard.registry}/from/podman:v2")
    podman.run(
        "save", "--format", "oci-archive", "--output", str(tmp_path / "saved.tar"), f"{yard.registry}/from/podman:v2"
    )
    done = yard.run("import", str(tmp_path / "saved.tar"))
    digest = done.stdout.split()[1]
    manifest = yard.manifest("from/podman", "v2")
    assert manifest is not None
    assert manifest.digest == digest
    assert all(yard.blob("from/podman", layer["digest"]) for layer in json.loads(manifest.content)["layers"])


def test_buildah_writes_and_reads_layouts(yard: YarddeskProcess, buildah: Buildah, tmp_path: Path) -> None:
    buildah.build("localhost/built:v1", {"/etc/one": "1", "/etc/two": "2"})
    buildah.run("push", "localhost/built:v1", f"oci:{tmp_path / 'built'}:v1")
    yard.run("import", str(tmp_path / "built"), "team/built")
    assert yard.tags("team/built") == ["v1"]
    yard.run("export", "team/built:v1", "-o", str(tmp_path / "out"))
    pulled = buildah.run("pull", f"oci:{tmp_path / 'out'}:v1").stdout.strip()
    manifest = yard.manifest("team/built", "v1")
    assert manifest is not None
    assert f"sha256:{pulled}" == json.loads(manifest.content)["config"]["digest"]


def test_umoci_changes_an_exported_layout_and_it_comes_back(
    yard: YarddeskProcess, umoci: Umoci, tmp_path: Path
) -> None:
    out, bundle = tmp_path / "out", tmp_path / "bundle"
    yard.run("export", "team/app:v1", "-o", str(out))
    assert umoci.run("list", "--layout", str(out)).stdout.split() == ["v1"]
    umoci.run("unpack", "--rootless", "--image", f"{out}:v1", str(bundle))
    assert len(list((bundle / "rootfs").iterdir())) == len(SIZES)
    (bundle / "rootfs" / "added").write_text("by umoci")
    umoci.run("repack", "--image", f"{out}:v2", str(bundle))
    umoci.run("config", "--image", f"{out}:v2", "--config.label", "changed=yes")
    yard.run("import", str(out))
    assert yard.tags("team/app") == ["v1", "v2"]
    assert yard.holds("team/app", "v1", IMAGE)
    changed = yard.manifest("team/app", "v2")
    assert changed is not None
    layers = json.loads(changed.content)["layers"]
    assert [layer["digest"] for layer in layers[:-1]] == [layer.digest for layer in IMAGE.layers]
    added = yard.blob("team/app", layers[-1]["digest"])
    assert added is not None
    assert b"by umoci" in gzip.decompress(added)
    # And out again, into the layout that umoci wrote to.
    yard.run("export", "team/app:v2", "-o", str(out))
    assert umoci.run("list", "--layout", str(out)).stdout.split() == ["v1", "v2"]
    umoci.run("stat", "--image", f"{out}:v2")


def test_what_docker_pushed_is_read_by_tools_that_know_oci_alone_and_comes_back_as_it_was(
    yard: YarddeskProcess,
    make_yarddesk: Callable[..., YarddeskProcess],
    skopeo: Skopeo,
    umoci: Umoci,
    podman: Podman,
    tmp_path: Path,
) -> None:
    other = make_yarddesk(environment={"YARDDESK_UPSTREAM": ""})
    image, listing = build_image("docker", SIZES, docker=True), build_index("list", layer_sizes=SIZES, docker=True)
    yard.push("team/docker", "v1", image)
    yard.push("team/docker", "all", listing)
    out, archive = tmp_path / "out", tmp_path / "out.tar"
    yard.run("export", "team/docker", "-o", str(out))
    skopeo.copy(f"oci:{out}:v1", f"docker://{yard.registry}/back/docker:v1")
    skopeo.copy(f"oci:{out}:all", f"docker://{yard.registry}/back/docker:all", "--all")
    copied = yard.manifest("back/docker", "v1")
    assert copied is not None
    assert [layer["digest"] for layer in json.loads(copied.content)["layers"]] == [each.digest for each in image.layers]
    umoci.run("unpack", "--rootless", "--image", f"{out}:v1", str(tmp_path / "bundle"))
    other.run("import", str(out))
    assert other.holds("team/docker", "v1", image)
    assert other.holds("team/docker", "all", listing)
    yard.run("export", "team/docker:v1", "-o", str(archive))
    podman.run("load", "--input", str(archive))
    podman.run("image", "inspect", "localhost/team/docker:v1")


def test_docker_loads_an_exported_archive(yard: YarddeskProcess, docker: Docker, tmp_path: Path) -> None:
    yard.push("team/docker", "v1", build_image("docker", SIZES, docker=True))
    archive = tmp_path / "out.tar"
    yard.run("export", "team/docker:v1", "-o", str(archive))
    yard.run("export", "team/app:v1", "team/multi:v1", "-o", str(archive))
    docker.run("load", "--input", str(archive))
    here = next(each for each in INDEX.images if each.platform == THIS_PLATFORM)
    for name, image in (("docker", build_image("docker", SIZES, docker=True)), ("app", IMAGE), ("multi", here)):
        shown = json.loads(docker.run("image", "inspect", f"team/{name}:v1").stdout)
        assert shown[0]["Id"] == image.config.digest


def test_what_is_about_an_image_goes_and_comes_along(
    yard: YarddeskProcess, make_yarddesk: Callable[..., YarddeskProcess], tmp_path: Path
) -> None:
    other = make_yarddesk(environment={"YARDDESK_UPSTREAM": ""})
    bundle, signature = cosign_referrer(IMAGE.manifest), cosign_signature(IMAGE.manifest)
    sig = cosign_tag(IMAGE.manifest.digest, "sig")
    yard.push("team/app", bundle.manifest.digest, bundle)
    yard.push("team/app", sig, signature)
    yard.run("export", "team/app:v1", "-o", str(tmp_path / "out"), "--referrers")
    other.run("import", str(tmp_path / "out"))
    assert other.holds("team/app", "v1", IMAGE)
    assert other.holds("team/app", sig, signature)
    assert other.holds("team/app", bundle.manifest.digest, bundle)
    listed = json.loads(other.request("GET", f"/v2/team/app/referrers/{IMAGE.manifest.digest}")[2])
    assert [each["digest"] for each in listed["manifests"]] == [bundle.manifest.digest]


def test_an_archive_goes_through_a_pipe(yard: YarddeskProcess, make_yarddesk: Callable[..., YarddeskProcess]) -> None:
    other = make_yarddesk(environment={"YARDDESK_UPSTREAM": ""})

    def command(instance: YarddeskProcess, *arguments: str) -> list[str]:
        place = ["--config", str(instance.config_file), "--data-dir", str(instance.data_dir)]
        return [sys.executable, "-m", "yarddesk", *arguments, *place]

    out = subprocess.run(
        command(yard, "export", "team/app", "team/multi", "-o", "-"),
        env=yard.environment,
        capture_output=True,
        check=True,
        timeout=60,
    )
    told = out.stderr.splitlines()  # how far it is, where it takes its time
    assert all(line.startswith(b"exporting ") for line in told)
    subprocess.run(
        command(other, "import", "-"),
        env=other.environment,
        input=out.stdout,
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert other.holds("team/app", "v1", IMAGE)
    assert other.holds("team/multi", "v1", INDEX)


@pytest.mark.parametrize("running", [True, False], ids=["running", "alone"])
def test_an_import_is_a_push_that_is_synced(
    make_yarddesk: Callable[..., YarddeskProcess],
    make_registry: Callable[..., DockerRegistry],
    tmp_path: Path,
    running: bool,
) -> None:
    upstream = make_registry()
    yard = make_yarddesk(environment={"YARDDESK_UPSTREAM": upstream.url})
    write_oci_layout(tmp_path / "layout", INDEX, "v1")
    if not running:
        yard.terminate()
    yard.run("import", str(tmp_path / "layout"), "team/multi")
    if not running:
        # Whoever starts next finds it queued: nothing was sent meanwhile, and nothing is forgotten.
        assert (yard.data_dir / "pending" / "team" / "multi" / "v1.json").exists()
        assert upstream.tags("team/multi") == []
        yard.start()
    yard.run("wait", "team/multi:v1", "--timeout", "60")
    assert upstream.holds("team/multi", "v1", INDEX)


@pytest.mark.parametrize("running", [True, False], ids=["running", "alone"])
def test_a_tag_that_was_imported_is_ours_though_it_followed_an_upstream(
    make_yarddesk: Callable[..., YarddeskProcess],
    make_registry: Callable[..., DockerRegistry],
    tmp_path: Path,
    running: bool,
) -> None:
    upstream = make_registry()
    upstream.push("team/app", "v1", IMAGE)
    settings = {
        "cache": {"manifest_ttl": 0},
        "upstreams": [{"registry": upstream.url.removeprefix("http://"), "tls": {"plain_http": True}}],
    }
    yard = make_yarddesk(config=json.dumps(settings))  # which is YAML, too
    assert yard.holds("team/app", "v1", IMAGE)
    yard.run("export", "team/app:v1", "-o", str(tmp_path / "out"))
    if not running:
        yard.terminate()
    yard.run("import", str(tmp_path / "out"))
    upstream.push("team/app", "v1", build_image("newer"))
    if not running:
        yard.start()
    assert yard.holds("team/app", "v1", IMAGE)


def test_the_commands_say_it_for_programs_and_for_people(yard: YarddeskProcess, tmp_path: Path) -> None:
    out = tmp_path / "out"
    document = json.loads(yard.run("export", "team/app", "team/multi", "-o", str(out), "--json").stdout)
    assert document["path"] == str(out)
    assert [(image["image"], image["digest"]) for image in document["images"]] == [
        ("team/app:v1", IMAGE.manifest.digest),
        ("team/multi:v1", INDEX.manifest.digest),
    ]
    document = json.loads(yard.run("import", str(out), "--json").stdout)
    assert [image["image"] for image in document["images"]] == ["team/app:v1", "team/multi:v1"]
    assert document["left_out"] == []
    refused = yard.run("export", "team/app:nope", "-o", str(tmp_path / "none"), status=1)
    assert "There is no team/app:nope here" in refused.stderr
    assert not (tmp_path / "none").exists()
    assert yard.run("export", "TEAM", "-o", str(out), status=2).stderr
    assert "is not there" in yard.run("import", str(tmp_path / "nothing"), status=1).stderr
    assert "data folder" in yard.run("export", "team/app", "-o", str(yard.data_dir / "x"), status=1).stderr


def test_a_sparse_index_says_what_it_lacks(yard: YarddeskProcess, skopeo: Skopeo, tmp_path: Path) -> None:
    sparse = build_index("sparse", ["linux/amd64", "linux/arm64"], SIZES)
    here, gone = sparse.images
    for content in (*here.blobs,):
        yard.push_blob("team/sparse", content)
    for manifest, reference in ((here.manifest, here.manifest.digest), (sparse.manifest, "v1")):
        status, _, _ = yard.request(
            "PUT", f"/v2/team/sparse/manifests/{reference}", manifest.content, {"Content-Type": manifest.media_type}
        )
        assert status == 201
    done = yard.run("export", "team/sparse:v1", "-o", str(tmp_path / "out"))
    assert "1 of its platforms is not here" in done.stderr
    assert gone.manifest.digest in done.stderr
    skopeo.copy(f"oci:{tmp_path / 'out'}:v1", f"docker://{yard.registry}/back/one:v1", "--override-arch=amd64")
    assert yard.holds("back/one", "v1", here)


def test_a_killed_export_leaves_the_old_layout_and_goes_through_again(
    yard: YarddeskProcess, skopeo: Skopeo, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    yard.run("export", "team/app:v1", "-o", str(out))
    large = build_image("large", [60_000_000, 60_000_001])
    yard.push("team/large", "v1", large)
    command = [sys.executable, "-m", "yarddesk", "export", "team/large", "-o", str(out)]
    command += ["--config", str(yard.config_file), "--data-dir", str(yard.data_dir)]
    with subprocess.Popen(command, env=yard.environment, stderr=subprocess.PIPE, text=True) as asked:
        until(lambda: list(out.glob(".yarddesk-*")) or asked.poll() is not None, 20)
        yard.kill()
        _, said = asked.communicate(timeout=30)
    assert asked.returncode == 1, said
    assert "before this was done" in said
    yard.start()
    skopeo.copy(f"oci:{out}:v1", f"docker://{yard.registry}/old:v1")
    assert yard.holds("old", "v1", IMAGE)
    yard.run("export", "team/large", "-o", str(out))
    assert not list(out.glob(".yarddesk-*"))
    skopeo.copy(f"oci:{out}:team/large:v1", f"docker://{yard.registry}/new:v1")
    assert yard.holds("new", "v1", large)
