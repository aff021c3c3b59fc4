"""The keys of an AWS account, found where AWS's own tools find them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from yarddesk.content.credentials import CredentialUnavailable
from yarddesk.credentials.aws import AwsConfiguration

CANARY = "c4nary of aws"
PROCESS = '{"Version": 1, "AccessKeyId": "AKPROCESS", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": "x"}'


class Home:
    """A home folder without anything of AWS's, and a PATH with what is put there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / ".aws").mkdir()
        (folder / "bin").mkdir()
        self.environ = {"PATH": str(folder / "bin")}

    def write(self, name: str, text: str) -> None:
        (self.folder / ".aws" / name).write_text(text, encoding="utf-8")

    def program(self, name: str, text: str) -> Path:
        path = self.folder / "bin" / name
        path.write_text(f"#!{sys.executable}\n{text}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    async def keys(self, **environ: str) -> tuple[str, str, str] | None:
        found = await AwsConfiguration(self.environ | environ, self.folder).keys()
        return None if found is None else (found.access_key, found.secret_key.reveal(), found.session_token.reveal())


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr("yarddesk.credentials.programs.MORE_FOLDERS", ())
    return Home(tmp_path)


async def test_none_are_none(home: Home) -> None:
    assert await home.keys() is None
    home.write("config", "[default]\nregion = eu-central-1\n")
    assert await home.keys() is None


async def test_those_of_the_environment_come_first(home: Home) -> None:
    home.write("credentials", "[default]\naws_access_key_id = AKFILE\naws_secret_access_key = f\n")
    found = await home.keys(AWS_ACCESS_KEY_ID="AKENV", AWS_SECRET_ACCESS_KEY="e", AWS_SESSION_TOKEN="t")
    assert found == ("AKENV", "e", "t")
    assert await home.keys(AWS_ACCESS_KEY_ID="AKENV") == ("AKFILE", "f", ""), "half a pair is none"


async def test_those_of_a_profile(home: Home) -> None:
    home.write(
        "credentials",
        "[default]\naws_access_key_id = AKDEFAULT\naws_secret_access_key = with%percent\n"
        "[ci]\naws_access_key_id=AKCI\naws_secret_access_key=c\naws_session_token=t\n",
    )
    home.write(
        "config",
        "[profile dev]\naws_access_key_id = AKDEV\naws_secret_access_key = d\ns3 =\n  max_concurrent_requests = 20\n",
    )
    assert await home.keys() == ("AKDEFAULT", "with%percent", "")
    assert await home.keys(AWS_PROFILE="ci") == ("AKCI", "c", "t")
    assert await home.keys(AWS_DEFAULT_PROFILE="dev") == ("AKDEV", "d", "")
    assert await home.keys(AWS_PROFILE="unknown") is None


async def test_files_at_another_place(home: Home, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("[default]\naws_access_key_id = AKOTHER\naws_secret_access_key = o\n")
    assert await home.keys(AWS_SHARED_CREDENTIALS_FILE=str(tmp_path / "other")) == ("AKOTHER", "o", "")


async def test_those_of_a_profiles_process(home: Home) -> None:
    program = home.program("hand-out", f"import sys\nassert sys.argv[1] == 'for ci'\nprint('''{PROCESS}''')")
    home.write("config", f"[default]\ncredential_process = {program} 'for ci'\n")
    assert await home.keys() == ("AKPROCESS", "s", "t")


async def test_what_the_aws_command_knows_besides(home: Home) -> None:
    home.program(
        "aws",
        "import os, sys\nassert sys.argv[1:] == ['configure', 'export-credentials', '--format', 'process']\n"
        f"assert os.environ['AWS_PROFILE'] == 'sso'\nprint('''{PROCESS}''')",
    )
    home.write(
        "config",
        "[profile sso]\nsso_session = corp\naws_access_key_id = AKOLD\naws_secret_access_key = o\n[sso-session corp]\n",
    )
    assert await home.keys(AWS_PROFILE="sso") == ("AKPROCESS", "s", "t")


async def test_a_profile_that_needs_the_aws_command_where_there_is_none(home: Home) -> None:
    home.write("config", "[profile sso]\nsso_session = corp\n")
    with pytest.raises(CredentialUnavailable) as caught:
        await home.keys(AWS_PROFILE="sso")
    assert "The aws command is not installed." in caught.value.title
    assert "“sso”" in caught.value.message


async def test_what_the_aws_command_says_when_it_fails_is_told(home: Home) -> None:
    home.program("aws", "import sys\nsys.exit('Token has expired and refresh failed')")
    with pytest.raises(CredentialUnavailable) as caught:
        await home.keys()
    assert "Token has expired and refresh failed" in caught.value.message


@pytest.mark.parametrize(
    "text",
    [f"print('{CANARY}')", f"import sys\nsys.exit('{CANARY}')", f'print(\'{{"AccessKeyId": "{CANARY}"}}\')', "pass"],
)
async def test_a_process_that_hands_out_nothing_is_told_without_its_words(home: Home, text: str) -> None:
    program = home.program("hand-out", text)
    home.write("credentials", f"[default]\ncredential_process = {program}\n")
    with pytest.raises(CredentialUnavailable) as caught:
        await home.keys()
    assert CANARY not in f"{caught.value} {caught.value.message}"


async def test_a_process_that_is_not_there_is_told(home: Home) -> None:
    home.write("credentials", "[default]\ncredential_process = /nowhere/at-all\n")
    with pytest.raises(CredentialUnavailable) as caught:
        await home.keys()
    assert os.strerror(2) in caught.value.message


@pytest.mark.parametrize("content", [f"aws_secret_access_key = {CANARY}\n".encode(), b"[default]\n\xff\xfe"])
async def test_a_damaged_file_is_told_without_what_stands_in_it(home: Home, content: bytes) -> None:
    (home.folder / ".aws/credentials").write_bytes(content)
    with pytest.raises(CredentialUnavailable) as caught:
        await home.keys()
    assert "credentials can't be read" in caught.value.title
    assert CANARY not in f"{caught.value} {caught.value.message} {caught.value.__cause__}"


def test_other_endpoints(home: Home) -> None:
    environ = {"AWS_ENDPOINT_URL": "http://all", "AWS_ENDPOINT_URL_ECR": "http://ecr"}
    assert AwsConfiguration(environ, home.folder).endpoint("ecr") == "http://ecr"
    assert AwsConfiguration(environ, home.folder).endpoint("sts") == "http://all"
    assert AwsConfiguration({}, home.folder).endpoint("ecr") == ""
