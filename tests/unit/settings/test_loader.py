"""What the settings are, from options, environment and YAML."""

import contextlib
import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yarddesk.credentials.docker_config import DockerKeychain
from yarddesk.settings import schema, values
from yarddesk.settings.edit import add_upstream, remove_upstream
from yarddesk.settings.errors import SettingsError
from yarddesk.settings.loader import load_settings
from yarddesk.settings.upstreams import upstream_from_url


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture(autouse=True)
def own_config_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))


def test_without_anything_the_defaults_hold_and_nothing_takes_pushes():
    settings = load_settings({}).settings
    assert (settings.server.host, settings.server.port) == ("localhost", 5050)
    assert [(u.name, u.registry, u.push, u.pull) for u in settings.upstreams] == [
        ("docker.io", "registry-1.docker.io", False, True),
        ("ghcr.io", "ghcr.io", False, True),
    ]
    assert settings.cache.max_size == 20_000_000_000
    assert settings.storage.backend == "filesystem"


def test_options_win_over_environment_over_yaml_over_defaults(write):
    file = write("server:\n  port: 1\n  host: yaml\nsync:\n  concurrency: 2\n")
    environ = {"YARDDESK_SERVER_PORT": "2", "YARDDESK_SERVER_HOST": "environment"}
    settings = load_settings(environ, file=file, options={"server.port": 3}).settings
    assert (settings.server.port, settings.server.host, settings.sync.concurrency) == (3, "environment", 2)


def test_a_dockyard_file_is_read_unchanged(write):
    file = write("""
logger:
  level: info
  encoding: console
  color: "true"
  output: stdout
server:
  host: ""
  port: "5000"
  tls: false
  certfile: ""
  keyfile: ""
  log: {enabled: true, level: info, request_body: false, response_body: false, ignore_paths: [/healthz]}
storage:
  endpoint: minio:9000
  region: us-east-1
  bucket: dockyard
  prefix: cache
  access_key: ${ACCESS}
  secret_key: ${SECRET}
  use_ssl: "false"
  force_path_style: true
  touch_threshold: 24h
upstream:
  check_timeout: 5s
upstreams:
  - prefix: docker.io
    registry: registry-1.docker.io
    auth: {type: basic, username: "${USER_NAME}", password: "${PASSWORD}"}
  - prefix: ""
    registry: ghcr.io
    auth: {type: anything}
""")
    settings = load_settings(
        {"ACCESS": "a", "SECRET": "s3cret", "USER_NAME": "me", "PASSWORD": "p$WORD"}, file=file
    ).settings
    assert settings.server.host == ""
    assert settings.server.port == 5000
    assert settings.storage.backend == "s3"
    assert settings.storage.secret_key.reveal() == "s3cret"
    assert "s3cret" not in repr(settings)
    assert settings.storage.touch_threshold == timedelta(days=1)
    assert settings.upstreams[0].auth.password.reveal() == "p$WORD"
    assert settings.upstreams[1].auth.type == "keychain"
    assert settings.check_timeout == timedelta(seconds=5)


def test_an_unset_variable_stays_as_written_and_a_bare_one_is_no_variable(write):
    file = write("upstreams:\n  - registry: r.example\n    name: ${UNSET}-$HOME\n")
    assert load_settings({"HOME": "/x"}, file=file).settings.upstreams[0].name == "${UNSET}-$HOME"


