"""From histories to a fitted network, and its uses: user vectors, hidden states, and ranked items where it was trained to say the next one.

A recipe is a frozen dataclass with `history`, `loss`, `training` and `model(sizes)`; its file says what the paper says. What is learned
is a FittedSequence whichever recipe it was.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int, Int64
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.files import whole
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.items import Catalogue
from clickprint.core.past import Past
from clickprint.core.profiles import MAX_WIDTH, Profiles, to_float16
from clickprint.core.progress import Progress, silent
from clickprint.core.ragged import Ragged, starts_of
from clickprint.core.recommendations import Recommendations
from clickprint.core.rng import RNG
from clickprint.data.texts import item_vectors
from clickprint.encoders import state
from clickprint.encoders.derived import DERIVED, columns, derive
from clickprint.metrics import ranking
from clickprint.nn.device import device
from clickprint.nn.next_item import (
    ITEM,
    TIME,
    HistoryModel,
    NextItem,
    best,
    last_states,
    next_basket,
    shifted,
)
from clickprint.nn.train import Loss, Parts, LearningCurve, Rows, Training, shuffled, take, train

SECOND = 1_000_000
USERS = 1 << 15  # are encoded at a time
LEAST = 8  # held-out users; with fewer there is no measure to stop by


@dataclass(frozen=True, kw_only=True, slots=True)
class HistorySpec:
    """Which part of a history a model reads: the last `length` events, and of each the item and these more `fields`.

    `fields` are columns of events, numeric attributes and code vectors of the catalogue, `query_codes` (data.histories), or what
    encoders.derived makes of them (hour, weekday, gap, age, price_band). `everything`: events about no item are read too. Items with
    fewer than `least` events at fit are not learned: they are nothing, wherever they stand. `texts`: item vectors start from what the
    catalogue says of the items (data.texts), not at random.
    `baskets`: what happened at one moment has no order, so an event predicts an item of the next moment (nn.next_item.next_basket).
    """

    length: int = 50
    fields: tuple[str, ...] = ()
    least: int = 1
    everything: bool = False
    texts: bool = False
    baskets: bool = False

    def __post_init__(self) -> None:
        wrong = [
            f"{n}: found {getattr(self, n)}, expected at least 1"
            for n in ("length", "least")
            if getattr(self, n) < 1
        ]
        wrong += (
            [f"fields: {ITEM} and {TIME} are read anyway, leave them out"]
            if {ITEM, TIME} & set(self.fields)
            else []
        )
        if wrong:
            raise ConfigError("; ".join(wrong))


@runtime_checkable
class Recipe(Protocol):
    """What a sequence encoder's dataclass has. `pieces`: into how many lengths a batch is sorted."""

    @property
    def history(self) -> HistorySpec: ...
    @property
    def loss(self) -> Loss: ...
    @property
    def training(self) -> Training: ...
    @property
    def pieces(self) -> int: ...
    def model(self, sizes: Mapping[str, int]) -> HistoryModel: ...


def shape_faults(recipe: Any) -> list[str]:
    """What is wrong with the numbers that say how large a network is, a sentence each; of those that the recipe has."""
    found = {f.name: getattr(recipe, f.name) for f in dataclass_fields(recipe)}
    faults = (
        [f"width: found {found['width']}, expected 1 to {MAX_WIDTH}"]
        if not 1 <= found["width"] <= MAX_WIDTH
        else []
    )
    counts = ("layers", "heads", "pieces", "state", "kernel", "expand", "head_width")
    faults += [
        f"{n}: found {found[n]}, expected at least 1"
        for n in counts
        if n in found and found[n] < 1
    ]
    own = ("inner", "hidden", "query_width", "value_width")
    faults += [
        f"{n}: found {found[n]}, expected at least 1, or 0 for the form's own"
        for n in own
        if n in found and found[n] < 0
    ]
    faults += (
        [f"dropout: found {found['dropout']}, expected 0 to below 1"]
        if not 0 <= found["dropout"] < 1
        else []
    )
    if not faults and found["width"] % found.get("heads", 1):
        faults.append(f"heads: {found['heads']} do not divide a width of {found['width']}")
    return faults


