"""The keychain: what is kept in it and how, how long it may take, and which back-ends are no keychain at all."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyring.backend import KeyringBackend
from keyring.errors import KeyringError, KeyringLocked, PasswordDeleteError

from tests.support.upstreams import GivenCredentials, credential
from tests.support.waiting import until_async
from yarddesk.content.credentials import Credential, CredentialUnavailable, Secret
from yarddesk.content.registry_host import registry_key
from yarddesk.credentials.backends import NoKeychain, open_keychain
from yarddesk.credentials.chain import CredentialChain
from yarddesk.credentials.docker_config import DockerKeychain
from yarddesk.credentials.keychain import KeychainStore
from yarddesk.credentials.secret_text import MAX_PART, from_text, parts_of, to_parts

LONG = "k" * 4000 + "ü" * 500


class Vault(KeyringBackend):
    """A keychain in memory that takes 2,560 bytes of UTF-16 an entry, as Windows' does."""

    priority = 1

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], str] = {}
        self.error: Exception | None = None
        self.threads: set[str] = set()

    def get_password(self, service: str, username: str) -> str | None:
        self.threads.add(threading.current_thread().name)
        if self.error is not None:
            raise self.error
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if len(password.encode("utf-16-le")) > 2560:
            raise OSError("the stub received bad data")
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if (service, username) not in self.entries:
            raise PasswordDeleteError(service)
        del self.entries[service, username]


@pytest.fixture
def vault() -> Vault:
    return Vault()


@pytest.fixture
def store(vault: Vault) -> KeychainStore:
    return KeychainStore(lambda: vault)


async def test_what_is_set_is_got_and_gone_once_deleted(store: KeychainStore, vault: Vault) -> None:
    assert await store.get("registry.corp:5000") is None
    await store.set("registry.corp:5000", credential("ci", "pass: wörd"))
    assert await store.get("registry.corp:5000") == credential("ci", "pass: wörd")
    assert list(vault.entries) == [("yarddesk:registry.corp:5000", "yarddesk")]
    assert await store.delete("registry.corp:5000")
    assert not await store.delete("registry.corp:5000")
    assert vault.entries == {}


async def test_docker_hub_has_one_entry_by_whatever_name(store: KeychainStore) -> None:
    await store.set("index.docker.io", credential("me", "x"))
    for name in ("docker.io", "registry-1.docker.io", "https://index.docker.io/v1/", "Docker.IO"):
        assert await store.get(name) == credential("me", "x")


async def test_a_long_secret_is_kept_in_parts_and_leaves_none(store: KeychainStore, vault: Vault) -> None:
    await store.set("gcr.io", credential("_json_key", LONG))
    assert len(vault.entries) > 3
    assert await store.get("gcr.io") == credential("_json_key", LONG)
    await store.set("gcr.io", credential("_json_key", LONG[::-1]))
    assert await store.get("gcr.io") == credential("_json_key", LONG[::-1])
    await store.set("gcr.io", credential("ci", "short"))
    assert len(vault.entries) == 1
    await store.set("gcr.io", credential("_json_key", LONG))
    assert await store.delete("gcr.io")
    assert vault.entries == {}


async def test_an_entry_with_a_part_lost_is_no_credential(store: KeychainStore, vault: Vault) -> None:
    await store.set("gcr.io", credential("_json_key", LONG))
    lost = next(key for key in vault.entries if key[0].endswith(".1"))
    del vault.entries[lost]
    assert await store.get("gcr.io") is None


async def test_all_calls_are_made_in_one_thread_of_its_own(store: KeychainStore, vault: Vault) -> None:
    await asyncio.gather(*(store.get("a") for _ in range(20)))
    assert vault.threads == {"keychain"}


@pytest.mark.parametrize(
    ("error", "title"),
    [
        (KeyringLocked("dismissed"), "The keychain is locked."),
        (KeyringError("odd"), "The keychain can't be used."),
        (OSError("D-Bus went away"), "The keychain can't be used."),
    ],
)
async def test_a_keychain_that_fails_says_so(store: KeychainStore, vault: Vault, error: Exception, title: str) -> None:
    vault.error = error
    with pytest.raises(CredentialUnavailable) as caught:
        await store.get("registry.corp")
    assert caught.value.title == title
    assert caught.value.hint
    vault.error = None
    assert await store.get("registry.corp") is None