@pytest.mark.parametrize("written", ["${UNSET}", "${UNSET}.Example:5000", "r.example:${PORT}"])
def test_a_registry_in_an_unset_variable_is_told_of_as_written(write, written):
    file = write(f"upstreams:\n  - registry: http://{written}/team\n")
    try:
        said = load_settings({}, file=file).settings.upstreams[0].registry
    except SettingsError as error:
        said = str(error)
    assert written in said


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("server:\n  prot: 1\n", 2, "server.prot"),
        ("server:\n  port: many\n", 2, "server.port"),
        ("\nserver: 5\n", 2, "server"),
        ("sync:\n  interval: soon\n", 2, "sync.interval"),
        ("cache:\n\n  max_size: big\n", 3, "cache.max_size"),
        ("cache:\n  max_size:\n", 2, "cache.max_size: “” is not"),
        ("server:\n  port: true\n", 2, "server.port: “true” is not"),
        ("upstreams: x\n", 1, "upstreams"),
        ("upstreams:\n  - prefix: a\n", 2, "upstreams[0].registry: "),
        ("upstreams:\n  - registry: a\n    tsl: {}\n", 3, " upstreams[0].tsl: "),
        ("upstreams:\n  - registry: a\n    prefx: b\n", 3, "Did you mean upstreams[0].prefix?"),
        ("upstreams:\n  - registry: a\n  - registry: b\n    tls:\n      verfy: no\n", 5, " upstreams[1].tls.verfy: "),
        ("upstreams:\n  - registry: a\n    tls: no\n", 3, " upstreams[0].tls: "),
        ("upstreams:\n  - registry: a\n    name: {b: c}\n", 3, " upstreams[0].name: "),
        ("sync:\n  on_synced:\n    comand: x\n", 3, " sync.on_synced.comand: "),
        ("server:\n  log:\n    levl: info\n", 3, " server.log.levl: "),
        ("upstreams:\n  - registry: a\n  - registry: a\n", 3, "upstreams[1]"),
        ("upstreams:\n  - registry: docker.io\n  - registry: registry-1.docker.io\n", 3, "upstreams[1]"),
        ("upstreams:\n  - registry: a.example\n  - registry: a.example:443\n", 3, "upstreams[1]"),
        ("upstreams:\n  - {registry: a, name: x}\n  - {registry: b, name: x}\n", 3, "upstreams[1].name"),
        ("upstreams:\n  - registry: a\n    auth: {type: basic}\n", 3, "upstreams[0].auth.type: "),
        ("upstreams:\n  - name: a\n    registry: ftp://a\n", 3, "upstreams[0].registry: "),
        ("upstreams:\n  - registry: a\n    prefix: a//b\n", 3, "upstreams[0].prefix: "),
        (
            "upstreams:\n  - registry: a\n    push: true\n    manifest_ttl: {v*: soon}\n",
            4,
            "upstreams[0].manifest_ttl: for the tags “v*”: “soon” ",
        ),
        ("server: [\n", 2, ""),
        ("\ndata_dir: ~nobody-knows/x\n", 2, " data_dir: “~nobody-knows/x” begins with a home that nobody knows"),
        ("logger:\n  output: ~nobody-knows/log\n", 2, " logger.output: "),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_key(write, text, line, key):
    file = write(text)
    with pytest.raises(SettingsError) as caught:
        load_settings({}, file=file)
    assert f"{file}:{line}" in str(caught.value)
    assert key in str(caught.value)


CAPITALS = [("GHCR.io", "ghcr.io"), ("team/Web", "team/web"), ("Registry.example:5000/T", "registry.example:5000/t")]


@pytest.mark.parametrize(("prefix", "instead"), CAPITALS)
def test_a_prefix_in_capitals_which_no_name_has_is_refused_with_what_to_write_instead(write, prefix, instead):
    file = write(f"upstreams:\n  - registry: a\n    push: true\n    prefix: {prefix}\n")
    words = f"“{prefix}” can't stand before a repository's name, which is in lower case; write “{instead}”"
    with pytest.raises(SettingsError) as refused:
        load_settings({}, file=file)
    assert str(refused.value) == f"{file}:4: upstreams[0].prefix: {words}"
    with pytest.raises(ValueError, match=re.escape(words)):
        upstream_from_url("a", prefix=f"/{prefix}/")
    for right in (f"  - {{registry: a, prefix: '{instead}'}}\n", f"  - {{registry: a, prefix: '/{instead}/'}}\n"):
        assert load_settings({}, file=write(f"upstreams:\n{right}")).settings.upstreams[0].prefix == instead


