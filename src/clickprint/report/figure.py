"""Pictures: matplotlib figures in one style, as SVG for a page and as PNG files.

Ink, grid and paper are three fixed colours; the SVG turns them into CSS, so that a picture
follows the page's light or dark theme. There is no pyplot and no global state.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from clickprint.core.text import NAME, count, printable, short
from clickprint.metrics.compare import Estimate, Gap

if TYPE_CHECKING:  # matplotlib takes half a second: imported where a figure is made
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, GRID, PAPER = "#20242b", "#6b7480", "#d5dae1", "#fefefe"
CSS = {INK: "currentColor", SOFT: "var(--soft)", GRID: "var(--grid)", PAPER: "var(--paper)"}
# Okabe and Ito 2008: told apart by all common kinds of colour blindness; shapes help, too.
COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#8c6bb1",
    "#7f7f7f",
)
SHAPES = ("o", "s", "D", "^", "v", "P", "X", "h")
DASHES = (0, (3, 3))
WIDTH = 9.2  # inches; at 100 dots the width of a page's column

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


# -- how every picture is made ---------------------------------------------------------------


class Drawn(NamedTuple):
    """One picture twice: an <svg> element for a page, and the bytes of a PNG file on white."""

    svg: str
    png: bytes


@contextmanager
def style(salt: str = "") -> Iterator[None]:
    """Our settings over matplotlib's own defaults, whatever the user's matplotlibrc says."""
    from matplotlib import rc_context, rcParamsDefault

    settings: dict[Any, Any] = {
        k: v for k, v in rcParamsDefault.items() if k not in ("backend", "date.epoch")
    }
    settings |= {**STYLE, "svg.hashsalt": salt}
    with rc_context(settings):
        yield


def draw(picture: "Callable[[], Figure | None]", label: str, *, dots: int = 150) -> Drawn | None:
    """Draw a picture in both forms; None where there is nothing to show.

    The same input gives the same bytes. `label` is what a screen reader says, and what keeps the
    ids of several pictures of one page apart.
    """
    vectors, pixels = io.StringIO(), io.BytesIO()
    with style(label), warnings.catch_warnings():
        # A name in a script that the PNG's font lacks; the page has the reader's fonts.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        drawn = picture()
        if drawn is None:
            return None
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        drawn.savefig(vectors, format="svg", metadata=nothing)
        # Everything has its place now: to lay it out again is a third of the work.
        drawn.set_layout_engine("none")
        drawn.savefig(
            pixels, format="png", dpi=dots, facecolor="white", metadata={"Software": None}
        )
        width, height = drawn.get_size_inches() * 72
    return Drawn(_inline(vectors.getvalue(), label, width, height), pixels.getvalue())


def standalone(svg: str) -> str:
    """A page's <svg> element as a file of its own: no variables of the page, on white."""
    for colour, variable in CSS.items():
        svg = svg.replace(variable, colour)
    rules = (
        "<style>*{stroke-linejoin:round;stroke-linecap:butt}"
        "text{font-family:'DejaVu Sans',sans-serif}</style>"
    )
    head, _, rest = svg.partition(">")
    own = f'<svg xmlns="http://www.w3.org/2000/svg" style="background:white" fill="{INK}" '
    return f"{head.replace('<svg ', own, 1)}>{rules}{rest}\n"


