"""Datasets in the forms of other tools, to run those on the same log and the same split."""

from pathlib import Path

from clickprint.core.errors import ConfigError


def refuse_full(folder: Path) -> None:
    """Raises ConfigError where `folder` is a file, or holds something."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ConfigError(f"{folder} is not empty; name a new folder, or empty it first")
