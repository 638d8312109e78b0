"""Where Curb is and who asks, as arguments and the environment say. No error here shows a token."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

# In bytes. A token has some dozens; what is larger is another file.
_MAX_TOKEN_FILE = 64 << 10


def address_from_environment() -> str | None:
    """Of CURB_ADDRESS; None where it says nothing."""
    return _variable("CURB_ADDRESS")


def headers_with_token(headers: Mapping[str, str] | None, token: Any) -> dict[str, str]:
    """What every request carries.

    Raises ValueError, which names the setting and never shows its value, where one cannot be sent or read.
    """
    found = {name: _header(f"the header {name}", value) for name, value in (headers or {}).items()}
    bearer = _token("the argument `token`", token) if token is not None else None
    if bearer is None:
        if _signs_in(found):
            return found
        bearer = _token_file() or _token("CURB_TOKEN", os.environ.get("CURB_TOKEN"))
    if bearer is None and headers is None:
        found = _headers_of_ray()
        if _signs_in(found):
            return found
    bearer = bearer or _token("RAY_AUTH_TOKEN", os.environ.get("RAY_AUTH_TOKEN"))
    if bearer is not None:
        found = {name: value for name, value in found.items() if name.lower() != "authorization"}
        found["Authorization"] = f"Bearer {bearer}"
    return found


def _headers_of_ray() -> dict[str, str]:
    raw = _variable("RAY_JOB_HEADERS")
    try:
        parsed = json.loads(raw) if raw else {}
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        # Not chained: the parser's error keeps what it could not read.
        raise ValueError('RAY_JOB_HEADERS must be JSON such as {"Authorization": "Bearer ..."}')
    return {name: _header(f"RAY_JOB_HEADERS: {name}", value) for name, value in parsed.items()}


def _token_file() -> str | None:
    """Of the file that CURB_TOKEN_FILE names, as the program `curb` reads it."""
    path = _variable("CURB_TOKEN_FILE")
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            raw = file.read(_MAX_TOKEN_FILE + 1)
    except OSError as error:
        raise ValueError(f"CURB_TOKEN_FILE: cannot read the token file {path}: {error.strerror}") from error
    if len(raw) > _MAX_TOKEN_FILE:
        raise ValueError(f"CURB_TOKEN_FILE: {path} has more than {_MAX_TOKEN_FILE} bytes; it holds a token alone")
    token = _token(f"CURB_TOKEN_FILE: {path}", raw.decode("latin-1"))
    if token is None:
        raise ValueError(f"CURB_TOKEN_FILE: {path} is empty; it holds what `curb token create` printed, and no more")
    return token


def _token(source: str, text: Any) -> str | None:
    """Without the line's end that a file or a shell leaves; None where nothing is left."""
    if text is not None and not isinstance(text, str):
        raise ValueError(f"{source}: must be text, not a {type(text).__name__}")
    token = (text or "").strip()
    if not all("!" <= character <= "~" for character in token):
        raise ValueError(
            f"{source}: has a blank, a line break or another character that no token has (it is not shown);"
            " it holds what `curb token create` printed, and no more"
        )
    return token or None


def _header(source: str, value: Any) -> str:
    """A value that can be sent. The libraries below would show it in their own error, be it a token."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if not isinstance(text, str):
        raise ValueError(f"{source}: must be text, not a {type(value).__name__}")
    text = text.strip()
    if not all(character == "\t" or (" " <= character <= "\xff" and character != "\x7f") for character in text):
        raise ValueError(f"{source}: has a line break or another character that no header can have (it is not shown)")
    return text


def _signs_in(headers: Mapping[str, str]) -> bool:
    return any(name.lower() == "authorization" for name in headers)


def _variable(name: str) -> str | None:
    """What a variable of the environment says; None where that is nothing, or blanks."""
    return os.environ.get(name, "").strip() or None