Examples = Callable[
    [Mapping[str, np.ndarray], Int64[np.ndarray, "U1"]], tuple[Rows, Parts]
]  # numbers and starts → what is trained on


def fit_past(
    recipe: Recipe,
    name: str,
    past: Past,
    *,
    rng: RNG,
    progress: Progress = silent,
    accelerator: str = "auto",
) -> "FittedSequence":
    """Trains on everything before the cutoff. With patience, users' last items are held out and ranked to know when to stop; with fewer
    than LEAST such users nobody is held out, and all epochs are trained."""
    histories = past.histories(wanted(recipe.history))
    catalogue = past.catalogue if recipe.history.texts else None
    measure = None
    if recipe.training.patience:
        kept, users, held = hold_out(histories, baskets=recipe.history.baskets)
        if len(users) >= LEAST:
            histories, measure = (
                kept,
                last_item_measure(kept, users, held, seen=recipe.history.baskets),
            )
    return fit(
        recipe,
        name,
        histories,
        rng=rng,
        catalogue=catalogue,
        progress=progress,
        accelerator=accelerator,
        measure=measure,
    )


def fit(
    recipe: Recipe,
    name: str,
    histories: Histories,
    *,
    rng: RNG,
    catalogue: Catalogue | None = None,
    examples: Examples | None = None,
    measure: Callable[["FittedSequence"], float] | None = None,
    checkpoint: Path | None = None,
    key: str = "",
    progress: Progress = silent,
    accelerator: str = "auto",
) -> "FittedSequence":
    """Trains the recipe's model on these histories. `examples` says on what; without it each event predicts the next item.

    `measure` (higher is better) decides when to stop. `catalogue` (as known at the cutoff) is needed where item vectors start from texts.
    `checkpoint` and `key` are those of nn.train.train; left out, the key is of the recipe, the seed and every event.
    Raises DataError where no history has two items, ConfigError without a catalogue that says something.
    """
    events = chosen(recipe.history, histories)
    values = {
        f: known_values(events.fields[f], recipe.history.least if f == ITEM else 1)
        for f in (ITEM, *recipe.history.fields)
    }
    fitted = FittedSequence(
        name, recipe, values, NextItem({f: len(v) for f, v in values.items()}, 1, 1, [])
    )
    fields = fitted.numbers(events)
    if examples is None and (
        (np.diff(items_only(events).starts) < 2).all() or not len(values[ITEM])
    ):
        raise DataError(
            name, ["no history has two events about an item, so there is no next item to learn"]
        )
    if examples is not None and recipe.history.baskets:
        raise ConfigError(
            f"{name}: history.baskets is for encoders that learn to predict the next event; leave it out"
        )
    if recipe.history.baskets and not before_last_moment(items_only(events)).any():
        raise DataError(
            name,
            [
                "no history has events about items at two moments, so there is no next basket to learn; leave out history.baskets"
            ],
        )
    with torch.random.fork_rng():
        torch.manual_seed(rng.child("start").integer() & 0x7FFF_FFFF_FFFF_FFFF)
        model = recipe.model({f: len(v) for f, v in values.items()}).to(device(accelerator))
        if recipe.history.texts:
            start_from_texts(model, values[ITEM], catalogue, name)
    fitted = replace(fitted, network=model)
    if examples is None:
        rows, parts = shuffled(len(events), rng), predicted(recipe, fields, events.starts)
    else:
        rows, parts = examples(fields, events.starts)
    curve = train(
        model,
        rows,
        _on(model, parts),
        recipe.loss,
        recipe.training,
        rng=rng,
        measure=None if measure is None else lambda _: measure(fitted),
        checkpoint=checkpoint,
        key=key or f"{name} {recipe} {histories.digest()} {rng}",
        progress=progress,
    )
    return replace(fitted, curve=curve)


def predicted(
    recipe: Recipe, fields: Mapping[str, np.ndarray], starts: Int64[np.ndarray, "U1"]
) -> Parts:
    """What each event predicts: the event behind it, or one of the next moment where the recipe's histories are `baskets`."""
    return (next_basket if recipe.history.baskets else shifted)(
        fields, starts, recipe.history.length, recipe.pieces
    )