def _inline(text: str, label: str, width: float, height: float) -> str:
    """matplotlib's SVG for a page: no outside reference, no date, text as text."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    # That style is in the page's.
    text = re.sub(r"<!--.*?-->\s*|<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r">\s+<", "><", re.sub(r"<g/>", "", text))
    # Definitions are named by a hash of their drawing, so two pictures of one page may share a
    # name: each gets its own. Texts between the tags are the user's, and stay.
    own = blake2b(label.encode(), digest_size=3).hexdigest()
    text = re.sub(r"<[^>]*>", lambda tag: _tag(tag[0], own), text)
    head = (
        f'<svg class="plot" viewBox="0 0 {width:g} {height:g}" role="img"'
        f' aria-label="{_attribute(label)}">'
    )
    return printable(re.sub(r"<svg[^>]*>", lambda _: head, text, count=1))


def _tag(tag: str, own: str) -> str:
    # Nothing refers to a group, and a page wants an id once.
    tag = re.sub(r'^<g id="[^"]*"', "<g", tag)
    tag = tag.replace("; font-family: 'DejaVu Sans'", "")
    tag = re.sub(r' transform="rotate\(-0 [^"]*"', "", tag)
    tag = re.sub(r'\bid="', f'id="{own}', tag)
    tag = tag.replace('xlink:href="#', f'href="#{own}').replace("url(#", f"url(#{own}")
    for colour, variable in CSS.items():
        tag = tag.replace(colour, variable)
    # A hundredth of a point is enough, and half of the text.
    return re.sub(
        r'(?<=[ (="\n])-?\d+\.\d{3,}', lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), tag
    )


def _attribute(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace('"', "&quot;")


# -- figures and axes ------------------------------------------------------------------------


def blank(height: float, width: float = WIDTH) -> "Figure":
    """An empty figure; inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def panels(
    number: int, columns: int, height: float, **options: Any
) -> "tuple[Figure, list[Axes]]":
    """`number` axes in rows of `columns`, each row `height` inches; the rest is left out."""
    columns = max(1, min(columns, number))
    rows = -(-number // columns)
    drawn = blank(rows * height)
    drawn.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    flat = list(drawn.subplots(rows, columns, squeeze=False, **options).ravel())
    for ax in flat[number:]:
        ax.remove()
    return drawn, flat[:number]


def caption(drawn: Any, text: str) -> None:
    """Below all panels: what they show."""
    drawn.supxlabel(text, fontsize=8.5, color=SOFT)


def grid_lines(ax: "Axes", axis: Literal["x", "y", "both"] = "x") -> None:
    """Lines across an axis; the spine that they would repeat is hidden."""
    ax.grid(True, axis=axis)
    ax.tick_params(length=0)
    ax.spines["left"].set_visible(axis != "x")
    ax.spines["bottom"].set_visible(axis != "y")


def name_axis(ax: "Axes", names: Sequence[str], *, show: bool = True, most: int = NAME) -> None:
    """Names down the left side, the first on top, cut to `most` letters."""
    ax.set_yticks(range(len(names)), [short(n, most) for n in names] if show else [])
    ax.set_ylim(len(names) - 0.4, -0.6)


def score_axis(axis: Any) -> None:
    """`.65` instead of `0.65`: as tables print scores."""
    from matplotlib.ticker import MaxNLocator

    def text(v: float) -> str:
        shown = f"{v:.3g}".replace("0.", ".", 1).replace("-", "−")
        return shown if abs(v) > 1e-9 else "0"

    axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    _format_axis(axis, text)


def log_axis(axis: Any, low: float | int, high: float | int) -> None:
    """Ticks at 1, 10, 100, …, and at 2 and 5 times those where there would be too few."""
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

    subs = (1.0, 2.0, 5.0) if high < 50 * low else (1.0,)
    axis.set_major_locator(LogLocator(10, subs=subs, numticks=12))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    count_axis(axis)


def count_axis(axis: Any) -> None:
    """Counts with three figures: 12.3 k, 1.5 M."""
    _format_axis(axis, lambda v: count(v) if v >= 0 else "")


def percent_axis(axis: Any) -> None:
    """Shares as percent."""
    _format_axis(axis, lambda v: f"{100 * v:g} %")


def power_axis(axis: Any) -> None:
    """Powers of ten: 1e9."""
    _format_axis(axis, lambda v: f"{v:.0e}".replace("e+", "e").replace("e0", "e"))


def _format_axis(axis: Any, text: Callable[[float], str]) -> None:
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda v, _: text(float(v))))


def date_axis(ax: "Axes", first: float, last: float) -> None:
    """Dates across, in days since 1970, as matplotlib counts them."""
    from datetime import UTC

    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=9, tz=UTC)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))
    ax.set_xlim(first, last)


def zero_line(ax: "Axes", x: float | int = 0) -> None:
    """A solid line that differences are read against."""
    ax.axvline(x, color=SOFT, linewidth=1)


