"""The prose linter finds each planted mistake, and the project has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from elt_assets_tests.prose import ROOT, check, files

LONG = "It " + "and then it waits for one more page of records " * 5 + "ends."


def found(folder: Path, name: str, text: str) -> list[tuple[int, str]]:
    (folder / name).write_text(text, "utf-8")
    return [(place.line, place.message) for place in check([folder / name], folder)]


def test_the_project_follows_every_rule() -> None:
    assert check(files(ROOT)) == []


@pytest.mark.parametrize("word", ["anew", "Beside", "whoever", "lets go of"])
def test_a_word_that_we_do_not_use_is_found_with_its_line(tmp_path: Path, word: str) -> None:
    ((line, message),) = found(tmp_path, "page.md", f"# Title\n\nFirst line.\n{word} it.\n")
    assert line == 4
    assert message.startswith(f"'{word}': write ")


def test_a_docstring_and_a_comment_are_prose(tmp_path: Path) -> None:
    code = '"""Load the table anew."""\n\nanew = 1  # beside the rest\n'
    assert [line for line, _ in found(tmp_path, "module.py", code)] == [1, 3]


def test_a_long_sentence_is_found_where_it_begins(tmp_path: Path) -> None:
    ((line, message),) = found(tmp_path, "page.md", f"Short.\n{LONG}\n")
    assert (line, message) == (2, "A sentence of 52 words. Split it.")


def test_rows_of_a_table_and_items_of_a_list_are_sentences_of_their_own(tmp_path: Path) -> None:
    row = "| " + "a word " * 15 + "|\n"
    item = "- " + "a word " * 15 + "\n"
    assert found(tmp_path, "page.md", row * 3 + "\n" + item * 3) == []


def test_code_is_not_prose(tmp_path: Path) -> None:
    page = "Run `anew --beside`.\n\n```\nanew beside\n```\n\n<!-- anew -->\n"
    assert found(tmp_path, "page.md", page) == []
