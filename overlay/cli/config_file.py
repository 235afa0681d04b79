"""The file ``overlay.toml`` of a home: read it, and write the first one.

It decides what counts as no file, as an unreadable one, and when a home gets one. What may stand in it is the affair of
``overlay/config.py``, which knows no files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from overlay.config import FILE, Config, InvalidConfig, Problem, dump, parse
from overlay.errors import ConfigError

_MAX_OCTETS: Final = 1_048_576  # a guess: a thousand times the longest sensible file


def load(home: Path) -> Config:
    """The settings of that home; the defaults where it has no ``overlay.toml``.

    Raises ``InvalidConfig`` with all mistakes, ``ConfigError`` where the file cannot be read.
    """
    path = home / FILE
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_OCTETS + 1)
    except (FileNotFoundError, NotADirectoryError):
        return Config()
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}", "check its owner and mode, or choose another --home", rule="config-file"
        ) from None
    if len(data) > _MAX_OCTETS:
        raise ConfigError(f"{path} is longer than {_MAX_OCTETS} octets", "that is no configuration: correct it", rule="config-file")
    try:
        return parse(data.decode(), str(path))
    except UnicodeDecodeError as error:
        raise InvalidConfig(str(path), (Problem(data[: error.start].count(b"\n") + 1, "is not text in UTF-8"),)) from None


def remember(home: Path, config: Config) -> bool:
    """Write what differs from the defaults as the ``overlay.toml`` of that home, unless there is one or nothing differs.

    So listeners chosen when a node is founded or enrolled hold when it starts again. Raises ``ConfigError``.
    """
    text = dump(config, effective=False)
    if not text:
        return False
    try:
        with (home / FILE).open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    except OSError as error:
        raise ConfigError(
            f"cannot write {home / FILE}: {error.strerror}", "check the owner and mode of the home", rule="config-file"
        ) from None
    return True
