"""Hiding who and what: ids that only the owner of a key can compute."""

import hmac
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64

from clickprint.core.errors import ConfigError
from clickprint.data.engine import keyed_id_sql, quote

SHORTEST = 16  # bytes of a key


@dataclass(frozen=True, slots=True)
class Anonymise:
    """Hides users, items, urls and categories behind ids that only the owner of a key can compute.

    - `key`: makes the ids. The same key gives the same ids again; keep it secret, or throw it
      away.
    - `deny`: items whose events and catalogue rows are left out, and counted.

    An id becomes the first 60 bits of HMAC-SHA256(key, "<column>:<id>"), so that columns do not
    share numbers. Raises ConfigError for a key below 16 bytes. What this does not hide: times, how
    often and in which order somebody did something. Source: RFC 2104.
    """

    key: bytes = field(repr=False)
    deny: Int64[np.ndarray, "V"] = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        if len(self.key) < SHORTEST:
            raise ConfigError(
                f"key: found {len(self.key)} bytes, expected at least {SHORTEST} that nobody can"
                " guess"
            )

    @property
    def seed(self) -> int:
        """A seed that tells nothing of the key, for what else is drawn at random."""
        return int.from_bytes(hmac.digest(self.key, b"seed", "sha256")[:7], "big")

    def ids_sql(self, column: str, ids: str) -> str:
        """SQL (id, anew): each id of a column that the SQL `ids` gives, and what replaces it."""
        anew = keyed_id_sql(f"{quote(column + ':')} || CAST(id AS VARCHAR)", self.key)
        return f"SELECT id, {anew} AS anew FROM ({ids}) AS i"