def test_a_path_in_capitals_is_refused_with_what_to_write_instead_wherever_it_stands(write):
    words = "“Team” can't stand before a repository's name, which is in lower case; write “team”"
    for text, key in (("registry: a\n    path: Team", "path"), ("path: b\n    registry: https://a/Team", "registry")):
        file = write(f"upstreams:\n  - {text}\n")
        with pytest.raises(SettingsError) as refused:
            load_settings({}, file=file)
        assert str(refused.value) == f"{file}:3: upstreams[0].{key}: {words}"
    with pytest.raises(SettingsError) as refused:
        load_settings({"YARDDESK_UPSTREAM": "https://R.example/Team"})
    assert str(refused.value) == f"YARDDESK_UPSTREAM: {words}"


@pytest.mark.parametrize("prefix", ["team:latest", "team/app:1", "a:1:2", "A//b", "${TEAM}/x", "_x", "a" * 254])
def test_a_prefix_that_no_name_can_begin_with_in_any_case_is_refused(write, prefix):
    with pytest.raises(SettingsError, match=r":3: upstreams\[0\]\.prefix: .* can't stand before .*\. Lower-case"):
        load_settings({}, file=write(f"upstreams:\n  - registry: a\n    prefix: '{prefix}'\n"))


@pytest.mark.parametrize(
    "prefix", ["registry.example:5000", "registry.example:5000/team", "localhost:5000", "a__b/c-d"]
)
def test_a_prefix_may_begin_with_a_hosts_port(write, prefix):
    file = write(f"upstreams:\n  - registry: GHCR.io\n    prefix: '{prefix}'\n")
    assert [(u.registry, u.prefix) for u in load_settings({}, file=file).settings.upstreams] == [("ghcr.io", prefix)]


def test_slashes_around_a_prefix_are_in_the_upstreams_name_no_more_than_in_the_prefix():
    asked = upstream_from_url("https://b.example", prefix=" /team/ ")
    assert (asked.prefix, asked.name) == ("team", "team")


def test_a_named_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(SettingsError, match="no such file"):
        load_settings({}, file=tmp_path / "none.yaml")


def test_unknown_variables_and_service_links_are_ignored_with_a_warning():
    loaded = load_settings(
        {
            "YARDDESK_COLOUR": "red",
            "YARDDESK_SERVER_PORT": "tcp://10.0.0.1:5050",
            "SWITCHYARD_DATA_DIR": "/x",
            "STORAGE_BUCKET": "b",
        }
    )
    assert loaded.settings.server.port == 5050
    warnings = " ".join(loaded.warnings)
    for name in ("YARDDESK_COLOUR", "YARDDESK_SERVER_PORT", "YARDDESK_DATA_DIR", "YARDDESK_STORAGE_BUCKET"):
        assert name in warnings


def test_the_long_name_of_a_variable_wins_over_the_short_one():
    short = load_settings({"YARDDESK_MANIFEST_TTL": "7"}).settings
    both = load_settings({"YARDDESK_MANIFEST_TTL": "7", "YARDDESK_CACHE_MANIFEST_TTL": "1m"}).settings
    assert (short.cache.manifest_ttl.seconds, both.cache.manifest_ttl.seconds) == (7, 60)


def test_the_upstream_variable_takes_the_catch_alls_place(write):
    file = write("upstreams:\n  - {prefix: a, registry: a.example}\n  - {prefix: '', registry: old.example}\n")
    upstreams = load_settings({"YARDDESK_UPSTREAM": "http://r.example:5000/team/ci"}, file=file).settings.upstreams
    assert [u.registry for u in upstreams] == ["a.example", "r.example:5000"]
    catch_all = upstreams[-1]
    assert (catch_all.prefix, catch_all.path, catch_all.push, catch_all.pull) == ("", "team/ci", True, True)
    assert catch_all.tls.plain_http
    assert not load_settings({"YARDDESK_UPSTREAM": "r.example"}).settings.upstreams[-1].tls.plain_http