def dashed_line(ax: "Axes", x: float | int, colour: str = SOFT) -> None:
    """A dashed line: the value of what is compared with."""
    ax.axvline(x, color=colour, linewidth=1, linestyle=DASHES)


def whisker(
    ax: "Axes",
    place: int | float,
    found: Estimate | Gap,
    colour: str,
    *,
    wide: float = 2.2,
    upright: bool = False,
) -> None:
    """The interval of a number as a bar, lying at y = `place`, or `upright` at x = `place`."""
    if np.isfinite(found.low):
        ends = [found.low, found.high], [place, place]
        ax.plot(
            *(ends[::-1] if upright else ends),
            color=colour,
            linewidth=wide,
            alpha=0.55,
            solid_capstyle="butt",
        )


# -- pictures --------------------------------------------------------------------------------


class Row(NamedTuple):
    """A line of a picture of intervals.

    `label` stands in the legend; `each` are small hollow marks, such as one for each seed.
    """

    name: str
    estimate: Estimate | Gap
    colour: str = COLOURS[0]
    shape: str = "o"
    hollow: bool = False
    label: str = ""
    each: Sequence[float] = ()


def gap_colour(gap: Gap) -> str:
    """Blue where a difference is shown to be above 0, orange below, grey where neither is."""
    return COLOURS[0] if gap.shown > 0 else COLOURS[1] if gap.shown < 0 else COLOURS[7]


def interval_rows(
    ax: "Axes",
    rows: Sequence[Row],
    *,
    names: bool = True,
    most: int = NAME,
    margin: float = 0.08,
    wide: float = 2.2,
    size: float = 5.5,
) -> None:
    """Each row's number and its interval, the first on top; names on the left side."""
    told: set[str] = set()
    for y, row in enumerate(rows):
        whisker(ax, y, row.estimate, row.colour, wide=wide)
        ax.plot(
            [row.estimate.value],
            [y],
            row.shape,
            color=row.colour,
            markersize=size,
            markerfacecolor=PAPER if row.hollow else row.colour,
            label=None if row.label in told else row.label,
        )
        told |= {row.label, ""}
        if len(row.each):
            hollow: dict[str, Any] = {"markersize": 3.5, "markerfacecolor": "none", "alpha": 0.7}
            ax.plot(row.each, [y] * len(row.each), row.shape, color=row.colour, **hollow)
    name_axis(ax, [row.name for row in rows], show=names, most=most)
    grid_lines(ax)
    score_axis(ax.xaxis)
    ax.margins(x=margin)


def intervals(
    rows: Sequence[Row],
    xlabel: str,
    *,
    dashed: float | None = None,
    zero: bool = False,
    most: int = NAME,
) -> "Figure | None":
    """One panel of intervals; a legend where rows have labels."""
    if not rows:
        return None
    labels = any(row.label for row in rows)
    drawn = blank(0.8 + 0.2 * labels + 0.265 * len(rows))
    ax = drawn.subplots()
    if dashed is not None:
        dashed_line(ax, dashed)
    if zero:
        zero_line(ax)
    interval_rows(ax, rows, most=most)
    ax.set_xlabel(xlabel)
    if labels:
        drawn.legend(loc="outside upper left", ncols=3, handletextpad=0.2)
    return drawn


Number = float | int
Ticks = tuple[Sequence[Number], Sequence[str]]  # where they are, and what they say


def heatmap(
    values: Float[np.ndarray, "Y X"],
    xlabel: str,
    *,
    ylabel: str = "",
    xticks: Ticks | None = None,
    yticks: Ticks | None = None,
    top: float | None = None,
    height: float = 2.0,
) -> "Figure":
    """A table as colours, its first row on top; `top` is the strongest, NaN is left blank."""
    from matplotlib.colors import LinearSegmentedColormap

    drawn = blank(height)
    ax = drawn.subplots()
    blue = (0, 0.447, 0.698)
    ax.pcolormesh(
        np.arange(values.shape[1] + 1) - 0.5,
        np.arange(values.shape[0] + 1) - 0.5,
        np.ma.masked_invalid(values),
        cmap=LinearSegmentedColormap.from_list("shades", [(*blue, 0.03), (*blue, 1.0)]),
        vmin=0,
        vmax=top or np.nanmax(values) or 1.0,
        edgecolors="none",
    )
    if xticks:
        ax.set_xticks(*xticks)
    if yticks:
        ax.set_yticks(*yticks)
    ax.invert_yaxis()
    ax.tick_params(length=0)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    return drawn


