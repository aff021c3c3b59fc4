"""A list in a JSON file grows and shrinks, and not one other character moves."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yarddesk.engines import json_text
from yarddesk.engines.edits import insert, take_back

KEY = "insecure-registries"
VALUE = "localhost:5050"

texts = st.text(max_size=8)
blanks = st.sampled_from(["", " ", "\n", "\r\n", "\t", " \n  ", "\n\n"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def objects(draw: st.DrawFn) -> str:
    """A JSON object's text in any layout, with our key there or not."""
    members = draw(st.dictionaries(texts.filter(lambda key: key != KEY), values, max_size=4))
    if draw(st.booleans()):
        members[KEY] = draw(st.lists(texts.filter(lambda value: value != VALUE), max_size=3))
    keys = draw(st.permutations(list(members)))
    if draw(st.booleans()):
        ordered = {key: members[key] for key in keys}
        return json.dumps(ordered, indent=draw(st.sampled_from([None, 0, 1, 2, 4, "\t"])))
    separated = [
        f"{draw(blanks)}{json.dumps(key)}{draw(blanks)}:{draw(blanks)}{spread(draw, members[key])}{draw(blanks)}"
        for key in keys
    ]
    return f"{draw(blanks)}{{{','.join(separated) or draw(blanks)}}}{draw(blanks)}"


def spread(draw: st.DrawFn, value: object) -> str:
    if not isinstance(value, list):
        return json.dumps(value)
    elements = [f"{draw(blanks)}{json.dumps(each)}{draw(blanks)}" for each in value]
    return f"[{','.join(elements) or draw(blanks)}]"


@given(objects(), st.booleans())
def test_adding_changes_one_list_and_is_taken_back_to_the_character(text: str, first: bool) -> None:
    insertion = json_text.add_to_list(text, KEY, VALUE, first=first)
    after = insertion.apply(text)
    before = json.loads(text)
    old = before.get(KEY, [])
    assert json.loads(after) == before | {KEY: [VALUE, *old] if first else [*old, VALUE]}
    assert take_back(after, [insertion]) == text


@given(objects())
def test_removing_takes_out_what_was_added_and_nothing_else(text: str) -> None:
    after = json_text.add_to_list(text, KEY, VALUE).apply(text)
    before = json.loads(text)
    without = json_text.remove_from_list(after, KEY, VALUE)
    assert json.loads(without) == before | {KEY: before.get(KEY, [])}
    without_key = json_text.remove_key(without, KEY)
    assert json.loads(without_key) == {key: value for key, value in before.items() if key != KEY}


@given(objects())
def test_several_insertions_are_taken_back_together(text: str) -> None:
    one = json_text.add_to_list(text, KEY, VALUE)
    two = json_text.add_to_list(one.apply(text), "registry-mirrors", "http://localhost:5050/docker.io", first=True)
    assert take_back(insert(text, [one, two]), [one, two]) == text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '{\n  "insecure-registries": ["localhost:5050"]\n}\n'),
        ("{}", '{\n  "insecure-registries": ["localhost:5050"]\n}'),
        ("{\n}\n", '{\n  "insecure-registries": ["localhost:5050"]\n}\n'),
        ('{"debug":true}', '{"debug":true,"insecure-registries":["localhost:5050"]}'),
        ('{"debug": true}', '{"debug": true, "insecure-registries": ["localhost:5050"]}'),
        (
            '{\n\t"debug": true,\n\t"log-level": "info"\n}\n',
            '{\n\t"debug": true,\n\t"log-level": "info",\n\t"insecure-registries": ["localhost:5050"]\n}\n',
        ),
        (
            '{\r\n    "debug" : true\r\n}\r\n',
            '{\r\n    "debug" : true,\r\n    "insecure-registries" : ["localhost:5050"]\r\n}\r\n',
        ),
        (
            '{\n  "insecure-registries": [\n    "a:1",\n    "b:1"\n  ]\n}\n',
            '{\n  "insecure-registries": [\n    "a:1",\n    "b:1",\n    "localhost:5050"\n  ]\n}\n',
        ),
        ('{"insecure-registries": ["a:1"]}', '{"insecure-registries": ["a:1", "localhost:5050"]}'),
        ('{"insecure-registries": []}', '{"insecure-registries": ["localhost:5050"]}'),
        ('\ufeff{"debug": true}', '\ufeff{"debug": true, "insecure-registries": ["localhost:5050"]}'),
    ],
)
def test_what_is_added_is_laid_out_as_its_neighbours_are(before: str, after: str) -> None:
    assert json_text.add_to_list(before, KEY, VALUE).apply(before) == after


def test_the_last_of_two_equal_keys_is_the_one_that_counts() -> None:
    text = '{"insecure-registries": ["a:1"], "insecure-registries": ["b:1"]}'
    after = json_text.add_to_list(text, KEY, VALUE).apply(text)
    assert after == '{"insecure-registries": ["a:1"], "insecure-registries": ["b:1", "localhost:5050"]}'


@pytest.mark.parametrize("text", ["[]", '"x"', '{"insecure-registries": "a:1"}', '{"insecure-registries": [1]}'])
def test_what_is_no_object_or_no_list_is_refused(text: str) -> None:
    with pytest.raises(json_text.NotAnObject):
        json_text.add_to_list(text, KEY, VALUE)
