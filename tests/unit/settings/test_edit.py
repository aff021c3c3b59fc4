"""What `upstream add` and `remove` leave of a settings file that a person wrote: all but the entry."""

import errno
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tests.support.programs import CommandLine, clean_environment
from yarddesk.errors import YarddeskError
from yarddesk.settings.edit import add_upstream, remove_upstream
from yarddesk.settings.errors import SettingsError
from yarddesk.settings.loader import load_settings
from yarddesk.settings.upstreams import upstream_from_url

HUB = "  - prefix: docker.io   # short\n    registry: registry-1.docker.io\n"
GITHUB = "  - prefix: ghcr.io\n    registry: ghcr.io\n    auth:\n      type: basic\n      username: 'me'\n      password: ${TOKEN}\n"
QUAY = "  - {prefix: quay.io, registry: quay.io}\n"
WRITTEN = (
    "# mine\nserver:\n    port: '5000'   # quoted\n\nupstreams:   # in this order\n  # the hub\n"
    f"{HUB}\n  # packages\n{GITHUB}  # the third\n{QUAY}\n# about the cache\ncache:\n    max_size: 5GB # enough\n# the end\n"
)
ADDED = "  - prefix: corp\n    registry: r.example\n    path: team\n    push: true\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(WRITTEN)
    return path


def _add(file: Path) -> None:
    add_upstream(file, upstream_from_url("https://r.example/team", prefix="corp"), {})


@pytest.mark.parametrize(("name", "entry"), [("docker.io", HUB), ("ghcr.io", GITHUB), ("quay.io", QUAY)])
def test_what_is_removed_is_the_entry_and_no_comment_of_others(file, name, entry):
    remove_upstream(file, name, {})
    assert file.read_text() == WRITTEN.replace(entry, "")


def test_an_entry_that_is_added_stands_after_the_last_and_before_what_follows_the_list(file):
    _add(file)
    assert file.read_text() == WRITTEN.replace(QUAY, QUAY + ADDED)


def test_the_last_entry_leaves_an_empty_list_with_the_comments_below_it(file):
    for name in ("docker.io", "ghcr.io", "quay.io"):
        remove_upstream(file, name, {})
    left = WRITTEN.replace("upstreams: ", "upstreams: [] ")
    for entry in (HUB, GITHUB, QUAY):
        left = left.replace(entry, "")
    assert file.read_text() == left
    _add(file)
    assert YAML(typ="safe").load(file.read_text())["upstreams"] == YAML(typ="safe").load(ADDED)
    assert all(comment in file.read_text() for comment in ("# the hub", "# packages", "# the third", "# enough"))


def test_a_file_of_comments_alone_keeps_them(file):
    file.write_text("# server:\n#   port: 5051\n")
    _add(file)
    assert file.read_text().startswith("# server:\n#   port: 5051\nupstreams:\n  - prefix: docker.io\n")
    assert file.read_text().endswith(ADDED)


def test_docker_hub_is_there_already_by_whichever_name(file):
    for registry in ("docker.io", "https://index.docker.io", "registry-1.docker.io"):
        with pytest.raises(SettingsError, match=r"yarddesk upstream remove docker\.io"):
            add_upstream(file, upstream_from_url(registry, prefix="docker.io"), {})
    assert file.read_text() == WRITTEN


def test_a_file_without_a_list_gets_one_without_the_default_that_is_removed(file):
    file.write_text("server: {port: 5051}  # mine")
    remove_upstream(file, "ghcr.io", {})
    defaults = "upstreams:\n  - prefix: docker.io\n    registry: registry-1.docker.io\n"
    assert file.read_text() == f"server: {{port: 5051}}  # mine\n{defaults}"


def test_lines_end_as_they_did(file):
    file.write_bytes(WRITTEN.replace("\n", "\r\n").encode())
    _add(file)
    assert file.read_bytes() == WRITTEN.replace(QUAY, QUAY + ADDED).replace("\n", "\r\n").encode()


