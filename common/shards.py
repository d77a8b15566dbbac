"""Several runs side by side, each with its part of the sources: which part follows from the id alone, nobody coordinates."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """Which part of the sources a run deals with: those whose id leaves `index` when divided by `count`."""

    index: int = 0
    count: int = 1

    def holds(self, source_id: int) -> bool:
        return source_id % self.count == self.index

    @property
    def is_whole(self) -> bool:
        return self.count == 1

    @property
    def ending(self) -> str:
        """What the names of its files end with: "" or ".0of4"."""
        return "" if self.is_whole else f".{self.index}of{self.count}"

    def __str__(self) -> str:
        return "" if self.is_whole else f"{self.index}/{self.count}"


WHOLE = Shard()


def parse_shard(text: str) -> Shard:
    """`0/4` as a shard. Raises ValueError."""
    match = re.fullmatch(r"(\d{1,6})\s*/\s*(\d{1,6})", text.strip())
    if match is None:
        if re.fullmatch(r"\d+/", text):
            raise ValueError(
                "lacks the number of shards: Kubernetes sets JOB_COMPLETION_INDEX; set JOB_COMPLETION_COUNT"
            )
        raise ValueError("must be two numbers such as 0/4: the first of four shards")
    index, count = int(match[1]), int(match[2])
    if not index < count:
        raise ValueError(f"must begin with 0 to {max(0, count - 1)}: shards are counted from 0")
    return Shard(index, count)
