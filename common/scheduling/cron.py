"""When a crontab line is due: Debian's semantics by cronsim, kept strictly moving forward over clock changes.

A day is due when day-of-month OR weekday match (AND when one of them begins with a star), Sunday is 0 and 7. A fixed
time that a clock change skips comes at the first moment that exists; one that comes twice is due once. Lines with a
star in the minute or hour field follow elapsed time instead.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from tzlocal import get_localzone

FIELDS = {
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7 or SUN-SAT",
}
# Only to try an expression out: any moment does, and a fixed one gives the same answer every day.
_SOME_DAY = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Schedule:
    """Five cron fields in a time zone. Make them with `schedule`, which checks them."""

    expression: str
    zone: ZoneInfo

    def after(self, moment: datetime) -> datetime | None:
        """The first due moment later than `moment` (aware), in the zone of the line; None when there is none."""
        moment = moment.astimezone(self.zone)
        try:
            for due in CronSim(self.expression, moment):
                # In the repeated hour of autumn cronsim counts from the wall clock, and may answer with what was.
                if due.astimezone(UTC) > moment.astimezone(UTC):
                    return due
        except (StopIteration, OverflowError):
            return None
        return None

    def latest(self, until: datetime) -> datetime | None:
        """The last due moment that is not later than `until` (aware)."""
        until = until.astimezone(self.zone)
        try:
            found = next(CronSim(self.expression, until + timedelta(seconds=1), reverse=True))
        except (StopIteration, OverflowError):
            return None
        while (following := self.after(found)) is not None and following.astimezone(UTC) <= until.astimezone(UTC):
            found = following
        return found

    def coming(self, moment: datetime) -> Iterator[datetime]:
        """All due moments later than `moment`."""
        while (due := self.after(moment)) is not None:
            yield due
            moment = due


def schedule(expression: str, zone: ZoneInfo) -> Schedule:
    """Checked fields. Raises ValueError with what is wrong, in plain words."""
    fields = expression.split()
    try:
        CronSim(expression, _SOME_DAY)
    except CronSimError as error:
        name = str(error).removeprefix("Bad ")
        if name not in FIELDS:
            raise ValueError(f"{expression!r} is not understood: {error}") from None
        value = fields[list(FIELDS).index(name)]
        if name == "day-of-month" and _understood(f"* * {value} * *"):
            raise ValueError(f"{expression!r} never comes: no such day in that month") from None
        raise ValueError(f"{value!r} is no {name} ({FIELDS[name]})") from None
    made = Schedule(" ".join(fields), zone)
    if made.after(_SOME_DAY) is None:
        raise ValueError(f"{expression!r} never comes")
    return made


def _understood(expression: str) -> bool:
    try:
        CronSim(expression, _SOME_DAY)
    except CronSimError:
        return False
    return True


def time_zone(name: str) -> ZoneInfo:
    """The zone of this name. Raises ValueError naming the nearest one that exists."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError in some versions
        pass
    except KeyError:
        pass
    folded = {zone.casefold(): zone for zone in available_timezones()}
    nearest = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    hint = f"; did you mean {folded[nearest[0]]}?" if nearest else ", for example Europe/Berlin or UTC"
    raise ValueError(f"{name!r} is no time zone{hint}")


def zone_of_schedule(setting: str) -> ZoneInfo:
    """The zone in which the crontab's times are meant: TZ, or the machine's. Raises ValueError."""
    name = setting.strip().removeprefix(":")
    if name not in ("", "/etc/localtime"):
        return time_zone(name)
    try:
        zone = get_localzone()
    except (OSError, LookupError, ValueError):
        return ZoneInfo("UTC")
    return zone if isinstance(zone, ZoneInfo) else ZoneInfo("UTC")