def test_an_empty_upstream_variable_means_local_only():
    assert load_settings({"YARDDESK_UPSTREAM": ""}).settings.upstreams == ()


@pytest.mark.parametrize(
    "url", ["https://me:secret@r.example", "me:secret@r.example", "ftp://r.example", "https://", "r.example:port"]
)
def test_an_upstream_url_that_cannot_be_used_is_refused_without_repeating_a_secret(url):
    with pytest.raises(SettingsError) as caught:
        load_settings({"YARDDESK_UPSTREAM": url})
    assert "secret" not in str(caught.value)


def test_two_upstreams_under_one_prefix_get_names_of_their_own(write):
    file = write("upstreams:\n  - {prefix: p, registry: a.example}\n  - {prefix: p, registry: b.example}\n")
    assert [u.name for u in load_settings({}, file=file).settings.upstreams] == ["p", "b.example"]


def test_names_are_unique_whatever_else_is_called_so(write):
    file = write(
        "upstreams:\n  - {prefix: r.example, registry: a.example}\n  - {registry: b.example, prefix: q, name: all at r.example}\n"
    )
    named = load_settings({"YARDDESK_UPSTREAM": "https://r.example"}, file=file).settings.upstreams
    assert [u.name for u in named] == ["r.example", "all at r.example", "r.example 2"]


def test_what_is_wrong_in_a_merged_key_is_named_with_its_line(write):
    file = write("upstreams:\n  - &a\n    registry: a.example\n  - <<: {pul: true}\n    registry: b.example\n")
    with pytest.raises(SettingsError, match=r"config\.yaml:4: upstreams\[1\]\.pul: "):
        load_settings({}, file=file)


@pytest.mark.parametrize("entry", ["tags: {include: [1.10]}", "manifest_ttl: {1.10: 1h}", "auth: {username: 007}"])
def test_a_number_that_reads_otherwise_than_it_is_written_is_no_text(write, entry):
    file = write(f"upstreams:\n  - registry: a.example\n    {entry}\n")
    with pytest.raises(SettingsError, match=r"config\.yaml:3: upstreams\[0\]\..* put it in quotes"):
        load_settings({}, file=file)


def test_adding_and_removing_an_upstream_keeps_the_comments(write):
    file = write("# mine\nserver:\n  port: 5051  # not the usual\nupstreams:\n  # first\n  - registry: a.example\n")
    before = file.read_text()
    add_upstream(file, upstream_from_url("https://b.example/x", prefix="team"), {})
    upstreams = load_settings({}, file=file).settings.upstreams
    assert [(u.prefix, u.registry, u.path, u.push) for u in upstreams][1] == ("team", "b.example", "x", True)
    assert "# not the usual" in file.read_text()
    remove_upstream(file, "team", {})
    assert file.read_text() == before


def test_the_first_upstream_added_keeps_the_default_ones(tmp_path):
    file = tmp_path / "new" / "config.yaml"
    add_upstream(file, upstream_from_url("http://localhost:5000"), {})
    assert [u.name for u in load_settings({}, file=file).settings.upstreams] == [
        "docker.io",
        "ghcr.io",
        "localhost:5000",
    ]
    assert file.stat().st_mode & 0o777 == 0o600


def test_removing_what_is_not_there_names_what_is(write):
    file = write("upstreams:\n  - registry: a.example\n")
    with pytest.raises(SettingsError, match=r"a\.example"):
        remove_upstream(file, "b", {})


@given(
    st.one_of(
        st.text(), st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.text(max_size=3), max_size=3)
    )
)
def test_no_parser_fails_in_another_way_than_by_its_reason(value):
    for parse in (*schema.KEYS.values(), *schema.UPSTREAM_KEYS.values()):
        with contextlib.suppress(ValueError):
            parse(value)


