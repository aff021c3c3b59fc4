"""`oras`, the client library of the ORAS project, before `yarddesk serve`: artifacts of several files, and what refers to them."""

import json
from contextlib import closing
from pathlib import Path

import oras.client
import oras.oci
import pytest

CONFIG_TYPE = "application/vnd.example.config.v1+json"
REPORT_TYPE = "application/vnd.example.report.v1"


@pytest.fixture
def serve(make_yarddesk):
    return make_yarddesk(config="upstreams: []\n")


@pytest.fixture
def client(serve):
    made = oras.client.OrasClient(hostname=serve.registry, insecure=True, tls_verify=False)
    with closing(made.session):
        yield made


@pytest.fixture
def files(tmp_path) -> list[Path]:
    folder = tmp_path / "files"
    folder.mkdir()
    contents = {"small.txt": b"hello", "empty.bin": b"", "large.bin": bytes(range(256)) * 20_000}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def push(client, name: str, files: list[Path], **options):
    """Push files, each of a type of its own."""
    typed = [f"{path}:application/vnd.example.{path.stem}" for path in files]
    answer = client.push(target=name, files=typed, disable_path_validation=True, **options)
    assert answer.status_code == 201
    return answer


@pytest.mark.parametrize("chunked", [False, True], ids=["at once", "in chunks"])
def test_files_are_pushed_and_pulled_with_their_types_and_names(serve, client, files, tmp_path, chunked):
    notes = tmp_path / "annotations.json"
    notes.write_text(json.dumps({"$manifest": {"org.example.by": "tests"}, "$config": {"org.example.kind": "config"}}))
    config = tmp_path / "config.json"
    config.write_text('{"answer": 42}')
    push(
        client,
        f"{serve.registry}/team/artifact:1",
        files,
        manifest_config=f"{config}:{CONFIG_TYPE}",
        annotation_file=str(notes),
        manifest_annotations={"org.example.more": "ü"},
        do_chunked=chunked,
        chunk_size=1_000_000,
    )
    manifest = client.get_manifest(f"{serve.registry}/team/artifact:1")
    assert manifest["config"]["mediaType"] == CONFIG_TYPE
    assert manifest["config"]["annotations"] == {"org.example.kind": "config"}
    assert manifest["annotations"] == {"org.example.by": "tests", "org.example.more": "ü"}
    assert [layer["mediaType"] for layer in manifest["layers"]] == [
        f"application/vnd.example.{path.stem}" for path in files
    ]
    pulled = client.pull(target=f"{serve.registry}/team/artifact:1", outdir=str(tmp_path / "out"))
    assert [Path(path).name for path in pulled] == [path.name for path in files]
    assert [Path(path).read_bytes() for path in pulled] == [path.read_bytes() for path in files]
    assert serve.blob("team/artifact", manifest["config"]["digest"]) == config.read_bytes()


def test_a_folder_goes_as_an_archive_under_an_empty_config(serve, client, files, tmp_path):
    name = f"{serve.registry}/team/folder:1"
    folder = files[0].parent
    client.push(target=name, files=[str(folder)], disable_path_validation=True)
    assert client.get_manifest(name)["config"]["size"] == 2
    client.pull(target=name, outdir=str(tmp_path / "out"))
    for path in files:
        assert (tmp_path / "out" / folder.name / path.name).read_bytes() == path.read_bytes()


def test_what_is_attached_is_found_by_the_referrers_api_and_its_filter(serve, client, files):
    push(client, f"{serve.registry}/team/app:1", files[:1])
    pushed = serve.manifest("team/app", "1")
    subject = oras.oci.Subject(pushed.media_type, pushed.digest, len(pushed.content))
    for tag, kind in (("report", REPORT_TYPE), ("note", "application/vnd.example.note.v1")):
        answer = push(
            client,
            f"{serve.registry}/team/app:{tag}",
            files[1:2],
            manifest_config=f"{files[0]}:{kind}",
            manifest_annotations={"org.example.tag": tag},
            subject=subject,
        )
        assert answer.headers["OCI-Subject"] == pushed.digest
    base = f"{serve.url}/v2/team/app/referrers/{pushed.digest}"
    everything = client.do_request(base).json()["manifests"]
    assert {entry["annotations"]["org.example.tag"] for entry in everything} == {"report", "note"}
    answer = client.do_request(f"{base}?artifactType={REPORT_TYPE}")
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"
    (report,) = answer.json()["manifests"]
    assert report["digest"] == serve.manifest("team/app", "report").digest
    assert client.pull(target=f"{serve.registry}/team/app@{report['digest']}", outdir=str(files[0].parent / "out"))


def test_tags_are_listed_in_pages_and_deleted(serve, client, files):
    tags = [f"v{number:02}" for number in range(12)]
    for tag in tags:
        push(client, f"{serve.registry}/team/app:{tag}", files[:1], manifest_annotations={"org.example.tag": tag})
    assert client.get_tags(f"{serve.registry}/team/app") == tags
    assert client.get_tags(f"{serve.registry}/team/app", N=5) == tags[:5]
    pages = []

    def turned(answer) -> bool:
        pages.append(answer.json()["tags"])
        return True

    client._do_paginated_request(f"{serve.url}/v2/team/app/tags/list?n=5", turned)
    assert pages == [tags[:5], tags[5:10], tags[10:]]
    assert client.delete_tags(f"{serve.registry}/team/app", tags[:2]) == tags[:2]
    assert serve.tags("team/app") == tags[2:]