@pytest.mark.parametrize(
    "text",
    [
        "upstreams: [{registry: a.example}, {prefix: q, registry: b.example}]\n",
        "{upstreams: [{registry: a.example}, {prefix: q, registry: b.example}]}\n",
        "upstreams:\n- &a\n  registry: a.example\n  tls: &t {verify: false}\n- prefix: q\n  registry: b.example\n  tls: *t\n",
        "upstreams:\n- registry: a.example\n- &b\n  registry: b.example\n  prefix: q\n- <<: *b\n  prefix: r\n",
        "upstreams:\n-\n  registry: a.example\n  path:\n\n\n-\n\n  prefix: q\n  registry: >-\n    b.example\n\n# the end\n...\n",
    ],
)
def test_however_the_list_is_written_the_others_stay_the_same(file, text):
    before = YAML(typ="safe").load(text)["upstreams"]
    file.write_text(text)
    _add(file)
    added = YAML(typ="safe").load(ADDED)
    assert YAML(typ="safe").load(file.read_text())["upstreams"] == before + added
    remove_upstream(file, "a.example", {})
    assert YAML(typ="safe").load(file.read_text())["upstreams"] == before[1:] + added


def test_the_last_entry_goes_also_where_the_colon_stands_below_the_key(file):
    file.write_text(
        "# mine\n? upstreams # here: all\n# a: b\n: # there\n- registry: a.example\n# more\nserver: {port: 1}\n"
    )
    remove_upstream(file, "a.example", {})
    assert file.read_text() == ("# mine\n? upstreams # here: all\n# a: b\n: [] # there\n# more\nserver: {port: 1}\n")


def test_what_can_not_be_written_is_said_and_stays(file, monkeypatch):
    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "replace", read_only)
    with pytest.raises(YarddeskError, match=r"config\.yaml can't be written\. Read-only file system\. ") as caught:
        _add(file)
    assert not isinstance(caught.value, SettingsError), "the settings are good ones"
    assert file.read_text() == WRITTEN
    assert list(file.parent.iterdir()) == [file]


def test_a_file_without_an_end_is_not_read_to_it(tmp_path):
    little = ["prlimit", f"--as={2 * 1024**3}", sys.executable, "-m", "yarddesk"]
    refused = CommandLine(little, environment=clean_environment(tmp_path)).run(
        "upstream", "list", "--config", "/dev/zero", status=2
    )
    assert "/dev/zero: the file has more than 1,048,576 bytes" in refused.stderr


COMMENTS = st.lists(st.sampled_from(["", "# one\n", "  # two\n", "      # three\n", "\n"]), min_size=5, max_size=5)


@settings(deadline=None, max_examples=25)
@given(COMMENTS, st.permutations(range(4)), st.booleans())
def test_every_comment_outlives_every_change(comments, order, indented):
    entries = [f"- registry: r{n}.example\n  path: p{n}\n" for n in range(4)]
    if indented:
        entries = ["".join(f"  {line}" for line in entry.splitlines(keepends=True)) for entry in entries]
    text = "upstreams:\n" + "".join(a + b for a, b in zip(comments, [*entries, "server: {port: 1}\n"], strict=True))
    with TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(text)
        for done, n in enumerate(order):
            remove_upstream(file, f"r{n}.example", {})
            assert len(YAML(typ="safe").load(file.read_text())["upstreams"]) == 3 - done
            assert file.read_text().count("#") == text.count("#")
            assert YAML(typ="safe").load(file.read_text())["server"] == {"port": 1}
        _add(file)
        assert file.read_text().count("#") == text.count("#")


def test_what_is_added_is_told_by_the_name_that_it_has_beside_the_others(file):
    _add(file)
    second = add_upstream(file, upstream_from_url("https://r.example/other", prefix="corp"), {})
    assert second.name == load_settings({}, file=file).settings.upstreams[-1].name == "r.example"


def test_what_the_environment_names_is_not_said_to_be_unknown(file):
    with pytest.raises(SettingsError, match=r"^YARDDESK_UPSTREAM: “r\.example:5000” stands there, and in no file$"):
        remove_upstream(file, "r.example:5000", {"YARDDESK_UPSTREAM": "http://r.example:5000/team"})
    assert file.read_text() == WRITTEN
