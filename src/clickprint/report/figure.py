"""Pictures of boards and logs: matplotlib figures, as SVG text for the report and as PNG files. No pyplot, no global state.

Ink, grid and paper are three fixed colours; `svg` turns them into CSS so that a picture follows the page's light or dark theme.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from clickprint.core.time import SECOND
from clickprint.data.overview import Overview, funnel
from clickprint.tasks.board import Board, Estimate, Gap

if TYPE_CHECKING:  # matplotlib takes half a second: imported where a figure is made
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, GRID, PAPER = "#20242b", "#6b7480", "#d5dae1", "#fefefe"
# Okabe and Ito 2008: told apart by all common kinds of colour blindness. Shapes tell profiles apart too.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7f7f7f")
SHAPES = ("o", "s", "D", "^", "v", "P", "X", "h")
WIDTH = 9.2  # inches; at 100 dots the width of the report's column
NAME = 22  # letters of a name in a picture
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

STYLE: Mapping[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.color": INK,
    "text.parse_math": False,  # a profile may be called $x$
    "axes.edgecolor": GRID,
    "axes.labelcolor": SOFT,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.fonttype": "none",
    "lines.linewidth": 1.6,
}


# -- how every picture is made ----------------------------------------------------------------------------------------------------


@contextmanager
def _style(salt: str = "") -> Iterator[None]:
    """Our settings over matplotlib's own defaults, whatever the user's matplotlibrc says."""
    from matplotlib import rc_context, rcParamsDefault

    settings: dict[Any, Any] = {
        k: v for k, v in rcParamsDefault.items() if k not in ("backend", "date.epoch")
    }
    settings.update(STYLE)
    settings["svg.hashsalt"] = salt
    with rc_context(settings):
        yield


def _blank(height: float, width: float = WIDTH) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


class Drawn(NamedTuple):
    """One picture twice: an <svg> element for a page, and the bytes of a PNG file on white."""

    svg: str
    png: bytes


def draw(picture: "Callable[[], Figure | None]", label: str, *, dots: int = 150) -> Drawn | None:
    """Both forms of a picture, None where there is nothing to show. The same input gives the same bytes.

    `label` is what a screen reader says, and what keeps the ids of several pictures of one page apart.
    """
    vectors, pixels = io.StringIO(), io.BytesIO()
    with _style(label), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Glyph .* missing"
        )  # a name in a script that the PNG's font lacks; the page has the reader's fonts
        drawn = picture()
        if drawn is None:
            return None
        drawn.savefig(
            vectors,
            format="svg",
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
        drawn.set_layout_engine(
            "none"
        )  # where everything stands is settled: asking again is a third of the work
        drawn.savefig(
            pixels, format="png", dpi=dots, facecolor="white", metadata={"Software": None}
        )
        width, height = drawn.get_size_inches() * 72
    return Drawn(_inline(vectors.getvalue(), label, width, height), pixels.getvalue())


def _inline(text: str, label: str, width: float, height: float) -> str:
    """matplotlib's SVG for a page: no outside reference, no date, text as text, colours that follow the page."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(
        r"<!--.*?-->\s*|<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL
    )  # that style is in the page's
    # Definitions are named by a hash of their drawing, so two pictures of one page may share a name: each gets its own.
    own = blake2b(label.encode(), digest_size=3).hexdigest()
    text = re.sub(r">\s+<", "><", re.sub(r"<g/>", "", text))
    text = re.sub(
        r"<[^>]*>", lambda tag: _tag(tag[0], own), text
    )  # inside tags only: what stands between them are the user's texts
    head = f'<svg class="plot" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{_attribute(label)}">'
    return _printable(re.sub(r"<svg[^>]*>", lambda _: head, text, count=1))


