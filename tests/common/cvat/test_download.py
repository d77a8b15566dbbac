"""Fetching the file of a finished export: resumed, begun again, never mixed."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from common.cvat.download import opener
from common.cvat.errors import Forbidden, NotFound, PastTheEnd, Refused
from common.cvat.exports import ExportOrder, ReadyExport, ResultExpired, ask
from common.transfer import Changed, Interrupted, PartFile, fetch
from common.waiting import Deadline, StopSignal
from sandbox.cvat import Fault

ORDER = ExportOrder("project", 1)
ASKED = "POST /api/projects/1/backup/export"


@pytest.fixture
def server(sandbox):
    server = sandbox(export_seconds=0.05)
    server.world.add_task(server.world.add_project("road", labels=[{"name": "car"}]), "one")
    return server


@pytest.fixture
def client(server, signed_in):
    return signed_in(server)


def wait() -> Deadline:
    return Deadline(20)


def part_of(tmp_path):
    return PartFile(tmp_path / ".part")


def test_a_file_that_expired_before_it_was_fetched_is_named_so(server, client, tmp_path):
    server.faults.add(Fault(ASKED, "expire"))
    with pytest.raises(ResultExpired, match="no longer has the exported file"):
        fetch(opener(client, ask(client, ORDER, wait())), part_of(tmp_path), "x", StopSignal())


@pytest.mark.parametrize(
    "fault",
    [{"kind": "cut", "after_bytes": 900}, {"kind": "cut", "after_bytes": 0}, {"kind": "cut", "after_bytes": 900, "rst": True},
     {"kind": "no_length"}, {"kind": "drop_range"}, {"kind": "status", "status": 502}],
)  # fmt: skip
def test_the_whole_file_arrives_over_broken_connections(server, client, tmp_path, no_waiting, fault):
    ready = ask(client, ORDER, wait())
    plain = fetch(opener(client, ready), PartFile(tmp_path / ".plain"), "x", StopSignal())
    server.faults.add(Fault("GET /api/projects/1/backup/download", **fault))
    assert fetch(opener(client, ready), part_of(tmp_path), "x", StopSignal()).sha256 == plain.sha256
    assert server.log_count("HEAD .*") == 0


def test_a_part_that_is_already_whole_is_not_fetched_again(server, client, tmp_path):
    ready = ask(client, ORDER, wait())
    first = fetch(opener(client, ready), part_of(tmp_path), "x", StopSignal())
    again = fetch(opener(client, ready), part_of(tmp_path), "x", StopSignal())
    assert again.sha256 == first.sha256 and again.resumed_at == first.size_bytes
    assert [one.status for one in server.log if "download" in one.path] == [200, 416]


def test_a_part_longer_than_the_file_begins_again(server, client, tmp_path):
    ready = ask(client, ORDER, wait())
    part = part_of(tmp_path)
    first = fetch(opener(client, ready), part, "x", StopSignal())
    with open(part.path, "ab") as file:
        file.write(b"too much")
    assert fetch(opener(client, ready), part, "x", StopSignal()) == first


def test_another_export_in_between_is_noticed_by_its_etag(server, client, tmp_path):
    """Asked for again, the same file has another ETag: the part is not continued."""
    ready = ask(client, ORDER, wait())
    part = part_of(tmp_path)
    whole = fetch(opener(client, ready), part, "x", StopSignal())
    with open(part.path, "r+b") as file:
        file.truncate(500)
    server.world.add_shape(1, "car")
    ask(client, ORDER, wait())
    got = fetch(opener(client, ready), part, "x", StopSignal())
    assert (got.resumed_at, got.sha256 == whole.sha256) == (0, False)


class Canned:
    """A client whose every answer is this one."""

    def __init__(self, status=200, error=None, **headers):
        self.answer = SimpleNamespace(
            status_code=status, headers={k.replace("_", "-"): v for k, v in headers.items()}, raw=None
        )
        self.error, self.sent = error, []

    @contextmanager
    def streaming(self, path, *, accept, headers):
        self.sent.append(headers)
        if self.error:
            raise self.error
        yield self.answer


def opened(client, offset=0, validator=""):
    with opener(client, ReadyExport(ORDER, "x", "/api/x", ""))(offset, validator) as body:
        return body.offset, body.total_bytes, body.validator


def test_the_beginning_of_a_file_tells_its_length_and_its_validator():
    client = Canned(Content_Length="500", ETag='"a"')
    assert opened(client) == (0, 500, '"a"')
    # The address is the same every night: no cache on the way may answer for CVAT.
    assert client.sent == [{"Accept-Encoding": "identity", "Cache-Control": "no-cache"}]


@pytest.mark.parametrize("length", ["", "-5", "x", "5.0", "\u0665"])
def test_a_length_that_is_none_is_unknown(length):
    assert opened(Canned(Content_Length=length))[1] is None


def test_a_weak_validator_continues_nothing():
    assert opened(Canned(ETag='W/"a"'))[2] == ""


def test_the_rest_is_asked_for_under_its_validator():
    client = Canned(206, Content_Range="bytes 100-499/500", ETag='"a"')
    assert opened(client, 100, '"a"') == (100, 500, '"a"')
    assert client.sent[0] | {"Range": "bytes=100-", "If-Range": '"a"'} == client.sent[0]


@pytest.mark.parametrize("text", ["", "bytes 0-499/500", "bytes 99-499/500", "bytes 100-499/*", "bytes */500", "x"])
def test_another_range_than_the_one_asked_for_begins_again(text):
    with pytest.raises(Changed):
        opened(Canned(206, Content_Range=text), 100, '"a"')


def test_a_file_in_an_encoding_that_was_not_asked_for_is_not_taken():
    with pytest.raises(Interrupted, match="encoding") as caught:
        opened(Canned(Content_Encoding="gzip"))
    assert "Switch off compression" in caught.value.remedy


def test_a_page_in_place_of_the_rest_costs_nothing_that_has_arrived(server, client, tmp_path, no_waiting):
    ready, part = ask(client, ORDER, wait()), part_of(tmp_path)
    address = "GET /api/projects/1/backup/download"
    server.faults.add(Fault(address, "cut", after_bytes=900))
    page = {"Content-Type": "text/html; charset=utf-8"}
    server.faults.add(Fault(address, "status", status=200, body="<html>Sign in</html>", headers=page, skip=1, times=2))
    asked, waited = [], len(no_waiting)

    def counted(offset, validator):
        asked.append(offset)
        return opener(client, ready)(offset, validator)

    fetch(counted, part, "x", StopSignal())
    assert asked == [0, 900, 900, 900]
    assert len(no_waiting) - waited == 3


def test_nothing_but_pages_is_a_break_that_says_what_it_may_be():
    with pytest.raises(Interrupted, match="a web page came instead of the file") as caught:
        opened(Canned(Content_Type="text/html", ETag='"p"'), 100, '"a"')
    assert "sign-in proxy" in caught.value.remedy


def test_behind_the_end_everything_has_arrived_or_it_is_another_file():
    assert opened(Canned(error=PastTheEnd("x", 100)), 100, '"a"') == (100, 100, '"a"')
    for total in (99, 101, None):
        with pytest.raises(Changed):
            opened(Canned(error=PastTheEnd("x", total)), 100, '"a"')


@pytest.mark.parametrize("error", [NotFound("expired"), Refused("not finished", 400, "not finished")])
def test_a_file_that_is_no_longer_or_not_yet_there_is_asked_for_again(error):
    with pytest.raises(ResultExpired):
        opened(Canned(error=error))


def test_a_right_that_was_taken_away_is_said_as_it_is():
    with pytest.raises(Forbidden):
        opened(Canned(error=Forbidden("no")))
