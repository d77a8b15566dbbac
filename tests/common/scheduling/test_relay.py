"""The output of jobs: named, whole, bounded, masked."""

from __future__ import annotations

import json
import os
import threading

from common import log
from common.scheduling.relay import Listener, Output, as_json, bounded_lines, readable


def lines_of(content: bytes, longest: int = 20) -> list[str]:
    read, write = os.pipe()
    threading.Thread(target=lambda: (os.write(write, content), os.close(write))).start()
    try:
        return list(bounded_lines(read, longest))
    finally:
        os.close(read)


def test_lines_are_cut_at_line_feeds_and_the_last_one_needs_none():
    assert lines_of(b"one\r\n\ntwo\nthree") == ["one", "", "two", "three"]
    assert lines_of("grün \xff\n".encode("latin-1")) == ["gr\ufffdn \ufffd"]


def test_an_endless_line_is_cut_and_what_is_left_out_is_counted():
    assert lines_of(b"x" * 1000 + b"\nnext\n") == ["x" * 20 + " … (980 more bytes)", "next"]
    assert lines_of(b"y" * 30_000) == ["y" * 20 + " … (29,980 more bytes)"]


def test_a_log_object_stays_an_object_and_gets_the_name_of_its_job():
    told = json.loads(as_json("backup p", "0a1b", "stderr", '{"event": "backup_saved", "size": 5, "job": "x"}'))
    assert told == {"event": "backup_saved", "size": 5, "job": "backup p", "run": "0a1b"}
    for text in ("plain", "[1]", '{"torn', "5", "{" * 5000, '{"number": 1e999}', '{"number": NaN}'):
        told = json.loads(as_json("backup p", "0a1b", "stdout", text))
        assert (told["event"], told["line"], told["stream"], told["job"]) == ("output", text, "stdout", "backup p")


def test_the_last_lines_are_readable_and_hold_no_secret(capsys):
    log.hide("s3cret-token")
    read, write = os.pipe()
    listener = Listener(Output("text"), "backup p", "0a1b", {"stderr": read})
    os.write(
        write, b'{"event": "export_failed", "level": "error", "reason": "s3cret-token", "run": "x"}\n' + b"n\n" * 80
    )
    os.close(write)
    listener.finish(20)
    assert len(listener.tail) == 50
    said = capsys.readouterr().out
    assert "s3cret-token" not in said and said.splitlines()[0].startswith('[backup p 0a1b] {"event": "export_failed"')
    assert readable('{"event": "a_thing", "level": "error", "reason": "x y"}') == "ERROR a_thing reason=x y"