def _tag(tag: str, own: str) -> str:
    tag = re.sub(
        r'^<g id="[^"]*"', "<g", tag
    )  # nothing refers to a group, and a page wants an id once
    tag = tag.replace("; font-family: 'DejaVu Sans'", "")
    tag = re.sub(r' transform="rotate\(-0 [^"]*"', "", tag)
    tag = re.sub(r'\bid="', f'id="{own}', tag)
    tag = tag.replace('xlink:href="#', f'href="#{own}').replace("url(#", f"url(#{own}")
    for colour, variable in (
        (INK, "currentColor"),
        (SOFT, "var(--soft)"),
        (GRID, "var(--grid)"),
        (PAPER, "var(--paper)"),
    ):
        tag = tag.replace(colour, variable)
    # A hundredth of a point is enough, and half of the text.
    return re.sub(
        r'(?<=[ (="\n])-?\d+\.\d{3,}', lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), tag
    )


def _attribute(text: str) -> str:
    return (
        text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    )


def _printable(text: str) -> str:
    return "".join(c for c in text if c == "\n" or c.isprintable())


def _short(text: str, most: int = NAME) -> str:
    text = _printable(text).replace("\n", " ")
    return text if len(text) <= most else text[: most - 1] + "…"


def _count(n: float | int) -> str:
    """950, 9,999, 12.3 k, 1.5 M"""
    for unit, metric in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if n >= max(unit, 10**4):
            return f"{n / unit:,.0f}{metric}" if n >= 99.95 * unit else f"{n / unit:.3g}{metric}"
    return f"{n:,.0f}"


def _looks(board: Board) -> dict[str, tuple[str, str]]:
    """A colour and a shape for each profile; the control is grey, the same profile looks the same in every picture of a board."""
    free = [p for p in board.profiles if p != board.control]
    found = {p: (COLOURS[i % 7], SHAPES[i % len(SHAPES)]) for i, p in enumerate(free)}
    return {**found, board.control: (COLOURS[7], "o")}


def _order(board: Board) -> list[str]:
    """Profiles, the best first."""
    return [s.profile for s in board.standings()] or list(board.profiles)


def _grid(ax: "Axes", axis: str = "x") -> None:
    ax.grid(True, axis=axis)  # type: ignore[arg-type]
    ax.tick_params(length=0)
    ax.spines["left"].set_visible(axis != "x")
    ax.spines["bottom"].set_visible(axis != "y")


