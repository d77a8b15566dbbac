"""The frame: everything that can end a run becomes one exit code and one closing sentence."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys

import pytest

import downloader
from common import log
from common.exits import Exit, RunEnds, Trouble
from common.files import DiskFull
from common.images.settings import ImageSettings
from common.lock import Locked
from common.run import frame, leave, say
from common.saving.settings import BackupSettings
from common.settings import ROOT
from common.waiting import Stopped


@pytest.fixture(autouse=True)
def nothing_of_the_developer(monkeypatch, tmp_path):
    """No .env of this checkout; the signal handlers are put back."""
    monkeypatch.setenv("CVAT_ENV_DIR", str(tmp_path))
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(body, argv=(), **more):
    return frame(BackupSettings, argparse.ArgumentParser(allow_abbrev=False), list(argv), body, **more)


def raising(error):
    def body(_run):
        raise error

    return body


def test_the_exit_code_of_the_body_is_the_exit_code_of_the_run():
    assert run(lambda _run: Exit.SOME_FAILED) == 3


def test_the_body_gets_checked_settings_and_its_arguments():
    seen = []
    run(lambda given: seen.append(given) or 0, ["--concurrency", "5"])
    assert seen[0].settings.concurrency == 5
    assert len(seen[0].id) == 8


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RunEnds("It cannot go on.", "Do this.", Exit.CREDENTIALS_REFUSED), 12, "It cannot go on.\nDo this.\n"),
        (RunEnds("It cannot go on."), 1, "It cannot go on.\n"),
        (Locked("somebody has it"), 11, "somebody has it. Nothing was done.\n"),
        (Trouble("the server is away"), 1, "the server is away.\n"),
    ],
)
def test_what_ends_a_run_is_said_in_plain_words(capsys, error, code, said):
    assert run(raising(error)) == code
    assert capsys.readouterr().err == said


def test_a_full_disk_is_no_fault_of_the_program(capsys):
    assert run(raising(DiskFull("no room left in /x"))) == 1
    said = capsys.readouterr().err
    assert "no room left in /x." in said and "Make room" in said and "fault of the program" not in said


def test_a_surprise_is_logged_whole_and_called_a_fault_of_the_program(capsys):
    assert run(raising(KeyError("x"))) == 1
    said = capsys.readouterr().err
    assert "Unexpected error: KeyError: 'x'" in said
    assert "Traceback" in said
    assert "This is a fault of the program." in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_the_run_with_128_plus_its_number(capsys, number):
    def body(given):
        os.kill(os.getpid(), number)
        with pytest.raises(Stopped):
            given.stop.sleep(60)
        given.stop.check()
        return 0

    assert run(body) == 128 + number
    assert "Stopped. What was finished is saved" in capsys.readouterr().err


@pytest.mark.parametrize("together", [False, True])
def test_after_the_first_signal_the_second_one_ends_the_process_at_once(together):
    """Also when both are there before Python looks, as when two arrive while it is busy elsewhere."""
    code = f"""
import os, signal, time
from common.run import _listen
from common.waiting import StopSignal
stop = StopSignal()
_listen(stop)
both = [signal.SIGINT, signal.SIGTERM]
if {together}:
    signal.pthread_sigmask(signal.SIG_BLOCK, both)
for each in both:
    os.kill(os.getpid(), each)
signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
time.sleep(100)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (-signal.SIGTERM, "")


def test_a_hangup_that_is_ignored_stays_ignored_after_a_first_signal():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def body(_run):
        os.kill(os.getpid(), signal.SIGTERM)
        return 0 if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else 1

    assert run(body) == 0


def test_a_hangup_that_nohup_ignores_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert run(lambda _run: 0 if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else 1) == 0


