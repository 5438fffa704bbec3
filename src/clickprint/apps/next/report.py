"""Stage `report`: the presentation, as slides and as a page, from what the stages wrote.

OUT/report/index.html, slides.pptx, slides.pdf, plots/*.png. No number in it is written by hand.
"""

import csv
import inspect
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clickprint.apps.next.graph import STAGES
from clickprint.apps.next.register import add_files
from clickprint.apps.next.train import trained
from clickprint.core.dataset import Dataset, Manifest
from clickprint.core.files import write_text
from clickprint.core.options import plain
from clickprint.core.text import figure
from clickprint.core.time import DAY, show
from clickprint.data.overview import Overview
from clickprint.metrics.calibration import Bin
from clickprint.metrics.compare import by_chance
from clickprint.recommenders.comparison import METRIC, TYPES, best_words, lines_of, pairs_of
from clickprint.recommenders.funnel import FittedNext, retrievers
from clickprint.recommenders.lists import list_grid
from clickprint.recommenders.propensity import Propensity
from clickprint.recommenders.ranker import LambdaMART
from clickprint.report.comparison import (
    calibration_picture,
    ceilings_picture,
    lines_grid,
    lines_picture,
    pairs_picture,
    shares_picture,
    trials_picture,
)
from clickprint.report.log import log_pictures, log_summary
from clickprint.report.page import Block, Section, Words, page, pictures, pngs
from clickprint.report.slides import pdf, pptx, slides
from clickprint.report.table import Grid, estimate_cell
from clickprint.work.stack import stack_blocks
from clickprint.work.track import flattened

if TYPE_CHECKING:
    from clickprint.apps.next.run import Run

# What each library is for; those that are not installed are left out.
STACK: Mapping[str, str] = {
    "clickprint": "the stages, retrievers, features, choice of users, report",
    "duckdb": "tables: reading, splitting, histories",
    "pyarrow": "Parquet files",
    "numpy": "arrays: candidates, features, metrics",
    "lightgbm": "the ranker, and the purchase propensity",
    "scipy": "calibration",
    "optuna": "search over hyper-parameters",
    "mlflow-skinny": "tracking, registry of models",
    "dvc": "the stages as one DAG with a lock",
    "matplotlib": "pictures, slides as PDF",
    "python-pptx": "slides",
    "jinja2": "the page",
}
LOG = ("days", "kinds", "activity")  # pictures of the log
VERDICTS = {1: "shown", 0: "not shown", -1: "the opposite is shown"}


def report(run: "Run") -> str:
    """Slides and page; they are added to the run of MLflow that the validation began."""
    done = run.stages.make("report", partial(_report, run))
    add_files(run)
    folder = run.folder("report")
    return f"{done}\npage: {folder / 'index.html'}\nslides: {folder / 'slides.pptx'}, slides.pdf"


def _report(run: "Run", folder: Path) -> None:
    run.progress("report", 0, 3)
    title, lead, sections = f"Next purchase: {run.recipe.log}", _lead(run), _sections(run)
    (folder / "plots").mkdir()
    for name, png in pngs(sections).items():
        (folder / "plots" / name).write_bytes(png)
    write_text(folder / "index.html", page(title, sections, lead=lead))
    run.progress("report", 1, 3)
    pages = slides(title, lead, sections)
    pptx(pages, folder / "slides.pptx")
    run.progress("report", 2, 3)
    pdf(pages, folder / "slides.pdf")
    run.progress("report", 3, 3)


def _lead(run: "Run") -> list[str]:
    found, asked = run.stages.json("validate", "results"), run.recipe.next
    start, end = (time[:10] for time in found["window"])
    return [
        f"The {asked.list_length} items that a shopper will buy in the next {asked.days} days, for"
        f" at most {asked.max_users:,} shoppers.",
        f"Validation on {start} to {end}, {found['buyers']:,} buyers, mean recall:"
        f" {best_words(found)}.",
    ]


def _sections(run: "Run") -> list[Section]:
    file = run.folder("split") / "overview.json"
    overview = Overview.from_json(file.read_text("utf-8"), str(file))
    manifest = Dataset.open(run.folder("read")).manifest
    found, fitted = run.stages.json("validate", "results"), trained(run)
    names = [stage.name for stage in STAGES]
    sections = [
        _section("data", "The data", *log_summary(overview), *log_pictures(overview, LOG)),
        _section("stack", "The stack", *stack_blocks(STACK, run.out / "facts", names)),
        _method(run, found),
        _treatment(overview, manifest),
        _hypotheses(found),
        _algorithms(fitted, found),
        _parameters(run, fitted),
        _results(run, found),
    ]
    return [Section(s.id, f"{n} · {s.heading}", s.blocks) for n, s in enumerate(sections, 1)]


