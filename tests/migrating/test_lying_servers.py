"""Servers that say what they should not: markup for names, answers of another kind, credentials that end in the middle."""

from __future__ import annotations

import pytest

import sc_migrate
from common.exits import Exit
from common.migrating.report import Report, print_reports
from sandbox.faults import Fault
from tests.migrating.conftest import small


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """Sets the environment for a server; with its token, or its user and password."""

    def to(server, *, token: bool = True) -> None:
        monkeypatch.setenv("SC_HOST", server.url)
        if token:
            monkeypatch.setenv("SC_TOKEN", server.token)
        else:
            monkeypatch.setenv("SC_USERNAME", server.username)
            monkeypatch.setenv("SC_PASSWORD", server.password)
        monkeypatch.setenv("SC_ALLOW_HTTP", "true")
        monkeypatch.setenv("SC_MIN_FREE_GB", "0")
        monkeypatch.setenv("SC_DIR", str(tmp_path / "sc"))

    return to


def test_names_that_look_like_markup_are_printed_as_they_are(sc, settings, capsys):
    server = small(sc(samples="none", tls=False))
    settings(server)
    [project] = server.world.projects.values()
    project.name = "[/red]\x1b[31m[bold]"
    assert sc_migrate.main(["list"]) == Exit.ALL_GOOD
    printed = capsys.readouterr().out
    assert "[/red]" in printed and "[bold]" in printed and "\x1b" not in printed


@pytest.mark.parametrize("body", [None, [], 5, {"projects": None}, {"projects": [{"id": "1"}]}, {"projects": [3]}])
def test_a_list_of_projects_that_is_none_is_told_in_a_sentence(sc, settings, capsys, body):
    server = small(sc(samples="none", tls=False))
    settings(server)
    server.faults.add(Fault(r"GET .*/projects\?limit", "status", status=200, body=body))
    assert sc_migrate.main(["list"]) == Exit.NOTHING_WORKED
    told = capsys.readouterr().err
    assert "no list of projects" in told and "fault of the program" not in told


@pytest.mark.parametrize("generation", ["1.1", "2.x"])
def test_credentials_that_end_in_the_middle_end_the_run_with_12(sc, settings, capsys, no_waiting, generation):
    server = small(sc(generation, "none", tls=False))
    settings(server, token=generation != "1.1")
    original, seen = server.handle, []

    def handle(request, faults):
        if "display/full" in request.path:
            seen.append(request.path)
            if len(seen) == 2:
                server.faults.add(Fault("/api/v1|POST .*/dex/", "status", status=401, times=None))
        return original(request, faults)

    server.handle = handle
    assert sc_migrate.main(["download-all"]) == Exit.CREDENTIALS_REFUSED
    told = capsys.readouterr().err
    assert "refused the credentials" in told and "Correct SC_" in told
    server.handle = original
    server.faults.clear()
    assert sc_migrate.main(["download-all"]) == Exit.ALL_GOOD


def test_one_thing_that_is_refused_with_401_stops_no_other(sc, settings, capsys, no_waiting):
    server = small(sc(samples="none", tls=False))
    settings(server)
    server.faults.add(Fault("/display/stream", "status", status=401, times=None))
    assert sc_migrate.main(["download-all"]) == Exit.SOME_FAILED
    printed = capsys.readouterr().out
    # The reason is there to read, not cut off behind an address of 200 letters.
    assert "video 'film'" in printed and "the server answered 401" in printed and "/workspaces/" not in printed


def test_what_was_refused_is_not_to_be_run_again(capsys):
    print_reports([Report("a", "refused", gaps=["there is one"], remedy="Choose another --name.")], "uploaded")
    assert "Run the same command again" not in capsys.readouterr().err
    print_reports([Report("a", "incomplete", gaps=["gone"])], "uploaded")
    assert "Run the same command again" in capsys.readouterr().err