def _scores_axis(axis: Any) -> None:
    """`.65` instead of `0.65`: as the boards print scores."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(
        FuncFormatter(
            lambda v, _: (
                f"{v:.3g}".replace("0.", ".", 1).replace("-", "−") if abs(v) > 1e-9 else "0"
            )
        )
    )


def _log_axis(axis: Any, low: float, high: float) -> None:
    """Ticks at 1, 10, 100, …, and at 2 and 5 times those where there would be too few."""
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

    axis.set_major_locator(
        LogLocator(10, subs=(1.0, 2.0, 5.0) if high < 50 * low else (1.0,), numticks=12)
    )
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    _big_numbers(axis)


def _whisker(ax: "Axes", y: int, found: Estimate | Gap, colour: str, *, wide: float = 2.2) -> None:
    if np.isfinite(found.low):
        ax.plot(
            [found.low, found.high],
            [y, y],
            color=colour,
            linewidth=wide,
            alpha=0.55,
            solid_capstyle="butt",
        )


def _names(ax: "Axes", names: Sequence[str], *, show: bool = True) -> None:
    ax.set_yticks(range(len(names)), [_short(n) for n in names] if show else [])
    ax.set_ylim(len(names) - 0.4, -0.6)


def _panels(
    number: int, columns: int, height: float, **options: Any
) -> "tuple[Figure, list[Axes]]":
    """`number` axes in rows of `columns`, the rest left out."""
    columns = max(1, min(columns, number))
    rows = -(-number // columns)
    drawn = _blank(rows * height)
    drawn.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    grid = drawn.subplots(rows, columns, squeeze=False, **options)
    flat = list(grid.ravel())
    for ax in flat[number:]:
        ax.remove()
    return drawn, flat[:number]


# -- boards -----------------------------------------------------------------------------------------------------------------------


def scores(board: Board) -> "Figure | None":
    """A panel a task: each profile's score with its interval, the live score hollow where labels are degenerate, the baseline's line."""
    if not board.tasks:
        return None
    drawn, panels = _panels(len(board.tasks), 3, 0.85 + 0.235 * len(board.profiles))
    for i, (task, ax) in enumerate(zip(board.tasks, panels, strict=True)):
        _score_panel(ax, board, task, names=i % 3 == 0)
    drawn.supxlabel(_score_label(board), fontsize=8.5, color=SOFT)
    return drawn


def _score_panel(ax: "Axes", board: Board, task: str, *, names: bool) -> None:
    order, looks, about = _order(board), _looks(board), board.about(task)
    if board.reference in board.scores:
        line = board.score(board.reference, task).value
        ax.axvline(
            line, color=looks[board.reference][0], linewidth=1, linestyle=(0, (3, 3)), alpha=0.8
        )
    for y, profile in enumerate(order):
        colour, shape = looks[profile]
        found = board.score(profile, task)
        _whisker(ax, y, found, colour)
        ax.plot([found.value], [y], shape, color=colour, markersize=5.5)
        if about.degenerate and about.labels > 1:
            live = board.live(profile, task)
            _whisker(ax, y, live, colour, wide=1.0)
            ax.plot([live.value], [y], shape, color=colour, markersize=5.5, markerfacecolor=PAPER)
    _names(ax, order, show=names)
    _grid(ax)
    _scores_axis(ax.xaxis)
    said = (
        f"{about.labels - about.degenerate} of {about.labels} labels live"
        if about.labels > 1
        else f"{about.users:,} users"
    )
    ax.set_title(_short(task, 28), pad=17)
    ax.annotate(
        said,
        (0, 1),
        (0, 5),
        "axes fraction",
        textcoords="offset points",
        color=SOFT,
        fontsize=7.5,
        va="bottom",
    )
    ax.margins(x=0.08)


def _score_label(board: Board) -> str:
    bounds = ", bar = 95 % interval over users" if board.resamples else ""
    hollow = (
        ", hollow = over live labels only"
        if any(0 < board.about(t).degenerate < board.about(t).labels for t in board.tasks)
        else ""
    )
    line = f", dashed = {_short(board.reference)}" if board.reference in board.scores else ""
    return f"score ({board.probe} probe){bounds}{hollow}{line}"


def gaps(board: Board) -> "Figure | None":
    """A panel a task: each profile's paired difference to the baseline; what touches the zero line is not shown."""
    order = [p for p in _order(board) if p not in (board.reference, board.control)]
    if board.reference not in board.scores or not order or not board.counted:
        return None
    looks = _looks(board)
    drawn, panels = _panels(len(board.counted) + 1, 4, 0.7 + 0.25 * len(order))
    for i, (task, ax) in enumerate(zip([*board.counted, None], panels, strict=True)):
        _gap_panel(
            ax,
            [(p, board.gap(p, board.reference, task), *looks[p]) for p in order],
            show=i % 4 == 0,
        )
        ax.set_title(_short(task, 22) if task else f"sum of {len(board.counted)}")
    bounds = " and 95 % interval" if board.resamples else ""
    drawn.supxlabel(
        f"paired difference to {_short(board.reference)}{bounds}; hollow = not shown",
        fontsize=8.5,
        color=SOFT,
    )
    return drawn


def _gap_panel(ax: "Axes", rows: Sequence[tuple[str, Gap, str, str]], *, show: bool) -> None:
    ax.axvline(0, color=SOFT, linewidth=1)
    for y, (_, gap, colour, shape) in enumerate(rows):
        _whisker(ax, y, gap, colour)
        ax.plot(
            [gap.value],
            [y],
            shape,
            color=colour,
            markersize=5.5,
            markerfacecolor=colour if gap.shown else PAPER,
        )
    _names(ax, [name for name, *_ in rows], show=show)
    _grid(ax)
    _scores_axis(ax.xaxis)
    ax.margins(x=0.1)


