"""Somebody else moves a tag at a real registry, between our push and the next, and `sync.on_conflict` says what follows."""

import json

import pytest

from tests.acceptance.settings import push_everything_to
from tests.support.images import build_image, write_oci_layout
from tests.support.waiting import until

FIRST, THEIRS, SECOND = (build_image(seed, (20_000,)) for seed in ("first", "theirs", "second"))


@pytest.fixture
def moved(make_yarddesk, docker_registry, skopeo, tmp_path):
    """Starts an instance, syncs an image, has somebody move its tag, and pushes the next image there."""

    def start(on_conflict: str):
        serve = make_yarddesk(config=settings(docker_registry, on_conflict))
        serve.push("team/app", "1", FIRST)
        serve.run("wait", "team/app:1", "--timeout", "30")
        theirs = write_oci_layout(tmp_path / "theirs", THEIRS)
        skopeo.copy(theirs, f"docker://{docker_registry.host}/team/app:1", "--dest-tls-verify=false")
        assert docker_registry.tagged("team/app", "1") == THEIRS.manifest.digest
        serve.push("team/app", "1", SECOND)
        return serve

    return start


def settings(registry, on_conflict: str) -> str:
    return f"{push_everything_to(registry.host)}\nsync:\n  on_conflict: {on_conflict}\n"


def asking(serve):
    """The part that waits for a decision."""

    def part():
        for job in json.loads(serve.run("queue", "--json").stdout)["jobs"]:
            for each in job["upstreams"]:
                if each["conflict"]:
                    return each
        return None

    return until(part, 30, "a conflict")


def newest(serve):
    return json.loads(serve.run("history", "--json").stdout)["entries"][0]


def test_it_is_overwritten_and_the_history_names_the_digest_replaced(moved, docker_registry):
    serve = moved("overwrite")
    serve.run("wait", "team/app:1", "--timeout", "30")
    assert docker_registry.tagged("team/app", "1") == SECOND.manifest.digest
    assert newest(serve)["replaced"] == THEIRS.manifest.digest
    assert THEIRS.manifest.digest[:19] in serve.run("history").stdout


def test_it_is_kept_and_the_job_ends_cancelled(moved, docker_registry):
    serve = moved("keep")
    waited = serve.run("wait", "team/app:1", "--timeout", "30", status=1)
    assert THEIRS.manifest.digest[7:19] in waited.stderr
    assert docker_registry.tagged("team/app", "1") == THEIRS.manifest.digest
    assert (newest(serve)["outcome"], newest(serve)["digest"]) == ("cancelled", SECOND.manifest.digest)
    assert serve.holds("team/app", "1", SECOND)


def test_it_waits_for_the_person_over_a_restart_and_is_overwritten_on_their_word(moved, docker_registry):
    serve = moved("ask")
    part = asking(serve)
    assert (part["state"], part["conflict"]) == ("blocked", {"there": THEIRS.manifest.digest})
    assert "yarddesk decide" in part["reason"]
    assert docker_registry.host in serve.run("wait", "team/app:1", status=1).stderr
    serve.kill()
    serve.start()
    assert asking(serve)["conflict"] == {"there": THEIRS.manifest.digest}
    assert "Nothing of “team/other” waits" in serve.run("decide", "team/other", "--keep", status=1).stderr
    serve.run("decide", "team/app:1", status=2)
    refused = serve.run("decide", "team/app:1", "--tag", "no tag", status=2).stderr
    assert "128 characters at most. `yarddesk decide --help` lists the options." in refused
    assert "Overwriting: 1 image." in serve.run("decide", "team/app:1", "--overwrite").stdout
    serve.run("wait", "team/app:1", "--timeout", "30")
    assert docker_registry.tagged("team/app", "1") == SECOND.manifest.digest
    assert newest(serve)["replaced"] == THEIRS.manifest.digest


def test_it_goes_up_under_another_tag_on_the_persons_word(moved, docker_registry):
    serve = moved("ask")
    asking(serve)
    assert "Syncing as 1-mine: 1 image." in serve.run("decide", "team/app:1", "--tag", "1-mine").stdout
    serve.run("wait", "team/app:1-mine", "--timeout", "30")
    assert docker_registry.tagged("team/app", "1-mine") == SECOND.manifest.digest
    assert docker_registry.tagged("team/app", "1") == THEIRS.manifest.digest
    assert serve.holds("team/app", "1-mine", SECOND)


def test_other_settings_decide_while_it_runs(moved, docker_registry):
    serve = moved("ask")
    asking(serve)
    serve.configure(settings(docker_registry, "overwrite"))
    until(lambda: docker_registry.tagged("team/app", "1") == SECOND.manifest.digest, 30, "the tag is overwritten")


def test_what_a_person_pulled_through_here_is_no_conflict(moved, docker_registry, skopeo):
    serve = moved("keep")
    serve.run("wait", "team/app:1", "--timeout", "30", status=1)
    # That tag is ours here, so theirs is pulled under another one.
    there = f"docker://{docker_registry.host}/team/app"
    skopeo.copy(f"{there}:1", f"{there}:2", "--src-tls-verify=false", "--dest-tls-verify=false")
    assert serve.manifest("team/app", "2").digest == THEIRS.manifest.digest
    serve.push("team/app", "2", SECOND)
    serve.run("wait", "team/app:2", "--timeout", "30")
    assert newest(serve)["replaced"] == THEIRS.manifest.digest
