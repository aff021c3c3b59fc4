from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import jeepney.io.blocking
import pytest
import secretstorage
from secretstorage.exceptions import SecretStorageException

from tests.peers.secret_service import SecretService


def open_default(service: SecretService) -> secretstorage.Collection:
    connection = jeepney.io.blocking.open_dbus_connection(service.address)
    return secretstorage.get_default_collection(connection)


def test_an_unlocked_keychain_keeps_a_secret(secret_service: SecretService) -> None:
    collection = open_default(secret_service)
    collection.create_item("a label", {"service": "registry.example"}, b"the secret")
    (found,) = collection.search_items({"service": "registry.example"})
    assert found.get_secret() == b"the secret"
    collection.connection.close()


def test_it_can_be_locked_while_it_is_in_use(secret_service: SecretService) -> None:
    assert not secret_service.is_locked()
    secret_service.lock()
    assert secret_service.is_locked()


def test_a_locked_keychain_is_there_and_locked(make_service: Callable[[str], SecretService]) -> None:
    assert make_service("locked").is_locked()


def test_an_absent_keychain_is_absent(make_service: Callable[[str], SecretService]) -> None:
    service = make_service("absent")
    with (
        jeepney.io.blocking.open_dbus_connection(service.address) as connection,
        pytest.raises(SecretStorageException),
    ):
        secretstorage.get_default_collection(connection)


@pytest.fixture
def make_service(short_path: Path, request: pytest.FixtureRequest) -> Callable[[str], SecretService]:
    def make(state: Literal["unlocked", "locked", "absent"]) -> SecretService:
        service = SecretService(short_path / state, state)
        request.addfinalizer(service.stop)
        service.start()
        return service

    return make  # type: ignore[return-value]  # tests say the state as a plain word
