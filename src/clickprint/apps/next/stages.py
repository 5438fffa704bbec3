"""Next purchase, stage by stage. Each stage writes one folder, whole or not at all, and knows what it was made from.

OUT/data/                   the log in the canonical form
OUT/split/                  windows.json, overview.json
OUT/candidates/<start>/     pairs.parquet: of the buyers where a window is learned from, else of everybody known
OUT/features/profiles/      the encoders whose profiles are features, fitted before the oldest window
OUT/features/<start>/       pairs.parquet with features, users.parquet, bought.parquet: what is learned from
OUT/tune/                   study.db, trials.csv, best.json
OUT/model/                  fitted/, about.json
OUT/validate/               see next_validate
OUT/predict/                the submission, and the lists of everybody
OUT/report/                 index.html, slides.pptx, slides.pdf, plots/

A stage is made again when its parameters, what it reads or clickprint's code below apps changed; else it is left as it is.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clickprint.apps.next.recipe import NextRecipe, plain
from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.files import write_text
from clickprint.core.progress import Progress, silent
from clickprint.core.ragged import Ragged, starts_of
from clickprint.core.rng import RNG
from clickprint.core.time import DAY, Time, Window, midnight, parse, show
from clickprint.data.engine import DuckDB
from clickprint.data.log import EventLog
from clickprint.data.overview import overview
from clickprint.data.split import LogPast, past_of
from clickprint.recommenders import funnel
from clickprint.recommenders.funnel import Example, NextPurchase
from clickprint.recommenders.pairs import Bought, Pairs
from clickprint.recommenders.profiler import Profiler
from clickprint.recommenders.windows import bought, rolling
from clickprint.work import source as sources
from clickprint.work.facts import Facts, code
from clickprint.work.folder import (
    digest,
    forget,
    locked,
    made_from,
    make_folder,
    spill,
    stamp,
    write_made_from,
)

FORMAT = 1  # of the folders
LOCK, ASKED, PROFILES = ".lock", "asked.txt", "profiles"
# Each stage and the ones whose folders it reads.
READS: Mapping[str, tuple[str, ...]] = {
    "read": (),
    "split": ("read",),
    "candidates": ("split",),
    "features": ("candidates",),
    "tune": ("features",),
    "train": ("features", "tune"),
    "validate": ("train", "candidates"),
    "predict": ("train", "candidates"),
    "report": ("validate", "predict"),
}
FOLDERS = {"read": "data", "train": "model"}  # the others are called as their stage


@dataclass(frozen=True, slots=True)
class Windows:
    """What is learned from (oldest first), what is validated, and the cutoff after which is predicted; all from midnight to midnight."""

    learn: tuple[Window, ...]
    valid: Window
    cutoff: Time
    asked: int  # how many windows were to be learned from

    @staticmethod
    def of(first: Time, last: Time, recipe: NextRecipe) -> "Windows":
        """The last window of `days` days holds the event at `last`; what is learned from ends where it starts. Raises DataError."""
        valid = rolling(first, last, days=recipe.next.days, count=1)[0]
        return Windows.before(valid, first, recipe)

    @staticmethod
    def before(valid: Window, first: Time, recipe: NextRecipe) -> "Windows":
        """What is learned from before `valid`, in a log that begins at `first`. Raises DataError where that is nothing."""
        days, part = recipe.next.days, recipe.windows
        starts = [valid.start - (days + n * (part.apart or days)) * DAY for n in range(part.learn)]
        learn = [
            Window(s, s + days * DAY) for s in starts if s >= midnight(first) + part.history * DAY
        ]
        if not learn:
            what = f"{days} days to learn from, {part.history} days before them (windows.history)"
            raise DataError(
                "windows",
                [
                    f"the log starts at {show(first)}: no room before {show(valid.start)} for {what}; ask for less"
                ],
            )
        return Windows(tuple(reversed(learn)), valid, valid.end, part.learn)

    @property
    def starts(self) -> list[Time]:
        return [*(w.start for w in self.learn), self.valid.start, self.cutoff]

    def json(self) -> str:
        windows = {
            "learn": [_ends(w) for w in self.learn],
            "validate": _ends(self.valid),
            "predict": show(self.cutoff),
        }
        return json.dumps({**windows, "asked": self.asked}, indent=1) + "\n"

    @staticmethod
    def read(file: Path) -> "Windows":
        """Raises DataError."""
        try:
            found = json.loads(file.read_text("utf-8"))
            learn = tuple(Window(parse(a), parse(b)) for a, b in found["learn"])
            return Windows(
                learn,
                Window(*map(parse, found["validate"])),
                parse(found["predict"]),
                int(found["asked"]),
            )
        except (OSError, ValueError, KeyError, TypeError, ConfigError) as fault:
            raise DataError(
                str(file),
                [f"does not name windows ({fault!r}); remove the folder and split again"],
            ) from None


def _ends(window: Window) -> list[str]:
    return [show(window.start), show(window.end)]


def day(time: Time) -> str:
    """A midnight as a folder's name."""
    return show(time)[:10]