def _method(run: "Run", found: Mapping[str, Any]) -> Section:
    asked, windows = run.recipe.next, run.windows()
    rows = [("trained on", show(w.start), show(w.end)) for w in windows.train]
    rows += [("validated", show(windows.valid.start), show(windows.valid.end))]
    rows += [("predicted", show(windows.cutoff), show(windows.cutoff + asked.days * DAY))]
    words = [
        "Rolling origin: at each cutoff everything (candidates, features, facts of items) is made"
        " from the log before it, and judged by what was bought in the days after it. Nothing that"
        " is validated is trained on.",
        "Score: the mean, over all who bought in the window, of the share of their items that are"
        f" among their {asked.list_length}. A buyer without a list counts 0. At most"
        f" {asked.max_users:,} users get one.",
        f"Intervals are 95 %, by the bootstrap over {found['buyers']:,} buyers; differences are"
        " paired, on the same resamples.",
    ]
    if len(windows.train) < windows.asked:
        words.append(
            f"{windows.asked} training windows were asked for; the log has room for"
            f" {len(windows.train)}."
        )
    grid = Grid("windows (UTC)", ("window", "from", "before"), rows, align="l")
    return _section("method", "The method of experiment", Words(words), grid)


def _treatment(found: Overview, manifest: Manifest) -> Section:
    words = [
        "Every log is read into one form: a row an event with time (UTC), user, kind and item."
        " Each kind has a role (view, cart, buy, …), which retrievers and features ask for.",
        "Rows that cannot be read are counted by reason, never dropped in silence.",
        "The catalogue is taken as it was known at each cutoff: an item that was not yet listed is"
        " no candidate then. Equal times are ordered by kind, item and row.",
        f"Log fingerprint {manifest.fingerprint}.",
    ]
    rows = [(reason, f"{n:,}") for reason, n in sorted(found.rejected.items()) if n]
    read = list(manifest.source.items())
    grids = [
        Grid("rows that were not read", ("reason", "rows"), rows),
        Grid("what was read", ("", ""), read, align="l"),
    ]
    return _section("treatment", "How the data were treated", Words(words), *grids)


def _hypotheses(found: Mapping[str, Any]) -> Section:
    pairs = pairs_of(found)
    rows = [
        (f"{p.one} finds more than {p.other}", VERDICTS[p.gap.shown], p.gap.text(4)) for p in pairs
    ]
    words = [
        "Each hypothesis is a paired difference of recall on the validation window. It is shown"
        " where the whole interval is above 0:"
        f" {sum(p.gap.shown > 0 for p in pairs)} of {len(pairs)}.",
        by_chance(len(pairs)) + ".",
    ]
    grid = Grid("hypotheses", ("hypothesis", "verdict", "difference"), rows, align="llr")
    makers = {"differences": ("paired differences", partial(pairs_picture, pairs, "recall"))}
    drawn = pictures(makers, "recall")
    return _section("hypotheses", "The hypotheses tested", Words(words), *drawn, grid)


def _algorithms(fitted: FittedNext, found: Mapping[str, Any]) -> Section:
    words = [
        "Two stages: several retrievers give each user a short list, and one model ranks their"
        " union. A place in the submission goes to whom it is worth most: purchase propensity ×"
        " the recall that the list is expected to have.",
        *(
            f"Retriever {name} (at most {k}): {_doc(retriever)}"
            for name, (retriever, k) in retrievers(fitted.recipe).items()
        ),
        f"Ranker: {_doc(LambdaMART)}",
        f"Purchase propensity: {_doc(Propensity)}",
        f"{len(fitted.ranker.trees.names)} features of a candidate,"
        f" {len(fitted.propensity.trees.names)} of a user.",
    ]
    alone = [x for x in lines_of(found).values() if x.type in ("retriever", "ceiling")]
    rows = [(x.name, estimate_cell(x.estimate)) for x in alone]
    title = "recall of each retriever, and of all its candidates: no ranking exceeds that"
    of_ranker, of_users = fitted.ranker.trees.importance, fitted.propensity.trees.importance
    share = "share of the gain in the "
    makers = {
        "ceilings": ("ceilings of the candidates", partial(ceilings_picture, found["ceilings"])),
        "ranker": ("what the ranker uses", partial(shares_picture, of_ranker, share + "ranker")),
        "propensity": (
            "what the purchase propensity rests on",
            partial(shares_picture, of_users, share + "purchase propensity"),
        ),
    }
    grid, drawn = Grid(title, ("lists", "recall"), rows), pictures(makers, "the models")
    return _section("algorithms", "Algorithms and architectures", Words(words), *drawn, grid)