@dataclass(frozen=True, slots=True)
class FittedSequence:
    """A trained model, and which value is which number. `values[field][i]` is number i + 1; 0 is everything else."""

    name: str
    recipe: Any
    values: Mapping[str, Int64[np.ndarray, "_"]]
    network: HistoryModel
    curve: LearningCurve | None = None

    def encode(self, past: Past) -> Profiles:
        """The state after each user's newest event that is read, with all that is known before the cutoff; zeros where there is none."""
        vectors = np.zeros((len(past.users), self.network.width), np.float16)
        for rows, part in self.stream(past.histories(wanted(self.recipe.history)).of(past.users)):
            vectors[rows] = to_float16(part)
        return Profiles(past.users, vectors)

    def states(self, histories: Histories) -> Float32[np.ndarray, "U D"]:
        """The state after each history's newest event; a row for each of `histories.users`."""
        out = np.zeros((len(histories), self.network.width), np.float32)
        for rows, part in self.stream(histories):
            out[rows] = part
        return out

    def stream(
        self, histories: Histories, *, users: int = USERS
    ) -> Iterator[tuple[slice, Float32[np.ndarray, "B D"]]]:
        """The states of so many users at a time, in their order. Memory holds one part of them, however many there are."""
        for rows, events in self._parts(histories, users):
            newest = events.last(self.network.length)
            out = np.zeros((len(events), self.network.width), np.float32)
            for places, part in last_states(self.network, self.numbers(newest), newest.starts):
                out[places] = part.float().cpu().numpy()
            yield rows, out

    def _parts(
        self, histories: Histories, users: int = USERS
    ) -> Iterator[tuple[slice, Histories]]:
        for first in range(0, len(histories), users):
            rows = slice(first, min(first + users, len(histories)))
            yield (
                rows,
                chosen(self.recipe.history, histories.take(np.arange(rows.start, rows.stop))),
            )

    def recommend(self, histories: Histories, k: int, *, seen: bool = True) -> Recommendations:
        """The k best items of each user, of the whole catalogue that was learned. `seen`: items of the history may be given again.

        Raises ConfigError where the network was not trained to say the next item.
        """
        if not isinstance(self.network, NextItem):
            raise ConfigError(
                f"{self.name} gives user vectors; it was not trained to say the next item, so it ranks none"
            )
        items = self.network.items.detach()
        size = min(k, len(self.values[ITEM]))
        found, scores = (
            np.full((len(histories), size), NONE, np.int64),
            np.full((len(histories), size), -np.inf, np.float32),
        )
        names = np.append(NONE, self.values[ITEM])
        for rows, events in self._parts(histories):
            numbers = self.numbers(events)
            had = Ragged(events.starts, numbers[ITEM])
            for places, part in last_states(self.network, numbers, events.starts):
                top, score = best(part, items, size, None if seen else had.take(places))
                found[rows][places], scores[rows][places] = names[top], score
        return Recommendations(histories.users, found, scores)

    def item_vectors(self) -> tuple[Int64[np.ndarray, "V"], Float32[np.ndarray, "V D"]]:
        """Items, sorted, and the vectors whose products with a state rank them. Raises ConfigError as `recommend` does."""
        if not isinstance(self.network, NextItem):
            raise ConfigError(
                f"{self.name} gives user vectors; it was not trained to say the next item, so it ranks none"
            )
        return self.values[ITEM], self.network.items.detach()[1:].float().cpu().numpy()

    def numbers(self, events: Histories) -> dict[str, np.ndarray]:
        """The fields of events that `chosen` gave as the model's numbers; time in seconds, up to the cutoff where the network wants that.

        Raises ConfigError for such a network and histories that were not cut.
        """
        fields: dict[str, np.ndarray] = {
            f: number(v, events.fields[f]) for f, v in self.values.items()
        }
        if TIME in events.fields:
            fields[TIME] = events.fields[TIME] // SECOND
        if self.network.from_cut:
            if events.cutoff is None:
                raise ConfigError(
                    f"{self.name} reads how long ago events were, so it needs histories with a cutoff; take those of a past"
                )
            fields[TIME] = events.cutoff // SECOND - fields[TIME]
        return fields

    def save(self, folder: Path) -> None:
        """The recipe's options, the values and the weights: whole or not at all."""
        with whole(folder) as part:
            state.write(
                part,
                self.name,
                {"options": asdict(self.recipe)},
                {f"values.{f}": v for f, v in self.values.items()},
            )
            weights = {
                n: v.detach().cpu().contiguous().clone()
                for n, v in self.network.state_dict().items()
            }
            save_file(weights, part / "weights.safetensors")