@cache
def _code(part: str) -> str:
    return code(part)


@dataclass(frozen=True, slots=True)
class Run:
    """What all stages share: the parameters, the folder, how much of the machine."""

    recipe: NextRecipe
    out: Path
    params: str = "params.toml"  # the file, and the log that was asked for instead of its own: for what errors tell to type
    log_given: str = ""
    memory: str | None = None
    threads: int | None = None
    progress: Progress = field(default=silent)

    def folder(self, stage: str) -> Path:
        return self.out / FOLDERS.get(stage, stage)

    def inputs(self, stage: str) -> str:
        """What a stage's folder is made from, as a short text. Raises ConfigError where what it reads is missing, or of something else."""
        return digest(
            FORMAT,
            stage,
            _code("data" if stage == "read" else "next"),
            self._own(stage),
            [self.need(s) for s in READS[stage]],
        )

    def need(self, stage: str) -> str:
        """The inputs of a stage that was run. Raises ConfigError, which names the command."""
        found = made_from(self.folder(stage))
        call = f"call `{self.said_command(stage)}`, or `clickprint next all` with the same options"
        if "folder" not in found:
            raise ConfigError(f"{self.folder(stage)}: not made yet; {call}")
        if stage == "read":  # the source itself may be gone by now
            if _text(self.folder(stage) / ASKED) != self._asked():
                raise ConfigError(
                    f"{self.folder(stage)}: read with other parameters of the log; {call}"
                )
        elif found["folder"] != self.inputs(stage):
            raise ConfigError(
                f"{self.folder(stage)}: made from other parameters, data or code; {call}"
            )
        return found["folder"]

    def _own(self, stage: str) -> Any:
        """The parameters that a stage depends on, beside those of the stages before it."""
        recipe, asked = self.recipe, self.recipe.next
        seed = asked.seed
        if stage == "read":
            return [self._asked(), self._source()]
        own: dict[str, Any] = {
            "split": [asdict(recipe.windows), asked.days],
            "candidates": [_jsonable(asked.sources), asked.products, asked.linked, seed],
            "features": [plain(asked.features), _jsonable(asked.profiles), seed],
            "tune": [plain(recipe.tune), asdict(asked.ranker), asked.products, seed],
            "train": [
                asdict(asked.ranker),
                asdict(asked.propensity),
                asked.products,
                asked.users,
                seed,
            ],
            "validate": [
                asdict(recipe.gate),
                asdict(recipe.track),
                list(recipe.evaluate.limits),
                recipe.log,
            ],
            "predict": [asked.users, asked.products],
            "report": [recipe.text, _code("report")],
        }
        return own[stage]

    def _asked(self) -> str:
        return digest(self.recipe.log, asdict(self.recipe.data))

    def _source(self) -> Any:
        data = self.recipe.data
        if not (named := data.folder or data.path):
            return None
        path = sources.expanded(Path(named))
        return (
            [stamp(f) for f in sources.read_files(data.source, path)]
            if data.source == "table" and path.is_file()
            else stamp(path)
        )

    def windows(self) -> Windows:
        return Windows.read(self.folder("split") / "windows.json")

    @contextmanager
    def engine(self) -> Iterator[DuckDB]:
        with ExitStack() as stack:
            yield stack.enter_context(
                DuckDB(
                    memory=self.memory,
                    threads=self.threads,
                    spill=stack.enter_context(spill(self.out)),
                )
            )

    @contextmanager
    def log(self) -> Iterator[EventLog]:
        """The log that was read."""
        with self.engine() as engine:
            yield EventLog.open(Dataset.open(self.folder("read")), engine)

    def rng(self, name: str) -> RNG:
        return RNG(self.recipe.seed).child("next").child(name)

    def said(self, time: Time) -> Progress:
        """A watch whose stages begin with the day."""
        return lambda stage, done, total: self.progress(f"{day(time)}: {stage}", done, total)

    def make(self, stage: str, make: Callable[[Path], None]) -> str:
        """A stage's folder, unless it is there and of the same; what happened, in words."""
        folder, inputs = self.folder(stage), self.inputs(stage)
        with locked(self.out / LOCK):
            if made_from(folder) == {"folder": inputs}:
                return f"{folder}: up to date"
            with self.cost(stage, inputs):
                make_folder(folder, inputs, make)
        return str(folder)

    @contextmanager
    def cost(self, stage: str, inputs: str) -> Iterator[None]:
        """Seconds and peak memory of the block, to OUT/facts/; what an earlier, killed call of the same spent is added up."""
        file = self.out / "facts" / f"{stage}.json"
        if Facts.read(file).get("inputs") != inputs:
            file.unlink(missing_ok=True)
        with Facts.of(file, inputs=inputs, command=self.said_command(stage)).stage(stage):
            yield

    def said_command(self, stage: str) -> str:
        return f"clickprint next {stage} --params {self.params} --out {self.out}" + (
            f" --log {self.log_given}" if self.log_given else ""
        )


