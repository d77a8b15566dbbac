"""Where settings come from, which one wins, and what is said about wrong ones."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from common.annotating.settings import FiftyoneSettings
from common.datasets.settings import DatasetSettings
from common.images.settings import ImageSettings
from common.restoring.settings import RestoreSettings
from common.saving.settings import BackupSettings
from common.sc.settings import ScSettings
from common.settings import SettingsError, add_flags, flag_name, is_secret, load, shown, variables


def loaded(tmp_path: Path, environ=None, flags=None, env="", local=""):
    (tmp_path / ".env").write_text(env)
    (tmp_path / ".env.local").write_text(local)
    return load(BackupSettings, environ=environ or {}, flags=flags, folder=tmp_path)


def problems(tmp_path: Path, environ=None, **more) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, environ, **more)
    return caught.value.problems


def test_a_flag_wins_over_the_environment_over_env_local_over_env(tmp_path):
    layers = {"env": "CVAT_USERNAME=env", "local": "CVAT_USERNAME=local"}
    assert loaded(tmp_path, env="CVAT_USERNAME=env").settings.username == "env"
    assert loaded(tmp_path, **layers).settings.username == "local"
    environ = {"CVAT_USERNAME": "environment"}
    assert loaded(tmp_path, environ, **layers).settings.username == "environment"
    last = loaded(tmp_path, environ, {"CVAT_USERNAME": "flag", "CVAT_URL": None}, **layers)
    assert last.settings.username == "flag"
    assert last.origins == {"CVAT_USERNAME": "flag"}


TOKEN, USER, PASSWORD = "CVAT_ACCESS_TOKEN", "CVAT_USERNAME", "CVAT_PASSWORD"


@pytest.mark.parametrize(
    ("local", "environ", "flags", "token", "user"),
    [
        ({TOKEN: "t", USER: "ann", PASSWORD: "p"}, {}, {}, "t", "ann"),
        ({USER: "ann", PASSWORD: "p"}, {TOKEN: "t"}, {}, "t", "ann"),
        ({TOKEN: "t"}, {USER: "bob", PASSWORD: "p"}, {}, None, "bob"),
        ({TOKEN: "t", USER: "ann"}, {PASSWORD: "p"}, {}, None, "ann"),
        ({TOKEN: "t", USER: "ann", PASSWORD: "p"}, {}, {USER: "bob"}, None, "bob"),
        ({}, {TOKEN: "t", PASSWORD: "p"}, {USER: "bob"}, None, "bob"),
    ],
    ids=["token", "token above user", "user above token", "password above token", "flag above file", "flag above all"],
)
def test_whoever_is_named_highest_signs_in(tmp_path, local, environ, flags, token, user):
    lines = "".join(f"{name}={value}\n" for name, value in local.items())
    found = loaded(tmp_path, environ, flags, local=lines)
    given = found.settings.access_token
    assert (given and given.get_secret_value(), found.settings.username) == (token, user)
    assert any("that of .env.local gives way to" in line for line in shown(found)) == (token is None and TOKEN in local)


@pytest.mark.parametrize("cls", [BackupSettings, RestoreSettings, DatasetSettings, FiftyoneSettings, ScSettings])
def test_every_token_gives_way_to_a_user_that_is_named_above_it(tmp_path, cls):
    tokens = [name for name, field in variables(cls).items() if is_secret(field) and name.endswith("TOKEN")]
    for name in tokens:
        user = name.replace("ACCESS_TOKEN", "TOKEN").removesuffix("TOKEN") + "USERNAME"
        (tmp_path / ".env.local").write_text(f"{name}=t\n")
        origins = load(cls, environ={}, flags={user: "bob"}, folder=tmp_path).origins
        assert origins == {user: "flag", name: f"that of .env.local gives way to {user} (flag)"}
    assert tokens


def test_set_but_empty_means_unset(tmp_path):
    settings = loaded(tmp_path, {"CVAT_USERNAME": "", "CVAT_PASSWORD": ""}, local="CVAT_USERNAME=local").settings
    assert settings.username == "local"
    assert settings.password is None


def test_a_variable_of_blanks_or_of_empty_quotes_is_unset_too(tmp_path):
    assert loaded(tmp_path, {"CVAT_BACKUP_CONCURRENCY": '""', "CVAT_USERNAME": "  "}).settings.concurrency == 2


def test_quotes_that_docker_hands_over_are_removed(tmp_path):
    assert str(loaded(tmp_path, {"CVAT_URL": '"https://cvat.example.com"'}).settings.url) == "https://cvat.example.com"


@given(secret=st.text(st.characters(blacklist_characters="\r\n\0", blacklist_categories=("Cs",)), min_size=1))
def test_a_secret_in_the_environment_means_itself(tmp_path_factory, secret):
    settings = load(BackupSettings, environ={"CVAT_PASSWORD": secret}, folder=tmp_path_factory.mktemp("s")).settings
    assert settings.password.get_secret_value() == secret


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte order mark"])
def test_every_secret_can_stand_in_a_file_and_line_ends_behind_it_are_dropped(tmp_path, mark):
    for name, field in variables(BackupSettings).items():
        if is_secret(field):
            secret = "p#'$x" if "TOKEN" in name else " p#'$x "
            (tmp_path / "secret").write_text(f"{mark}{secret}\r\n\n", encoding="utf-8")
            settings = loaded(tmp_path, {f"{name}_FILE": str(tmp_path / "secret")}).settings
            found = next(value for key, value in settings if BackupSettings.model_fields[key].alias == name)
            assert found.get_secret_value() == secret


@pytest.mark.parametrize("token", ["two words", "line\nend", "höher", "…"])
def test_a_token_that_no_header_can_carry_is_named_and_not_shown(tmp_path, token):
    (tmp_path / "secret").write_text(token)
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, {"CVAT_ACCESS_TOKEN_FILE": str(tmp_path / "secret")})
    assert "CVAT_ACCESS_TOKEN=******** holds blanks" in str(caught.value) and token not in str(caught.value)


def test_a_relative_path_in_an_env_file_begins_at_that_file(tmp_path):
    assert loaded(tmp_path, {}, local="CVAT_BACKUP_DIR=here").settings.dir == tmp_path / "here"
    assert loaded(tmp_path, {"CVAT_BACKUP_DIR": "here"}).settings.dir == Path.cwd() / "here"


def test_the_file_of_a_nearer_layer_wins_over_the_value_of_a_farther_one(tmp_path):
    (tmp_path / "secret").write_text("from the file")
    environ = {"CVAT_PASSWORD_FILE": str(tmp_path / "secret")}
    assert loaded(tmp_path, environ, local="CVAT_PASSWORD=x").settings.password.get_secret_value() == "from the file"


def test_a_secret_given_twice_missing_or_empty_is_said_without_showing_it(tmp_path):
    (tmp_path / "secret").write_text("hidden")
    said = problems(tmp_path, {"CVAT_PASSWORD": "geheim", "CVAT_PASSWORD_FILE": str(tmp_path / "secret")})
    assert said == ["CVAT_PASSWORD and CVAT_PASSWORD_FILE are both set: keep one of them"]
    [said] = problems(tmp_path, {"CVAT_PASSWORD_FILE": str(tmp_path / "nowhere")})
    assert "cannot be read: No such file" in said
    (tmp_path / "secret").write_text("\n")
    [said] = problems(tmp_path, {"CVAT_PASSWORD_FILE": str(tmp_path / "secret")})
    assert said.endswith("is empty")


def test_all_problems_are_reported_at_once(tmp_path):
    environ = {
        "CVAT_URL": "ftp://x",
        "CVAT_BACKUP_CONCURRENCY": "many",
        "CVAT_BACKUP_SAVE_IMAGES": "perhaps",
        "CVAT_BACKUP_REQUEST_TIMEOUT_HOURS": "0",
        "LOG_LEVEL": "loud",
        "CVAT_BACKUP_INCLUDE": "project:x",
        "CVAT_CA_BUNDLE": str(tmp_path / "none.pem"),
    }
    said = problems(tmp_path, environ, local="this is no variable")
    assert len(said) == len(environ) + 1
    assert "CVAT_BACKUP_CONCURRENCY='many' is not a whole number" in said
    assert "CVAT_BACKUP_SAVE_IMAGES='perhaps' is neither true nor false" in said
    assert "CVAT_BACKUP_REQUEST_TIMEOUT_HOURS='0' must be more than 0.0" in said
    assert any(
        line.startswith("LOG_LEVEL='LOUD' must be one of") or "LOG_LEVEL='loud' must be" in line for line in said
    )


def test_a_problem_says_in_which_file_the_value_stands(tmp_path):
    assert problems(tmp_path, local="CVAT_BACKUP_CONCURRENCY=0") == [
        "CVAT_BACKUP_CONCURRENCY='0' must be 1 or more (set in .env.local)"
    ]


@pytest.mark.parametrize(
    "name", ["CVAT_BACKUP_FULL_EVERY_DAYS", "CVAT_BACKUP_MAX_GB_PER_DAY", "CVAT_BACKUP_MIN_FREE_GB"]
)
@pytest.mark.parametrize("value", ["inf", "nan", "1e300", "-1"])
def test_numbers_that_are_no_amount_are_refused(tmp_path, name, value):
    assert len(problems(tmp_path, {name: value})) == 1


@pytest.mark.parametrize(
    "url", ["https://bob:geheim@h.example", "https://b:ge#heim@h", "https://b:12#geheim@h", "b:geheim@h"]
)
def test_a_password_inside_the_address_is_refused_and_not_shown(tmp_path, url):
    [said] = problems(tmp_path, {"CVAT_URL": url})
    assert "must not hold a user name or password" in said
    assert "heim" not in said


def test_a_home_of_nobody_is_a_plain_problem(tmp_path):
    [said] = problems(tmp_path, {"CVAT_BACKUP_DIR": "~no-such-user/backups"})
    assert "stands for nobody's home" in said


def test_unknown_names_are_reported_with_the_nearest_known_one(tmp_path):
    found = loaded(
        tmp_path, {"CVAT_PASSWROD": "x", "HOME": "/", "CVAT_SOMETHING_ELSE": "1"}, local="CVAT_BACKUP_COLOR=1"
    )
    assert len(found.warnings) == 2
    assert (
        "CVAT_PASSWROD (set in environment) is not a setting of this program; did you mean CVAT_PASSWORD?"
        in found.warnings
    )
    assert any(line.startswith("CVAT_BACKUP_COLOR (set in .env.local) is not a setting") for line in found.warnings)


def test_settings_of_the_other_scripts_and_secret_files_are_no_typing_errors(tmp_path):
    (tmp_path / "p").write_text("x")
    environ = {"CVAT_BACKUP_TTL": "3", "CVAT_MIN_NUM_BACKUPS": "2", "CVAT_PASSWORD_FILE": str(tmp_path / "p")}
    assert list(loaded(tmp_path, environ).warnings) == []


def test_the_old_level_names_keep_their_meaning(tmp_path):
    for given_name, meant in (("warn", "WARNING"), ("INFO", "INFO"), ("critical", "ERROR"), ("Debug", "DEBUG")):
        assert loaded(tmp_path, {"LOG_LEVEL": given_name}).settings.log_level == meant


def test_print_config_masks_secrets_and_says_where_each_value_comes_from(tmp_path):
    text = "\n".join(shown(loaded(tmp_path, {"CVAT_PASSWORD": "geheim"}, local="CVAT_BACKUP_INCLUDE=a*,project:7")))
    assert "geheim" not in text
    lines = {line.split("=")[0]: line for line in text.splitlines()}
    assert set(lines) == set(variables(BackupSettings))
    assert lines["CVAT_PASSWORD"].startswith("CVAT_PASSWORD=********") and lines["CVAT_PASSWORD"].endswith(
        "# environment"
    )
    assert lines["CVAT_BACKUP_INCLUDE"].startswith("CVAT_BACKUP_INCLUDE=a*,project:7 ")
    assert lines["CVAT_BACKUP_CONCURRENCY"].endswith("# default")


def test_secrets_are_masked_wherever_settings_are_shown(tmp_path):
    settings = loaded(tmp_path, {"CVAT_PASSWORD": "geheim"}).settings
    assert isinstance(settings.password, SecretStr)
    assert "geheim" not in repr(settings) + str(settings) + settings.model_dump_json()


def test_every_setting_but_secrets_has_one_flag_of_its_own():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_flags(parser, BackupSettings)  # argparse raises for two of the same name
    known = {option for action in parser._actions for option in action.option_strings}
    for name, field in variables(BackupSettings).items():
        assert (flag_name(name) in known) == (not is_secret(field)), name
    arguments = parser.parse_args(["--dir", "/x", "--save-images", "--verify-tls", "false", "--log-level", "DEBUG"])
    assert arguments.CVAT_BACKUP_DIR == "/x"
    assert arguments.CVAT_BACKUP_SAVE_IMAGES == "true"
    assert arguments.CVAT_VERIFY_TLS == "false"
    parser.format_help()


def test_the_checks_of_a_script_are_reported_with_the_other_problems(tmp_path):
    with pytest.raises(SettingsError) as caught:
        load(
            BackupSettings,
            environ={"CVAT_BACKUP_CONCURRENCY": "0", "CVAT_USERNAME": "bob"},
            folder=tmp_path,
            also_check=[lambda raw: [f"{raw['CVAT_USERNAME']} lacks something"]],
        )
    assert caught.value.problems[0] == "bob lacks something"
    assert len(caught.value.problems) == 2


def test_what_boto3_takes_from_the_environment_only_is_named_where_it_stands_in_a_file(tmp_path):
    (tmp_path / ".env.local").write_text(
        "AWS_PROFILE=\nAWS_SECRET_ACCESS_KEY=s3cret\nAWS_REGION=x\nAWS_ENDPOINT_URL=y\n"
    )
    found = load(ImageSettings, environ={"AWS_REGION": "x"}, folder=tmp_path)
    [said] = found.warnings
    assert said.startswith(
        "AWS_ENDPOINT_URL, AWS_SECRET_ACCESS_KEY (set in .env.local): taken from the environment only"
    )
    assert "s3cret" not in said
    assert not load(BackupSettings, environ={}, folder=tmp_path).warnings
