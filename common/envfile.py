"""Reads `.env` files: NAME=value, taken literally.

No interpolation, no escapes, no comments behind a value: a password with `$`, `;`, `#`, quotes or
spaces means itself. One pair of quotes around the whole value is removed, which is the way to keep
blanks at its ends.
"""

from __future__ import annotations

import re
from pathlib import Path

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)", re.DOTALL)


class EnvFileError(ValueError):
    """A line of an env file that is not NAME=value. The text never holds the line itself: it may be a secret."""


def parse_env(text: str, file_name: str = ".env") -> dict[str, str]:
    """The variables of one env file; a later line wins over an earlier one of the same name.

    Raises EnvFileError naming file and line number.
    """
    found: dict[str, str] = {}
    # Only line feeds end a line: str.splitlines() would also cut a password at U+2028 or a form feed.
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        stripped = line.strip(" \t\r")
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.fullmatch(stripped)
        if match is None:
            raise EnvFileError(
                f"{file_name}, line {number}: expected NAME=value (comments stand on lines of their own)"
            )
        found[match[1]] = without_quotes(match[2].strip(" \t"))
    return found


def read_env_file(path: Path) -> dict[str, str]:
    """The variables of the file at `path`; none when there is no such file. Raises EnvFileError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        reason = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else (error.strerror or "cannot be read")
        raise EnvFileError(f"{path.name}: {reason}") from None
    return parse_env(text, path.name)


def without_quotes(value: str) -> str:
    """`value` without the one pair of equal quotes that surrounds it, if there is one."""
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value
