"""Review issues and their comments, put back in order: who wrote what and when stands in the first line of the text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from common.backups.sidecar import Comment, Issue
from common.cvat.client import Client
from common.cvat.errors import OutcomeUnknown
from common.cvat.listing import items
from common.text import iso, parse_time

_SIGNED = re.compile(r"\[from a backup: [^\n]+\]\n")
ATTEMPTS = 3


def signed(comment: Comment) -> str:
    """A comment's text under its author and date, which CVAT lets nobody set.

    What has been restored before keeps its first author: a copy of a copy says the same.
    """
    if _SIGNED.match(comment.message):
        return comment.message
    who = comment.owner.username if comment.owner else "somebody"
    return f"[from a backup: {who}, {_day(comment.created_at)}]\n{comment.message}"


def texts(issue: Issue) -> list[str]:
    """An issue's own message and its comments."""
    unsaid = Comment(0, issue.owner, "(no message)", issue.created_at, issue.updated_at)
    return [signed(comment) for comment in issue.comments or (unsaid,)]


def _day(moment: str) -> str:
    try:
        return iso(parse_time(moment).replace(microsecond=0))
    except ValueError:
        return moment


class JobReview:
    """The issues of one job on the server, and those of a sidecar that are put beside them.

    What is there already, of a run that was killed, is found again and gone on with, not made twice.
    """

    def __init__(self, client: Client, job_id: int) -> None:
        self._client = client
        self._job_id = job_id
        self._claimed: set[int] = set()
        self._issues: list[dict[str, Any]] = []
        self._comments: dict[int, list[str]] = {}
        self._look()

    def _look(self) -> None:
        # An unknown query parameter is ignored with 200 (measured): check what was answered.
        asked = {"job_id": self._job_id}
        self._issues = [item for item in items(self._client, "/api/issues", asked) if item["job"] == self._job_id]
        self._comments = {item["id"]: [] for item in self._issues}
        if self._issues:
            for item in items(self._client, "/api/comments", asked):
                if item["issue"] in self._comments:
                    self._comments[item["issue"]].append(str(item["message"]))

    def put_back(self, issue: Issue, assignee: int | None) -> None:
        """Raises CvatError."""
        said = texts(issue)
        found = self._find(issue, said[0])
        wanted = {"resolved": issue.resolved, "assignee": assignee}
        if found is None:
            found = self._make(issue, said[0], wanted)
        elif (found.get("resolved"), (found.get("assignee") or {}).get("id")) != (issue.resolved, assignee):
            self._client.change("PATCH", f"/api/issues/{found['id']}", wanted, repeat=True)
        self._claimed.add(found["id"])
        self._say_rest(found["id"], said[1:])

    def _find(self, issue: Issue, first: str) -> dict[str, Any] | None:
        for item in self._issues:
            said = self._comments.get(item["id"])
            same_place = item["frame"] == issue.frame and _same(item.get("position") or (), issue.position)
            if item["id"] not in self._claimed and same_place and said and said[0] == first:
                return item
        return None

    def _make(self, issue: Issue, first: str, wanted: dict[str, Any]) -> dict[str, Any]:
        where = {"job": self._job_id, "frame": issue.frame, "position": list(issue.position)}
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = self._client.change("POST", "/api/issues", {**where, "message": first, **wanted})
            except OutcomeUnknown:
                if attempt == ATTEMPTS:
                    raise
                self._client.stop.sleep(attempt)
                self._look()
                found = self._find(issue, first)
                if found is None:
                    continue
                return found
            made: dict[str, Any] = answer.json()
            self._comments[made["id"]] = [first]
            return made
        raise AssertionError("the last attempt returns or raises")

    def _say_rest(self, issue_id: int, said: Sequence[str]) -> None:
        left = list(said)
        for _attempt in range(ATTEMPTS):
            for text in self._comments.get(issue_id, [])[1:]:
                if text in left:
                    left.remove(text)
            try:
                while left:
                    self._client.change("POST", "/api/comments", {"issue": issue_id, "message": left[0]})
                    del left[0]
                return
            except OutcomeUnknown as error:
                unknown = error
                self._client.stop.sleep(1)
                left = list(said)
                self._look()
        raise unknown


def _same(there: Iterable[float], wanted: Iterable[float]) -> bool:
    one, other = list(there), list(wanted)
    return len(one) == len(other) and all(abs(a - b) < 1e-6 for a, b in zip(one, other, strict=True))
