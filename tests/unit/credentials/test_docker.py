"""Docker's keychain: config.json in all its forms, and helpers that work, fail, hang or are not there."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.upstreams import credential
from tests.support.waiting import until
from yarddesk.content.credentials import Credential, CredentialUnavailable
from yarddesk.credentials.docker_config import DockerKeychain
from yarddesk.credentials.docker_helper import HelperHangs, ask_helper

CANARY = "canary-55d0"


def packed(username: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


class Home:
    """A home folder with a config.json and helpers in its PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.environ = {"PATH": f"{self.bin}:/usr/bin:/bin", "HOME": str(folder)}

    def write(self, document: Any) -> None:
        (self.folder / ".docker").mkdir(exist_ok=True)
        text = document if isinstance(document, str) else json.dumps(document)
        (self.folder / ".docker/config.json").write_text(text, encoding="utf-8")

    def helper(self, name: str, script: str) -> None:
        path = self.bin / f"docker-credential-{name}"
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    async def get(self, registry: str) -> Credential | None:
        return await DockerKeychain(self.environ, self.folder).get(registry)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


async def test_no_file_is_no_credential(home: Home) -> None:
    assert await home.get("registry.corp") is None


@pytest.mark.parametrize(
    "key", ["registry.corp", "https://registry.corp", "https://registry.corp/v2/", "REGISTRY.corp"]
)
async def test_auths(home: Home, key: str) -> None:
    home.write({"auths": {"other": packed("o", "x"), key: packed("ci", "pass:word")}})
    assert await home.get("registry.corp") == credential("ci", "pass:word")


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "registry-1.docker.io"])
async def test_docker_hub_by_its_many_names(home: Home, key: str) -> None:
    home.write({"auths": {key: packed("me", "x")}})
    assert await home.get("docker.io") == credential("me", "x")


async def test_ports_tell_registries_apart(home: Home) -> None:
    home.write({"auths": {"registry.corp:5000": packed("ci", "x")}})
    assert await home.get("registry.corp") is None
    assert await home.get("registry.corp:5000") == credential("ci", "x")


async def test_an_identity_token_has_no_user(home: Home) -> None:
    home.write({"auths": {"corp.azurecr.io": packed("0000", "x") | {"identitytoken": "long"}}})
    assert await home.get("corp.azurecr.io") == credential("", "long")


async def test_docker_config_names_another_folder(home: Home) -> None:
    home.write({"auths": {"registry.corp": packed("ci", "x")}})
    (home.folder / ".docker").rename(home.folder / "elsewhere")
    assert await home.get("registry.corp") is None
    home.environ["DOCKER_CONFIG"] = str(home.folder / "elsewhere")
    assert await home.get("registry.corp") == credential("ci", "x")


@pytest.mark.parametrize("text", ["{", "\ufeff{", '{"auths": {"registry.corp": '])
async def test_a_damaged_file_is_told_with_its_place(home: Home, text: str) -> None:
    home.write(text)
    with pytest.raises(CredentialUnavailable) as caught:
        await home.get("registry.corp")
    assert "config.json" in caught.value.message


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"auths": []},
        {"auths": {"registry.corp": "x"}},
        {"auths": {"registry.corp": {}}},
        {"auths": {"registry.corp": {"auth": "?"}}},
        {"auths": {"registry.corp": {"auth": "AAAA"}}},
        {"auths": {"registry.corp": {"auth": 7}}},
        {"credHelpers": 7, "credsStore": 7},
    ],
)
async def test_what_holds_no_credential_gives_none(home: Home, document: Any) -> None:
    home.write(document)
    assert await home.get("registry.corp") is None


async def test_a_helper_gets_the_address_and_gives_the_credential(home: Home) -> None:
    home.helper("corp", 'read url; echo "$1 $url" >> "$HOME/log"; echo \'{"Username":"ci","Secret":"helped"}\'')
    home.write({"credHelpers": {"registry.corp": "corp"}, "auths": {"registry.corp": packed("old", "x")}})
    assert await home.get("registry.corp") == credential("ci", "helped")
    assert (home.folder / "log").read_text() == "get registry.corp\n"


async def test_the_store_is_asked_by_docker_hubs_old_address(home: Home) -> None:
    home.helper("desktop", 'test "$(cat)" = https://index.docker.io/v1/ && echo \'{"Username":"me","Secret":"s"}\'')
    home.write({"credsStore": "desktop"})
    assert await home.get("docker.io") == credential("me", "s")


