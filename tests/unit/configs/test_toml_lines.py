"""The key scanner against texts whose lines were counted by hand, and against whatever hypothesis thinks of."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from configs.toml_lines import KeyPath, key_lines

TEXT = '''# comment = 1
top = 1
"quoted key" = 2   # b = 3
a.b.'c d' = """
[not.a.table]
still = "text" """"
[table]
list = [
  1, 2,
  [3,
   4], # ] not the end
]
text = \'\'\'
x = 1
\'\'\'
[table.sub]
when = 1979-05-27 07:32:00 # a space inside a value
inline = { x = 1, y = { z = [ { q = "}" }, {} ] } }
[[item]]
name = "first"
[item.part]
k = 1
[[item.piece]]
n = 0
[[item.piece]]
n = 1
[[item]]
name = "second"
tag = [
  { name = "a", address = 1 },
  { name = "b",
  },
]
[[item.piece]]
n = 2
last = ""
'''
TEXT = TEXT.replace('  { name = "b",\n  },\n', '  { name = "b" },\n')


def paths(data: Any, at: KeyPath = ()) -> list[KeyPath]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [at] + [path for part, inner in items for path in paths(inner, (*at, part))]


def test_every_key_of_a_wild_text_has_its_line() -> None:
    found = key_lines(TEXT)
    assert set(paths(tomllib.loads(TEXT))) <= set(found)
    lines = TEXT.splitlines()
    for path, line in found.items():
        if path and isinstance(path[-1], str):
            assert path[-1] in lines[line - 1], path
    assert found["top",] == 2
    assert found["a", "b", "c d"] == 4
    assert found["table",] == 7
    assert found["table", "list", 2, 1] == 11
    assert found["table", "sub", "inline", "y", "z", 0, "q"] == 18
    assert found["item",] == 19
    assert found["item", 0, "part", "k"] == 22
    assert found["item", 0, "piece", 1, "n"] == 26
    assert found["item", 1] == 27
    assert found["item", 1, "tag", 1, "name"] == 31
    assert found["item", 1, "piece", 0, "n"] == 34
    assert found["item", 1, "piece", 0, "last"] == 35


def test_a_table_that_is_only_implied_stands_where_its_child_does() -> None:
    assert key_lines("x = 1\n[a.b.c]\n")["a", "b", "c"] == 2


def test_escaped_keys_are_read_as_tomllib_reads_them() -> None:
    assert key_lines('\n"a\\u0062\\"c" = 1\n')['ab"c',] == 2


TOML = st.lists(
    st.sampled_from(
        ["a", "b.c", '"q"', "=", "1", '"x"', "[", "]", "[[", "]]", "{", "}", ",", "\n", " ", "#", "'''", '"""', "\\"]
    ),
    max_size=40,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(TOML | st.text(max_size=60))
def test_any_text_is_survived_and_valid_text_is_mapped(text: str) -> None:
    found = key_lines(text)
    assert all(1 <= line <= text.count("\n") + 1 for line in found.values())
    try:
        data = tomllib.loads(text)
    except ValueError:
        return
    assert set(paths(data)) <= set(found) | {()}
