"""The table of requirements names tests that exist, and leaves no requirement without one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.specification.requirements import FILES, REQUIREMENTS

ROOT = Path(__file__).parents[2]


def test_every_test_that_the_table_names_is_collected() -> None:
    named = {test for requirement in REQUIREMENTS for test in requirement.tests}
    files = sorted({FILES[test.partition("::")[0]] for test in named})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True).stdout
    collected = {line.partition("[")[0] for line in output.splitlines() if "::" in line}
    wanted = {f"{FILES[alias]}::{name}" for alias, _, name in (test.partition("::") for test in named)}
    assert wanted - collected == set()


def test_every_requirement_has_a_test_and_stands_there_once() -> None:
    without = [requirement.says for requirement in REQUIREMENTS if not requirement.tests]
    assert without == []
    seen = [
        (requirement.section, requirement.level, requirement.binds, requirement.says) for requirement in REQUIREMENTS
    ]
    repeated = {each for each in seen if seen.count(each) > 1}
    # The same is asked twice of a chunk's and of a session's answer, and is written twice in the specification.
    assert {says for *_, says in repeated} <= {"say Location and Range with it"}


def test_every_test_of_the_specification_is_in_the_table() -> None:
    """So that a test that is renamed, or a new one, is not forgotten there; those beyond the specification are named here."""
    beyond = {
        "discovery::test_n_beyond_all_bounds_is_the_whole_list",
        "discovery::test_n_that_is_no_number_is_400",
        "discovery::test_the_catalog_comes_in_order_and_in_pages",
        "management::test_a_layer_of_a_cache_is_needed_by_the_index_that_lists_it",
        "management::test_what_a_manifest_needs_is_needed_however_it_says_so",
        "management::test_a_child_may_be_deleted_and_its_index_stays",
        "manifests::test_a_type_that_is_no_manifests_is_refused",
        "names::test_an_escape_that_no_name_needs_is_refused",
        "names::test_a_digests_colon_may_be_escaped",
        "names::test_names_that_differ_in_letters_alone_are_different",
        "names::test_any_digest_of_the_grammar_is_looked_for",
    }
    named = {test for requirement in REQUIREMENTS for test in requirement.tests}
    for alias, file in FILES.items():
        if file.startswith("tests/specification/"):
            tests = re.findall(r"^async def (test_\w+)", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
            assert {f"{alias}::{test}" for test in tests} - named - beyond == set()