def load(folder: Path, name: str, recipe: Callable[[Mapping[str, Any]], Any]) -> FittedSequence:
    """What FittedSequence.save wrote; `recipe` makes the dataclass from its options. Raises DataError."""
    raw = state.read(folder, name)
    again = "fit and save it again"
    try:
        made = recipe(raw["options"])
        values = {f: state.array(folder, f"values.{f}") for f in (ITEM, *made.history.fields)}
        network = made.model({f: len(v) for f, v in values.items()})
        for field, found in values.items():
            check_values(field, found)
        take(network, load_file(folder / "weights.safetensors"))
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        RuntimeError,
        OSError,
        SafetensorError,
        ConfigError,
    ) as fault:
        said = str(fault).splitlines()[0] if str(fault) else repr(fault)
        raise DataError(str(folder), [f"not a fitted `{name}` ({said}); {again}"]) from None
    network.eval()
    return FittedSequence(name, made, values, network)


def start_from_texts(
    model: HistoryModel, items: Int64[np.ndarray, "V"], catalogue: Catalogue | None, name: str
) -> None:
    """Gives the vectors of items that the catalogue says something of their place among like items; their lengths stay."""
    if catalogue is None:
        raise ConfigError(
            f"{name}: history.texts needs the catalogue; fit with catalogue=…, or leave history.texts out"
        )
    table: torch.Tensor = model.embed[ITEM].weight  # type: ignore[index,union-attr]
    known, vectors = item_vectors(catalogue, table.shape[1])
    places = number(items, known)
    some = (places > 0) & vectors.any(1)
    with torch.no_grad():
        rows = torch.from_numpy(places[some]).to(table.device)
        size = table[rows].norm(dim=1, keepdim=True)
        table[rows] = torch.from_numpy(vectors[some]).to(table.device) * size


# ------------------------------------------------------------------------------------------------------------ histories
def wanted(spec: HistorySpec) -> tuple[str, ...]:
    """The fields that histories must have for it."""
    return tuple(dict.fromkeys((ITEM, TIME, *columns(spec.fields))))


def chosen(spec: HistorySpec, histories: Histories) -> Histories:
    """The events that are read, with every field of `spec`, also those that are made of others. Raises ConfigError as check_fields does."""
    check_fields(histories, (ITEM, *spec.fields))
    return derive(histories if spec.everything else items_only(histories), spec.fields)


def check_fields(histories: Histories, fields: Sequence[str]) -> None:
    """Raises ConfigError for a field that is not there, nor what it is made of, or that holds numbers: only ids can be embedded."""
    lacking = [c for c in columns(fields) if c not in histories.fields]
    floats = [
        f
        for f in fields
        if f not in DERIVED and f not in lacking and histories.fields[f].dtype.kind not in "iu"
    ]
    faults = (
        [
            f"these histories have no field {', '.join(lacking)}; they have {', '.join(histories.fields)}"
        ]
        if lacking
        else []
    )
    faults += (
        [
            f"{', '.join(floats)}: found numbers, expected ids; fields that are made of numbers: {', '.join(DERIVED)}"
        ]
        if floats
        else []
    )
    if faults:
        raise ConfigError("; ".join(faults))


def items_only(histories: Histories) -> Histories:
    """The events that are about an item."""
    return histories.where(histories.fields[ITEM] != NONE)