def read_json(file: Path) -> Any:
    """What a stage wrote. Raises DataError."""
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as fault:
        raise DataError(
            str(file), [f"cannot be read ({fault}); remove its folder and make it again"]
        ) from None


def _text(file: Path) -> str:
    return file.read_text("utf-8") if file.is_file() else ""


def _jsonable(sources: Mapping[str, Mapping[str, Any]]) -> Any:
    return {
        n: {k: list(v) if isinstance(v, tuple) else v for k, v in o.items()}
        for n, o in sources.items()
    }


# -- read, split ------------------------------------------------------------------------------------------------------------------


def read(run: Run) -> str:
    """The log of the parameters, in the canonical form."""
    return run.make("read", partial(_read, run))


def _read(run: Run, part: Path) -> None:
    data = run.recipe.data
    if data.folder:
        found = sources.expanded(Path(data.folder))
        Dataset.open(found)
        shutil.copytree(found, part, dirs_exist_ok=True)
    else:
        with run.engine() as engine:
            path = Path(data.path) if data.path else None
            sources.dataset(
                data.source, path, data.options, out=part, engine=engine, progress=run.progress
            )
    write_text(part / ASKED, run._asked())


def split(run: Run) -> str:
    """Which windows are learned from, validated, predicted; and what the log looks like."""
    return run.make("split", partial(_split, run))


def _split(run: Run, part: Path) -> None:
    run.progress("split", 0, 0)
    with run.log() as log:
        log.manifest.need_clock("windows of days")
        span = log.span()
        if span is None:
            raise DataError(log.manifest.name, ["the log has no event"])
        found = Windows.of(*span, run.recipe)
        write_text(part / "overview.json", overview(log).to_json())
    write_text(part / "windows.json", found.json())


# -- candidates, features ---------------------------------------------------------------------------------------------------------


def candidates(run: Run) -> str:
    """The candidates of every window."""
    return _each(run, "candidates", run.windows().starts if run.need("split") else [], _candidates)


def _candidates(run: Run, log: EventLog, start: Time, part: Path) -> None:
    window = next((w for w in run.windows().learn if w.start == start), None)
    make_candidates(run, past_of(log, start), bought(log, window) if window else None).save(
        part / "pairs.parquet"
    )


def make_candidates(run: Run, past: LogPast, truth: Bought | None = None) -> Pairs:
    """Of everybody, or, to learn from, of those who bought."""
    users = None if truth is None else np.intersect1d(truth.users, past.users)
    return funnel.candidates(
        past,
        run.recipe.next,
        rng=run.rng("candidates"),
        users=users,
        progress=run.said(past.cutoff),
    )


def features(run: Run) -> str:
    """What is known of each candidate and user in every window that is learned from, and what was bought."""
    run.need("candidates")
    return _each(run, "features", [w.start for w in run.windows().learn], _features, _profiler)


def _profiler(run: Run, log: EventLog, start: Time, part: Path) -> None:
    progress = run.said(start)
    funnel.profiler(
        past_of(log, start), run.recipe.next, rng=run.rng("profiles"), progress=progress
    ).save(part / "fitted")


def profiles_of(run: Run) -> Profiler:
    return Profiler.load(run.folder("features") / PROFILES / "fitted")


def _features(run: Run, log: EventLog, start: Time, part: Path) -> None:
    window = next(w for w in run.windows().learn if w.start == start)
    run.said(start)("features", 0, 0)
    past = past_of(log, start)
    write_example(
        (
            *funnel.example(past, run.recipe.next, pairs_of(run, start), profiles_of(run)),
            bought(log, window),
        ),
        part,
    )
    run.said(start)("features", 1, 1)


