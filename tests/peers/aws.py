"""AWS's API, as moto speaks it: it checks signatures, and what the policies of an account's users allow."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx

from tests.support.programs import Program, clean_environment

ACCOUNT = "123456789012"
REGION = "eu-central-1"


@dataclass(frozen=True)
class Keys:
    """Of a user there."""

    access_key: str
    secret_key: str


class AwsServer:
    """moto's server on a loopback port. `start`, and then nothing is done there without keys."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
        self._program = Program(command, environment=clean_environment(folder / "home"), log=folder / "moto.log")
        self.url = ""
        self._admin = Keys("nobody", "nothing")

    def start(self) -> None:
        self._program.start()
        self.url = self._program.wait_for_line(r"Running on (http://127\.0\.0\.1:\d+)")[1]
        self._admin = self.user("admin", "*")
        httpx.post(f"{self.url}/moto-api/reset-auth", content=b"0", trust_env=False).raise_for_status()

    def stop(self) -> None:
        self._program.stop()

    def user(self, name: str, *actions: str) -> Keys:
        """Make one who may do these actions."""
        iam = self._client("iam")
        iam.create_user(UserName=name)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        self.allow(name, *actions)
        return Keys(key["AccessKeyId"], key["SecretAccessKey"])

    def allow(self, name: str, *actions: str) -> None:
        """What a user may do from now on."""
        statement = {"Effect": "Allow", "Action": list(actions) or ["ecr:GetAuthorizationToken"], "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self._client("iam").put_user_policy(UserName=name, PolicyName="may", PolicyDocument=document)

    def repositories(self) -> set[str]:
        """Those of ECR, as `ACCOUNT/NAME`."""
        found = self._client("ecr").describe_repositories()["repositories"]
        return {f"{each['registryId']}/{each['repositoryName']}" for each in found}

    def _client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=self._admin.access_key,
            aws_secret_access_key=self._admin.secret_key,
        )