async def test_a_keychain_that_hangs_is_not_waited_for() -> None:
    goes_on, asked = threading.Event(), []

    class Hanging(Vault):
        def get_password(self, service: str, username: str) -> str | None:
            asked.append(service)
            assert goes_on.wait(20)
            return super().get_password(service, username)

    store = KeychainStore(Hanging, limit_seconds=0.1)
    loop = asyncio.get_running_loop()
    with pytest.raises(CredentialUnavailable) as caught:
        await store.get("a")
    assert caught.value.title == "The keychain gives no answer."
    began = loop.time()
    with pytest.raises(CredentialUnavailable):
        await store.get("b")
    assert loop.time() - began < 0.09, "while one call hangs, others fail at once"
    assert asked == ["yarddesk:a"]
    goes_on.set()

    async def answers() -> bool:
        try:
            return await store.get("c") is None
        except CredentialUnavailable:
            return False

    await until_async(answers, what="once it answers, it is asked again")
    store.close()


async def test_a_cancelled_question_is_forgotten(store: KeychainStore, vault: Vault) -> None:
    vault.error = KeyringError("late")
    task = asyncio.create_task(store.get("a"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    vault.error = None
    assert await store.get("a") is None


@pytest.mark.parametrize(
    "named",
    [
        "keyring.backends.null.Keyring",
        "keyring.backends.fail.Keyring",
        "keyrings.alt.file.PlaintextKeyring",
        "nonsense",
    ],
)
def test_back_ends_that_keep_nothing_safely_are_refused(named: str) -> None:
    with pytest.raises(CredentialUnavailable) as caught:
        open_keychain({"PYTHON_KEYRING_BACKEND": named})
    assert "PYTHON_KEYRING_BACKEND" in caught.value.hint


def test_a_back_end_that_is_named_is_taken() -> None:
    backend = open_keychain({"PYTHON_KEYRING_BACKEND": f"{__name__}.Vault"})
    assert isinstance(backend, Vault)


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_a_platform_without_its_keychain_has_words(platform: str) -> None:
    with pytest.raises(CredentialUnavailable):
        open_keychain({}, platform)


@given(st.text(max_size=3000), st.text(min_size=1, max_size=4000))
def test_any_credential_survives_being_kept(username: str, password: str) -> None:
    head, parts = to_parts(Credential(username, Secret(password)))
    for text in (head, *parts.values()):
        assert len(text.encode("utf-16-le")) <= 2 * MAX_PART
    assert parts_of(head) == list(parts)
    assert from_text("".join(parts.values()) or head) == Credential(username, Secret(password))


@given(st.text(max_size=200))
def test_foreign_entries_are_no_credentials(text: str) -> None:
    assert from_text(text) is None or "password" in json.loads(text)
    assert parts_of(text) == [] or "parts" in json.loads(text)


@given(st.text(max_size=60))
def test_a_registrys_key_is_its_own_key(registry: str) -> None:
    key = registry_key(registry)
    assert registry_key(key) == key or "://" in key or "/" in key


@pytest.mark.parametrize(
    ("given_name", "key"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("HTTPS://Registry.Corp:5000/v2/", "registry.corp:5000"),
        ("registry.corp:443", "registry.corp"),
        ("http://localhost:5000", "localhost:5000"),
        ("ghcr.io/team", "ghcr.io"),
    ],
)
def test_registries_have_one_name(given_name: str, key: str) -> None:
    assert registry_key(given_name) == key


LOCKED = CredentialUnavailable("The keychain is locked.")


async def test_the_chain_gives_the_first_that_there_is() -> None:
    keychain, docker = GivenCredentials({"a": credential("k", "1")}), GivenCredentials({"a": credential("d", "2")})
    chain = CredentialChain(keychain, [docker])
    assert await chain.get("a") == credential("k", "1")
    assert docker.asked == []
    await chain.delete("a")
    assert await chain.get("a") == credential("d", "2")
    await chain.set("b", credential("k", "3"))
    assert docker.known.get("b") is None
    assert await chain.get("c") is None


async def test_the_chain_goes_on_past_a_locked_keychain_and_remembers_it() -> None:
    docker = GivenCredentials({"a": credential("d", "2")})
    chain = CredentialChain(GivenCredentials(unavailable=LOCKED), [docker])
    assert await chain.get("a") == credential("d", "2")
    with pytest.raises(CredentialUnavailable) as caught:
        await chain.get("b")
    assert caught.value is LOCKED


async def test_where_there_is_no_keychain_it_is_told_what_keeps_docker_from_being_asked(tmp_path: Path) -> None:
    chain = CredentialChain(
        GivenCredentials(unavailable=NoKeychain("There is none.")), [DockerKeychain({}, home=tmp_path)]
    )
    with pytest.raises(NoKeychain):
        await chain.get("a")
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text('{"auths": ')
    with pytest.raises(CredentialUnavailable, match=r"Docker's credentials can't be read\. .*config\.json: It is not"):
        await chain.get("a")
