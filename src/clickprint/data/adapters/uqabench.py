"""UQABench: click sequences of Taobao users with what is known of each item, and questions about
the users.

Source: arXiv 2502.19178; the loader of its repository (OpenStellarTeam/UQABench) says what the
columns are.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int64

from clickprint.core.dataset import Dataset
from clickprint.core.errors import DataError, first_line
from clickprint.core.events import Kind, Role
from clickprint.core.ids import NONE
from clickprint.core.items import AttributeType
from clickprint.core.lookup import among, positions
from clickprint.core.progress import Progress, silent
from clickprint.core.ragged import spans, starts_of, within_rows
from clickprint.core.rng import GOLDEN, mix
from clickprint.data.adapters.card import Card
from clickprint.data.adapters.staging import FaultsOfArrow, workplace
from clickprint.data.check import (
    blaming,
    column_fault,
    fits,
    folder_faults,
    is_list,
    is_text,
    need_file,
    noting,
    refuse,
)
from clickprint.data.engine import Engine, name, select_sql
from clickprint.data.parquet import TableWriter
from clickprint.data.store import gather

# In this order: the place of a file is the scenario of its events, and the billions of its users'
# ids.
FILES = ("pretrain_data_train", "pretrain_data_eval", "align_data_train", "align_data_eval")
USERS = 1_000_000_000  # ids that a file has
ITEM = "uni_seq_item_id"
IDS = {
    "category": "uni_seq_cate_id",
    "brand": "uni_seq_brand_id",
    "shop": "uni_seq_shop_id",
    "seller": "uni_seq_seller_id",
}
TOKENS = {
    f"{ours}_tokens": f"uni_seq_{theirs}_bpe_token_ids"
    for ours, theirs in (
        ("title", "title"),
        ("category", "cate"),
        ("brand", "brand"),
        ("shop", "shop"),
        ("seller", "seller"),
    )
}
FEATURES = (ITEM, *IDS.values(), *TOKENS.values())
TEXT = "text"
ATTRIBUTES = {
    **dict.fromkeys(IDS, AttributeType.CATEGORY),
    **dict.fromkeys(TOKENS, AttributeType.TEXT),
}
ROWS = 256  # sequences that are looked at together
EVENTS = pa.schema(
    [("user", pa.int64()), ("time", pa.int64()), ("item", pa.int64()), ("scenario", pa.int64())]
)
ITEMS = pa.schema(
    [("item", pa.int64()), *((a, pa.int64()) for a in IDS), *((a, pa.string()) for a in TOKENS)]
)
QUESTIONS = pa.schema([("user", pa.int64()), ("question", pa.string()), ("answer", pa.string())])
CARD = Card(
    title=(
        "UQABench: 31 million clicks of 184,520 Taobao users as sequences, and questions about the"
        " users"
    ),
    files={
        "datas/pretrain_data_train.arrow, datas/pretrain_data_eval.arrow": (
            f"a row is a user; lists of lists of ids: {', '.join(FEATURES)}"
        ),
        "datas/align_data_train.arrow, datas/align_data_eval.arrow": (
            "the same, and text: a question and its answer, as JSON chat turns"
        ),
    },
    licence="that on the page of the data: read it before use",
    where="https://www.kaggle.com/datasets/liulangmingliu/uqabench",
    dropped="""
        - sequences whose ten columns are not equally long, or in which no event has an item
        - events without an item id (a position of its own stays empty)
        - texts that are no JSON list with a user's turn and then an assistant's; questions about a
          sequence that is left out
    """,
    notes="""
        - there are no times: time is the place in the sequence, and whatever needs a clock refuses
          the log
        - there are no user ids: a user is 1,000,000,000 times the file's place (0 to 3, in the
          order above) plus the row; scenario is that place, which keeps the source's own train and
          eval sets apart; a person who is in several files is several users
        - where an event has several ids of a feature the first one counts, as in the source's
          labels (the manifest's source counts them)
        - category, brand, shop, seller and the five token lists are attributes of the item as it
          was first seen; the manifest's source counts the items of which another event says
          otherwise
        - questions.parquet has user, question, answer; the tokens are those of Qwen2.5's
          vocabulary
    """,
)


def read(folder: Path, out: Path, *, engine: Engine, progress: Progress = silent) -> Dataset:
    """The four Arrow files as a log without times at `out`, with questions.parquet beside it.

    They stand in `folder` or in folder/datas. An event is one place of a sequence: its item is the
    first inner id, its time the place. Record batches are mapped, not read, and looked at some
    hundred sequences at a time; memory also holds nine numbers an item. What is left out is
    counted (CARD.dropped). Raises DataError with every fault of every file, also where a file is
    in Arrow's stream format.
    """
    folder, out = Path(folder), Path(out)
    inner = folder / "datas" if (folder / "datas").is_dir() else folder
    paths = [inner / f"{file}.arrow" for file in FILES]
    refuse(folder, folder_faults(folder) or [f for path in paths for f in _problems(path)])
    with workplace(out) as room, blaming(folder):
        staged = _stage(paths, room, progress)
        events, items = (engine.scan([room / f"{file}.parquet"]) for file in ("events", "items"))
        picks = {c: name(c) for c in ("time", "user", "item", "scenario")}
        picks["kind"] = "CAST(0 AS SMALLINT)"
        scenarios = {"id": pa.array(range(len(FILES)), pa.int64()), "text": list(FILES)}
        return gather(
            out,
            engine=engine,
            name="uqabench",
            kinds=(Kind("click", Role.CLICK),),
            columns=("scenario",),
            selects=[select_sql(picks, events)],
            catalogue=f"SELECT * FROM {items}",
            attributes=ATTRIBUTES,
            texts={"scenario": pa.table(scenarios)},
            time="order",
            rejected=staged.rejected,
            source=staged.source(),
            beside={"questions.parquet": partial(_copy, room / "questions.parquet")},
            expected=staged.events,
            progress=progress,
        )


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


# -- the files -----------------------------------------------------------------------------------


@contextmanager
def _blamed(path: Path) -> Iterator[None]:
    """What Arrow finds wrong inside is said of the file."""
    try:
        yield
    except FaultsOfArrow as fault:
        said = f"not a whole Arrow file ({first_line(fault)}); copy or download it again"
        if _is_stream(path):
            help_ = "write the same batches again with pyarrow.ipc.new_file"
            said = f"found Arrow's stream format, expected its file format; {help_}"
        raise DataError(path, said) from None


def _schema(path: Path) -> pa.Schema:
    with _blamed(path), pa.memory_map(str(path)) as mapped:
        return pa.ipc.open_file(mapped).schema


def _pieces(path: Path, progress: Progress) -> Iterator[pa.RecordBatch]:
    """Some rows after the other, of mapped batches.

    A batch has a map of its own, or all of the file would stay mapped to the end.
    """
    with _blamed(path), pa.memory_map(str(path)) as mapped:
        batches = pa.ipc.open_file(mapped).num_record_batches
    for number in range(batches):
        progress(f"read {path.name}", number, batches)
        with _blamed(path):
            batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(number)
            batch.validate(full=True)  # offsets that lie would be read out of bounds
        for start in range(0, batch.num_rows, ROWS):
            yield batch.slice(start, ROWS)


def _is_stream(path: Path) -> bool:
    try:
        with path.open("rb") as file, pa.ipc.open_stream(file):
            return True
    except FaultsOfArrow:
        return False


def _problems(path: Path) -> list[str]:
    """What the schema of one file shows to be wrong, each starting with the file's name."""
    faults: list[str] = []
    with noting(faults, path.name):
        need_file(path, "an Arrow file")
        schema = _schema(path)
        for column in (*FEATURES, TEXT) if path.name.startswith("align") else FEATURES:
            said = column_fault(schema.names, column)
            if not said:
                type_, text = schema.field(column).type, column == TEXT
                expected = "texts" if text else "list<list<int64>>"
                good = is_text(type_) if text else _is_ids(type_)
                said = "" if good else f"column {column} holds {type_}, expected {expected}"
            faults += [f"{path.name}: {said}"] * bool(said)
    return faults


def _is_ids(type_: pa.DataType) -> bool:
    """Lists of lists of whole numbers within int64."""
    if not is_list(type_) or not is_list(type_.value_type):
        return False
    return fits(type_.value_type.value_type, "id")


# -- sequences into events, some hundred at a time -----------------------------------------------


@dataclass(slots=True)
class _Staged:
    """What was written, and what was left out. `several`: events with more than one id."""

    events: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    several: Counter[str] = field(default_factory=Counter)
    known: "_Known" = field(default_factory=lambda: _Known())

    def source(self) -> Mapping[str, str]:
        several = {
            f"events with several {column}, of which the first is kept": str(n)
            for column, n in self.several.items()
            if n
        }
        rows = {f"{f}.arrow": f"{self.rows[f]} rows" for f in FILES}
        return {"reader": "uqabench", **rows, **several, **self.known.said()}


@dataclass(slots=True)
class _Known:
    """The items that were seen, ascending, and what their attributes were.

    `first`: what each was at first (an id, a hash of tokens); `differs`: whether another came
    later.
    """

    items: Int64[np.ndarray, "V"] = field(default_factory=lambda: np.zeros(0, np.int64))
    first: Int64[np.ndarray, "V 9"] = field(
        default_factory=lambda: np.zeros((0, len(ATTRIBUTES)), np.int64)
    )
    differs: Bool[np.ndarray, "V 9"] = field(
        default_factory=lambda: np.zeros((0, len(ATTRIBUTES)), bool)
    )

    def add(
        self, items: Int64[np.ndarray, "L"], values: Int64[np.ndarray, "L 9"]
    ) -> Int64[np.ndarray, "F"]:
        """Takes note of events in their order; which of them are the first of their item."""
        some, at = np.unique(items, return_index=True)
        new = ~among(self.items, some)
        slots = np.searchsorted(self.items, some[new])
        self.items = np.insert(self.items, slots, some[new])
        self.first = np.insert(self.first, slots, values[at[new]], axis=0)
        self.differs = np.insert(self.differs, slots, False, axis=0)
        row = positions(self.items, items)
        others, columns = np.nonzero(self.first[row] != values)
        self.differs[row[others], columns] = True
        return np.sort(at[new])

    def said(self) -> dict[str, str]:
        several = dict(zip(ATTRIBUTES, self.differs.sum(0).tolist(), strict=True))
        return {
            f"items with several {attribute}, of which the first seen is kept": str(n)
            for attribute, n in several.items()
            if n
        }


class _Lists(NamedTuple):
    """Inner lists, one an event: where each starts in the values, and how long it is."""

    values: Int64[np.ndarray, "N"]
    starts: Int64[np.ndarray, "L"]
    lengths: Int64[np.ndarray, "L"]

    def first(self) -> Int64[np.ndarray, "L"]:
        """The first value of each, NONE where there is none."""
        out = np.full(len(self.starts), NONE)
        some = self.lengths > 0
        out[some] = self.values[self.starts[some]]
        return out

    def hashes(self) -> Int64[np.ndarray, "L"]:
        """One number a list, equal for equal lists; NONE for an empty one."""
        within = within_rows(self.lengths).astype(np.uint64)
        mixed = mix(self.values.view(np.uint64) + (within + np.uint64(1)) * GOLDEN)
        # The sums wrap at 2**64, and so do their differences.
        total = np.append(np.zeros(1, np.uint64), np.cumsum(mixed))
        sums = total[self.starts + self.lengths] - total[self.starts]
        return np.where(self.lengths > 0, (sums >> np.uint64(1)).astype(np.int64), NONE)

    def texts(self, rows: Int64[np.ndarray, "F"]) -> pa.Array:
        """`12 345 6` of these lists, null for an empty one."""
        starts, chosen = spans(self.starts[rows], self.lengths[rows])
        values = pa.array(self.values[chosen]).cast(pa.string())
        lists = pa.ListArray.from_arrays(pa.array(starts.astype(np.int32)), values)
        some = pa.array(self.lengths[rows] > 0)
        return pc.if_else(some, pc.binary_join(lists, " "), pa.scalar(None, pa.string()))


def _stage(paths: Sequence[Path], room: Path, progress: Progress) -> _Staged:
    """Writes events, first-seen items and questions to Parquet files in `room`."""
    staged = _Staged()
    with ExitStack() as stack:
        writers = {}
        for file, form in {"events": EVENTS, "items": ITEMS, "questions": QUESTIONS}.items():
            writer = TableWriter(room / f"{file}.parquet", form)
            writers[file] = stack.enter_context(writer)
        for scenario, path in enumerate(paths):
            for piece in _pieces(path, progress):
                for file, table in _sequences(piece, scenario, staged).items():
                    writers[file].write_table(table)
                staged.rows[path.stem] += piece.num_rows
    return staged


def _sequences(batch: pa.RecordBatch, scenario: int, staged: _Staged) -> dict[str, pa.Table]:
    """The events, the items that were not seen before and the questions of some rows of a file."""
    file = FILES[scenario]
    prefix, rejected = f"{file}: ", staged.rejected
    user = scenario * USERS + staged.rows[file] + np.arange(batch.num_rows)
    lengths = np.stack([_lengths(batch.column(column)) for column in FEATURES])
    level = (lengths == lengths[0]).all(0)
    rejected[f"{prefix}columns of different lengths"] += int((~level).sum())
    if not level.all():
        batch, user, lengths = batch.filter(pa.array(level)), user[level], lengths[:, level]
    lists = {column: _inner(batch.column(column)) for column in FEATURES}
    of = np.repeat(np.arange(len(user)), lengths[0])
    position, item = within_rows(lengths[0]), lists[ITEM].first()
    usable = item >= 0
    alive = np.bincount(of[usable], minlength=len(user)) > 0
    rejected[f"{prefix}no event with an item"] += int((~alive).sum())
    rejected[f"{prefix}events without an item"] += int((alive[of] & ~usable).sum())
    good = np.flatnonzero(usable)
    staged.events += len(good)
    for column in (ITEM, *IDS.values()):
        staged.several[column] += int((lists[column].lengths[good] > 1).sum())
    ids = [lists[c].first() for c in IDS.values()]
    values = np.stack([*ids, *(lists[c].hashes() for c in TOKENS.values())], 1)
    new = good[staged.known.add(item[good], values[good])]
    items = {
        "item": pa.array(item[new]),
        **{a: pa.array(v[new], mask=v[new] == NONE) for a, v in zip(IDS, ids, strict=True)},
        **{a: lists[column].texts(new) for a, column in TOKENS.items()},
    }
    events = [user[of[good]], position[good], item[good], np.full(len(good), scenario)]
    tables = {
        "events": pa.table(events, schema=EVENTS),
        "items": pa.table(items, schema=ITEMS),
    }
    if file.startswith("align"):
        texts = batch.column(TEXT).to_pylist()
        tables["questions"] = _questions(texts, user.tolist(), alive.tolist(), prefix, rejected)
    return tables


def _lengths(lists: pa.Array) -> Int64[np.ndarray, "L"]:
    """0 for null."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    return lengths.to_numpy(zero_copy_only=False).astype(np.int64)


def _inner(column: pa.Array) -> _Lists:
    """The inner lists of all rows, one after the other."""
    inner = column.flatten()
    lengths = _lengths(inner)
    values = pc.fill_null(inner.flatten().cast(pa.int64()), NONE).to_numpy(zero_copy_only=False)
    return _Lists(values, starts_of(lengths)[:-1], lengths)


def _questions(
    texts: Sequence[str | None],
    users: Sequence[int],
    alive: Sequence[bool],
    prefix: str,
    rejected: Counter[str],
) -> pa.Table:
    """One question a user, read text by text with the standard library's parser.

    Arrow's reads lines of one schema, and stops at a bad one.
    """
    rows: list[tuple[int, str, str]] = []
    for text, user, there in zip(texts, users, alive, strict=True):
        turns = _turns(text)
        if isinstance(turns, str):
            rejected[f"{prefix}{turns}"] += 1
        elif not there:
            rejected[f"{prefix}a question about a sequence that is left out"] += 1
        else:
            rows.append((user, *turns))
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    arrays = [pa.array(c, t) for c, t in zip(columns, QUESTIONS.types, strict=True)]
    return pa.table(arrays, schema=QUESTIONS)


def _turns(text: str | None) -> tuple[str, str] | str:
    """A question and its answer (the first one of a list), or what is wrong with the text."""
    if not text:
        return "no text"
    try:
        turns = json.loads(text)
    except (ValueError, RecursionError):
        return "a text that is no JSON"
    said: dict[str, object] = {}
    for turn in turns if isinstance(turns, list) else ():
        role = turn.get("role") if isinstance(turn, dict) else None
        if isinstance(role, str) and (role == "user" or "user" in said):
            said.setdefault(role, turn.get("content"))
    question, answer = said.get("user"), said.get("assistant")
    if isinstance(answer, list) and answer:
        answer = answer[0]
    if isinstance(question, str) and question and isinstance(answer, str) and answer:
        return question, answer
    return "a text without a question and an answer"