def ranks(board: Board) -> "Figure | None":
    """Borda points, and beside them the final place with its interval."""
    standings, looks = board.standings(), _looks(board)
    if not standings:
        return None
    from matplotlib.ticker import MaxNLocator

    drawn = _blank(0.75 + 0.27 * len(standings))
    left, right = drawn.subplots(1, 2, width_ratios=[3, 2], sharey=True)
    most = max((len(standings) - 1) * len(board.counted), 1)
    for y, s in enumerate(standings):
        colour, shape = looks[s.profile]
        left.barh(y, s.points, height=0.62, color=colour, alpha=0.85, linewidth=0)
        left.text(s.points + most * 0.012, y, f"{s.points:g}", va="center", fontsize=8.5)
        _whisker(right, y, Estimate(s.place, s.low, s.high), colour)
        right.plot([s.place], [y], shape, color=colour, markersize=6)
    _names(left, [s.profile for s in standings])
    for ax in (left, right):
        _grid(ax)
    left.set_xlim(0, most * 1.06)
    left.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    left.set_xlabel(f"Borda points over {len(board.counted)} tasks (at most {most})")
    right.set_xlim(0.5, len(standings) + 0.5)
    right.set_xticks(range(1, len(standings) + 1))
    right.tick_params(labelleft=False)
    right.set_xlabel("place" + (", bar = 95 % interval" if board.resamples else ""))
    return drawn


def ablation(board: Board) -> "Figure | None":
    """What a joined profile loses on each task, and in the sum, when a block is left out."""
    costs = board.costs()
    if not costs:
        return None
    many = len({whole for whole, *_ in costs}) > 1
    names = [f"{whole}: − {block}" if many else f"− {block}" for whole, block, *_ in costs]
    drawn, panels = _panels(len(board.counted) + 1, 4, 0.7 + 0.28 * len(costs))
    for i, (task, ax) in enumerate(zip([*board.counted, None], panels, strict=True)):
        found = [by_task[task] if task else whole for _, _, whole, by_task in costs]
        colour = [
            COLOURS[1] if g.shown < 0 else COLOURS[0] if g.shown > 0 else COLOURS[7] for g in found
        ]
        _gap_panel(
            ax,
            [(n, g, c, "o") for n, g, c in zip(names, found, colour, strict=True)],
            show=i % 4 == 0,
        )
        ax.set_title(_short(task, 22) if task else f"sum of {len(board.counted)}")
    drawn.supxlabel(
        "change of the score without the block: left of zero the block helps, grey = not shown",
        fontsize=8.5,
        color=SOFT,
    )
    return drawn


def hidden(board: Board) -> "Figure | None":
    """Every hidden task a dot: the spread of each profile over questions that no recipe saw; box = quartiles, line = median."""
    if not board.hidden:
        return None
    drawn = _blank(0.8 + 0.42 * len(board.profiles))
    ax = drawn.subplots()
    _hidden_panel(ax, board)
    ax.set_xlabel(
        f"score on {len(board.hidden)} hidden tasks ({board.probe} probe); box = quartiles, line = median, diamond = mean"
    )
    return drawn