async def test_a_registrys_own_helper_comes_before_the_store(home: Home) -> None:
    home.helper("own", 'echo \'{"Username":"own","Secret":"s"}\'')
    home.helper("store", 'echo \'{"Username":"store","Secret":"s"}\'')
    home.write({"credsStore": "store", "credHelpers": {"registry.corp": "own"}})
    assert await home.get("registry.corp") == credential("own", "s")
    assert await home.get("other.corp") == credential("store", "s")


async def test_a_token_from_a_helper_is_an_identity_token(home: Home) -> None:
    home.helper("acr", 'echo \'{"Username":"<token>","Secret":"refresh"}\'')
    home.write({"credHelpers": {"corp.azurecr.io": "acr"}})
    assert await home.get("corp.azurecr.io") == credential("", "refresh")


async def test_a_helper_without_a_credential_leads_to_the_file(home: Home) -> None:
    home.helper("store", "echo 'credentials not found in native keychain'; exit 1")
    home.write({"credsStore": "store", "auths": {"registry.corp": packed("ci", "x")}})
    assert await home.get("registry.corp") == credential("ci", "x")
    assert await home.get("other.corp") is None


@pytest.mark.parametrize(
    ("script", "word"),
    [
        ("echo 'The vault is sealed' ; exit 1", "The vault is sealed"),
        (f"echo {CANARY}-no-json", "can't be read"),
        ("echo '[]'", "lacks"),
        ("exit 3", "status 3"),
    ],
)
async def test_a_helper_that_fails_is_told(home: Home, script: str, word: str) -> None:
    home.helper("bad", script)
    home.write({"credsStore": "bad"})
    with pytest.raises(CredentialUnavailable) as caught:
        await home.get("registry.corp")
    assert "docker-credential-bad" in caught.value.title
    assert word in caught.value.message
    assert CANARY not in str(caught.value)


async def test_a_missing_helper_is_named(home: Home) -> None:
    home.write({"credsStore": "nowhere"})
    with pytest.raises(CredentialUnavailable) as caught:
        await home.get("registry.corp")
    assert caught.value.title == "docker-credential-nowhere is not installed."


@pytest.mark.parametrize("name", ["../evil", "a b", "-x", "x;y", "a/b"])
async def test_a_helpers_name_is_a_plain_name(home: Home, name: str) -> None:
    home.write({"credsStore": name})
    with pytest.raises(CredentialUnavailable):
        await home.get("registry.corp")


def test_a_helper_that_hangs_is_ended_with_what_it_started(home: Home) -> None:
    home.helper("slow", 'sleep 60 & echo $! > "$HOME/child"; wait')
    with pytest.raises(CredentialUnavailable) as caught:
        ask_helper("slow", "registry.corp", home.environ, limit_seconds=0.5)
    assert "gave no answer" in caught.value.title
    state = Path(f"/proc/{int((home.folder / 'child').read_text())}/stat")
    until(lambda: not state.exists() or state.read_text().split()[2] in "ZX", what="the child has ended")


async def test_a_helper_that_hangs_is_waited_for_once_whatever_the_registrys_names(home: Home) -> None:
    asked: list[str] = []

    def hangs(_name: str, address: str, _environ: object) -> None:
        asked.append(address)
        raise HelperHangs("docker-credential-slow gave no answer.")

    home.write({"credsStore": "slow", "auths": {"other.corp": packed("ci", "x")}})
    keychain = DockerKeychain(home.environ, home.folder, ask=hangs)
    with pytest.raises(CredentialUnavailable, match="gave no answer"):
        await keychain.get("docker.io")
    assert len(asked) == 1
    assert await keychain.get("other.corp") == credential("ci", "x")


def test_the_secret_is_not_in_the_process_list(home: Home) -> None:
    home.helper(
        "list",
        'cat > /dev/null; tr "\\0" " " < /proc/$$/cmdline > "$HOME/cmdline"; echo \'{"Username":"a","Secret":"b"}\'',
    )
    ask_helper("list", "registry.corp", home.environ)
    assert "registry.corp" not in (home.folder / "cmdline").read_text()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@given(document=st.dictionaries(st.sampled_from(["auths", "other"]), JSON))
def test_any_document_gives_a_credential_or_none(tmp_path_factory: pytest.TempPathFactory, document: Any) -> None:
    folder = tmp_path_factory.getbasetemp() / "any-docker"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(document), encoding="utf-8")
    found = DockerKeychain({"DOCKER_CONFIG": str(folder), "PATH": os.defpath})._get("registry.corp")
    assert found is None or isinstance(found, Credential)
