"""`clickprint audit`: what a log, a split and profiles have wrong, in plain words, as JSON, and as one page with pictures."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import clickprint
from clickprint.apps.audit.figures import PICTURES
from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.files import write_text
from clickprint.core.progress import Progress, silent
from clickprint.core.time import SECOND, Time, Window
from clickprint.data.adapters import challenge
from clickprint.data.audit import Finding
from clickprint.data.audit.files import audit_complete, is_split, labels_of, open_files
from clickprint.data.audit.log import Shape, audit_log
from clickprint.data.audit.profiles import audit_profiles, log_attributes
from clickprint.data.audit.split import Parts, audit_last, audit_parts, of_last, of_time
from clickprint.data.engine import DuckDB, Engine
from clickprint.data.log import EventLog
from clickprint.data.overview import overview
from clickprint.data.split import Split, split
from clickprint.report import figure as plots

FORMAT = 1  # of the JSON
SEVERITIES = ("leak", "warning", "note")
SAID = {"leak": "LEAK", "warning": "warning", "note": "note"}
HORIZON_DAYS = 14
LOG_PICTURES = {
    "timeline": "The split",
    "days": "Events by kind and day",
    "kinds": "Funnel",
    "activity": "Activity",
}


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
        return Section(
            about,
            tuple(sorted(findings, key=lambda f: SEVERITIES.index(f.severity))),
            fingerprint or {},
        )


@dataclass(frozen=True, slots=True)
class Audit:
    """All that an audit found. `source` are the name and counts of what was looked at."""

    source: dict[str, Any]
    sections: tuple[Section, ...]

    def count(self, severity: str) -> int:
        return sum(f.severity == severity for s in self.sections for f in s.findings)

    @property
    def verdict(self) -> str:
        leaks, warnings, notes = (self.count(s) for s in SEVERITIES)
        words = [
            f"{n} {one}{'s' if n != 1 else ''}"
            for n, one in ((leaks, "leak"), (warnings, "warning"), (notes, "note"))
        ]
        return f"{', '.join(words)}: {'scores that rest on this are worth nothing' if leaks else 'no leak was found'}."

    def to_json(self) -> str:
        raw = {
            "format": FORMAT,
            "clickprint": clickprint.__version__,
            "source": self.source,
            "leaks": self.count("leak"),
            "warnings": self.count("warning"),
            "notes": self.count("note"),
            "sections": [
                {
                    "about": s.about,
                    "fingerprint": s.fingerprint,
                    "findings": [asdict(f) for f in s.findings],
                }
                for s in self.sections
            ],
        }
        return json.dumps(raw, indent=1, ensure_ascii=False) + "\n"


def audit(
    source: Path,
    *,
    splits: Sequence[str] = (),
    profiles: Sequence[Path] = (),
    out: Path | None = None,
    json_file: Path | None = None,
    memory: str | None = None,
    threads: int | None = None,
    progress: Progress = silent,
) -> int:
    """Audits, prints what was found, writes audit.html in `out` and the JSON; 1 where there is a leak. Raises DataError, ConfigError."""
    from clickprint.apps.audit import terminal as terminal_audit

    with ExitStack() as stack:
        engine = stack.enter_context(DuckDB(memory=memory, threads=threads))
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="clickprint-")))
        found, page = examine(
            source, splits, profiles, engine, scratch, pictures=out is not None, progress=progress
        )
    terminal_audit.show(found)
    if json_file:
        write_text(json_file, found.to_json())
        print(json_file)
    if out is not None:
        write_text(out / "audit.html", page)
        print(out / "audit.html")
    return int(found.count("leak") > 0)


def examine(
    source: Path,
    splits: Sequence[str],
    profiles: Sequence[Path],
    engine: Engine,
    scratch: Path,
    *,
    pictures: bool = False,
    progress: Progress = silent,
) -> tuple[Audit, str]:
    """The audit, and its page where pictures are wanted. `scratch` is an empty folder."""
    opened = _open(source, engine)
    sections, shape, log = list[Section](), None, opened.log
    if log is not None:
        findings, shape = audit_log(log, written=opened.written, progress=progress)
        sections.append(Section.of("log", findings))
    cuts: list[Parts] = []
    made: Split | None = None
    for spec in splits or opened.default:
        kind, _, argument = spec.partition(":")
        if kind == "time" and not (Path(spec).is_dir() and not argument):
            section, made_, parts = _by_time(
                opened,
                spec,
                argument,
                asked=bool(splits),
                files=_has_files(splits or opened.default),
            )
            made = made or made_
        elif spec == "leave-one-out":
            section, parts = _last(opened, progress)
        else:
            section, parts = _files(
                Path(spec), opened, engine, scratch / f"split-{len(cuts)}", progress
            )
        sections.append(section)
        if parts is not None:
            cuts.append(parts)
    for folder in profiles:
        sections.append(
            Section.of(f"profiles {folder}", _profiles(folder, opened, cuts, progress))
        )
    found = Audit(opened.said, tuple(sections))
    return found, _page(found, log, made, shape, progress) if pictures else ""


# -- what is looked at ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Opened:
    """The source: a log (None where there are only the files of a split), and what is asked where nothing is."""

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
            "neither a clickprint dataset (manifest.json) nor the challenge's directory (product_buy.parquet) nor RecBole's benchmark files"
        ],
    )


def _written(*files: Path) -> Time:
    return max(int(f.stat().st_mtime) for f in files) * SECOND + SECOND


def _has_files(splits: Sequence[str]) -> bool:
    return any(s != "leave-one-out" and s.partition(":")[0] != "time" for s in splits)


# -- splits -----------------------------------------------------------------------------------------------------------------------


def _by_time(
    opened: _Opened, spec: str, argument: str, *, asked: bool, files: bool
) -> tuple[Section, Split | None, Parts | None]:
    """Our own split. Where nobody asked for it, a log that cannot be split is a finding and no error."""
    log = _needed(opened, spec)
    if argument and not argument.isdecimal():
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
        said = f"The log cannot be split by time: {'; '.join(getattr(fault, 'problems', ()) or [str(fault)])}."
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
    """Against the windows of the last split by time; a log that was cut is read together with its target files."""
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


# -- the page ---------------------------------------------------------------------------------------------------------------------


def _page(
    found: Audit, log: EventLog | None, made: Split | None, shape: Shape | None, progress: Progress
) -> str:
    """One HTML file that opens without a network. Equal input, equal bytes; every text is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    progress("pictures", 0, 0)
    shown = []
    if log is not None and shape is not None:
        whole = overview(log, made)
        for name, heading in LOG_PICTURES.items():
            drawn = plots.draw(
                partial(plots.LOG_PICTURES[name], whole), f"{heading} of {whole.name}"
            )
            if drawn:
                shown.append(
                    {"name": name, "heading": heading, "svg": Markup(drawn.svg)}
                )  # by matplotlib, which escapes texts
        for name, (heading, picture) in PICTURES.items():
            drawn = plots.draw(partial(picture, shape), f"{heading} of {whole.name}")
            if drawn:
                shown.append({"name": name, "heading": heading, "svg": Markup(drawn.svg)})
    environment = Environment(
        loader=PackageLoader("clickprint.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("audit.html.j2").render(
        title=f"Audit of {found.source['name']}",
        source=found.source,
        verdict=found.verdict,
        cards=[(str(found.count(s)), f"{s}s") for s in SEVERITIES]
        + [(f"{found.source[k]:,}", k) for k in ("events", "users", "items") if k in found.source],
        said=SAID,
        sections=found.sections,
        pictures=shown,
        drawn={p["name"] for p in shown},
    )
