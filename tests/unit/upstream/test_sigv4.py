"""Requests to AWS are signed as AWS's own test suite and its own library have it."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest.mock import patch

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yarddesk.content.credentials import AwsKeys, Secret
from yarddesk.upstream.sigv4 import signed

KEYS = AwsKeys("AKIDEXAMPLE", Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), Secret(""))
MOMENT = datetime(2015, 8, 30, 12, 36, 0, tzinfo=UTC)
TEXTS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("method", "signature"),
    [
        ("GET", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    ],
)
def test_as_in_awss_test_suite(method: str, signature: str) -> None:
    url = httpx.URL("https://example.amazonaws.com/")
    headers = signed(method, url, {}, b"", KEYS, region="us-east-1", service="service", now=MOMENT)
    assert headers["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders=host;x-amz-date, Signature={signature}"
    )


@given(secret=TEXTS, token=st.just("") | TEXTS, body=st.binary(max_size=100), port=st.sampled_from(["", ":4566"]))
def test_as_by_awss_library(secret: str, token: str, body: bytes, port: str) -> None:
    url = f"https://api.ecr.eu-central-1.amazonaws.com{port}/"
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "Service.Call"}
    theirs = botocore.awsrequest.AWSRequest("POST", url, headers=dict(headers), data=body)
    credentials = botocore.credentials.Credentials("AKID", secret, token or None)
    with patch("botocore.auth.get_current_datetime", return_value=MOMENT.replace(tzinfo=None)):
        botocore.auth.SigV4Auth(credentials, "ecr", "eu-central-1").add_auth(theirs)
    keys = AwsKeys("AKID", Secret(secret), Secret(token))
    ours = signed("POST", httpx.URL(url), headers, body, keys, region="eu-central-1", service="ecr", now=MOMENT)
    assert ours == {name: value for name, value in theirs.headers.items() if name != "Content-Length"}