Making = Callable[[Run, EventLog, Time, Path], None]


def _each(
    run: Run, stage: str, starts: Sequence[Time], make: Making, before: Making | None = None
) -> str:
    """A folder a window, and `profiles/` with what `before` makes of the oldest. What is there and of the same is kept, so a killed stage
    goes on; folders of other windows are removed.
    """
    folder, inputs = run.folder(stage), run.inputs(stage)
    with locked(run.out / LOCK):
        if made_from(folder) == {"folder": inputs}:
            return f"{folder}: up to date"
        forget(folder)
        with run.cost(stage, inputs), run.log() as log:
            if before is not None:
                make_folder(
                    folder / PROFILES,
                    digest(inputs, starts[0]),
                    partial(before, run, log, starts[0]),
                )
            for done, start in enumerate(starts):
                run.progress(stage, done, len(starts))
                make_folder(
                    folder / day(start), digest(inputs, start), partial(make, run, log, start)
                )
        for stray in (
            {p.name for p in folder.iterdir()}
            - {day(s) for s in starts}
            - ({PROFILES} if before else set())
        ):
            left = folder / stray
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        write_made_from(folder, {"folder": inputs})
        run.progress(stage, len(starts), len(starts))
    return str(folder)


def pairs_of(run: Run, start: Time) -> Pairs:
    return Pairs.load(run.folder("candidates") / day(start) / "pairs.parquet")


def write_example(found: Example, folder: Path) -> None:
    pairs, columns, truth = found
    pairs.save(folder / "pairs.parquet")
    pq.write_table(
        pa.table({"user": pairs.users, **{f"column {n}": c for n, c in columns.items()}}),
        folder / "users.parquet",
    )
    pq.write_table(
        pa.table(
            {"user": np.repeat(truth.users, truth.items.lengths), "item": truth.items.values}
        ),
        folder / "bought.parquet",
    )


def read_example(folder: Path) -> Example:
    """What `write_example` wrote. Raises DataError."""
    try:
        users, truth = (pq.read_table(folder / f"{name}.parquet") for name in ("users", "bought"))
        columns = {
            n.removeprefix("column "): users.column(n).to_numpy()
            for n in users.column_names
            if n != "user"
        }
        buyers, counts = np.unique(truth.column("user").to_numpy(), return_counts=True)
        items = truth.column("item").to_numpy()
    except (OSError, KeyError, pa.ArrowException) as fault:
        raise DataError(
            str(folder), [f"cannot be read ({fault!r}); remove it and make the features again"]
        ) from None
    return (
        Pairs.load(folder / "pairs.parquet"),
        columns,
        Bought(buyers, Ragged(starts_of(counts), items)),
    )


def examples(run: Run) -> list[Example]:
    """Of every window that is learned from, oldest first."""
    return [read_example(run.folder("features") / day(w.start)) for w in run.windows().learn]


# -- tune, train ------------------------------------------------------------------------------------------------------------------


def tune(run: Run) -> str:
    """The options of the ranker: those of the parameters, or the best of a search."""
    from clickprint.apps.next.tune import search

    folder, inputs = run.folder("tune"), run.inputs("tune")
    with locked(run.out / LOCK):
        if made_from(folder) == {"folder": inputs}:
            return f"{folder}: up to date"
        folder.mkdir(
            parents=True, exist_ok=True
        )  # not whole: the study inside is what a killed search goes on from
        forget(folder)
        with run.cost("tune", inputs):
            search(run, folder, inputs)
        write_made_from(folder, {"folder": inputs})
    return str(folder)


def chosen(run: Run) -> NextPurchase:
    """The recipe with the options that the search chose."""
    best = read_json(run.folder("tune") / "best.json")
    return replace(
        run.recipe.next,
        ranker=replace(run.recipe.next.ranker, **best["options"]),
        windows=len(run.windows().learn),
    )


def train(run: Run) -> str:
    """The ranker and the chances, from the windows before the one that is validated."""
    return run.make("train", partial(_train, run))


def _train(run: Run, part: Path) -> None:
    fitted = funnel.fit(
        chosen(run),
        examples(run),
        rng=run.rng("fit"),
        profiles=profiles_of(run),
        progress=run.progress,
    )
    fitted.save(part / "fitted")
    learn = run.windows().learn
    about = {
        "log": run.recipe.log,
        "fingerprint": Dataset.open(run.folder("read")).manifest.fingerprint,
        "learned": [_ends(w) for w in learn],
        "until": show(max(w.end for w in learn)),
    }
    write_text(part / "about.json", json.dumps(about, indent=1) + "\n")