def _hidden_panel(ax: "Axes", board: Board) -> None:
    order, looks = sorted(board.profiles, key=lambda p: -_mean(board, p)), _looks(board)
    for y, profile in enumerate(order):
        colour, _ = looks[profile]
        values = np.array([board.scores[profile][t].score for t in board.hidden])
        spread = board.spread(profile)
        assert spread is not None
        ax.barh(
            y,
            spread.upper - spread.lower,
            left=spread.lower,
            height=0.56,
            color=colour,
            alpha=0.18,
            linewidth=0,
        )
        ax.plot([spread.median] * 2, [y - 0.28, y + 0.28], color=colour, linewidth=2)
        place = values.argsort(kind="stable").argsort(kind="stable")
        jitter = (
            place * 0.618034 % 1 - 0.5
        ) * 0.5  # golden steps: spread evenly, and the same every time
        ax.plot(values, y + jitter, ".", color=colour, markersize=5, alpha=0.75, markeredgewidth=0)
        ax.plot(
            [spread.mean.value],
            [y],
            "D",
            color=PAPER,
            markersize=6,
            markeredgecolor=colour,
            markeredgewidth=1.6,
        )
    _names(ax, order)
    _grid(ax)
    _scores_axis(ax.xaxis)


def _mean(board: Board, profile: str) -> float:
    spread = board.spread(profile)
    return spread.mean.value if spread and np.isfinite(spread.mean.value) else -np.inf


def epochs(board: Board) -> "Figure | None":
    """A panel a task: the official probe's score after each epoch; the filled mark is the epoch that counts."""
    tasks = [t for t in board.tasks if any(row[t].epochs for row in board.scores.values())]
    if not tasks:
        return None
    looks = _looks(board)
    drawn, panels = _panels(len(tasks), 3, 1.75)
    for i, (task, ax) in enumerate(zip(tasks, panels, strict=True)):
        for profile in board.profiles:
            found = board.scores[profile][task]
            colour, shape = looks[profile]
            line = [e.get("score", np.nan) for e in found.epochs]
            ax.plot(
                range(1, len(line) + 1),
                line,
                "-" + shape,
                color=colour,
                markersize=5,
                markerfacecolor=PAPER,
                label=_short(profile),
            )
            if 0 <= found.best_epoch < len(line):
                ax.plot(
                    [found.best_epoch + 1],
                    [line[found.best_epoch]],
                    shape,
                    color=colour,
                    markersize=6,
                )
        ax.set_title(_short(task, 28))
        ax.grid(True, axis="y")
        ax.tick_params(length=0)
        ax.set_xticks(range(1, max(len(row[task].epochs) for row in board.scores.values()) + 1))
        ax.margins(x=0.12, y=0.15)
        _scores_axis(ax.yaxis)
        if i % 3 == 0:
            ax.set_ylabel("score")
    drawn.supxlabel(
        "epoch of the official probe; filled = the epoch that counts", fontsize=8.5, color=SOFT
    )
    handles, labels = panels[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 6))
    return drawn


