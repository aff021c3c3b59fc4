"""What the registries that exist do and don't: a table, and nothing but data.

A profile says where to begin. What one registry turns out to do (`learned`) is believed before it, and nothing asks for a name.
Where a fact comes from stands beside it; what nobody wrote down is as docker-registry does it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

MIB: Final = 1024 * 1024


class Rung(StrEnum):
    """A way to send a blob. STREAM: one PATCH without Content-Range; WHOLE: one PUT; CHUNKS: PATCHes with Content-Range."""

    STREAM = "stream"
    WHOLE = "whole"
    CHUNKS = "chunks"


class LocationForm(StrEnum):
    """How a registry writes where an upload goes on."""

    ABSOLUTE = "absolute"
    RELATIVE = "relative"
    WITH_PARAMETERS = "with parameters"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer to what a registry won't do."""

    status: int
    code: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Sign:
    """What a header of a registry that people host themselves looks like: a regular expression, and such a header."""

    header: str
    pattern: str
    example: str


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of registry.

    hosts: patterns of its names; signs: one of them in an answer tells it. ladder: the ways to send a blob, the first is tried
    first. least_chunk_bytes: of every chunk but the last; most_chunk_bytes: of a PATCH with Content-Range, 0 is no bound.
    range_is_true: the `Range` of an upload says what is there. keeps_broken_uploads: what came before a connection broke is
    kept. ends_uploads: who pushes may end an upload too. no_mounts: None where a mount is worth a try, else its answer.
    missing_repository: None where a push makes it. immutable_tag: what another digest under a tag gets, where tags are fixed.
    page_most: entries of a page of tags.
    """

    name: str
    hosts: tuple[str, ...] = ()
    signs: tuple[Sign, ...] = ()
    ladder: tuple[Rung, ...] = (Rung.STREAM, Rung.WHOLE, Rung.CHUNKS)
    least_chunk_bytes: int = 0
    most_chunk_bytes: int = 0
    patch_status: int = 202
    range_is_true: bool = True
    keeps_broken_uploads: bool = False
    ends_uploads: bool = True
    location: LocationForm = LocationForm.WITH_PARAMETERS
    no_mounts: Refusal | None = None
    missing_repository: Refusal | None = None
    missing_repository_help: str = "This registry makes none by itself: create it there."
    immutable_tag: Refusal | None = None
    unknown_manifest: str = "MANIFEST_UNKNOWN"
    page_most: int = 1000
    lists_digests: bool = False
    lists_nulls: bool = False
    lists_referrers: bool = False
    plain_errors: bool = False


GENERIC: Final = Profile("generic")
"""docker-registry 2.8: a PATCH that was cut ends its session (measured); no referrers API."""

PROFILES: Final = (
    GENERIC,
    Profile(
        "yarddesk",  # this program itself
        keeps_broken_uploads=True,
        location=LocationForm.RELATIVE,
        lists_referrers=True,
    ),
    Profile(
        "ecr",
        hosts=(
            "*.dkr.ecr.*.amazonaws.com",
            "*.dkr.ecr.*.amazonaws.com.cn",
            "*.dkr.ecr-fips.*.amazonaws.com",
            "public.ecr.aws",
        ),
        least_chunk_bytes=5 * MIB,  # parts but the last: dotnet/sdk-container-builds#424
        patch_status=201,  # cirruslabs/tart#273, kitops#821
        range_is_true=False,  # stuck at the first chunk: aws/containers-roadmap#2831
        location=LocationForm.ABSOLUTE,
        no_mounts=Refusal(405, "UNSUPPORTED", "mounting is not enabled"),  # aws/containers-roadmap#1459
        missing_repository=Refusal(404, "NAME_UNKNOWN", "The repository does not exist in the registry"),
        missing_repository_help=(
            "ECR makes none by itself: set create_repository for this upstream, or aws ecr create-repository --repository-name NAME."
        ),
        immutable_tag=Refusal(
            400, "TAG_INVALID", "The image tag already exists and cannot be overwritten: the tag is immutable."
        ),
        page_most=1000,  # google/go-containerregistry#1091
        lists_referrers=True,
    ),
    Profile(
        "ghcr",
        hosts=("ghcr.io", "*.ghcr.io", "docker.pkg.github.com"),
        most_chunk_bytes=4 * MIB,  # above it 416 “exceeds 4.00MiB”: oras-project/rust-oci-client#35, wasmCloud/wash#268
        location=LocationForm.RELATIVE,
    ),
    Profile(
        "docker hub",
        hosts=("docker.io", "registry-1.docker.io", "index.docker.io"),
        no_mounts=Refusal(401, "UNAUTHORIZED", "authentication required"),  # google/go-containerregistry#1681, #1743
        plain_errors=True,  # its limit against abuse answers in plain text: docker/hub-feedback#1907
    ),
    Profile(
        "harbor",
        signs=(
            Sign(
                "www-authenticate",
                r'service="harbor-registry"',
                'Bearer realm="HOST/service/token",service="harbor-registry"',
            ),
        ),
        no_mounts=Refusal(400, "BAD_REQUEST", "bad request"),  # from names of one component: goharbor/harbor#22078
        unknown_manifest="NOT_FOUND",  # containers/image#2203
        missing_repository=Refusal(404, "NOT_FOUND", "project team not found"),
        missing_repository_help="Harbor makes repositories, and no projects: create the project there.",
        immutable_tag=Refusal(412, "PRECONDITION", "Failed to process request due to immutable configuration."),
        lists_referrers=True,
    ),
    Profile(
        "quay",
        hosts=("quay.io",),
        signs=(Sign("www-authenticate", r'/v2/auth"', 'Bearer realm="HOST/v2/auth",service="quay"'),),
        ends_uploads=False,  # wants the scope “delete”: containers/image, docker_image_dest.go
        immutable_tag=Refusal(409, "TAG_ALREADY_EXISTS", "tag is immutable"),
        page_most=100,
        lists_referrers=True,
    ),
    Profile(
        "gitlab",
        hosts=("registry.gitlab.com",),
        signs=(
            Sign(
                "www-authenticate",
                r'service="container_registry"',
                'Bearer realm="HOST/jwt/auth",service="container_registry"',
            ),
        ),
        missing_repository=Refusal(401, "UNAUTHORIZED", "authentication required"),
        missing_repository_help="GitLab keeps images below projects: create the project there, with a container registry.",
        lists_referrers=True,
    ),
    Profile(
        "artifactory",
        hosts=("*.jfrog.io",),
        signs=(
            Sign("x-jfrog-version", ".", "Artifactory/7.90.5 79005900"),
            Sign("server", "Artifactory", "Artifactory/7.90.5"),
        ),
        location=LocationForm.ABSOLUTE,
        lists_digests=True,  # containers/skopeo#2346
        missing_repository=Refusal(404, "NAME_UNKNOWN", "Repository name not known to registry"),
        immutable_tag=Refusal(
            403,
            "DENIED",
            "The client does not have permission to overwrite: not enough permissions to delete/overwrite",
        ),
        lists_referrers=True,
    ),
    Profile(
        "nexus",
        signs=(Sign("server", r"^Nexus/", "Nexus/3.70.1-02 (OSS)"),),
        location=LocationForm.RELATIVE,
        lists_nulls=True,  # containers/skopeo#2409, containers/image#2544
        immutable_tag=Refusal(400, "TAG_INVALID", "Updating assets is not allowed"),
    ),
    Profile(
        "gar",
        hosts=("*-docker.pkg.dev", "gcr.io", "*.gcr.io"),
        ladder=(Rung.STREAM, Rung.WHOLE),  # its documentation: no chunked uploads; dotnet/sdk-container-builds#287
        location=LocationForm.RELATIVE,  # as its redirects of blobs: sonatype/nexus-public#1061
        missing_repository=Refusal(404, "NAME_UNKNOWN", "Repository not found"),
        missing_repository_help="Artifact Registry makes none by itself: create it with gcloud artifacts repositories create",
        immutable_tag=Refusal(400, "TAG_IMMUTABLE", "Tag is immutable"),
        lists_referrers=True,
    ),
)


def profile_for(host: str) -> Profile:
    """By the name that settings give a registry; GENERIC where that tells nothing."""
    name = host.lower().partition(":")[0]
    return next((each for each in PROFILES if any(fnmatchcase(name, pattern) for pattern in each.hosts)), GENERIC)


def recognized(headers: Mapping[str, str]) -> Profile | None:
    """By what an answer shows of it; None where that is nothing."""
    for each in PROFILES:
        if any(re.search(sign.pattern, headers.get(sign.header, "")) for sign in each.signs):
            return each
    return None
