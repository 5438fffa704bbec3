"""Ids as people read them: what the shop calls users and items, and the items' titles."""

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from clickprint.core.items import AttributeType
from clickprint.data.engine import name
from clickprint.data.log import EventLog


def shop_ids(log: EventLog, column: str, ids: Int64[np.ndarray, "N"]) -> dict[int, str]:
    """What the shop calls these ids of a column; the number where ids are the shop's own."""
    found = {int(i): str(int(i)) for i in ids}
    if column in log.texts and len(found):
        asked = log.engine.keep(pa.table({"asked": np.array(list(found), np.int64)}))
        table = log.engine.table(
            f"SELECT id, text FROM {log.texts[column]} JOIN {asked} ON id = asked"
        )
        log.engine.drop(asked)
        texts = table.column("text").to_pylist()
        found |= dict(zip(table.column("id").to_pylist(), texts, strict=True))
    return found


def titles(log: EventLog, items: Int64[np.ndarray, "N"]) -> dict[int, str]:
    """Each item's title with the shop's id in brackets, or the id alone.

    The title is the attribute `title`, or else the first text, as known at the end of the log.
    """
    called = shop_ids(log, "item", items)
    texts = [n for n, type_ in log.manifest.attributes.items() if type_ is AttributeType.TEXT]
    if not texts or not len(called):
        return called
    title = name("title" if "title" in texts else texts[0])
    table = log.engine.table(
        f"SELECT item, {title} AS title FROM ({log.known(log.end)}) AS k"
        f" WHERE item IN ({', '.join(map(str, called))})"
    )
    pairs = zip(table.column("item").to_pylist(), table.column("title").to_pylist(), strict=True)
    return called | {item: f"{text} ({called[item]})" for item, text in pairs if text}
