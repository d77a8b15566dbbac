"""The crontab: every line understood or refused with its number."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.scheduling.crontab import Crontab, job_name, parse
from common.settings import ROOT

SCRIPTS = {"backup.py", "sweeper.py", "restore.py"}
UTC_ZONE = ZoneInfo("UTC")


def read(text: str) -> Crontab:
    return parse(text, SCRIPTS, UTC_ZONE)


def problems(text: str) -> list[str]:
    return [str(problem) for problem in read(text).problems]


def test_the_crontab_that_ships_is_good_and_does_what_the_documents_say():
    found = read((ROOT / "crontab").read_text(encoding="utf-8"))
    assert found.problems == ()
    assert [(entry.schedule.expression if entry.schedule else "", entry.command) for entry in found.entries] == [
        ("0 0 * * *", ("backup.py", "--mode", "p")),
        ("0 * * * *", ("backup.py", "--mode", "a")),
        ("", ("sweeper.py",)),
        ("30 4 * * 0", ("restore.py", "--verify", "all", "--share", "1/4")),
    ]
    assert found.entries[2].after == ("backup.py", "--mode", "p")


def test_the_drill_that_ships_commented_out_is_good_too():
    lines = Path(ROOT / "crontab").read_text(encoding="utf-8").splitlines()
    [drill] = [line.removeprefix("#") for line in lines if line.startswith("#0 ")]
    assert read(drill).problems == ()


def test_names_zones_comments_and_quotes():
    found = read(
        "# a comment\n\n  \t\r\nCRON_TZ=Europe/Berlin\n@daily backup.py\r\nTZ='America/New_York'\n"
        '15 3 * * 1-5\trestore.py --project "Road signs 2026"\n@startup sweeper.py\n@reboot backup.py --mode t\n'
    )
    assert found.problems == ()
    daily, signs, startup, reboot = found.entries
    assert str(daily.schedule.zone) == "Europe/Berlin" and daily.schedule.expression == "0 0 * * *"
    assert str(signs.schedule.zone) == "America/New_York" and signs.command[-1] == "Road signs 2026"
    assert startup.at_startup and reboot.at_startup
    assert [entry.number for entry in found.entries] == [5, 7, 8, 9]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("61 * * * * backup.py", "'61' is no minute (0-59)"),
        ("0 0 * * *", "expected five time fields"),
        ("backup.py --mode p", "the time is missing in front of backup.py, for example: 0 0 * * * backup.py --mode p"),
        ("* * * backup.py --mode p", "five time fields are expected in front of backup.py, there are 3"),
        ("0 0 0 * * * backup.py", "there are six time fields"),
        ("@fortnightly backup.py", "@fortnightly is not known"),
        ("@daily", "a command is missing behind @daily"),
        ("@daily backup.py --dir /a\0b", "holds a NUL character"),
        ("0 0 * * * /backup.sh --mode p", "Write: backup.py --mode p"),
        ("0 0 * * * root /app/backup.sh --mode a >> /var/log/cron.log 2>&1", "Write: backup.py --mode a"),
        ("0 0 * * * root python /app/sweeper.py", "Write: sweeper.py"),
        ("0 0 * * * /opt/x/run-locally-backup.sh --mode p", "Write: backup.py --mode p"),
        ("0 0 * * * rm -rf /", "'rm' is no script of this program: backup.py, restore.py, sweeper.py"),
        ("0 0 * * * scheduler.py", "'scheduler.py' is no script"),
        ("0 0 * * * backup.py --mode p > /dev/null", "no shell"),
        ("0 0 * * * backup.py && sweeper.py", "no shell"),
        ("0 0 * * * backup.py | tee log", "no shell"),
        ("0 0 * * * backup.py; sweeper.py", "no shell"),
        ("0 0 * * * backup.py --url $CVAT_URL", "nothing is expanded"),
        ("0 0 * * * backup.py --url `id`", "nothing is expanded"),
        ("0 0 * * * backup.py --mode p # nightly", "a comment stands on a line of its own"),
        ("0 0 * * * backup.py --mode 'p", "the quotes do not match"),
        ("MAILTO=me@example.com", "MAILTO= has no meaning here"),
        ("CRON_TZ=Europe/Berln", "did you mean Europe/Berlin?"),
        ('@after "backup.py --mode t" sweeper.py', 'no line runs "backup.py --mode t"'),
        ("@after sweeper.py", 'expected: @after "backup.py --mode p" sweeper.py'),
        ('@after "" sweeper.py', "followed by another line's command in quotes"),
        ('@after "sweeper.py" sweeper.py', "waits in a circle for itself"),
    ],
)
def test_a_bad_line_is_refused_with_its_number_and_what_to_write(line, says):
    [problem] = problems(f"# first\n{line}\n0 0 * * * restore.py --verify\n")
    assert problem.startswith("line 2: ") and says in problem


def test_all_bad_lines_are_reported_at_once():
    found = problems("61 * * * * backup.py\n* * * * * backup.py\nFOO=1\n* * * * * rm\n")
    assert [problem.split(":")[0] for problem in found] == ["line 1", "line 3", "line 4"]


def test_a_circle_over_several_lines_is_found():
    found = problems('@after "restore.py" backup.py\n@after "backup.py" sweeper.py\n@after "sweeper.py" restore.py\n')
    assert len(found) == 3 and all("circle" in problem for problem in found)


def test_a_line_that_waits_for_a_bad_line_is_not_one_more_problem():
    assert len(problems('61 * * * * backup.py --mode p\n@after "backup.py --mode p" sweeper.py\n')) == 1


def test_an_empty_crontab_is_a_problem_because_it_backs_up_nothing():
    assert problems("# nothing\n") == ["there is no job in it: nothing would ever be backed up"]


def test_job_names():
    assert job_name(("backup.py", "--mode", "p")) == job_name(("backup.py", "--mode=p")) == "backup p"
    assert job_name(("backup.py", "--mode", "p", "a", "--force")) == "backup p a force"
    assert job_name(("sweeper.py",)) == "sweeper"
    assert job_name(("restore.py", "--verify", "all", "--share", "1/4")) == "restore verify all share 1/4"


@given(st.text(st.sampled_from("0159*/,-@ \t\n\"'#$&|<>=abckp.yTZ\\\x00é"), max_size=80))
def test_whatever_stands_in_it_there_are_entries_or_problems(text):
    found = read(text)
    assert bool(found.problems) != bool(found.entries) or (found.problems and found.entries)


@given(st.lists(st.text(st.characters(categories=("L", "Nd")), min_size=1, max_size=8), max_size=4))
def test_arguments_arrive_as_they_were_written(words):
    [entry] = read(f"@daily backup.py {' '.join(words)}\n").entries
    assert entry.command == ("backup.py", *words)
