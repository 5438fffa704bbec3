"""A test that is scored once: what it was frozen with, and what is refused from then on.

`units` are names of folders below FOLDER/validation.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from clickprint.core.errors import ConfigError
from clickprint.core.files import write_text
from clickprint.core.forms import read_json, reading
from clickprint.work.folder import digest

FROZEN = Path("test", "frozen.json")


def freeze(folder: Path, text: str, fingerprint: str, units: list[str]) -> None:
    """Write a digest of the recipe and of each validation."""
    frozen = {
        "recipe": digest(text),
        "fingerprint": fingerprint,
        "validation": _validations(folder, units),
    }
    write_text(folder / FROZEN, json.dumps(frozen, indent=1) + "\n")


def check_recipe(folder: Path, text: str) -> Mapping[str, Any]:
    """What the test was frozen with; nothing where it was not yet.

    Raises ConfigError where that was another recipe.
    """
    if not (folder / FROZEN).is_file():
        return {}
    again = "name another --out"
    frozen: dict[str, Any] = read_json(folder / FROZEN, again=again)
    with reading(folder / FROZEN, again):
        same = frozen["recipe"] == digest(text)
        dict(frozen["validation"]), str(frozen["fingerprint"])
    if not same:
        raise ConfigError(
            f"{folder}: the test was scored with another text of this recipe, which is in it. A"
            " changed recipe is another one, which has seen the test: name another --out for its"
            " validation, or take the old text back"
        )
    return frozen


def check_data(folder: Path, text: str, fingerprint: str) -> None:
    """Raises ConfigError where the test was begun on other data."""
    found = check_recipe(folder, text)["fingerprint"]
    if found != fingerprint:
        raise ConfigError(
            f"{folder}: the test was begun on other data ({found}, now {fingerprint}); name"
            " another --out"
        )


def check_validations(folder: Path, text: str, units: list[str]) -> None:
    """Raises ConfigError where the recipe or a validation is another one than at the test."""
    before, now = check_recipe(folder, text)["validation"], _validations(folder, units)
    if changed := sorted(n for n in {*before, *now} if before.get(n) != now.get(n)):
        raise ConfigError(
            f"{folder}: the test was scored with other validation results ({', '.join(changed)}"
            " changed since); put them back, or name another --out, where the test is scored anew"
            " and both are told"
        )


def _validations(folder: Path, units: list[str]) -> dict[str, str]:
    """Of each validation a digest of all its files."""
    out = {}
    for unit in units:
        found, place = sha256(), folder / "validation" / unit
        for file in sorted(p for p in place.rglob("*") if p.is_file()):
            name = file.relative_to(place).as_posix()
            found.update(f"{name}\0".encode() + sha256(file.read_bytes()).digest())
        out[unit] = found.hexdigest()[:24]
    return out
