"""An audit of a log, of its splits and of profiles: what is looked at, and all that was found."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.progress import Progress, silent
from clickprint.core.text import json_text
from clickprint.core.time import SECOND, Time, Window
from clickprint.core.version import VERSION
from clickprint.data.adapters import challenge
from clickprint.data.audit.files import audit_complete, is_split, labels_of, open_files
from clickprint.data.audit.finding import Finding
from clickprint.data.audit.log import Shape, audit_log
from clickprint.data.audit.profiles import audit_profiles, log_attributes
from clickprint.data.audit.split import Parts, audit_last, audit_parts, of_last, of_time
from clickprint.data.engine import Engine
from clickprint.data.log import EventLog
from clickprint.data.split import Split, split

FORMAT = 1  # of the JSON
SEVERITIES = ("leak", "warning", "note")
HORIZON_DAYS = 14


@dataclass(frozen=True, slots=True)
class Section:
    """The findings about one thing, the gravest first; of a split also its fingerprint."""

    about: str
    findings: tuple[Finding, ...]
    fingerprint: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def of(
        about: str, findings: Sequence[Finding], fingerprint: dict[str, str] | None = None
    ) -> "Section":
        ordered = sorted(findings, key=lambda f: SEVERITIES.index(f.severity))
        return Section(about, tuple(ordered), fingerprint or {})


@dataclass(frozen=True, slots=True)
class Audit:
    """All that an audit found. `source`: the name and the counts of what was looked at."""

    source: dict[str, Any]
    sections: tuple[Section, ...]

    def count(self, severity: str) -> int:
        return sum(f.severity == severity for s in self.sections for f in s.findings)

    @property
    def verdict(self) -> str:
        """How many findings of each severity there are, and what that means."""
        counts = {severity: self.count(severity) for severity in SEVERITIES}
        words = [f"{n} {severity}{'s' if n != 1 else ''}" for severity, n in counts.items()]
        worthless = "scores that rest on this are worth nothing"
        return f"{', '.join(words)}: {worthless if counts['leak'] else 'no leak was found'}."

    def to_json(self) -> str:
        raw = {
            "format": FORMAT,
            "clickprint": VERSION,
            "source": self.source,
            **{f"{severity}s": self.count(severity) for severity in SEVERITIES},
            "sections": [
                {
                    "about": s.about,
                    "fingerprint": s.fingerprint,
                    "findings": [asdict(f) for f in s.findings],
                }
                for s in self.sections
            ],
        }
        return json_text(raw)


@dataclass(frozen=True, slots=True)
class Examined:
    """An audit, and what pictures of it are made of."""

    audit: Audit
    log: EventLog | None  # None where there are only the files of a split
    split: Split | None
    shape: Shape | None


def examine(
    source: Path,
    splits: Sequence[str],
    profiles: Sequence[Path],
    engine: Engine,
    scratch: Path,
    *,
    progress: Progress = silent,
) -> Examined:
    """Audit a source, its splits, and profiles. Raises DataError and ConfigError.

    - `source`: the folder of a dataset, the challenge's directory, or RecBole's files.
    - `splits`: time, time:DAYS, leave-one-out, or a folder with the files of a split.
    - `scratch`: an empty folder.
    """
    opened = _open(source, engine)
    sections, shape, log = list[Section](), None, opened.log
    if log is not None:
        findings, shape = audit_log(log, written=opened.written, progress=progress)
        sections.append(Section.of("log", findings))
    cuts: list[Parts] = []
    made: Split | None = None
    asked = splits or opened.default
    for spec in asked:
        form, _, argument = spec.partition(":")
        if form == "time" and not (Path(spec).is_dir() and not argument):
            section, made_, parts = _by_time(
                opened, spec, argument, asked=bool(splits), files=_has_files(asked)
            )
            made = made or made_
        elif spec == "leave-one-out":
            section, parts = _last(opened, progress)
        else:
            folder = scratch / f"split-{len(cuts)}"
            section, parts = _files(Path(spec), opened, engine, folder, progress)
        sections.append(section)
        if parts is not None:
            cuts.append(parts)
    for folder in profiles:
        found = _profiles(folder, opened, cuts, progress)
        sections.append(Section.of(f"profiles {folder}", found))
    return Examined(Audit(opened.said, tuple(sections)), log, made, shape)


# -- what is looked at ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Opened:
    """The source: a log, if there is one, and the splits that are audited where none is named."""

    folder: Path
    log: EventLog | None
    default: tuple[str, ...]
    written: Time | None = None
    dataset: Dataset | None = None
    said: dict[str, Any] = field(default_factory=dict)


def _open(folder: Path, engine: Engine) -> _Opened:
    if (folder / "manifest.json").is_file():
        dataset = Dataset.open(folder)
        m = dataset.manifest
        said = {
            "name": m.name,
            "fingerprint": m.fingerprint,
            "events": m.events,
            "users": m.users,
            "items": m.items,
        }
        default = ("time",) if m.time == "clock" else ("leave-one-out",)
        return _Opened(
            folder,
            EventLog.open(dataset, engine),
            default,
            _written(folder / "manifest.json"),
            dataset,
            said,
        )
    if not folder.is_dir():
        raise DataError(
            str(folder),
            ["not found" if not folder.exists() else "this is a file, expected a folder"],
        )
    whole = (folder / "product_buy.parquet").is_file()
    name = folder.resolve().name
    if whole or (folder / "input").is_dir():
        log = challenge.open_raw(folder, engine, unsplit=whole)
        where = folder if whole else folder / "input"
        default = (*(("time",) if whole else ()), *((str(folder),) if is_split(folder) else ()))
        return _Opened(
            folder,
            log,
            default,
            _written(*(where / f"{f}.parquet" for f in challenge.FILES)),
            None,
            {"name": name},
        )
    if any(folder.glob("*.inter")):
        return _Opened(folder, None, (str(folder),), None, None, {"name": name})
    raise DataError(
        str(folder),
        [
            "neither a clickprint dataset (manifest.json) nor the challenge's directory"
            " (product_buy.parquet) nor RecBole's benchmark files"
        ],
    )


def _written(*files: Path) -> Time:
    return max(int(f.stat().st_mtime) for f in files) * SECOND + SECOND


def _has_files(splits: Sequence[str]) -> bool:
    return any(s != "leave-one-out" and s.partition(":")[0] != "time" for s in splits)


# -- splits ----------------------------------------------------------------------------------


def _by_time(
    opened: _Opened, spec: str, argument: str, *, asked: bool, files: bool
) -> tuple[Section, Split | None, Parts | None]:
    """Our own split. Where nobody asked for it, a log that cannot be split is a finding."""
    log = _needed(opened, spec)
    if argument and not re.fullmatch(r"[0-9]{1,9}", argument):
        raise ConfigError(
            f"--split {spec}: found {argument!r}, expected time or time:DAYS such as time:7"
        )
    horizon = int(argument) if argument else HORIZON_DAYS
    about = f"split time:{horizon}"
    try:
        made = split(log, horizon_days=horizon, users=_population(opened))
    except (DataError, ConfigError) as fault:
        if asked:
            raise
        why = "; ".join(getattr(fault, "problems", ()) or [str(fault)])
        said = f"The log cannot be split by time: {why}."
        return Section.of(about, [Finding("no-time-split", "note", said, {})]), None, None
    parts = of_time(log, made, f"time:{horizon}")
    if opened.dataset is None and not files:
        # The challenge's lists of labels and clients stand beside the log before any split.
        active = opened.folder / "target" / "active_clients.npy"
        listed = labels_of(opened.folder)
        parts = replace(
            parts,
            labels=listed or parts.labels,
            active=challenge.active_clients(opened.folder) if active.is_file() else None,
        )
    findings, prints = audit_parts(parts, made_elsewhere=False)
    return Section.of(about, findings, prints), made, parts


def _population(opened: _Opened) -> Any:
    if opened.dataset is not None:
        return opened.dataset.population
    return (
        challenge.relevant_clients(opened.folder)
        if (opened.folder / "input" / "relevant_clients.npy").is_file()
        else None
    )


def _needed(opened: _Opened, spec: str) -> EventLog:
    if opened.log is None:
        raise ConfigError(
            f"--split {spec} needs a log, but {opened.folder} holds only the files of a split"
        )
    return opened.log


def _last(opened: _Opened, progress: Progress) -> tuple[Section, Parts]:
    log = _needed(opened, "leave-one-out")
    parts = of_last(log)
    findings, prints = audit_parts(parts, made_elsewhere=False, progress=progress)
    findings += audit_last(parts, clock=log.manifest.time == "clock")
    return Section.of("split leave-one-out", findings, prints), parts


def _files(
    folder: Path, opened: _Opened, engine: Engine, scratch: Path, progress: Progress
) -> tuple[Section, Parts]:
    scratch.mkdir()
    parts, findings = open_files(folder, engine, scratch)
    if opened.dataset is not None and opened.log is not None and parts.items:
        parts = replace(parts, known=opened.log.items)
    found, prints = audit_parts(parts, made_elsewhere=True, progress=progress)
    findings += found
    same = (
        opened.dataset is None
        and folder.resolve() == opened.folder.resolve()
        and (folder / "product_buy.parquet").is_file()
    )
    if same and opened.log is not None:
        findings += audit_complete(parts, opened.log)
    return Section.of(f"split {folder}", findings, prints), parts


def _profiles(
    folder: Path, opened: _Opened, cuts: Sequence[Parts], progress: Progress
) -> list[Finding]:
    """Against the windows of the last split by time.

    A log that was cut is read together with its target files.
    """
    if opened.log is None:
        raise ConfigError(
            f"--profiles needs a log, but {opened.folder} holds only the files of a split"
        )
    dated = [p for p in cuts if p.bounds is not None]
    if not dated:
        return audit_profiles(folder, opened.log, None, progress=progress)
    parts, log = dated[-1], opened.log
    assert parts.bounds is not None
    windows = Window(parts.bounds[0], parts.bounds[1]), Window(parts.bounds[1], parts.bounds[2])
    if opened.dataset is None and not (opened.folder / "product_buy.parquet").is_file():
        log = replace(
            log,
            events=log.engine.view(" UNION ALL ".join(f"SELECT * FROM {p}" for p in parts.three)),
        )
    return audit_profiles(folder, log, windows, log_attributes(log), progress=progress)