def known_values(values: Int[np.ndarray, "L *C"], least: int = 1) -> Int64[np.ndarray, "V"]:
    """The values that occur at least so often, sorted; NONE is none, and of code vectors −1."""
    found, counts = np.unique(values, return_counts=True)
    return found[(counts >= least) & (found != (NONE if values.ndim == 1 else -1))].astype(
        np.int64
    )


def check_values(field: str, values: np.ndarray) -> None:
    """Raises ValueError for what known_values does not give."""
    if values.dtype != np.int64 or values.ndim != 1:
        raise ValueError(
            f"values of {field}: found {values.dtype} with {values.ndim} dimensions, expected a list of int64"
        )
    if (values[1:] <= values[:-1]).any() or (values == NONE).any():
        raise ValueError(
            f"values of {field}: not sorted, or one stands there twice, or one is nothing"
        )


def number(known: Int64[np.ndarray, "V"], values: np.ndarray) -> Int[np.ndarray, "L *C"]:
    """1 … V for known values, 0 for others; int64, of code vectors int32."""
    if not len(known):
        return np.zeros(values.shape, np.int64 if values.ndim == 1 else np.int32)
    place = np.minimum(np.searchsorted(known, values), len(known) - 1)
    found = np.where(known[place] == values, place + 1, 0)
    return found if values.ndim == 1 else found.astype(np.int32)


def before_last_moment(events: Histories) -> Bool[np.ndarray, "L"]:
    """Which events happened before their user's newest one."""
    newest, some = np.zeros(len(events), np.int64), events.lengths > 0
    newest[some] = events.fields[TIME][events.starts[1:][some] - 1]
    return events.fields[TIME] < np.repeat(newest, events.lengths)


def hold_out(
    histories: Histories, *, baskets: bool = False
) -> tuple[Histories, Int64[np.ndarray, "U"], Ragged]:
    """The histories as they stood before the last event about an item of everyone with three or more (`baskets`: before the last moment
    with an item of everyone with two or more such moments), who they are, and each one's held-out items."""
    events = items_only(histories)
    if baskets:
        keep = before_last_moment(events)
        row = np.repeat(np.arange(len(events)), events.lengths)
        some = np.bincount(row[keep], minlength=len(events)) > 0
        keep |= ~some[row]
    else:
        some = events.lengths >= 3
        keep = np.ones(events.events, bool)
        keep[events.starts[1:][some] - 1] = False
    held = events.where(~keep).of(events.users[some])
    return _before(histories, keep), events.users[some], held.ragged(ITEM)


def _before(histories: Histories, keep: Bool[np.ndarray, "L"]) -> Histories:
    """Each history up to its first event about an item that is not kept; what is about no item and stands before stays, too."""
    items = histories.fields[ITEM] != NONE
    gone = np.zeros(histories.events, np.int64)
    gone[items] = ~keep
    so_far = np.append(0, np.cumsum(gone))
    start = np.repeat(histories.starts[:-1], histories.lengths) - histories.starts[0]
    return histories.where(so_far[1:] == so_far[start])


def last_item_measure(
    kept: Histories,
    users: Int64[np.ndarray, "U"],
    held: Ragged,
    *,
    k: int = 10,
    seen: bool = False,
) -> Callable[[FittedSequence], float]:
    """NDCG@k of the held-out items, ranked among all items; an item that was never learned is missed."""
    asked = kept.of(users)
    row = np.repeat(np.arange(len(held)), held.lengths)
    once = np.unique(np.stack([row, held.values]), axis=1)  # an item may be in a basket twice
    starts = starts_of(np.bincount(once[0], minlength=len(held)))

    def measure(fitted: FittedSequence) -> float:
        hit = ranking.hits(fitted.recommend(asked, k, seen=seen).items, starts, once[1])
        return float(np.mean(ranking.ndcg(hit, np.diff(starts), k))) if len(users) else 0.0

    return measure


def _on(model: HistoryModel, parts: Parts) -> Parts:
    where = next(model.parameters()).device

    def moved(rows: Int64[np.ndarray, "B"]) -> Iterator[tuple[Any, int]]:
        return ((tuple(each.to(where) for each in part), weight) for part, weight in parts(rows))

    return moved
