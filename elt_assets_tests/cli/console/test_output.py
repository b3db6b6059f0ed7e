"""What is printed is safe and complete, on a terminal and elsewhere."""

from __future__ import annotations

import pytest

from elt_assets.cli.console.output import complain, print_json, print_table, printable


def test_an_escape_sequence_in_a_name_is_shown_and_not_sent_to_the_terminal() -> None:
    assert printable("Eve\x1b[2J\x9b31m") == "Eve\\x1b[2J\\x9b31m"


def test_bidirectional_control_characters_are_shown_as_codes() -> None:
    assert printable("a\u202eb") == "a\\u202eb"


def test_ordinary_names_of_any_script_are_unchanged() -> None:
    assert printable("Zoë 山田 Ødegård") == "Zoë 山田 Ødegård"


def test_an_error_of_several_lines_is_printed_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    complain("page 17 has no list\nNothing was deleted")
    assert capsys.readouterr().err == "Error: page 17 has no list Nothing was deleted\n"


def test_a_table_in_a_pipe_is_neither_cut_nor_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 500
    print_table(("name", "rows"), [(long, 1234), ("b", 5)])
    heading, first, second = capsys.readouterr().out.splitlines()
    assert heading.split() == ["name", "rows"]
    assert first.split() == [long, "1,234"]
    assert second == f"b{' ' * 499}  {'5':>5}"


def test_columns_are_aligned_for_letters_of_any_width(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "rows"), [("山田", 1), ("Zoe\u0308", 22), ("Ann", None)])
    assert capsys.readouterr().out.splitlines() == [
        "name  rows",
        "山田     1",
        "Zoe\u0308     22",
        "Ann      -",
    ]


def test_brackets_in_a_value_are_not_taken_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name",), [("[red]Ann[/red]",)])
    assert "[red]Ann[/red]" in capsys.readouterr().out


def test_a_missing_value_is_a_dash_and_a_boolean_is_a_word(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(("a", "b", "c"), [(None, True, {"k": "v"})])
    assert capsys.readouterr().out.splitlines()[1].split() == ["-", "yes", '{"k":"v"}']


def test_json_is_one_document_of_utf_8(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    print_json([{"name": "Zoë"}])
    assert '"Zoë"'.encode() in capsysbinary.readouterr().out
