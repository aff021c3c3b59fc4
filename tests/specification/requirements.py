"""Every requirement of the OCI distribution specification, and those of the image specification that a registry or a client
can break, in our own words, each with the tests that show it (`test_requirements.py` sees to it that they exist).

The text is v1.1.1's; `main` after a section's name means that the requirement stands in the specification's main branch alone.
`binds` is whom the sentence speaks of: the registry, the client (yarddesk is one towards its upstreams), or both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Level = Literal["MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY"]
Binds = Literal["registry", "client", "both"]


@dataclass(frozen=True)
class Requirement:
    """`tests` name a file of FILES and a test in it. `departs`: why yarddesk does otherwise, or has nothing to do; the tests
    then show what it does."""

    section: str
    level: Level
    binds: Binds
    says: str
    tests: tuple[str, ...]
    departs: str = ""


FILES: Final = {
    "pull": "tests/specification/test_pull.py",
    "blobs": "tests/specification/test_push_blobs.py",
    "manifests": "tests/specification/test_push_manifests.py",
    "discovery": "tests/specification/test_discovery.py",
    "management": "tests/specification/test_management.py",
    "names": "tests/specification/test_names.py",
    "mirrors": "tests/unit/registry/test_mirrors.py",
    "through": "tests/unit/registry/test_pull_through.py",
    "connections": "tests/unit/registry/test_connections.py",
    "client": "tests/unit/upstream/test_specification.py",
    "answers": "tests/unit/upstream/test_answers.py",
    "transfers": "tests/unit/upstream/test_transfers.py",
    "auth": "tests/unit/upstream/test_auth.py",
    "fills": "tests/unit/cache/test_fills.py",
    "oci": "tests/unit/oci/test_manifests.py",
    "artifacts": "tests/acceptance/test_artifacts.py",
}


def _in(section: str, binds: Binds = "registry") -> _Section:
    return _Section(section, binds)


@dataclass(frozen=True)
class _Section:
    name: str
    binds: Binds

    def __call__(
        self, level: Level, says: str, *tests: str, binds: Binds | None = None, departs: str = ""
    ) -> Requirement:
        return Requirement(self.name, level, binds or self.binds, says, tests, departs)


_legacy = _in("Legacy Docker support")
_conformance = _in("Requirements")
_pulling = _in("Pulling manifests")
_pulling_blobs = _in("Pulling blobs")
_checking = _in("Checking if content exists in the registry")
_push = _in("Push")
_pushing_blobs = _in("Pushing blobs (main)")
_post_put = _in("POST then PUT")
_post = _in("Single POST")
_chunks = _in("Pushing a blob in chunks")
_cancel = _in("Cancel a blob upload (main)")
_mount = _in("Mounting a blob from another repository")
_pushing = _in("Pushing manifests")
_tag_parameter = _in("Pushing manifests, tag parameters (main)")
_subject = _in("Pushing manifests with subject")
_tags = _in("Listing tags")
_referrers = _in("Listing referrers")
_management = _in("Content management")
_compatibility = _in("Backwards compatibility", "client")
_upgrade = _in("Enabling the referrers API")
_proxy = _in("Registry proxying (main)")
_api = _in("API (main)")
_errors = _in("Error codes")
_warnings = _in("Warnings")
_descriptor = _in("Image specification, descriptor", "both")
_index = _in("Image specification, image index", "both")
_manifest = _in("Image specification, image manifest", "both")

REQUIREMENTS: Final = (
    # Overview
    _legacy(
        "SHOULD NOT",
        "depend on Docker's own headers",
        "answers::test_where_head_tells_too_little_the_manifest_is_read",
        binds="client",
    ),
    _legacy("MAY", "send Docker's own error codes, as TAG_INVALID", "names::test_any_other_tag_is_refused"),
    _legacy(
        "SHOULD NOT",
        "depend on Docker's own error codes",
        "answers::test_every_status_has_its_failure",
        binds="client",
    ),
    _conformance(
        "MUST",
        "support all of Pull",
        "names::test_a_method_that_a_resource_does_not_have_is_405_with_those_that_it_has",
    ),
    _conformance(
        "SHOULD",
        "support Push, Content Discovery and Content Management",
        "names::test_a_method_that_a_resource_does_not_have_is_405_with_those_that_it_has",
        "names::test_any_name_of_the_grammar_is_a_repository",
    ),
    _conformance(
        "MUST",
        "implement all APIs of a category that is claimed",
        "names::test_a_method_that_a_resource_does_not_have_is_405_with_those_that_it_has",
    ),
    # Pull
    _in("Pull", "client")("MAY", "retrieve content in any order", "pull::test_a_blob_comes_with_its_digest"),
    _pulling(
        "MUST",
        "take as a manifest's reference a digest or a tag",
        "pull::test_a_manifest_comes_as_it_was_pushed",
    ),
    _pulling(
        "MUST NOT",
        "take a reference of another form",
        "manifests::test_a_reference_that_is_neither_tag_nor_digest_is_refused",
        "names::test_any_other_tag_is_refused",
    ),
    _pulling(
        "MUST",
        "take for a name what its regular expression matches, and nothing else",
        "names::test_any_name_of_the_grammar_is_a_repository",
        "names::test_any_other_name_is_refused",
    ),
    _pulling(
        "MUST",
        "take for a tag what has 128 characters at most and matches its regular expression",
        "names::test_any_tag_of_the_grammar_is_a_tag_and_no_other",
        "names::test_any_other_tag_is_refused",
    ),
    _pulling(
        "SHOULD",
        "say by Accept which manifests are understood",
        "client::test_manifests_are_asked_for_with_their_types_and_without_a_namespace",
        binds="client",
    ),
    _pulling(
        "SHOULD NOT",
        "send parameters with a manifest's Content-Type",
        "pull::test_the_content_type_is_the_one_of_the_push_without_parameters",
    ),
    _pulling(
        "SHOULD",
        "ignore parameters of the Content-Type",
        "client::test_manifests_are_asked_for_with_their_types_and_without_a_namespace",
        binds="client",
    ),
    _pulling(
        "SHOULD",
        "send the Content-Type that the manifest was pushed with",
        "pull::test_the_content_type_is_the_one_of_the_push_without_parameters",
        "manifests::test_types_that_nobody_knows_are_kept_as_they_are",
    ),
    _pulling(
        "SHOULD",
        "refuse a manifest whose mediaType is not its Content-Type",
        "client::test_a_manifest_that_says_it_is_another_type_than_its_header_is_refused",
        binds="client",
    ),
    _pulling(
        "MUST",
        "answer a GET of a manifest that exists by 200 and the manifest",
        "pull::test_a_manifest_comes_as_it_was_pushed",
        "pull::test_a_manifest_that_exists_is_200_whatever_is_accepted",
    ),
    _pulling("MUST", "send its digest (v1.1.1: SHOULD)", "pull::test_a_manifest_comes_as_it_was_pushed"),
    _pulling(
        "MAY",
        "send another digest than was asked for, of another algorithm",
        "manifests::test_a_push_is_201_with_a_pullable_location",
        departs="The digest is always the one that was asked for: content is kept by the digest that it was pushed with.",
    ),
    _pulling(
        "MAY",
        "ignore the digest",
        "answers::test_a_tag_without_a_digest_beside_it_is_taken_as_it_is",
        binds="client",
    ),
    _pulling(
        "MUST",
        "check the header's digest against the manifest where it is used",
        "answers::test_a_tags_bytes_that_are_not_those_of_the_digest_beside_them_are_refused",
        binds="client",
    ),
    _pulling(
        "SHOULD",
        "check a manifest against the digest that it was asked for by",
        "answers::test_wrong_bytes_for_a_digest_are_refused",
        binds="client",
    ),
    _pulling("MUST", "answer 404 where there is no such manifest", "pull::test_what_is_not_found_is_404"),
    _pulling_blobs(
        "MUST", "answer a GET of a blob that exists by 200 and the blob", "pull::test_a_blob_comes_with_its_digest"
    ),
    _pulling_blobs("MUST", "send its digest (v1.1.1: SHOULD)", "pull::test_a_blob_comes_with_its_digest"),
    _pulling_blobs("MUST", "send a digest that is the body's", "pull::test_a_blob_comes_with_its_digest"),
    _pulling_blobs(
        "MAY", "ignore the digest", "transfers::test_a_blob_of_another_length_never_ends_as_whole", binds="client"
    ),
    _pulling_blobs(
        "MUST",
        "check the header's digest against the body where it is used",
        "fills::test_wrong_bytes_are_never_kept_and_never_complete",
        binds="client",
    ),
    _pulling_blobs(
        "SHOULD",
        "check the body against the digest that was asked for",
        "fills::test_wrong_bytes_are_never_kept_and_never_complete",
        binds="client",
    ),
    _pulling_blobs("MUST", "answer 404 where there is no such blob", "pull::test_what_is_not_found_is_404"),
    _pulling_blobs(
        "SHOULD",
        "support Range as RFC 9110 says",
        "pull::test_ranges_are_what_http_says",
        "pull::test_the_empty_blob_has_no_range",
        "pull::test_if_range_compares_strongly",
    ),
    _checking("MUST", "answer a HEAD of what exists by 200", "pull::test_head_has_all_headers_of_get"),
    _checking("MUST", "send the digest with it (v1.1.1: SHOULD)", "pull::test_head_has_all_headers_of_get"),
    _checking(
        "MUST", "send the size in Content-Length with it (v1.1.1: SHOULD)", "pull::test_head_has_all_headers_of_get"
    ),
    _checking("MUST", "answer a HEAD of what does not exist by 404", "pull::test_what_is_not_found_is_404"),
    # Push
    _push(
        "MUST",
        "take a manifest whose subject is not there",
        "manifests::test_a_subject_that_is_missing_is_taken_and_answered_for",
    ),
    _push("MAY", "refuse a manifest that names what is not there", "manifests::test_missing_blobs_are_each_named"),
    _push(
        "MUST",
        "refuse it by MANIFEST_BLOB_UNKNOWN",
        "manifests::test_missing_blobs_are_each_named",
        "manifests::test_of_many_missing_blobs_the_first_are_named",
    ),
    _pushing_blobs(
        "SHOULD",
        "answer 400 to a digest that is none or of an unknown algorithm",
        "blobs::test_a_digest_that_is_none_or_of_an_unknown_algorithm_is_400",
    ),
    _post_put("MUST", "begin a session by 202", "blobs::test_a_session_has_a_location_with_a_uuid"),
    _post_put("MUST", "say its Location", "blobs::test_a_session_has_a_location_with_a_uuid"),
    _post_put("MUST", "have a UUID in the Location", "blobs::test_a_session_has_a_location_with_a_uuid"),
    _post_put(
        "MAY",
        "have a Location that is absolute or relative",
        "blobs::test_a_session_goes_on_after_a_restart",
        "transfers::test_locations_are_followed_as_they_are",
        binds="both",
    ),
    _post_put(
        "MAY",
        "have query parameters in the Location that matter",
        "transfers::test_locations_are_followed_as_they_are",
        binds="both",
    ),
    _post_put(
        "SHOULD",
        "use the Location exactly as it came",
        "transfers::test_locations_are_followed_as_they_are",
        "client::test_a_session_is_begun_without_a_body_and_with_the_digests_algorithm",
        binds="client",
    ),
    _post_put(
        "SHOULD NOT",
        "put a Location together by hand",
        "transfers::test_locations_are_followed_as_they_are",
        binds="client",
    ),
    _post_put("MUST", "end an upload by 201", "blobs::test_post_then_put"),
    _post_put("MUST", "say where the blob can be pulled", "blobs::test_post_then_put"),
    _post("MAY", "take a blob by a single POST", "blobs::test_a_single_post"),
    _post(
        "MUST",
        "be as long as its Content-Length says",
        "connections::test_what_came_before_the_client_left_is_kept_and_gone_on_with",
        "client::test_a_session_is_begun_without_a_body_and_with_the_digests_algorithm",
        binds="both",
    ),
    _post(
        "MUST",
        "be the content of the digest",
        "blobs::test_bytes_that_are_not_the_digests_are_400_and_no_blob",
        "transfers::test_a_source_that_lies_never_becomes_complete",
        binds="both",
    ),
    _post(
        "SHOULD",
        "answer 202 where single POSTs are not supported",
        "blobs::test_a_single_post",
        departs="They are supported.",
    ),
    _post(
        "SHOULD",
        "go on with a PUT after a 202",
        "transfers::test_a_small_blob_is_one_put",
        binds="client",
        departs="yarddesk begins every upload by a POST without a body, and goes on with a PUT.",
    ),
    _post("MUST", "answer 201", "blobs::test_a_single_post"),
    _post("MUST", "say where the blob can be pulled", "blobs::test_a_single_post"),
    _chunks(
        "MUST",
        "begin a chunked upload with Content-Length: 0",
        "client::test_a_session_is_begun_without_a_body_and_with_the_digests_algorithm",
        binds="client",
    ),
    _chunks(
        "SHOULD",
        "tell OCI-Chunk-Min-Length where there is a minimum",
        "blobs::test_no_minimum_is_told_and_none_holds",
    ),
    _chunks(
        "SHOULD",
        "name the algorithm of another digest than sha256 at the begin (main)",
        "blobs::test_the_algorithm_of_a_session",
        "client::test_a_session_is_begun_without_a_body_and_with_the_digests_algorithm",
        binds="both",
    ),
    _chunks(
        "MUST",
        "count both ends of a chunk's range",
        "blobs::test_chunks_in_order_then_the_closing_put",
        "blobs::test_whatever_a_client_does_the_session_is_what_the_specification_says",
    ),
    _chunks(
        "MUST",
        "begin the first chunk's range with 0",
        "blobs::test_whatever_a_client_does_the_session_is_what_the_specification_says",
    ),
    _chunks(
        "MUST",
        "write a chunk's range as two numbers with a hyphen",
        "blobs::test_a_content_range_of_another_form_is_400",
    ),
    _chunks(
        "SHOULD",
        "send chunks that are no shorter than OCI-Chunk-Min-Length",
        "transfers::test_a_large_blob_is_one_streamed_patch_and_an_empty_put",
        binds="client",
        departs="A blob is sent in one piece, however large, so there is no chunk but the final one.",
    ),
    _chunks("MAY", "have a final chunk of any length", "blobs::test_no_minimum_is_told_and_none_holds"),
    _chunks("MUST", "answer a chunk by 202", "blobs::test_chunks_in_order_then_the_closing_put"),
    _chunks("MUST", "say Location and Range with it", "blobs::test_chunks_in_order_then_the_closing_put"),
    _chunks(
        "SHOULD",
        "send the next chunk to the Location of the last answer",
        "transfers::test_locations_are_followed_as_they_are",
        binds="client",
    ),
    _chunks(
        "MUST",
        "send chunks in order",
        "transfers::test_a_large_blob_is_one_streamed_patch_and_an_empty_put",
        binds="client",
    ),
    _chunks(
        "MUST",
        "answer 416 to a chunk out of order",
        "blobs::test_whatever_a_client_does_the_session_is_what_the_specification_says",
        "blobs::test_a_final_chunk_out_of_order_is_416_and_the_session_goes_on",
    ),
    _chunks(
        "MAY",
        "send the final chunk by PATCH or by PUT",
        "blobs::test_a_final_chunk_out_of_order_is_416_and_the_session_goes_on",
        binds="client",
    ),
    _chunks(
        "MUST",
        "close the session by PUT",
        "transfers::test_a_large_blob_is_one_streamed_patch_and_an_empty_put",
        binds="client",
    ),
    _chunks(
        "MUST",
        "close it with the digest of the whole",
        "blobs::test_a_digest_that_is_none_or_of_an_unknown_algorithm_is_400",
        "blobs::test_the_digest_that_closes_a_session_decides_its_algorithm",
        binds="both",
    ),
    _chunks("MUST", "answer the closing PUT by 201", "blobs::test_chunks_in_order_then_the_closing_put"),
    _chunks("MUST", "say where the blob can be pulled", "blobs::test_chunks_in_order_then_the_closing_put"),
    _chunks(
        "MUST",
        "answer 416 to a final chunk out of order (main)",
        "blobs::test_a_final_chunk_out_of_order_is_416_and_the_session_goes_on",
    ),
    _chunks(
        "MUST",
        "answer a GET of a session by 204",
        "blobs::test_whatever_a_client_does_the_session_is_what_the_specification_says",
    ),
    _chunks(
        "MUST",
        "say Location and Range with it",
        "blobs::test_whatever_a_client_does_the_session_is_what_the_specification_says",
        "blobs::test_a_session_goes_on_after_a_restart",
    ),
    _chunks(
        "SHOULD",
        "send the next chunk to the Location of that answer",
        "blobs::test_a_final_chunk_out_of_order_is_416_and_the_session_goes_on",
        binds="client",
        departs="An upload of yarddesk's that broke begins again, since what it sends is one piece; the registry's side is shown.",
    ),
    _cancel("SHOULD", "answer 204 to a cancel", "blobs::test_a_cancelled_session_is_204_and_gone"),
    _cancel(
        "SHOULD",
        "cancel an upload that is given up",
        "transfers::test_a_cancelled_push_ends_at_once_and_its_session_goes_when_nobody_goes_on_with_it",
        binds="client",
    ),
    _cancel(
        "SHOULD",
        "ignore that a cancel failed",
        "transfers::test_what_was_refused_is_cleared_away_with_its_reason_told",
        binds="client",
    ),
    _cancel(
        "SHOULD", "end sessions that nobody goes on with", "blobs::test_a_session_that_nobody_writes_to_is_collected"
    ),
    _mount("MUST", "answer a mount by 201", "blobs::test_a_blob_that_is_here_is_mounted_whatever_from_says"),
    _mount("MUST", "say where the blob can be pulled", "blobs::test_a_blob_that_is_here_is_mounted_whatever_from_says"),
    _mount(
        "MAY",
        "ignore the digest, or find another one there",
        "transfers::test_a_registry_that_reports_another_digest_is_untrue",
        binds="client",
    ),
    _mount(
        "SHOULD",
        "check the digest where it is used",
        "transfers::test_a_registry_that_reports_another_digest_is_untrue",
        binds="client",
    ),
    _mount(
        "MAY",
        "do without `from`, and mount from anywhere",
        "blobs::test_a_blob_that_is_here_is_mounted_whatever_from_says",
    ),
    _mount("SHOULD", "answer 202 where it can't mount", "blobs::test_a_mount_of_what_is_not_here_is_a_session"),
    _mount(
        "MAY",
        "go on with the upload after a 202",
        "answers::test_a_mount_that_became_an_upload_is_cancelled",
        binds="client",
        departs="The session is cancelled, and the blob is sent by another one when its turn comes.",
    ),
    _pushing(
        "SHOULD",
        "send the manifest's type as Content-Type",
        "answers::test_a_manifest_is_put_with_its_type_and_tagged_without_being_read_again",
        binds="client",
    ),
    _pushing(
        "SHOULD NOT",
        "send parameters with it",
        "answers::test_a_manifest_is_put_with_its_type_and_tagged_without_being_read_again",
        binds="client",
    ),
    _pushing(
        "SHOULD",
        "ignore its parameters",
        "pull::test_the_content_type_is_the_one_of_the_push_without_parameters",
    ),
    _pushing(
        "SHOULD",
        "have a mediaType in every manifest",
        "manifests::test_the_bytes_are_kept_as_they_came",
        binds="client",
        departs="Manifests without one are taken, too: OCI's need none.",
    ),
    _pushing(
        "MUST",
        "send the mediaType as Content-Type",
        "answers::test_a_manifest_is_put_with_its_type_and_tagged_without_being_read_again",
        "manifests::test_what_readers_could_take_for_different_things_is_refused",
        binds="client",
    ),
    _pushing(
        "MUST",
        "take as reference a digest or a tag",
        "manifests::test_a_push_is_201_with_a_pullable_location",
        "manifests::test_a_reference_that_is_neither_tag_nor_digest_is_refused",
    ),
    _pushing(
        "MUST", "name the blobs that make up the object", "manifests::test_missing_blobs_are_each_named", binds="client"
    ),
    _pushing("MAY", "name no blobs", "manifests::test_a_manifest_may_have_no_layers", binds="client"),
    _pushing("MUST", "keep the manifest to the byte", "manifests::test_the_bytes_are_kept_as_they_came"),
    _pushing("MUST", "answer 201", "manifests::test_a_push_is_201_with_a_pullable_location"),
    _pushing("MUST", "say where the manifest can be pulled", "manifests::test_a_push_is_201_with_a_pullable_location"),
    _pushing("MUST", "answer with the digest that was sent", "manifests::test_a_push_is_201_with_a_pullable_location"),
    _pushing(
        "MAY",
        "ignore the digest",
        "answers::test_a_registry_that_kept_another_manifest_is_untrue",
        binds="client",
    ),
    _pushing(
        "SHOULD",
        "check the digest where it is used",
        "answers::test_a_registry_that_kept_another_manifest_is_untrue",
        binds="client",
    ),
    _pushing(
        "MUST",
        "answer 404 to a pull from a repository that is not there",
        "manifests::test_a_pull_of_a_repository_that_is_not_there_is_404",
    ),
    _pushing("SHOULD", "have a limit for manifests", "manifests::test_one_byte_more_is_413"),
    _pushing("SHOULD", "answer 413 beyond it", "manifests::test_one_byte_more_is_413"),
    _pushing(
        "SHOULD",
        "support manifests of four megabytes",
        "manifests::test_four_mebibytes_are_taken",
        "answers::test_a_manifest_without_end_is_not_read_to_its_end",
        binds="both",
    ),
    _tag_parameter(
        "MAY", "take tags with a push by digest", "manifests::test_tags_in_the_query_are_each_made_and_told"
    ),
    _tag_parameter("SHOULD", "take ten tags at least", "manifests::test_tags_in_the_query_are_each_made_and_told"),
    _tag_parameter("MAY", "answer 414 to too many", "manifests::test_more_tags_than_a_target_may_hold_are_414"),
    _tag_parameter(
        "MUST",
        "tell each tag that was made by OCI-Tag",
        "manifests::test_tags_in_the_query_are_each_made_and_told",
        "manifests::test_one_tag_that_is_none_makes_none_of_them",
    ),
    _subject(
        "MUST",
        "answer a manifest with a subject by OCI-Subject",
        "manifests::test_a_subject_that_is_missing_is_taken_and_answered_for",
    ),
    _subject(
        "MUST",
        "pull the list under the referrers tag where OCI-Subject is missing",
        "client::test_a_referrer_is_listed_under_the_tag_where_the_registry_does_not_list_it",
        "client::test_a_registry_that_takes_the_subject_needs_no_tag",
        binds="client",
    ),
    _subject(
        "SHOULD",
        "report something else under that tag, and leave it",
        "client::test_something_else_under_that_tag_is_left_alone_and_told",
        binds="client",
    ),
    _subject(
        "MUST",
        "begin with an empty index where there is none",
        "client::test_a_referrer_is_listed_under_the_tag_where_the_registry_does_not_list_it",
        binds="client",
    ),
    _subject(
        "SHOULD NOT",
        "list a manifest twice",
        "client::test_a_referrer_is_listed_under_the_tag_where_the_registry_does_not_list_it",
        binds="client",
    ),
    _subject(
        "MUST",
        "list the manifest's artifactType",
        "client::test_a_referrer_is_listed_under_the_tag_where_the_registry_does_not_list_it",
        binds="client",
    ),
    _subject(
        "MUST",
        "list the config's media type where an image has no artifactType",
        "client::test_a_referrer_is_listed_under_the_tag_where_the_registry_does_not_list_it",
        binds="client",
    ),
    _subject(
        "MUST",
        "copy all annotations to the list",
        "client::test_a_referrer_is_listed_under_the_tag_where_the_registry_does_not_list_it",
        binds="client",
    ),
    _subject(
        "MAY",
        "push the list under a condition",
        "client::test_a_list_that_changed_since_it_was_read_is_read_again",
        "manifests::test_a_conditional_push_or_delete_does_not_touch_what_it_did_not_see",
        binds="both",
    ),
    # Content discovery
    _tags("MUST", "answer 200 where there is the repository", "discovery::test_the_whole_list_is_200_and_in_order"),
    _tags("MAY", "have an empty list", "discovery::test_a_list_without_tags_is_empty_and_one_of_no_repository_404"),
    _tags(
        "MUST",
        "list in lexical order (main: also that of bytes, which is yarddesk's)",
        "discovery::test_the_whole_list_is_200_and_in_order",
        "discovery::test_all_pages_together_are_the_list",
    ),
    _tags("MUST", "answer a JSON object with name and tags", "discovery::test_the_whole_list_is_200_and_in_order"),
    _tags(
        "MAY",
        "answer fewer than n only at the end or with a Link",
        "discovery::test_n_is_how_many_come_and_a_link_tells_of_more",
    ),
    _tags(
        "MUST",
        "answer n tags otherwise",
        "discovery::test_n_is_how_many_come_and_a_link_tells_of_more",
        "discovery::test_a_hundred_thousand_tags_come_right_and_each_page_quickly",
    ),
    _tags("MAY", "link to the next page", "discovery::test_n_is_how_many_come_and_a_link_tells_of_more"),
    _tags(
        "MUST",
        'write the Link as RFC 5988 says, with rel="next"',
        "discovery::test_all_pages_together_are_the_list",
        "answers::test_tags_are_read_page_by_page",
    ),
    _tags("MUST", "answer an empty list where n is 0", "discovery::test_n_is_how_many_come_and_a_link_tells_of_more"),
    _tags("MUST NOT", "link from it", "discovery::test_n_is_how_many_come_and_a_link_tells_of_more"),
    _tags("MUST", "take `last` for a tag and not for a number", "discovery::test_last_is_a_value_and_not_in_the_list"),
    _tags("MUST", "list what follows `last` in order", "discovery::test_last_is_a_value_and_not_in_the_list"),
    _tags("MAY", "be asked with `last` and without n", "discovery::test_last_is_a_value_and_not_in_the_list"),
    _referrers(
        "MUST",
        "answer 200",
        "discovery::test_referrers_are_what_the_specification_says_of_their_manifests",
    ),
    _referrers("MUST NOT", "answer 404", "discovery::test_nothing_refers_and_that_is_no_404"),
    _referrers("MUST", "answer 400 to what is no digest", "discovery::test_referrers_of_what_is_no_digest_are_400"),
    _referrers(
        "MUST",
        "answer an image index of descriptors",
        "discovery::test_referrers_are_what_the_specification_says_of_their_manifests",
        "discovery::test_referrers_belong_to_their_repository",
    ),
    _referrers(
        "MUST",
        "send the index's type as Content-Type",
        "discovery::test_referrers_are_what_the_specification_says_of_their_manifests",
    ),
    _referrers(
        "MUST",
        "list the manifest's artifactType",
        "discovery::test_referrers_are_what_the_specification_says_of_their_manifests",
    ),
    _referrers(
        "MUST",
        "list the config's media type where an image has no artifactType",
        "discovery::test_referrers_are_what_the_specification_says_of_their_manifests",
    ),
    _referrers(
        "MUST",
        "list no artifactType where an index has none",
        "discovery::test_referrers_are_what_the_specification_says_of_their_manifests",
    ),
    _referrers(
        "MUST",
        "list the manifest's annotations",
        "discovery::test_referrers_are_what_the_specification_says_of_their_manifests",
    ),
    _referrers(
        "MUST", "answer an empty list where nothing refers", "discovery::test_nothing_refers_and_that_is_no_404"
    ),
    _referrers(
        "MUST",
        "link to the next page where one manifest can't hold the list",
        "discovery::test_more_referrers_than_a_manifest_holds_come_in_pages",
    ),
    _referrers(
        "MUST",
        'write the Link as RFC 5988 says, with rel="next"',
        "discovery::test_more_referrers_than_a_manifest_holds_come_in_pages",
    ),
    _referrers(
        "SHOULD",
        "filter by artifactType",
        "discovery::test_referrers_are_what_the_specification_says_of_their_manifests",
    ),
    _referrers(
        "MUST",
        "tell a filter that was applied by OCI-Filters-Applied",
        "discovery::test_referrers_are_what_the_specification_says_of_their_manifests",
    ),
    _referrers(
        "MUST",
        "tell several filters with commas between them",
        "discovery::test_referrers_are_what_the_specification_says_of_their_manifests",
        departs="There is one filter.",
    ),
    _referrers(
        "MUST",
        "fall back to the referrers tag after a 404",
        "answers::test_without_the_api_referrers_come_from_the_tag",
        binds="client",
    ),
    _referrers(
        "SHOULD",
        "find there what the API would have listed",
        "client::test_a_referrer_is_listed_under_the_tag_where_the_registry_does_not_list_it",
        binds="client",
    ),
    _referrers(
        "SHOULD",
        "take it that nothing refers where that tag names no index",
        "client::test_an_image_under_the_tag_is_no_list_of_referrers",
        "answers::test_without_the_api_referrers_come_from_the_tag",
        binds="client",
    ),
    # Content management
    _management(
        "MAY", "implement deletes, or not", "management::test_a_deleted_manifest_is_202_and_it_and_its_tags_are_404"
    ),
    _management("MAY", "implement deletes of tags", "management::test_a_deleted_tag_is_202_and_then_404"),
    _management("MUST", "answer 202 to the delete of a tag", "management::test_a_deleted_tag_is_202_and_then_404"),
    _management(
        "MUST",
        "answer 400 or 405 where deletes of tags are off",
        "management::test_a_deleted_tag_is_202_and_then_404",
        departs="They are on.",
    ),
    _management(
        "MUST",
        "answer 202 to the delete of a manifest, and 404 to it and its tags from then on",
        "management::test_a_deleted_manifest_is_202_and_it_and_its_tags_are_404",
        "management::test_what_was_deleted_stays_deleted_after_a_restart",
    ),
    _management(
        "MUST", "answer 404 where there is no such repository", "management::test_a_delete_of_what_is_not_there_is_404"
    ),
    _management(
        "MUST",
        "answer 400 or 405 where deletes of manifests are off",
        "management::test_a_deleted_manifest_is_202_and_it_and_its_tags_are_404",
        departs="They are on.",
    ),
    _management(
        "SHOULD",
        "take a deleted manifest out of the list under the referrers tag",
        "management::test_a_deleted_referrer_is_listed_no_more",
        binds="client",
        departs="yarddesk never deletes anything upstream; its own list is kept by the registry.",
    ),
    _management(
        "MAY",
        "delete the referrers tag with its manifest",
        "discovery::test_the_tag_that_clients_fall_back_to_is_a_tag_like_any_other",
        binds="client",
        departs="yarddesk never deletes anything upstream.",
    ),
    _management(
        "MUST",
        "answer 202 to the delete of a blob",
        "management::test_a_deleted_blob_is_202_and_then_404_and_may_come_again",
    ),
    _management(
        "MUST", "answer 404 where there is no such blob", "management::test_a_delete_of_what_is_not_there_is_404"
    ),
    _management(
        "MUST",
        "answer 400 or 405 where a blob may not be deleted",
        "management::test_a_blob_that_an_image_needs_is_405_with_the_reason",
        "through::test_a_blob_that_is_coming_in_is_not_deleted",
    ),
    # Backwards compatibility, upgrades
    _compatibility(
        "MUST",
        "support registries that implement a part, or an older version",
        "transfers::test_a_registry_without_patch_gets_a_put_and_is_remembered",
        "answers::test_without_the_api_referrers_come_from_the_tag",
        "artifacts::test_artifacts_come_back_as_they_were_pushed_and_arrive_upstream",
    ),
    _compatibility(
        "MUST",
        "list a manifest with a subject under the referrers tag where there is no API",
        "client::test_a_referrer_is_listed_under_the_tag_where_the_registry_does_not_list_it",
        "artifacts::test_artifacts_come_back_as_they_were_pushed_and_arrive_upstream",
    ),
    _compatibility(
        "MUST",
        "read the referrers tag where the API answers 404",
        "answers::test_without_the_api_referrers_come_from_the_tag",
    ),
    _compatibility(
        "MUST",
        "make the referrers tag of the digest's algorithm, a hyphen, and 64 characters at most of the rest",
        "client::test_the_tag_of_a_digest_is_cut_to_what_a_tag_may_hold",
    ),
    _compatibility(
        "MAY",
        "use conditions where the registry has entity tags",
        "client::test_a_list_that_changed_since_it_was_read_is_read_again",
    ),
    _upgrade(
        "MUST",
        "list what was listed under the referrers tag and has a subject",
        "discovery::test_the_tag_that_clients_fall_back_to_is_a_tag_like_any_other",
    ),
    _upgrade(
        "MAY",
        "list all manifests with a subject that were there before",
        "discovery::test_referrers_are_what_the_specification_says_of_their_manifests",
    ),
    _upgrade(
        "MUST",
        "list all manifests with a subject that are pushed",
        "discovery::test_referrers_are_what_the_specification_says_of_their_manifests",
    ),
    # Proxying
    _proxy(
        "MAY", "be a proxy for another registry", "through::test_a_manifest_that_is_not_here_comes_from_the_upstream"
    ),
    _proxy("MAY", "be asked with `ns`", "mirrors::test_every_spelling_is_one_repository", binds="client"),
    _proxy(
        "SHOULD",
        "mean by `ns` the host that a name begins with",
        "mirrors::test_every_spelling_is_one_repository",
        binds="client",
    ),
    _proxy("MAY", "find the upstream by `ns`", "mirrors::test_every_spelling_is_one_repository"),
    _proxy("MAY", "ignore `ns`", "mirrors::test_our_own_address_is_no_other_registry"),
    _proxy(
        "SHOULD",
        "answer OCI-Namespace where `ns` was used",
        "mirrors::test_every_spelling_is_one_repository",
        "mirrors::test_the_base_of_a_mirror_is_that_of_a_registry",
    ),
    _proxy(
        "SHOULD",
        "know a proxy, and send no `ns` to what is none",
        "client::test_manifests_are_asked_for_with_their_types_and_without_a_namespace",
        binds="client",
    ),
    _proxy(
        "SHOULD NOT",
        "send an upstream's credentials to a proxy unasked",
        "auth::test_credentials_never_go_to_a_foreign_realm",
        binds="client",
    ),
    # API
    _in("Determining support")("MUST", "answer 200 at /v2/", "pull::test_the_base_is_200"),
    _in("Determining support")(
        "MAY",
        "ask for credentials at /v2/",
        "pull::test_the_base_is_200",
        departs="There is nobody to authenticate on this machine.",
    ),
    _api(
        "SHOULD",
        "do what RFC 9110 says where the specification is silent",
        "pull::test_if_none_match_is_304_with_the_headers_of_the_200",
        "pull::test_a_range_has_no_meaning_for_head",
        "pull::test_if_match_is_412_for_what_is_not_there",
        "names::test_a_method_that_a_resource_does_not_have_is_405_with_those_that_it_has",
        "manifests::test_a_manifest_in_a_coding_is_415",
    ),
    _api(
        "MAY",
        "redirect",
        "pull::test_a_blob_comes_with_its_digest",
        departs="Nothing is kept elsewhere, so nothing is redirected.",
    ),
    _api("SHOULD", "follow redirects", "answers::test_a_redirect_to_another_host_gets_no_credentials", binds="client"),
    _api(
        "MUST NOT",
        "send Authorization to another host after a redirect",
        "answers::test_a_redirect_to_another_host_gets_no_credentials",
        binds="client",
    ),
    _errors(
        "MAY",
        "have a body of any form in an error",
        "names::test_a_path_that_is_none_is_404_in_the_form_of_an_error",
        departs="Every body is of the specification's form.",
    ),
    _errors(
        "MUST",
        "have errors with code, message and detail in a JSON body (looked at in every answer of these tests)",
        "names::test_a_path_that_is_none_is_404_in_the_form_of_an_error",
        "names::test_any_other_name_is_refused",
    ),
    _errors(
        "MUST",
        "have codes of capitals and underscores",
        "names::test_any_other_digest_is_refused",
    ),
    _errors("SHOULD", "have a message that people can read", "names::test_any_other_name_is_refused"),
    _errors(
        "MAY", "leave the message empty, and put any JSON into detail", "manifests::test_missing_blobs_are_each_named"
    ),
    _errors(
        "MUST",
        "have one of the codes that are listed (looked at in every answer of these tests)",
        "names::test_any_other_tag_is_refused",
        "blobs::test_a_cancelled_session_is_204_and_gone",
        "pull::test_what_is_not_found_is_404",
        departs="TAG_INVALID is there, too, which the specification's section on Docker's own codes allows.",
    ),
    _errors(
        "SHOULD",
        "send Retry-After with 429 (main)",
        "through::test_the_time_to_wait_is_passed_on_rounded_up",
        "through::test_a_429_says_when_to_come_again_also_where_the_upstream_did_not",
    ),
    _warnings("MAY", "send warnings", "through::test_what_is_stale_says_so"),
    _warnings(
        "MUST",
        "send them with warn-code 299 and warn-agent -",
        "through::test_what_is_stale_says_so",
        departs="The one warning that is sent is 110, HTTP's own for an answer that is stale (RFC 7234, 5.5.1): programs know it.",
    ),
    _warnings("MUST NOT", "send a warn-date", "through::test_what_is_stale_says_so"),
    _warnings("MUST NOT", "send more than 4,096 bytes of them", "through::test_what_is_stale_says_so"),
    _warnings(
        "SHOULD",
        "tell them to the person, unobtrusively",
        "client::test_warnings_are_told_once_and_change_nothing",
        binds="client",
    ),
    _warnings(
        "SHOULD", "tell the same one once", "client::test_warnings_are_told_once_and_change_nothing", binds="client"
    ),
    _warnings(
        "MUST NOT",
        "do anything because of them",
        "client::test_warnings_are_told_once_and_change_nothing",
        binds="client",
    ),
    # Image specification
    _descriptor(
        "SHOULD",
        "check content against its descriptor's digest and size",
        "fills::test_wrong_bytes_are_never_kept_and_never_complete",
        "manifests::test_a_digest_that_is_not_the_contents_is_400",
    ),
    _descriptor(
        "SHOULD NOT",
        "trust content of another size",
        "transfers::test_a_blob_of_another_length_never_ends_as_whole",
        "answers::test_a_blob_of_another_size_is_not_the_one",
    ),
    _descriptor(
        "MUST NOT",
        "have a size below 0",
        "manifests::test_what_readers_could_take_for_different_things_is_refused",
    ),
    _descriptor(
        "MUST",
        "have a digest of the grammar",
        "manifests::test_what_readers_could_take_for_different_things_is_refused",
        "names::test_any_other_digest_is_refused",
    ),
    _descriptor(
        "SHOULD",
        "let digests of unknown algorithms pass",
        "blobs::test_a_digest_that_is_none_or_of_an_unknown_algorithm_is_400",
        departs="The distribution specification wants 400: what can't be verified is not taken.",
    ),
    _descriptor(
        "MUST",
        "verify sha256",
        "blobs::test_post_then_put",
        "blobs::test_bytes_that_are_not_the_digests_are_400_and_no_blob",
    ),
    _descriptor(
        "MAY",
        "verify sha512",
        "blobs::test_post_then_put",
        "blobs::test_bytes_that_are_not_the_digests_are_400_and_no_blob",
    ),
    _descriptor(
        "MUST NOT",
        "take capitals for hexadecimal digits",
        "names::test_any_other_digest_is_refused",
        "manifests::test_what_readers_could_take_for_different_things_is_refused",
    ),
    _descriptor(
        "MUST NOT",
        "put data into a descriptor of a manifest that was pushed",
        "manifests::test_the_bytes_are_kept_as_they_came",
        binds="registry",
    ),
    _index(
        "MUST",
        "have schemaVersion 2",
        "manifests::test_what_readers_could_take_for_different_things_is_refused",
    ),
    _index(
        "MUST",
        "have its own media type, where it has one",
        "manifests::test_what_readers_could_take_for_different_things_is_refused",
    ),
    _index("MUST", "list manifests, none of them if need be", "manifests::test_the_bytes_are_kept_as_they_came"),
    _index("SHOULD", "be read by who reads images", "artifacts::test_docker_makes_pushes_and_reads_a_manifest_list"),
    _index(
        "SHOULD",
        "support an index in an index",
        "artifacts::test_an_index_of_indexes_is_walked_by_skopeo_and_carried_by_containerd",
    ),
    _index(
        "MUST NOT",
        "fail for a media type that is unknown",
        "artifacts::test_artifacts_come_back_as_they_were_pushed_and_arrive_upstream",
        "oci::test_what_an_index_lists_and_is_unknown_is_taken_for_a_manifest",
    ),
    _manifest(
        "MUST", "have schemaVersion 2", "manifests::test_what_readers_could_take_for_different_things_is_refused"
    ),
    _manifest(
        "MUST",
        "have its own media type, where it has one",
        "manifests::test_an_image_says_what_it_is",
    ),
    _manifest(
        "MUST NOT",
        "fail for an artifactType that is unknown",
        "discovery::test_referrers_are_what_the_specification_says_of_their_manifests",
        "artifacts::test_artifacts_come_back_as_they_were_pushed_and_arrive_upstream",
    ),
    _manifest(
        "MUST NOT",
        "fail for, or look into, a config of an unknown type",
        "artifacts::test_artifacts_come_back_as_they_were_pushed_and_arrive_upstream",
    ),
    _manifest(
        "MUST NOT",
        "fail for a layer of an unknown type",
        "artifacts::test_artifacts_come_back_as_they_were_pushed_and_arrive_upstream",
    ),
    _manifest("MUST", "have descriptors as layers", "oci::test_what_is_no_descriptor_is_no_layer"),
    _manifest(
        "SHOULD", "have one layer at least", "manifests::test_a_manifest_may_have_no_layers", departs="None will do."
    ),
    _manifest(
        "MUST",
        "have an artifactType where its config is the empty one",
        "artifacts::test_artifacts_come_back_as_they_were_pushed_and_arrive_upstream",
        departs="Whether it has one is for its readers to judge; without, the referrers list the empty type.",
    ),
)