def cover(board: Board, line: str = "") -> "Figure | None":
    """One picture of a whole board, for a README or a slide: the counted tasks, the places, the hidden tasks, what each block is worth.

    `line` stands below the title: the data, the number of users.
    """
    if not board.counted:
        return None
    count, costs = len(board.counted), board.costs()
    columns = min(3, count)
    rows = -(-count // columns)
    drawn = _blank(1.5 + rows * max(1.0 + 0.2 * len(board.profiles), 1.75), 12.4)
    drawn.set_layout_engine("constrained", w_pad=0.09, h_pad=0.09)
    drawn.suptitle(
        "One log → one profile per shopper → every prediction a shop needs",
        x=0.012,
        ha="left",
        fontsize=15,
        fontweight="bold",
    )
    left, right = drawn.subfigures(1, 2, squeeze=False, width_ratios=[2.15, 1]).ravel()
    for i, (task, ax) in enumerate(
        zip(board.counted, left.subplots(rows, columns, squeeze=False).ravel(), strict=False)
    ):
        _score_panel(ax, board, task, names=i % columns == 0)
    left.supxlabel(_score_label(board), fontsize=8.5, color=SOFT)
    left.suptitle(line, x=0.018, ha="left", fontsize=10, color=SOFT)
    parts = [
        _places_panel,
        *([_hidden_panel] if board.hidden else []),
        *([_costs_panel] if costs else []),
    ]
    titles = [
        "place, by Borda count",
        *([f"{len(board.hidden)} hidden tasks"] if board.hidden else []),
        *(["one block left out: sum"] if costs else []),
    ]
    heights = [
        len(board.profiles),
        *([1.6 * len(board.profiles)] if board.hidden else []),
        *([max(len(costs), 2)] if costs else []),
    ]
    for ax, part, title in zip(
        right.subplots(len(parts), 1, squeeze=False, height_ratios=heights).ravel(),
        parts,
        titles,
        strict=True,
    ):
        part(ax, board)
        ax.set_title(title)
    right.suptitle(" ", fontsize=10)
    return drawn


def _places_panel(ax: "Axes", board: Board) -> None:
    standings, looks = board.standings(), _looks(board)
    for y, s in enumerate(standings):
        colour, shape = looks[s.profile]
        _whisker(ax, y, Estimate(s.place, s.low, s.high), colour, wide=4.0)
        ax.plot([s.place], [y], shape, color=colour, markersize=7)
    _names(ax, [s.profile for s in standings])
    _grid(ax)
    ax.set_xlim(0.5, len(standings) + 0.5)
    ax.set_xticks(range(1, len(standings) + 1))


def _costs_panel(ax: "Axes", board: Board) -> None:
    costs = board.costs()
    found = [whole for _, _, whole, _ in costs]
    colours = [
        COLOURS[1] if g.shown < 0 else COLOURS[0] if g.shown > 0 else COLOURS[7] for g in found
    ]
    names = [f"{whole} − {block}" for whole, block, *_ in costs]
    _gap_panel(
        ax, [(n, g, c, "o") for n, g, c in zip(names, found, colours, strict=True)], show=True
    )


# -- logs -------------------------------------------------------------------------------------------------------------------------


def _dates(ax: "Axes", days: Sequence[int]) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=9, tz=UTC)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))
    ax.set_xlim(_date(days[0]), _date(days[-1]))


def _date(time: int) -> float:
    """Days since 1970: what matplotlib counts dates in."""
    return time / SECOND / 86_400


def _kind_colours(found: Overview) -> dict[str, str]:
    return {k.name: COLOURS[i % len(COLOURS)] for i, k in enumerate(funnel(found))}


def days(found: Overview) -> "Figure | None":
    """Events a day, stacked by kind, with the split's windows behind them. Weeks instead of days above 500 days."""
    if not found.days:
        return None
    wide = 7 if found.days[-1] - found.days[0] > 500 * 86_400 * SECOND else 1
    start = np.array(found.days) // (86_400 * SECOND)
    place = (start - start[0]) // wide
    bins = int(place[-1]) + 1
    edges = start[0] + np.arange(bins + 1) * wide
    drawn = _blank(2.9)
    ax = drawn.subplots()
    below = np.zeros(bins)
    layers = []
    colours, codes = _kind_colours(found), {k.name: i for i, k in enumerate(found.kinds)}
    for kind in reversed(funnel(found)):
        n = np.bincount(place, np.array(found.by_day[codes[kind.name]], np.float64), bins)
        below = below + n
        layers.append((below, kind.name))
    for height, kind_name in reversed(
        layers
    ):  # the tallest first: each covers the part below it, which halves the picture's text
        ax.stairs(
            height,
            edges,
            fill=True,
            color=colours[kind_name],
            linewidth=0,
            label=_short(kind_name),
        )
    top = below.max() * 1.06
    for span in found.spans[1:]:
        left, right = _date(span.start), _date(span.end)
        shade = 0.15 if span.name.startswith("train") else 0.32
        ax.axvspan(
            left, right, color=SOFT, alpha=shade, linewidth=0, zorder=0, label=_short(span.name)
        )
    ax.set_ylim(0, top)
    _dates(ax, [found.days[0], found.days[-1] + wide * 86_400 * SECOND])
    _big_numbers(ax.yaxis)
    _grid(ax, "y")
    ax.set_ylabel("events a week" if wide == 7 else "events a day")
    handles, labels = ax.get_legend_handles_labels()
    drawn.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=min(len(labels), 7),
        handlelength=0.9,
        columnspacing=1.4,
    )
    return drawn