@pytest.mark.parametrize(
    ("given_value", "seconds"),
    [
        ("5s", 5),
        ("1h30m", 5400),
        ("90", 90),
        (90, 90),
        ("1.5s", 1.5),
        ("250ms", 0.25),
        (0, 0),
        ("0", 0),
        (".5s", 0.5),
        ("2.m", 120),
        ("+3s", 3),
        ("2000000µs", 2),
        ("2000000μs", 2),
    ],
)
def test_durations_are_gos_or_plain_seconds(given_value, seconds):
    assert values.duration(given_value).total_seconds() == seconds


@pytest.mark.parametrize(
    ("given_value", "count"),
    [
        ("500MB", 500_000_000),
        ("20GB", 20_000_000_000),
        ("1GiB", 2**30),
        ("1024", 1024),
        (7, 7),
        ("0", 0),
        ("1.5 kB", 1500),
    ],
)
def test_sizes_are_decimal_binary_or_plain_bytes(given_value, count):
    assert values.size(given_value) == count


@pytest.mark.parametrize(
    "text",
    [
        "upstreams:\n  - {registry: a, auth: {type: basic, username: u, password: canary}}\nupstreams: []\n",
        "upstreams:\n  - registry: a\n    auth:\n      password: canary\n      password: canary\n",
        "upstreams:\n  - registry: a\n    auth:\n      password: [canary]\n",
        "storage:\n  secret_key: [canary]\n",
        "storage:\n  secret_key: {canary: 1}\n",
        "storage:\n  secret_key: canary: x\n",
        "storage:\n  secret_key: 'canary\n",
    ],
)
def test_no_message_about_the_settings_repeats_a_secret(write, text):
    with pytest.raises(SettingsError) as caught:
        load_settings({}, file=write(text))
    shown = f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"
    assert "canary" not in shown
    assert (
        caught.value.__suppress_context__
        or caught.value.__context__ is None
        or "canary" not in repr(caught.value.__context__)
    )


def test_a_password_that_yaml_takes_for_a_number_must_be_quoted(write):
    entry = "upstreams:\n  - registry: a\n    auth: {{type: bearer, password: {}}}\n"
    with pytest.raises(SettingsError, match="quotes"):
        load_settings({}, file=write(entry.format("0123")))
    assert load_settings({}, file=write(entry.format("'0123'"))).settings.upstreams[0].auth.password.reveal() == "0123"


def test_tls_without_a_certificate_is_refused(write):
    file = write("server:\n  tls: true\n")
    with pytest.raises(SettingsError, match=r"server\.certfile") as refused:
        load_settings({}, file=file)
    assert refused.value.where == f"{file}:2"


def test_who_finds_out_later_that_a_key_cannot_be_used_knows_where_it_stands(write):
    file = write("storage:\n  bucket: mine\nlogger:\n  level: info\n")
    settings = load_settings({"YARDDESK_LOGGER_LEVEL": "warn"}, file=file, options={"server.port": 0}).settings
    keys = ("storage.bucket", "logger.level", "server.port", "storage.backend")
    assert [settings.place(key) for key in keys] == [f"{file}:2", "YARDDESK_LOGGER_LEVEL", "--port", str(file)]
    moved = load_settings({}, file=write("\n\nstorage: {bucket: mine}\n")).settings
    assert moved == load_settings({}, file=write("storage: {bucket: mine}\n")).settings, (
        "other lines, the same settings"
    )


def test_a_service_link_in_place_of_the_upstream_is_ignored_with_a_warning():
    loaded = load_settings({"YARDDESK_UPSTREAM": "tcp://10.0.0.1:80"})
    assert "YARDDESK_UPSTREAM" in " ".join(loaded.warnings)
    assert [u.name for u in loaded.settings.upstreams] == ["docker.io", "ghcr.io"]


