"""The keychain store with a real gnome-keyring on a D-Bus session bus: unlocked, locked, absent, and none at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import pytest

from tests.peers.secret_service import SecretService
from tests.support.upstreams import credential
from tests.support.waiting import until_async
from yarddesk.content.credentials import CredentialUnavailable
from yarddesk.credentials.chain import CredentialChain
from yarddesk.credentials.docker_config import DockerKeychain
from yarddesk.credentials.keychain import KeychainStore

State = Literal["unlocked", "locked", "absent"]


@pytest.fixture
def session(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[State], SecretService]]:
    """Make this process's session one with a keychain in this state."""
    with ExitStack() as stack:

        def make(state: State) -> SecretService:
            service = SecretService(short_path / state, state)
            stack.callback(service.stop)
            service.start()
            monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", service.address)
            return service

        yield make


async def test_an_unlocked_keychain_keeps_credentials_over_a_restart(session: Callable[[State], SecretService]) -> None:
    session("unlocked")
    store = KeychainStore()
    await store.set("registry.corp", credential("ci", "pässword"))
    await store.set("gcr.io", credential("_json_key", "k" * 9000))
    store.close()
    again = KeychainStore()
    assert await again.get("registry.corp") == credential("ci", "pässword")
    assert await again.get("gcr.io") == credential("_json_key", "k" * 9000)
    assert await again.get("other.corp") is None
    await again.set("registry.corp", credential("ci", "new"))
    assert await again.get("registry.corp") == credential("ci", "new")
    assert await again.delete("registry.corp")
    assert await again.delete("gcr.io")
    assert await again.get("registry.corp") is None
    again.close()


async def test_a_locked_keychain_is_told_in_time_and_nothing_is_kept_elsewhere(
    session: Callable[[State], SecretService], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session("locked")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    store = KeychainStore()
    began = asyncio.get_running_loop().time()
    for call in (
        store.get("registry.corp"),
        store.set("registry.corp", credential("ci", "canary-locked")),
        store.delete("x"),
    ):
        with pytest.raises(CredentialUnavailable) as caught:
            await call
        assert "unlock" in caught.value.hint.lower()
        assert "canary-locked" not in str(caught.value)
    assert asyncio.get_running_loop().time() - began < 35
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in written if b"canary-locked" in path.read_bytes()]
    store.close()


async def test_a_keychain_that_is_locked_while_in_use(session: Callable[[State], SecretService]) -> None:
    service = session("unlocked")
    store = KeychainStore()
    await store.set("registry.corp", credential("ci", "x"))
    await asyncio.to_thread(service.lock)
    with pytest.raises(CredentialUnavailable):
        await store.get("registry.corp")
    store.close()


async def test_an_absent_keychain_says_what_to_do(session: Callable[[State], SecretService]) -> None:
    session("absent")
    store = KeychainStore()
    with pytest.raises(CredentialUnavailable) as caught:
        await store.check()
    assert caught.value.title == "There is no keychain on this machine."
    assert "gnome-keyring" in caught.value.hint
    store.close()


async def test_without_a_session_bus_there_is_no_keychain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nonexistent")
    store = KeychainStore()
    with pytest.raises(CredentialUnavailable) as caught:
        await store.get("registry.corp")
    assert caught.value.message.endswith(" is unset.")
    store.close()


async def test_a_keychain_that_comes_later_is_found(session: Callable[[State], SecretService]) -> None:
    store = KeychainStore()
    with pytest.raises(CredentialUnavailable):
        await store.check()
    session("unlocked")

    async def usable() -> bool:
        try:
            await store.check()
        except CredentialUnavailable:
            return False
        return True

    await until_async(usable, what="the keychain is found")
    store.close()


async def test_where_the_keychain_is_locked_dockers_is_asked(
    session: Callable[[State], SecretService], tmp_path: Path
) -> None:
    session("locked")
    # base64 of ci:from-docker
    (tmp_path / "config.json").write_text(
        '{"auths": {"registry.corp": {"auth": "Y2k6ZnJvbS1kb2NrZXI="}}}', encoding="utf-8"
    )
    keychain = KeychainStore()
    chain = CredentialChain(keychain, [DockerKeychain({"DOCKER_CONFIG": str(tmp_path)})])
    assert await chain.get("registry.corp") == credential("ci", "from-docker")
    with pytest.raises(CredentialUnavailable):
        await chain.get("other.corp")
    keychain.close()
