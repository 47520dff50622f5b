"""Keeping passwords out of what is shown."""

from __future__ import annotations

import re

_PASSWORD = re.compile(r"(://[^\s/:@'\"]*):[^\s'\"]*@|(\bpassword=)('[^']*'|[^\s&'\"]+)", re.IGNORECASE)


def without_password(text: str) -> str:
    """The text with the passwords of URLs and of connection strings starred out."""
    return _PASSWORD.sub(lambda found: f"{found[1]}:***@" if found[1] is not None else f"{found[2]}***", text)
