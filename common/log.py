"""Logging: structlog, readable on a terminal, one JSON object a line elsewhere, no secret in either.

Event names are fixed words (`backup_saved`, `export_failed`); what happened to what stands in the fields. A line with a
field `sentence` is that sentence for the person at a terminal (an empty one: nothing), and the rest for everybody else.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, TextIO, cast

from common.terminal import has_colours

if "rich" in sys.modules:
    import structlog
else:
    # structlog takes rich in, if it is there, to draw tracebacks, which we do not use: an eighth of the start of a script.
    # None makes Python say that there is none (https://docs.python.org/3/reference/import.html#the-module-cache).
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog
    finally:
        del sys.modules["rich"]

MASK = "********"
# A shorter secret is masked where it stands alone only: the letter x is in too many words.
SHORTEST_ANYWHERE = 4
_hidden: set[str] = set()


def hide(secret: str) -> None:
    """Makes every later log line show `********` in place of this secret, also where it stands quoted or escaped."""
    escaped = (json.dumps(secret, ensure_ascii=only_ascii)[1:-1] for only_ascii in (True, False))
    for form in (secret, secret.strip(), repr(secret)[1:-1], *escaped):
        if form.strip("*"):
            _hidden.add(form)


def without_secrets(text: str) -> str:
    """`text` with every hidden secret masked."""
    for secret in sorted(_hidden, key=len, reverse=True):
        if len(secret) >= SHORTEST_ANYWHERE:
            text = text.replace(secret, MASK)
        else:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", MASK, text)
    return text


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, Mapping):
        return {key: _masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(item) for item in value]
    return value


def _mask_secrets(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {key: _masked(value) for key, value in event.items()}


class _CurrentStderr:
    """Writes to whatever `sys.stderr` is now: a progress display replaces it while it is on the screen.

    Nothing is raised when nobody takes it (a pipe without a reader, a full disk): no backup fails for a log line.
    """

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


stderr = cast(TextIO, _CurrentStderr())


def set_up_for_library() -> None:
    """Somebody's own program uses this one: warnings to standard error, unless it has set structlog up itself.

    structlog by itself would print every line to standard output.
    """
    if not structlog.is_configured():
        _configure("WARNING", "auto")


def set_up(level: str = "INFO", style: str = "auto") -> None:
    """Sends all logs to standard error. `style` is auto, text or json."""
    _configure(level, style)
    # Libraries log through the standard library: their warnings are worth seeing, their chatter is not.
    logging.basicConfig(level=logging.ERROR, format="%(name)s: %(message)s", stream=stderr)


def _configure(level: str, style: str) -> None:
    text = style == "text" or (style == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if text else "iso", utc=True),
        structlog.processors.format_exc_info,
        _mask_secrets,
    ]
    as_text = structlog.dev.ConsoleRenderer(colors=has_colours(), pad_event_to=22, sort_keys=False)
    as_json = structlog.processors.JSONRenderer(ensure_ascii=False, default=str)

    def renderer(logger: Any, method: str, event: structlog.typing.EventDict) -> str | bytes:
        sentence = event.pop("sentence", None)
        if not text:
            return as_json(logger, method, event)
        if sentence == "":
            raise structlog.DropEvent
        return as_text(logger, method, event) if sentence is None else str(sentence)

    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.WriteLoggerFactory(file=stderr),
        cache_logger_on_first_use=False,
    )


def bind(**fields: str) -> None:
    """Adds these fields to all later log lines of this thread."""
    structlog.contextvars.bind_contextvars(**fields)


def get() -> structlog.typing.FilteringBoundLogger:
    """The logger every module uses."""
    return cast(structlog.typing.FilteringBoundLogger, structlog.get_logger())