def _parameters(run: "Run", fitted: FittedNext) -> Section:
    best, recipe = run.stages.json("tune", "best"), fitted.recipe
    with (run.folder("tune") / "trials.csv").open(encoding="utf-8", newline="") as file:
        values = [float(row["value"]) for row in csv.DictReader(file)]
    words = ["No search was asked for ([tune] trials = 0): the parameters are those of the file."]
    if best["trials"]:
        gain = figure(best["value"] - best["first"], sign=True)
        words = [
            f"{best['trials']} trials of Optuna's TPE on {run.recipe.tune.windows} window(s)"
            f" before the validation window: recall {figure(best['value'])} at best,"
            f" {figure(best['first'])} with the parameters as given ({gain}).",
        ]
    parameters = {
        "ranker": plain(recipe.ranker),
        "propensity": plain(recipe.propensity),
        "retrievers": plain(recipe.retrievers),
        "windows": plain(run.recipe.windows),
    }
    rows = list(flattened(parameters).items())
    grid = Grid("parameters of this run", ("parameter", "value"), rows, align="l")
    matter = "share of what the best trials have in common (PED-ANOVA)"
    makers = {
        "search": ("the search", partial(trials_picture, values, "recall")),
        "options": ("which options matter", partial(shares_picture, best["importance"], matter)),
    }
    drawn = pictures(makers, "the hyper-parameters")
    return _section("parameters", "The hyper-parameters", Words(words), *drawn, grid)


def _results(run: "Run", found: Mapping[str, Any]) -> Section:
    gate, lines = run.stages.json("validate", "gate"), list(lines_of(found).values())
    reasons = "".join(f"; {r}" for r in gate["reasons"])
    words = [
        f"{found['buyers']:,} of {found['users']:,} known users bought in the window;"
        f" {found['chosen']:,} users were given a list.",
        "Expected calibration error of the purchase propensity, over ten bins:"
        f" {found['calibration_error']:.4g}.",
        f"Lists show {100 * found['coverage']:.3g} % of the {found['items']:,} known items.",
        f"The lists of 1,000 users take {found['seconds']:.3g} s, from candidates on.",
        f"Gate: {'promoted' if gate['promoted'] else 'not promoted'}{reasons}.",
    ]
    examples = [
        list_grid(
            one, f"user {one['user']}: bought {one['items']}, recall {figure(one['recall'], 2)}"
        )
        for one in run.stages.json("validate", "examples")
    ]
    examples += [
        list_grid(
            one,
            f"predicted for user {one['user']}: purchase propensity"
            f" {figure(one['propensity'], 3)}, expected recall {figure(one['expected'], 3)}",
        )
        for one in run.stages.json("predict", "examples")
    ]
    shown = [x for x in lines if x.type not in ("retriever", "ceiling")]
    bins = [Bin(*each) for each in found["bins"]]
    makers = {
        "recall": (
            "recall beside the baselines",
            partial(lines_picture, shown, TYPES, METRIC, dashed=found["best_rival"]),
        ),
        "calibration": ("calibration", partial(calibration_picture, bins, "purchase propensity")),
    }
    drawn = pictures(makers, "the validation")
    table = lines_grid(METRIC, "recall", lines, TYPES)
    heading = "The validation results"
    return _section("results", heading, Words(words), *drawn, table, *examples)


def _section(anchor: str, heading: str, *blocks: Block) -> Section:
    """A section without the tables that have no row."""
    return Section(anchor, heading, [b for b in blocks if not isinstance(b, Grid) or b.rows])


def _doc(made: Any) -> str:
    """The first paragraph of a class's docstring."""
    text = inspect.getdoc(made if isinstance(made, type) else type(made)) or ""
    return " ".join(text.split("\n\n")[0].split())