def _big_numbers(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda v, _: _count(v) if v >= 0 else ""))


def activity(found: Overview) -> "Figure | None":
    """How uneven users and items are: the share of them with at least n events, both axes logarithmic."""
    if not found.per_user:
        return None
    drawn = _blank(2.7)
    for ax, curve, what, colour in zip(
        drawn.subplots(1, 2, sharey=True),
        (found.per_user, found.per_item),
        ("users", "items"),
        (COLOURS[0], COLOURS[1]),
        strict=True,
    ):
        ax.set_xlabel(f"events of one {what[:-1]}, at least")
        ax.grid(True, which="major")
        ax.tick_params(length=0, which="both")
        if not curve:
            ax.text(0.5, 0.5, f"no {what}", transform=ax.transAxes, ha="center", color=SOFT)
            continue
        n, have = np.array(curve, np.float64).T
        ax.loglog(n, have / have[0], "-", color=colour, linewidth=2)
        half = n[have >= have[0] / 2].max()
        ax.plot([half], [have[n == half][0] / have[0]], "o", color=colour, markersize=5)
        ax.set_title(
            f"{_count(have[0])} {what}: half of them have at least {_count(half)}", fontsize=9
        )
        _log_axis(ax.xaxis, n[0], n[-1])
        _percent(ax.yaxis)
    drawn.axes[0].set_ylabel("share of all")
    return drawn


def _percent(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g} %"))


def kinds(found: Overview) -> "Figure | None":
    """The kinds of event in funnel order: how many events (logarithmic), and what share of the users ever did it."""
    rows, colours = funnel(found), _kind_colours(found)
    if not rows:
        return None
    drawn = _blank(0.75 + 0.3 * len(rows))
    left, right = drawn.subplots(1, 2, width_ratios=[3, 2], sharey=True)
    for y, k in enumerate(rows):
        left.barh(y, k.events, height=0.62, color=colours[k.name], linewidth=0)
        left.text(k.events * 1.08, y, _count(k.events), va="center", fontsize=8.5)
        share = k.users / max(found.users, 1)
        right.barh(y, share, height=0.62, color=colours[k.name], alpha=0.6, linewidth=0)
        right.text(share + 0.015, y, f"{100 * share:.3g} %", va="center", fontsize=8.5)
    left.set_xscale("log")
    left.set_xlim(0.9, max(10, *(k.events for k in rows)) ** 1.16)
    _names(
        left,
        [k.name if k.name == k.role else f"{_short(k.name, NAME - 9)} ({k.role})" for k in rows],
    )
    _log_axis(left.xaxis, *left.get_xlim())
    _percent(right.xaxis)
    for ax in (left, right):
        _grid(ax)
    left.set_xlabel("events (logarithmic)")
    right.set_xlim(0, 1.18)
    right.set_xticks([0, 0.5, 1])
    right.tick_params(labelleft=False)
    right.set_xlabel("share of all users who ever did it")
    return drawn


def sizes(found: Overview) -> "Figure | None":
    """How many users and items there are, and how many values each attribute of the catalogue takes (logarithmic)."""
    rows = [
        ("users", found.users, ""),
        ("items with events", found.items, ""),
        ("items in the catalogue", found.catalogue, ""),
    ]
    for a in found.attributes:
        share = 100 * a.items / max(found.catalogue, 1)
        rows.append(
            (
                f"values of {_short(a.name, NAME - 10)}",
                a.values,
                f"{a.kind.replace('_', ' ')}, {share:.3g} % of the catalogue",
            )
        )
    drawn = _blank(0.7 + 0.27 * len(rows))
    ax = drawn.subplots()
    for y, (_, n, note) in enumerate(rows):
        ax.barh(y, max(n, 0.9), height=0.6, color=COLOURS[5] if note else COLOURS[0], linewidth=0)
        ax.text(
            max(n, 1) * 1.12,
            y,
            _count(n) + (f" · {note}" if note else ""),
            va="center",
            fontsize=8.5,
            color=INK if not note else SOFT,
        )
    ax.set_xscale("log")
    ax.set_xlim(0.9, max(max(n for _, n, _ in rows), 10) ** 1.35)
    _names(ax, [r[0] for r in rows])
    _log_axis(ax.xaxis, *ax.get_xlim())
    _grid(ax)
    ax.set_xlabel("how many (logarithmic)")
    return drawn