class Bar(NamedTuple):
    """A line of a picture of bars: its name, its length, and what stands beside it."""

    name: str
    value: float | int
    text: str
    colour: str = COLOURS[0]
    soft: bool = False  # whether the text beside it is paler


def bars(
    rows: Sequence[Bar], xlabel: str, *, log: bool = False, most: int = NAME
) -> "Figure | None":
    """Lying bars, the first on top; `log`: the axis is logarithmic, from 1."""
    if not rows:
        return None
    drawn = blank(0.72 + 0.26 * len(rows))
    ax = drawn.subplots()
    bar_rows(ax, rows, log=log, most=most)
    ax.set_xlabel(xlabel)
    return drawn


def bar_rows(
    ax: "Axes",
    rows: Sequence[Bar],
    *,
    log: bool = False,
    most: int = NAME,
    names: bool = True,
    alpha: float = 1.0,
    room: float = 1.2,
) -> None:
    """The bars of one panel; `room` is the axis' length in lengths of the longest bar."""
    longest = max((row.value for row in rows), default=1.0)
    for y, row in enumerate(rows):
        length = max(row.value, 0.9) if log else row.value
        ax.barh(y, length, height=0.62, color=row.colour, alpha=alpha, linewidth=0)
        ax.annotate(
            row.text,
            (max(row.value, 1) if log else row.value, y),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=SOFT if row.soft else INK,
        )
    if log:
        ax.set_xscale("log")
        ax.set_xlim(0.9, max(longest, 10) ** room)
        log_axis(ax.xaxis, *ax.get_xlim())
    else:
        ax.set_xlim(0, longest * room or 1)
        score_axis(ax.xaxis)
    name_axis(ax, [row.name for row in rows], show=names, most=most)
    grid_lines(ax)


def columns(heights: Sequence[Bar], xlabel: str, ylabel: str) -> "Figure | None":
    """Standing bars, the first on the left; heights are shares."""
    if not heights:
        return None
    drawn = blank(2.6)
    ax = drawn.subplots()
    at = range(len(heights))
    values, colours = [h.value for h in heights], [h.colour for h in heights]
    ax.bar(at, values, width=0.8, color=colours, linewidth=0)
    for x, bar in zip(at, heights, strict=True):
        ax.text(x, bar.value + 0.006, bar.text, ha="center", fontsize=7.5, color=SOFT)
    ax.set_xticks(at, [h.name for h in heights])
    ax.tick_params(axis="x", labelsize=7.5)
    percent_axis(ax.yaxis)
    grid_lines(ax, "y")
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    return drawn


def curves(
    lines: Mapping[str, tuple[Sequence[Number], Sequence[Number]]],
    xlabel: str,
    ylabel: str,
    *,
    log: bool = False,
    strong: str = "",
) -> "Figure | None":
    """Lines with marks, each name → (x, y); `strong` is drawn thicker than the others.

    `log`: x is logarithmic where all of it is above 0.
    """
    if not lines:
        return None
    drawn = blank(3.6)
    ax = drawn.subplots()
    free = [c for n, c in enumerate(COLOURS) if n != 3]
    for n, (name, (x, y)) in enumerate(lines.items()):
        thick = name == strong
        ax.plot(
            x,
            y,
            "-o",
            color=COLOURS[3] if thick else free[n % 7],
            markersize=4 if thick else 3,
            linewidth=2.4 if thick else 1.2,
            label=short(name),
        )
    every = [v for x, _ in lines.values() for v in x]
    if log and every and min(every) > 0:
        ax.set_xscale("log")
        log_axis(ax.xaxis, min(every), max(every))
    score_axis(ax.yaxis)
    grid_lines(ax, "both")
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    drawn.legend(loc="outside right upper")
    return drawn
