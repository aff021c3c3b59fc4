"""What others may see of the settings: keys and values, and nothing that is secret, however it is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yarddesk.settings import schema
from yarddesk.settings.loader import load_settings
from yarddesk.settings.masking import masked_file, masked_value, secrets_in, without_user_info


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://host.test/path", "https://host.test/path"),
        ("https://user:word@host.test/path", "https://***@host.test/path"),
        ("https://user:w/o#r?d@host.test:1", "https://***@host.test:1"),
        ("http://user:w://o@r@host.test", "http://***@host.test"),
        ("user:word@host.test", "***@host.test"),
        ("u:w://x@host.test", "***@host.test"),
        ("host.test:9000", "host.test:9000"),
    ],
)
def test_an_address_is_shown_without_user_and_password(address, shown):
    assert without_user_info(address) == shown


@given(
    st.sampled_from(sorted(schema.SECRETS)),
    st.text(alphabet="abc$:/@?=&", min_size=1).map(lambda text: f"c4nary{text}"),
)
def test_no_secret_is_shown_in_any_form(key, secret):
    assert "c4nary" not in str(masked_value(key, secret))
    assert "c4nary" not in str(masked_value(key, f"https://host.test/{secret}"))
    assert "c4nary" not in str(masked_value(key, f"https://{secret}@host.test"))


def test_what_may_be_secret_in_a_command_or_an_address_is_known(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        """\
sync:
  on_synced:
    command: "curl -H 'X-Token: of the command' --key=of-an-option https://host.test"
    webhook: "https://user:word@host.test/a/T0KENPATH?a=query&b=a%2Flonger+one"
"""
    )
    settings = load_settings({}, file=path).settings
    known = {secret.reveal() for secret in secrets_in(settings)}
    assert {"X-Token: of the command", "of-an-option", "user", "word"} <= known
    assert {"a/T0KENPATH", "T0KENPATH", "a=query&b=a%2Flonger+one", "a%2Flonger+one", "a/longer+one"} <= known
    assert not {"curl", "-H", "a", "query", ""} & known


def test_a_file_is_shown_as_it_stands_without_comments_and_secrets(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        """\
# password: c4nary
server: {port: 5051}  # c4nary
storage: {endpoint: "admin:c4nary@s3.test", secret_key: &key "c4nary", access_key: *key}
sync:
  on_synced: {webhook: "https://[c4nary"}
upstreams:
  - registry: ${REGISTRY}
    auth: &auth {type: basic, username: ci, password: "${PASSWORD}"}
  - registry: other.test
    auth: {<<: *auth, password: "c4nary"}
    tags: {include: ["v?.*"]}
"""
    )
    assert (
        masked_file(path)
        == """\
server:
  port: 5051
storage:
  endpoint: '***@s3.test'
  secret_key: '***'
  access_key: '***'
sync:
  on_synced:
    webhook: '***'
upstreams:
  - registry: ${REGISTRY}
    auth:
      type: basic
      username: ci
      password: ${PASSWORD}
  - registry: other.test
    auth:
      password: '***'
      type: basic
      username: ci
    tags:
      include:
        - v?.*
"""
    )
