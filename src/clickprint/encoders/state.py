"""How a fitted encoder is kept, without pickle.

fitted.json says which encoder it is and what it learned; arrays are .npy files.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clickprint.core.errors import DataError
from clickprint.core.files import whole
from clickprint.core.past import Fitted

FORMAT = 1
FILE = "fitted.json"


def write(
    folder: Path,
    encoder: str,
    state: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray] | None = None,
    inside: Mapping[str, Fitted] | None = None,
) -> None:
    """Writes the folder: whole or not at all.

    `inside`: further fitted encoders, in folders of their own.
    """
    with whole(folder) as part:
        part.mkdir()
        for name, values in (arrays or {}).items():
            np.save(part / f"{name}.npy", values, allow_pickle=False)
        for name, fitted in (inside or {}).items():
            fitted.save(part / name)
        text = json.dumps({"format": FORMAT, "encoder": encoder, "state": state}, indent=1)
        (part / FILE).write_text(text, "utf-8")


def read(folder: Path, encoder: str) -> dict[str, Any]:
    """The state that `write` was given.

    Raises DataError when the folder holds no fitted encoder, or another one.
    """
    path = folder / FILE
    try:
        raw = json.loads(path.read_text("utf-8"))
        found, of, state = raw["format"], raw["encoder"], dict(raw["state"])
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise DataError(
            str(path), [f"not a fitted encoder ({fault!r}); fit and save it again"]
        ) from None
    if found != FORMAT:
        raise DataError(
            str(path), [f"found format {found}, expected {FORMAT}; fit and save it again"]
        )
    if of != encoder:
        raise DataError(str(path), [f"found a fitted {of!r}, expected {encoder!r}"])
    return state


def array(folder: Path, name: str) -> np.ndarray:
    """An array that `write` was given. Raises DataError."""
    path = folder / f"{name}.npy"
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as fault:
        raise DataError(
            str(path), [f"not a numpy array ({fault}); fit and save the encoder again"]
        ) from None
    if not isinstance(found, np.ndarray):
        raise DataError(str(path), ["not one numpy array; fit and save the encoder again"])
    return found