def timeline(found: Overview) -> "Figure | None":
    """The split: what encoders may see, the window that probes learn from, and the window that counts."""
    if not found.spans:
        return None
    drawn = _blank(1.75)
    ax = drawn.subplots()
    what = ("profiles are made from it", "probes learn from it", "scores")
    for span, colour, use in zip(
        found.spans, (COLOURS[0], COLOURS[4], COLOURS[1]), what, strict=True
    ):
        left, right = _date(span.start), _date(span.end)
        ax.barh(
            0,
            right - left,
            left=left,
            height=0.9,
            color=colour,
            linewidth=0,
            alpha=0.85,
            label=f"{_short(span.name)}: {use}",
        )
    cuts = [s.start for s in found.spans[1:]] + [found.spans[-1].end]
    for time, up in zip(
        cuts, (0.6, 1.2, 1.8), strict=True
    ):  # like stairs, because the windows can be narrow
        shown = datetime.fromtimestamp(time // SECOND, UTC).strftime("%Y-%m-%d")
        ax.annotate(
            shown,
            (_date(time), up),
            (-3, 0),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=8,
            annotation_clip=False,
        )
        ax.plot([_date(time)] * 2, [-0.45, up + 0.5], color=INK, linewidth=1)
    ax.set_ylim(-0.5, 2.4)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    _dates(ax, [found.spans[0].start, found.spans[-1].end])
    ax.tick_params(length=0)
    drawn.legend(loc="outside upper left", ncols=3, handlelength=0.9, columnspacing=1.4)
    return drawn


def week(found: Overview) -> "Figure | None":
    """When events happen: hour of the day across, day of the week down, stronger = more (by the log's clock)."""
    if not sum(found.by_hour):
        return None
    from matplotlib.colors import LinearSegmentedColormap

    drawn = _blank(2.0)
    ax = drawn.subplots()
    table = np.array(found.by_hour, np.float64).reshape(7, 24)
    shades = LinearSegmentedColormap.from_list(
        "shades", [(0, 0.447, 0.698, 0.04), (0, 0.447, 0.698, 1.0)]
    )
    ax.pcolormesh(
        np.arange(25) - 0.5,
        np.arange(8) - 0.5,
        table / table.max(),
        cmap=shades,
        vmin=0,
        vmax=1,
        edgecolors="none",
    )
    ax.set_yticks(range(7), DAYS)
    ax.set_xticks(range(0, 24, 3))
    ax.invert_yaxis()
    ax.tick_params(length=0)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    busiest = divmod(int(table.argmax()), 24)
    most = f"{DAYS[busiest[0]]} {busiest[1]} to {busiest[1] + 1} h, {_count(table.max())} events"
    ax.set_xlabel(f"hour of the day, by the log's clock; strongest = {most}")
    return drawn


LOG_PICTURES: Mapping[str, "Callable[[Overview], Figure | None]"] = {
    "timeline": timeline,
    "days": days,
    "kinds": kinds,
    "activity": activity,
    "sizes": sizes,
    "week": week,
}
BOARD_PICTURES: Mapping[str, "Callable[[Board], Figure | None]"] = {
    "ranks": ranks,
    "scores": scores,
    "gaps": gaps,
    "epochs": epochs,
    "hidden": hidden,
    "ablation": ablation,
}
