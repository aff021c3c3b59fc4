"""A Dockyard's config.yaml, unchanged but for the registry's address, which the tests have on loopback."""

import base64
import json
from pathlib import Path

import pytest

from tests.peers.registry import over_tls
from tests.support.certificates import private_authority
from tests.support.dockyard import ECR, GHCR, MINIO, S3
from tests.support.images import build_image

USER, PASSWORD = "someone", "hunter2 of dockyard"
FILES = {
    "MinIO": (MINIO, "registry-1.docker.io", "docker.io/library/app", "library/app"),
    "S3": (S3, "registry-1.docker.io", "docker.io/library/app", "library/app"),
    "ECR": (ECR, "123456789012.dkr.ecr.us-west-2.amazonaws.com", "ecr/team/app", "team/app"),
    "GHCR": (GHCR, "registry: ghcr.io", "ghcr.io/org/app", "org/app"),
}


@pytest.fixture(params=FILES)
def case(request):
    return FILES[request.param]


@pytest.fixture
def upstream(request, case, make_registry, tmp_path: Path):
    """Speaks TLS, and asks for a password unless everybody may pull; holds the image."""
    certificate, key, _ = private_authority(tmp_path)
    folder = tmp_path / "registry"
    filling = make_registry(folder=folder)
    filling.push(case[3], "v1", build_image("dockyard", (100_000, 2000)))
    filling.stop()
    users = {} if case[0] is MINIO else {USER: PASSWORD}
    return make_registry(folder=folder, users=users, settings=over_tls(certificate, key))


def test_it_is_refused_for_its_bucket_alone_and_pulls_once_the_file_system_is_meant(
    case, upstream, make_yarddesk, tmp_path: Path
) -> None:
    text, registry, ours, _ = case
    config = text.replace(registry, registry.replace(registry.removeprefix("registry: "), upstream.host))
    docker_config = tmp_path / "docker"
    docker_config.mkdir()
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (docker_config / "config.json").write_text(json.dumps({"auths": {upstream.host: {"auth": auth}}}))
    environment = {
        "REGISTRY_USER": USER,
        "REGISTRY_PASSWORD": PASSWORD,
        "DOCKER_CONFIG": str(docker_config),
        "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
    }
    app = make_yarddesk(config=config, environment=environment, started=False)
    refused = app.run("serve", status=2)
    line = 1 + [each.strip().partition(":")[0] for each in config.splitlines()].index("bucket")
    for words in (
        f"{app.config_file}:{line}: storage.bucket: ",
        "storage.backend: filesystem",
        "YARDDESK_STORAGE_BACKEND=filesystem",
    ):
        assert words in refused.stderr, refused.stderr
    assert PASSWORD not in refused.stderr
    assert app.run("images", status=2).stderr == refused.stderr

    app.environment["YARDDESK_STORAGE_BACKEND"] = "filesystem"
    app.start()
    assert app.holds(ours, "v1", build_image("dockyard", (100_000, 2000)))
    assert PASSWORD not in app.output()
    app.terminate()
    del app.environment["YARDDESK_STORAGE_BACKEND"]

    app.configure(config.replace("storage:\n", "storage:\n  backend: filesystem\n"))
    app.start()
    upstream.stop()
    assert app.holds(ours, "v1", build_image("dockyard", (100_000, 2000)))
    app.configure(config)
    app.wait_for_line("storage.bucket")
    assert app.holds(ours, "v1", build_image("dockyard", (100_000, 2000))), "a bucket while it runs changes nothing"