@pytest.mark.parametrize(
    ("key", "text", "reason"),
    [
        ("command", "notify 's3cr3t", "a quote has no pair"),
        ("command", "   ", "there is no command"),
        ("webhook", "example.com/s3cr3t", "it is not an address"),
        ("webhook", "ftp://example.com/s3cr3t", "it is not an address"),
        ("webhook", "https:///s3cr3t", "it is not an address"),
        ("webhook", "https://example.com:99999/s3cr3t", "it is not an address"),
        ("webhook", "https://example.com/s3cr3t x", "it is not an address"),
    ],
)
def test_a_hook_that_can_not_be_used_is_refused_without_being_repeated(tmp_path, key, text, reason):
    file = tmp_path / "config.yaml"
    file.write_text(f'sync:\n  on_synced:\n    {key}: "{text}"\n')
    with pytest.raises(SettingsError) as refused:
        load_settings({}, file=file)
    assert reason in str(refused.value)
    assert ":3" in str(refused.value)
    assert "s3cr3t" not in str(refused.value)


def test_hooks_are_secrets_whose_variables_are_filled_in(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(
        "sync:\n  on_synced:\n    command: notify 'two words' ${TOKEN}\n    webhook: https://example.com/${TOKEN}\n"
    )
    settings = load_settings({"TOKEN": "s3cr3t"}, file=file).settings
    assert settings.sync.on_synced.command.reveal() == "notify 'two words' s3cr3t"
    assert settings.sync.on_synced.webhook.reveal() == "https://example.com/s3cr3t"
    assert "s3cr3t" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("server: {port: 0}\nupstreams:\n  - registry: a\n    name: 2024-02-30\n", ":4: upstreams[0].name: "),
        (f"cache:\n  quota_floor: {'9' * 5000}\n", ":2: cache.quota_floor: "),
        ('server:\n  port: !!int "x"\n', ":2: server.port: "),
        ('logger:\n  output: "a\\0b"\n', ":2: logger.output: "),
        ('upstreams:\n  - registry: a\n    name: "\\ud800"\n', ":3: upstreams[0].name: "),
        ("logger:\n  level: " + "[" * 20_000, ": "),
        ("&top\ncache: *top\n", ":2: "),
        ("a: &a [x, x]\nb: &b [" + "*a, " * 99 + "]\nc: &c [" + "*b, " * 99 + "]\nd: [" + "*c, " * 99 + "]\n", ":1: "),
    ],
)
def test_what_yaml_can_say_and_nothing_can_hold_is_refused_with_its_place(write, text, place):
    file = write(text)
    with pytest.raises(SettingsError) as refused:
        load_settings({}, file=file)
    assert str(refused.value).startswith(f"{file}{place}")
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("host", ["192.168.1.300", "010.0.0.1", "*.example", "a<b", "☃.example", "a\u200bb", "[::1"])
def test_what_no_host_can_be_called_is_no_registry(write, host):
    for port in ("", ":5000"):
        file = write(f'upstreams:\n  - registry: "{host}{port}"\n')
        with pytest.raises(SettingsError, match=r":2: upstreams\[0\]\.registry: .* is not a registry's address"):
            load_settings({}, file=file)
        with pytest.raises(ValueError, match="is not a registry's address"):
            upstream_from_url(f"https://{host}{port}/team")


@pytest.mark.parametrize("host", ["10.0.0.1", "bücher.example", "a_b-c", "[::1]", "localhost", "docker.io", "a."])
def test_what_a_host_may_be_called_is_a_registry(write, host):
    file = write(f'upstreams:\n  - registry: "{host}:5000"\n')
    assert load_settings({}, file=file).settings.upstreams[0].registry == f"{host}:5000"


async def test_who_has_no_home_is_told_what_to_say_and_needs_none_then(write, tmp_path, monkeypatch):
    def unknown(_: int) -> None:
        raise KeyError("uid not found")

    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "USERPROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises(SettingsError, match=r"no home folder.* --config"):
        load_settings({})
    with pytest.raises(SettingsError, match=r"no home folder.* --data-dir"):
        load_settings({}, file=write(""))
    assert load_settings({}, file=write(""), options={"data_dir": str(tmp_path)}).settings.data_dir == tmp_path
    assert await DockerKeychain({}).get("r.example") is None