def test_wrong_settings_end_the_run_before_anything_is_done(capsys, monkeypatch):
    monkeypatch.setenv("CVAT_BACKUP_CONCURRENCY", "0")
    monkeypatch.setenv("CVAT_BACKUP_SAVE_IMAGES", "perhaps")
    assert run(raising(AssertionError("not reached")), also_check=lambda arguments, raw: ["something is missing"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len([line for line in said if line.startswith("configuration: ")]) == 3
    assert said[-1].startswith("Nothing was done.")


def test_a_folder_of_settings_that_does_not_exist_is_named(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("CVAT_ENV_DIR", str(tmp_path / "nowhere"))
    assert run(lambda _run: pytest.fail("it ran"), ["--concurrency", "0"]) == 2
    said = capsys.readouterr().err
    assert f"CVAT_ENV_DIR='{tmp_path / 'nowhere'}' is no folder" in said
    assert "CVAT_BACKUP_CONCURRENCY" in said


@pytest.mark.parametrize(
    "argv",
    [
        ["--password", "s3cret"],
        ["--password=s3cret"],
        ["--concurrency", "2", "--acces-token", "s3cret"],
        ["--password", "-s3cret"],
        ["-ps3cret"],
    ],
)
def test_what_follows_an_unknown_flag_is_not_repeated(capsys, argv):
    with pytest.raises(SystemExit) as ended:
        run(lambda _run: pytest.fail("it ran"), argv)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "s3cret" not in said
    assert "unrecognized argument: -" in said


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--prefix", "--prefix (did you mean --s3-prefix?)"),
        ("--csv", "--csv (did you mean --csv-file or --csv-column?)"),
        ("--csvfile", "--csvfile (did you mean --csv-file?)"),
        ("--outputdir", "--outputdir (did you mean --output-dir?)"),
        ("--nonsense", "argument: --nonsense\n"),
        ("--password", "argument: --password\n"),
    ],
)
def test_a_flag_that_is_nearly_one_is_told_which(capsys, flag, said):
    with pytest.raises(SystemExit):
        frame(
            ImageSettings, argparse.ArgumentParser(allow_abbrev=False), [flag, "x"], lambda _run: pytest.fail("it ran")
        )
    assert said in capsys.readouterr().err


def test_without_a_mode_the_downloader_asks_for_one_whatever_flags_it_got(capsys):
    assert downloader.main(["--csv", "s3cret"]) == Exit.BAD_CONFIGURATION
    said = capsys.readouterr().err
    assert "--mode datasets, or --mode images --csv-file FILE" in said and "s3cret" not in said


def test_a_flag_for_a_secret_names_its_variable_and_a_stray_word_is_repeated(capsys):
    for argv, wanted in ((["--password", "x"], "CVAT_PASSWORD, or CVAT_PASSWORD_FILE"), (["signs"], "argument: signs")):
        with pytest.raises(SystemExit):
            run(lambda _run: 0, argv)
        assert wanted in capsys.readouterr().err


def test_a_flag_that_begins_like_ours_or_is_misspelt_is_answered_with_ours(capsys):
    for flag, ours in (("--min-free", "--min-free-gb"), ("--concurency=3", "--concurrency"), ("--zzz", "")):
        with pytest.raises(SystemExit):
            run(lambda _run: 0, [flag])
        said = capsys.readouterr().err.splitlines()
        assert said[-1].endswith(f"(did you mean {ours}?)" if ours else "unrecognized argument: --zzz")


def test_the_usage_names_the_scripts_own_flags_and_not_every_setting(capsys):
    with pytest.raises(SystemExit):
        run(raising(AssertionError("not reached")), ["--help"])
    usage, _, rest = capsys.readouterr().out.partition("\n\n")
    assert "[-h]" in usage and "[--SETTING VALUE ...]" in usage and "--concurrency" not in usage
    assert "--concurrency" in rest


@pytest.mark.parametrize(("error", "code"), [(BrokenPipeError(32, "x"), 128 + signal.SIGPIPE), (OSError(28, "x"), 1)])
def test_settings_that_nobody_takes_are_no_fault_of_the_program(monkeypatch, error, code):
    def gone(_text):
        raise error

    monkeypatch.setattr(sys.stdout, "write", gone)
    monkeypatch.setattr("common.run.give_up_stdout", lambda: None)
    assert run(raising(AssertionError("not reached")), ["--print-config"]) == code


def test_print_config_shows_the_settings_and_does_nothing_else(capsys, monkeypatch):
    monkeypatch.setenv("CVAT_PASSWORD", "geheim")
    code = run(
        raising(AssertionError("not reached")), ["--print-config"], also_check=lambda arguments, raw: ["missing"]
    )
    out = capsys.readouterr()
    assert code == 0
    assert "CVAT_PASSWORD=********" in out.out
    assert "geheim" not in out.out + out.err


def test_an_unknown_setting_is_warned_about_and_does_not_end_the_run(capsys, monkeypatch):
    monkeypatch.setenv("CVAT_BACKUP_DIRR", "x")
    assert run(lambda _run: 0) == 0
    assert "did you mean CVAT_BACKUP_DIR?" in capsys.readouterr().err


def test_no_secret_leaves_with_a_sentence(capsys):
    log.hide("geheim")
    say("the password geheim was refused")
    assert capsys.readouterr().err == "the password ******** was refused\n"


@pytest.mark.parametrize(
    "error", [RunEnds("why", "", Exit.BAD_CONFIGURATION), Trouble("why"), KeyError("why"), BrokenPipeError()]
)
def test_a_run_that_breaks_off_ends_with_what_its_books_say(monkeypatch, error):
    monkeypatch.setattr("common.run.give_up_stdout", lambda: None)

    def body(given):
        given.exit_code = 3
        raise error

    assert run(body) == 3


def test_streams_that_are_closed_are_replaced(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert run(lambda _run: print("x") or say("y") or 0) == 0
    assert sys.stdout.name == sys.stderr.name == os.devnull


@pytest.mark.parametrize(
    ("error", "code", "ends"),
    [(BrokenPipeError, 0, 141), (OSError, 0, 1), (OSError, 3, 3), (BrokenPipeError, 12, 12)],
)
def test_what_could_not_be_flushed_never_hides_a_worse_code(monkeypatch, error, code, ends):
    def refuse():
        raise error

    seen = []
    monkeypatch.setattr(sys.stdout, "flush", refuse)
    monkeypatch.setattr(os, "_exit", seen.append)
    leave(code)
    assert seen == [ends]
