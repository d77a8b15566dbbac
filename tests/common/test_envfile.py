"""Env files: what stands behind the = means itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.envfile import EnvFileError, parse_env, read_env_file, without_quotes

# Any secret: everything but line ends (a lone surrogate cannot be in a UTF-8 file).
SECRETS = st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=("Cs",)))


def test_a_password_with_a_hash_means_itself():
    assert parse_env("CVAT_PASSWORD=abc#def # not a comment")["CVAT_PASSWORD"] == "abc#def # not a comment"


@pytest.mark.parametrize(
    "secret", ["a;rm -rf b", "$HOME", "${X}", "`id`", "a'b", 'a"b', "a b", "\\n", "%s", "=", "a=b"]
)
def test_signs_that_mean_something_to_a_shell_mean_themselves(secret):
    assert parse_env(f"CVAT_PASSWORD={secret}") == {"CVAT_PASSWORD": secret}


@given(SECRETS, st.sampled_from("'\""))
def test_any_secret_survives_inside_one_pair_of_quotes(secret, quote):
    assert parse_env(f"A=1\nCVAT_PASSWORD={quote}{secret}{quote}\nB=2")["CVAT_PASSWORD"] == secret


@given(SECRETS)
def test_without_quotes_only_blanks_at_the_ends_are_lost(secret):
    wanted = secret.strip(" \t")
    found = parse_env(f"CVAT_PASSWORD={secret}")["CVAT_PASSWORD"]
    assert found == without_quotes(wanted)
    if not (len(wanted) > 1 and wanted[0] == wanted[-1] and wanted[0] in "'\""):
        assert found == wanted


@given(SECRETS)
def test_any_secret_survives_the_way_through_a_file(tmp_path_factory, secret):
    path = tmp_path_factory.mktemp("env") / ".env.local"
    path.write_bytes(f'CVAT_PASSWORD="{secret}"\n'.encode())
    assert read_env_file(path) == {"CVAT_PASSWORD": secret}


def test_only_one_pair_of_quotes_is_removed():
    assert parse_env("A=\"'x'\"")["A"] == "'x'"
    assert parse_env("A='x")["A"] == "'x"
    assert parse_env("A='")["A"] == "'"


def test_comments_empty_lines_windows_line_ends_and_a_byte_order_mark_are_understood():
    text = "\ufeff# a comment\r\n\r\n  export A = 1 \r\n\tB=2\r\n"
    assert parse_env(text) == {"A": "1", "B": "2"}


def test_the_last_line_of_a_name_wins():
    assert parse_env("A=1\nA=2") == {"A": "2"}


def test_a_line_that_is_no_variable_is_named_by_its_number_and_never_shown():
    with pytest.raises(EnvFileError) as caught:
        parse_env("A=1\nmy secret sentence\n", ".env.local")
    assert ".env.local, line 2" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_not_there_holds_nothing(tmp_path):
    assert read_env_file(tmp_path / ".env") == {}


def test_a_folder_in_place_of_the_file_and_foreign_bytes_are_named(tmp_path):
    (tmp_path / ".env").mkdir()
    with pytest.raises(EnvFileError, match=r"^\.env: "):
        read_env_file(tmp_path / ".env")
    (tmp_path / "latin").write_bytes(b"A=\xe4\n")
    with pytest.raises(EnvFileError, match="is not UTF-8 text"):
        read_env_file(tmp_path / "latin")
