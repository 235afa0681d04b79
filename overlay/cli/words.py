"""Arguments of control commands, as they came from a client: checked, or a ``UsageError`` in plain words."""

from __future__ import annotations

from overlay.driver.control import Args
from overlay.errors import UsageError


def text(args: Args, key: str, default: str | None = None) -> str:
    """The text under ``key``; ``default`` where it is absent and one is given."""
    value = args.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{key.upper()} is missing", "see --help")
    return value


def texts(args: Args, key: str) -> tuple[str, ...]:
    """The texts under ``key``: a list of them, or one alone; none where it is absent."""
    value = args.get(key)
    listed = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise UsageError(f"{key} must be a list of texts", "see --help", rule="texts")
    return tuple(listed)


def optional(args: Args, key: str) -> str | None:
    """The text under ``key``, or None where it is absent or empty."""
    return None if args.get(key) in (None, "") else text(args, key)


def number(args: Args, key: str, default: int, low: int, high: int) -> int:
    """The whole number under ``key``, from ``low`` to ``high``."""
    value = args.get(key)
    if value is None:
        value = default
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UsageError(f"{key} must be a whole number from {low} to {high}", "see --help", rule="number")
    return value
