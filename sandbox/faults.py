"""Switches that make the server misbehave."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

ANSWER_KINDS = frozenset(
    {
        "status",
        "cut",
        "cut_upload",
        "no_length",
        "wrong_length",
        "corrupt",
        "slow",
        "stall",
        "header",
        "result_host",
        "drop_range",
    }
)
EXPORT_KINDS = frozenset(
    {
        "fail",
        "hang",
        "expire",
        "worker_died",
        "change_while_exporting",
        "lie_stale",
        "kill_work_horse",
        "no_download_url",
    }
)


@dataclass(frozen=True)
class Fault:
    """One switch. `match` is a regular expression searched in "METHOD /path?query".

    Kinds and what they use:
      status        answers `status` with `body` and `headers`; with `after_handling` the request is carried out first
      cut           ends the connection after `after_bytes` of the body (0: before any byte of the answer), by RST or FIN
      cut_upload    ends the connection after `after_bytes` of the request's body were received (and kept)
      no_length     no Content-Length, the end of the connection is the end of the body
      wrong_length  Content-Length is off by `delta`
      corrupt       `count` bytes from `offset` of the whole file are flipped
      slow          `seconds` before the answer, and/or at most `bytes_per_second`
      stall         stops for `seconds` after `after_bytes` of the body
      header        sets `name` to `value`
      result_host   result_url (SC: a redirect to stored files) points at `host`
      drop_range    ignores Range: 200 and the whole file
    and on the POST that asks for an export, or sends a task's data:
      fail          the request fails with `message`
      kill_work_horse  fails at once, as after an OOM kill
      hang          stays "started" for `seconds` (None: for ever) and holds its worker
      expire        the file is gone when it is downloaded
      worker_died   stays "started", then after `freed_after` seconds "Job was stuck in intermediate queue."
      change_while_exporting  runs `call` (a function, or the name of a world method with `args` and `kwargs`)
                    `when` "after" or "before" the archive is built
      no_download_url  (SC) the job finishes without saying where its file is
      lie_stale     serves the newest older archive of the same thing
    """

    match: str
    kind: str
    times: int | None = 1
    skip: int = 0
    status: int = 500
    body: Any = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    after_handling: bool = False
    after_bytes: int = 0
    rst: bool = False
    delta: int = 0
    offset: int = 0
    count: int = 1
    bytes_per_second: float | None = None
    seconds: float | None = None
    name: str = ""
    value: str = ""
    host: str = "http://evil.example:81"
    message: str = "ValueError: the export failed\n"
    freed_after: float | None = None
    call: Callable[[], Any] | str | None = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    when: str = "after"

    def __post_init__(self) -> None:
        if self.kind not in ANSWER_KINDS | EXPORT_KINDS:
            raise ValueError(f"no such kind of fault: {self.kind}")
        re.compile(self.match)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Fault:
        known = {one.name for one in fields(cls)}
        unknown = set(raw) - known
        if unknown:
            raise ValueError(f"unknown keys of a fault: {', '.join(sorted(unknown))}")
        values: dict[str, Any] = {key: tuple(value) if key == "args" else value for key, value in raw.items()}
        return cls(**values)


class FaultBook:
    """The faults that are set, and how often each has been met."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[tuple[Fault, re.Pattern[str]]] = []
        self._seen: list[int] = []

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append((fault, re.compile(fault.match)))
            self._seen.append(0)

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()
            self._seen.clear()

    def unmet(self) -> list[Fault]:
        """Those that no request has met so far: a test that sets them tests nothing."""
        with self._lock:
            return [fault for (fault, _), seen in zip(self._faults, self._seen, strict=True) if seen <= fault.skip]

    def take(self, request_line: str) -> FaultsMet:
        """The faults this request meets; each is counted."""
        if not self._faults:
            return NO_FAULTS
        met = []
        with self._lock:
            for number, (fault, pattern) in enumerate(self._faults):
                if not pattern.search(request_line):
                    continue
                seen = self._seen[number]
                self._seen[number] += 1
                if seen >= fault.skip and (fault.times is None or seen < fault.skip + fault.times):
                    met.append(fault)
        return FaultsMet(met) if met else NO_FAULTS


class FaultsMet:
    """The faults of one request."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.faults = tuple(faults)

    def __bool__(self) -> bool:
        return bool(self.faults)

    def get(self, kind: str) -> Fault | None:
        return next((fault for fault in self.faults if fault.kind == kind), None)

    def of(self, kinds: frozenset[str]) -> tuple[Fault, ...]:
        return tuple(fault for fault in self.faults if fault.kind in kinds)


NO_FAULTS = FaultsMet()
