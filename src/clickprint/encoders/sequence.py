"""Networks of histories: what a recipe of one is, how it is trained, and what it is used for.

A recipe (SASRec, MultiTask, …) is a SequenceEncoder: a frozen dataclass with its network. What it
learns is a FittedSequence, which makes profiles, or a FittedNextItem, which ranks items too.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int, Int64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.forms import reading
from clickprint.core.histories import Histories, items_only
from clickprint.core.ids import NONE
from clickprint.core.items import Catalogue
from clickprint.core.lookup import positions
from clickprint.core.options import check, plain, read
from clickprint.core.past import Past
from clickprint.core.profiles import Profiles, to_float16
from clickprint.core.progress import Progress, silent
from clickprint.core.ragged import Ragged, starts_of
from clickprint.core.recommendations import Recommendations
from clickprint.core.recommender import Allowed, ItemVectors
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.session import ALONE, Session
from clickprint.data.texts import item_vectors
from clickprint.encoders import state
from clickprint.encoders.derived import DERIVED, columns, derive
from clickprint.encoders.ranges import Count, Length, Share, Width
from clickprint.metrics import ranking
from clickprint.nn import costs
from clickprint.nn.device import device
from clickprint.nn.next_item import (
    ASKED,
    ITEM,
    TIME,
    HistoryModel,
    NextItem,
    NextItemLoss,
    last_states,
    next_basket,
    shifted,
)
from clickprint.nn.topk import CELLS, best, rows_allowed
from clickprint.nn.train import LearningCurve, Loss, Parts, Rows, Training, shuffled, train
from clickprint.nn.weights import misfits, read_tensors, take, write_tensors

WEIGHTS = "weights.safetensors"
SECOND = 1_000_000
USERS = 1 << 15  # are encoded at a time
LEAST = 8  # held-out users; with fewer there is no metric to stop by
NO_NEXT = "no history has two events about an item, so there is no next item to learn"
Examples = Callable[[Mapping[str, np.ndarray], Int64[np.ndarray, "U1"]], tuple[Rows, Parts]]
# Numbers of fields and starts of histories → what is trained on.


@dataclass(frozen=True, kw_only=True, slots=True)
class HistorySpec:
    """Which part of a history a network reads.

    - `length`: the last so many events.
    - `fields`: of each event these besides the item: columns of events, numeric attributes and
      code vectors of the catalogue, `query_codes` (data.histories), or what encoders.derived
      makes of them (hour, weekday, gap, age, price_band).
    - `min_count`: items with fewer events in the training log are treated as unknown, in
      histories and as targets.
    - `all_events`: events about no item are read too.
    - `init_from_text`: item vectors start from what the catalogue says of the items (data.texts),
      not at random.
    - `basket_targets`: events of one moment have no order; each predicts an item of the next
      moment (nn.next_item.next_basket). For networks of the next item only.
    """

    length: Length = 50
    fields: tuple[str, ...] = ()
    min_count: Count = 1
    all_events: bool = False
    init_from_text: bool = False
    basket_targets: bool = False

    def __post_init__(self) -> None:
        check(self, self.problems())

    def problems(self) -> Iterator[tuple[str, str]]:
        if {ITEM, TIME} & set(self.fields):
            yield "fields", f"{ITEM} and {TIME} are read anyway, leave them out"


# -------------------------------------------------------------------------------------- recipes
@runtime_checkable
class SequenceRecipe(Protocol):
    """A recipe of a network of histories."""

    name: ClassVar[str]

    @property
    def history(self) -> HistorySpec: ...
    @property
    def loss(self) -> Loss: ...
    @property
    def training(self) -> Training: ...
    @property
    def length_buckets(self) -> int: ...
    def model(self, sizes: Mapping[str, int]) -> HistoryModel: ...


@dataclass(frozen=True, slots=True)
class Learned:
    """What a fitted folder says of a network beside its weights; see FittedSequence."""

    options: Mapping[str, Any]
    values: Mapping[str, Int64[np.ndarray, "_"]]


@dataclass(frozen=True, kw_only=True, slots=True)
class SequenceEncoder:
    """What our recipes share; a subclass adds its own options, network and `fit`.

    - `width`: numbers in a profile.
    - `length_buckets`: into how many lengths a batch is sorted, so that little is computed on
      padding.
    """

    name: ClassVar[str]  # in the registry
    predicts_next: ClassVar[bool] = False  # whether the next event is all that is learned
    width: Width = 64
    dropout: Share = 0.2
    history: HistorySpec = HistorySpec()
    loss: Loss = NextItemLoss()
    training: Training = Training(patience=5)
    length_buckets: Count = 4

    def __post_init__(self) -> None:
        check(self, chain(self._baskets(), self.problems()))

    def _baskets(self) -> Iterator[tuple[str, str]]:
        if self.history.basket_targets and not self.predicts_next:
            yield "history.basket_targets", "for networks of the next item only, leave it out"

    def problems(self) -> Iterator[tuple[str, str]]:
        """Paths of options that do not fit together, and what is wrong with them."""
        yield from ()

    def model(self, sizes: Mapping[str, int]) -> HistoryModel:
        """The network, its weights drawn from torch's present random numbers.

        `sizes`: how many values each field has.
        """
        raise NotImplementedError

    @classmethod
    def load(cls, folder: Path) -> "FittedSequence":
        """What FittedSequence.save wrote. Raises DataError."""
        found = state.read(folder, cls.name, Learned)
        with reading(folder / state.FILE, state.AGAIN):
            recipe = read(cls, found.options)
            values = {field: found.values[field] for field in (ITEM, *recipe.history.fields)}
            for field, known in values.items():
                check_values(field, known)
        weights = read_tensors(folder / WEIGHTS, again=state.AGAIN)
        with reading(folder / WEIGHTS, state.AGAIN):
            sizes = {f: len(v) for f, v in values.items()}
            with torch.device("meta"):  # before memory is taken for it
                wanted = recipe.model(sizes).state_dict()
            if faults := misfits(weights, wanted):
                raise ValueError("; ".join(faults[:3]))
            network = recipe.model(sizes)
            take(network, weights)
        network.eval()
        return fitted_class(network)(recipe, values, network)


def undivided(width: int, heads: int, *, pairs: bool = False) -> Iterator[tuple[str, str]]:
    """A problem where heads do not divide a width; `pairs`: into parts of an even width."""
    if width % (heads * (2 if pairs else 1)):
        parts = " into parts of an even width" if pairs else ""
        yield "heads", f"{heads} do not divide a width of {width}{parts}"


@dataclass(frozen=True, kw_only=True, slots=True)
class NextItemEncoder(SequenceEncoder):
    """A network of which each event predicts the next item."""

    predicts_next: ClassVar[bool] = True
    loss: NextItemLoss = NextItemLoss()

    @property
    def recommends(self) -> bool:
        return True

    @property
    def stochastic(self) -> bool:
        return True

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> "FittedNextItem":
        """Trains on everything in the past.

        With patience, and without a metric of the session, users' last items (or baskets) are
        held out and ranked to know when to stop; with fewer than 8 such users nobody is held
        out, and all epochs are trained. Raises DataError where no history has two items.
        """
        histories = past.histories(wanted(self.history))
        metric = session.metric
        if metric is None and self.training.patience:
            kept, asked, held = hold_out(histories, baskets=self.history.basket_targets)
            if len(asked) >= LEAST:
                histories = kept
                metric = last_item_metric(asked, held, include_seen=self.history.basket_targets)
        self._check(histories)

        def examples(
            fields: Mapping[str, np.ndarray], starts: Int64[np.ndarray, "U1"]
        ) -> tuple[Rows, Parts]:
            if not fields[ITEM].any():
                raise DataError(self.name, f"{NO_NEXT}; lower history.min_count")
            return shuffled(len(histories), rng), predicted(self, fields, starts)

        fitted = train_network(
            self,
            histories,
            examples,
            catalogue=past.catalogue if self.history.init_from_text else None,
            rng=rng,
            progress=progress,
            session=replace(session, metric=metric),
        )
        assert isinstance(fitted, FittedNextItem)
        return fitted

    def _check(self, histories: Histories) -> None:
        """Raises DataError where no event has a next item."""
        check_fields(histories, (ITEM, *self.history.fields))
        events = items_only(histories)
        if (events.lengths < 2).all():
            raise DataError(self.name, NO_NEXT)
        if self.history.basket_targets and not before_last_moment(events).any():
            raise DataError(
                self.name,
                "no history has events about items at two moments, so there is no next basket to"
                " learn; leave out history.basket_targets",
            )


def predicted(
    recipe: SequenceRecipe, fields: Mapping[str, np.ndarray], starts: Int64[np.ndarray, "U1"]
) -> Parts:
    """What each event predicts: the event after it, or with `baskets` one of the next moment."""
    cut = next_basket if recipe.history.basket_targets else shifted
    return cut(fields, starts, recipe.history.length, recipe.length_buckets)


# ------------------------------------------------------------------------------------- training
def train_network(
    recipe: SequenceRecipe,
    histories: Histories,
    examples: Examples,
    *,
    rng: RNG,
    catalogue: Catalogue | None = None,
    key: str = "",
    progress: Progress = silent,
    session: Session = ALONE,
) -> "FittedSequence":
    """Trains the recipe's network on these histories; a FittedNextItem where it ranks items.

    - `examples` says what of them is trained on.
    - `catalogue`, as known at the cutoff: needed where item vectors start from texts.
    - `key` names the training among the session's checkpoints where the session does not; empty:
      made of recipe, histories and seed.
    """
    events = chosen(recipe.history, histories)
    values = {
        f: known_values(events.fields[f], recipe.history.min_count if f == ITEM else 1)
        for f in (ITEM, *recipe.history.fields)
    }
    fields = numbers(values, events)
    with torch.random.fork_rng():
        torch.manual_seed(rng.child("start").integer() & 0x7FFF_FFFF_FFFF_FFFF)
        network = recipe.model({f: len(v) for f, v in values.items()})
        network = network.to(device(session.accelerator))
        if recipe.history.init_from_text:
            start_from_texts(network, values[ITEM], catalogue, recipe.name)
    if network.timed:
        fields[ASKED] = asked_at(events, baskets=recipe.history.basket_targets)
    fitted = fitted_class(network)(recipe, values, network)
    rows, parts = examples(fields, events.starts)
    if session.checkpoints is not None:
        key = session.key or key or f"{recipe.name} {recipe} {histories.digest()} {rng}"
    metric = session.metric
    curve = train(
        network,
        rows,
        on_device(network, parts),
        recipe.loss,
        recipe.training,
        rng=rng,
        metric=None if metric is None else lambda _: metric(fitted),
        checkpoint=session.checkpoint(key),
        key=key,
        progress=progress,
    )
    return replace(fitted, curve=curve)


def on_device(network: HistoryModel, parts: Parts) -> Parts:
    """The same parts, on the network's device."""
    where = next(network.parameters()).device

    def moved(rows: Int64[np.ndarray, "B"]) -> Iterator[tuple[Any, int]]:
        return ((tuple(each.to(where) for each in part), weight) for part, weight in parts(rows))

    return moved


def start_from_texts(
    network: HistoryModel, items: Int64[np.ndarray, "V"], catalogue: Catalogue | None, name: str
) -> None:
    """Turns the vectors of items with a text into those of the texts; their lengths stay."""
    if catalogue is None:
        raise ConfigError(
            f"{name}: history.init_from_text needs the catalogue of a past; leave it out"
        )
    table: torch.Tensor = network.embed[ITEM].weight  # type: ignore[index,union-attr]
    known, vectors = item_vectors(catalogue, table.shape[1])
    places = positions(items, known)
    some = (places >= 0) & vectors.any(1)
    with torch.no_grad():
        rows = torch.from_numpy(places[some] + 1).to(table.device)
        size = table[rows].norm(dim=1, keepdim=True)
        table[rows] = torch.from_numpy(vectors[some]).to(table.device) * size


# --------------------------------------------------------------------------------------- fitted
@runtime_checkable
class Trained(Protocol):
    """A fitted thing that shows its network and how its training went."""

    @property
    def recipe(self) -> Any: ...
    @property
    def network(self) -> HistoryModel: ...
    @property
    def curve(self) -> LearningCurve | None: ...
    def save(self, folder: Path) -> None: ...


@runtime_checkable
class HasLogShares(Protocol):
    """A fitted recommender whose scores are a softmax over all items."""

    def log_shares(self, requests: Requests, relevant: Ragged) -> Float64[np.ndarray, "B"]: ...


@dataclass(frozen=True, slots=True)
class FittedSequence:
    """A trained network, and which value is which number of it.

    `values[field][i]` is number i + 1; number 0 is everything else.
    """

    recipe: Any
    values: Mapping[str, Int64[np.ndarray, "_"]]
    network: HistoryModel
    curve: LearningCurve | None = None

    @property
    def name(self) -> str:
        """Of the encoder."""
        found: str = self.recipe.name
        return found

    @property
    def fields(self) -> tuple[str, ...]:
        """What histories must have."""
        return wanted(self.recipe.history)

    def encode(self, past: Past) -> Profiles:
        """The state after each user's newest event that is read; zeros where there is none."""
        vectors = np.zeros((len(past.users), self.network.width), np.float16)
        for rows, part in self.stream(Requests(past.histories(self.fields).of(past.users))):
            vectors[rows] = to_float16(part)
        return Profiles(past.users, vectors)

    def user_vectors(self, requests: Requests) -> Float32[np.ndarray, "B D"]:
        """The state after each history's newest event, at the time of asking."""
        out = np.zeros((len(requests), self.network.width), np.float32)
        for rows, part in self.stream(requests):
            out[rows] = part
        return out

    def stream(
        self, requests: Requests, *, users: int = USERS
    ) -> Iterator[tuple[slice, Float32[np.ndarray, "B D"]]]:
        """The states of so many users at a time, in their order; memory holds one part."""
        for rows, events, times in self.read(requests, users):
            newest = events.last(self.network.length)
            out = np.zeros((len(events), self.network.width), np.float32)
            fields = self.numbers(newest, times)
            for places, part in last_states(self.network, fields, newest.starts):
                out[places] = part.float().cpu().numpy()
            yield rows, out

    def read(
        self, requests: Requests, users: int = USERS
    ) -> Iterator[tuple[slice, Histories, Int64[np.ndarray, "B"] | None]]:
        """The events that are read of so many requests at a time, and when these ask."""
        times = self.times(requests)
        for first in range(0, len(requests), users):
            rows = slice(first, min(first + users, len(requests)))
            events = requests.histories.take(np.arange(rows.start, rows.stop))
            yield rows, chosen(self.recipe.history, events), None if times is None else times[rows]

    def times(self, requests: Requests) -> Int64[np.ndarray, "B"] | None:
        """When they ask, as far as the network reads it. Raises DataError where it must know."""
        known = requests.time is not None or requests.histories.cutoff is not None
        reads = self.network.from_cut or (self.network.timed and known)
        return requests.times if reads else None

    def numbers(
        self, events: Histories, times: Int64[np.ndarray, "B"] | None = None
    ) -> dict[str, np.ndarray]:
        """The fields of events that `chosen` gave as the network's numbers, time in seconds.

        For a network that reads how long ago events were, time is counted up to `times`.
        """
        fields = numbers(self.values, events)
        if self.network.timed:
            baskets = self.recipe.history.basket_targets
            fields[ASKED] = asked_at(events, times, baskets=baskets)
        if self.network.from_cut:
            until = Requests(events, times).times // SECOND
            fields[TIME] = np.repeat(until, events.lengths) - fields[TIME]
        return fields

    def save(self, folder: Path) -> None:
        """Writes the recipe's options, the values and the weights: whole or not at all."""
        learned = Learned(plain(self.recipe), self.values)
        weights = self.network.state_dict()
        files = {WEIGHTS: lambda path: write_tensors(path, weights)}
        state.write(folder, self.name, learned, files)


@dataclass(frozen=True, slots=True)
class FittedNextItem(FittedSequence):
    """A network that was trained to predict the next item, so that its states rank items."""

    network: NextItem

    @property
    def items(self) -> Int64[np.ndarray, "V"]:
        """The items that were learned."""
        return self.values[ITEM]

    def recommend(
        self,
        requests: Requests,
        k: int,
        *,
        include_seen: bool = True,
        allowed: Allowed = None,
    ) -> Recommendations:
        """The k items of the largest product with each user's state; see core.recommender."""
        vectors = self.network.items.detach()
        size = min(k, len(self.items))
        found = np.full((len(requests), size), NONE, np.int64)
        scores = np.full((len(requests), size), -np.inf, np.float32)
        names = np.append(NONE, self.items)
        for rows, events, times in self.read(requests):
            fields = self.numbers(events, times)
            had = None if include_seen else Ragged(events.starts, fields[ITEM])
            some = rows_allowed(allowed, rows)
            for places, part in last_states(self.network, fields, events.starts):
                top, score = best(
                    part,
                    vectors,
                    size,
                    None if had is None else had.take(places),
                    rows_allowed(some, places),
                )
                found[rows][places], scores[rows][places] = names[top], score
        return Recommendations(requests.users, found, scores)

    def item_vectors(self) -> ItemVectors:
        """The vectors whose products with a state rank the items."""
        return ItemVectors(self.items, self.network.items.detach()[1:].float().cpu().numpy())

    def log_shares(self, requests: Requests, relevant: Ragged) -> Float64[np.ndarray, "B"]:
        """−log of a relevant item's share among all items, in nats: the mean over a request's.

        The shares are a softmax of the scores over the loss's temperature, whatever loss trained
        the network. NaN where none of a request's items was learned.
        """
        items = self.network.items.detach()[1:].float()
        asked = Ragged(relevant.starts, positions(self.items, relevant.values))
        total, known = np.zeros(len(requests)), np.zeros(len(requests))
        many = max(CELLS // max(len(items), 1), 1)
        events = chosen(self.recipe.history, requests.histories)
        fields = self.numbers(events, self.times(requests))
        for rows, states in last_states(self.network, fields, events.starts):
            for start in range(0, len(rows), many):
                some = asked.take(rows[start : start + many])
                own = np.repeat(np.arange(len(some)), some.lengths)[some.values >= 0]
                logits = states[start : start + many].float() @ items.T
                logits = logits / self.recipe.loss.temperature
                wanted = torch.from_numpy(own), torch.from_numpy(some.values[some.values >= 0])
                share = logits.log_softmax(1)[wanted].double().cpu().numpy()
                np.add.at(total, rows[start : start + many][own], -share)
                np.add.at(known, rows[start : start + many][own], 1)
        return np.where(known > 0, total / np.maximum(known, 1), np.nan)

    def training_flops(self, histories: Histories, *, rng: RNG) -> float:
        """The floating-point operations of its training on these histories: nn.costs."""
        events = chosen(self.recipe.history, histories)
        return costs.training_flops(
            self.network,
            self.recipe.loss,
            predicted(self.recipe, numbers(self.values, events), events.starts),
            shuffled(len(events), rng)(0),
            batch=self.recipe.training.batch,
            epochs=0 if self.curve is None else self.curve.epoch,
        )


def fitted_class(network: HistoryModel) -> type[FittedSequence]:
    """FittedNextItem for a network that can rank items."""
    return FittedNextItem if network.ranks else FittedSequence


# ------------------------------------------------------------------------------------ histories
def wanted(spec: HistorySpec) -> tuple[str, ...]:
    """The fields that histories must have for it."""
    return tuple(dict.fromkeys((ITEM, TIME, *columns(spec.fields))))


def chosen(spec: HistorySpec, histories: Histories) -> Histories:
    """The events that are read, with every field of `spec`. Raises ConfigError as check_fields."""
    check_fields(histories, (ITEM, *spec.fields))
    return derive(histories if spec.all_events else items_only(histories), spec.fields)


def check_fields(histories: Histories, fields: Sequence[str]) -> None:
    """Raises ConfigError for a field that cannot be had, or that holds numbers instead of ids."""
    lacking = [c for c in columns(fields) if c not in histories.fields]
    floats = [
        f
        for f in fields
        if f not in DERIVED and f not in lacking and histories.fields[f].dtype.kind not in "iu"
    ]
    faults = []
    if lacking:
        faults.append(
            f"these histories have no field {', '.join(lacking)};"
            f" they have {', '.join(histories.fields)}"
        )
    if floats:
        faults.append(
            f"{', '.join(floats)}: found numbers, expected ids;"
            f" fields that are made of numbers: {', '.join(DERIVED)}"
        )
    if faults:
        raise ConfigError("; ".join(faults))


def known_values(values: Int[np.ndarray, "L *C"], min_count: int = 1) -> Int64[np.ndarray, "V"]:
    """The values that occur at least so often, sorted. Not one: NONE, and −1 of code vectors."""
    found, counts = np.unique(values, return_counts=True)
    nothing = NONE if values.ndim == 1 else -1
    return found[(counts >= min_count) & (found != nothing)].astype(np.int64)


def check_values(field: str, values: np.ndarray) -> None:
    """Raises ValueError for what known_values does not give."""
    if values.dtype != np.int64 or values.ndim != 1:
        raise ValueError(
            f"values of {field}: found {values.dtype} with {values.ndim} dimensions,"
            " expected a list of int64"
        )
    if (values[1:] <= values[:-1]).any() or (values == NONE).any():
        raise ValueError(f"values of {field}: not sorted, twice the same, or one is nothing")


def number(known: Int64[np.ndarray, "V"], values: np.ndarray) -> Int[np.ndarray, "L *C"]:
    """1 … V for known values, 0 for others; int64, of code vectors int32."""
    found = positions(known, values) + 1
    return found if values.ndim == 1 else found.astype(np.int32)


def numbers(
    values: Mapping[str, Int64[np.ndarray, "_"]], events: Histories
) -> dict[str, np.ndarray]:
    """The fields as numbers of these values, and where there is a time its seconds."""
    fields: dict[str, np.ndarray] = {f: number(v, events.fields[f]) for f, v in values.items()}
    if TIME in events.fields:
        fields[TIME] = events.fields[TIME] // SECOND
    return fields


def asked_at(
    events: Histories, times: Int64[np.ndarray, "B"] | None = None, *, baskets: bool = False
) -> Int64[np.ndarray, "L"]:
    """The second at which the state after each event is asked what comes next.

    That is when the next event happens (`baskets`: the next moment), and after the newest one when
    the request is made, or its own time where `times` does not say.
    """
    time, place = events.fields[TIME], np.arange(events.events)
    after = place + 1
    if baskets:  # where the next moment begins
        new = np.append(time[1:] != time[:-1], True)
        new[events.starts[1:][events.lengths > 0] - 1] = True
        begins = np.flatnonzero(new) + 1
        after = begins[np.searchsorted(begins, place, side="right")]
    end = np.repeat(events.starts[1:], events.lengths)
    newest = time if times is None else np.repeat(times, events.lengths)
    asked = np.where(after < end, time[np.minimum(after, len(time) - 1)], newest)
    return asked // SECOND


# ------------------------------------------------------------------------------------- held out
def before_last_moment(events: Histories) -> Bool[np.ndarray, "L"]:
    """Which events happened before their user's newest one."""
    newest, some = np.zeros(len(events), np.int64), events.lengths > 0
    newest[some] = events.fields[TIME][events.starts[1:][some] - 1]
    return events.fields[TIME] < np.repeat(newest, events.lengths)


def hold_out(histories: Histories, *, baskets: bool = False) -> tuple[Histories, Requests, Ragged]:
    """The histories up to each user's last item, who asks for it and when, and these items.

    Held out is the last event about an item of everyone with three or more; with `baskets` the
    last moment with an item of everyone with two or more such moments.
    """
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
    kept, times = _before(histories, keep), held.fields[TIME][held.starts[:-1]]
    return kept, Requests(kept.of(held.users), times), held.ragged(ITEM)


def _before(histories: Histories, keep: Bool[np.ndarray, "L"]) -> Histories:
    """Each history up to its first event about an item that is not kept."""
    items = histories.fields[ITEM] != NONE
    gone = np.zeros(histories.events, np.int64)
    gone[items] = ~keep
    so_far = np.append(0, np.cumsum(gone))
    start = np.repeat(histories.starts[:-1], histories.lengths) - histories.starts[0]
    return histories.where(so_far[1:] == so_far[start])


def last_item_metric(
    asked: Requests,
    held: Ragged,
    *,
    k: int = 10,
    include_seen: bool = False,
) -> Callable[[FittedNextItem], float]:
    """NDCG@k of the held-out items among all items; an item that was never learned is missed."""
    row = np.repeat(np.arange(len(held)), held.lengths)
    once = np.unique(np.stack([row, held.values]), axis=1)  # an item may be in a basket twice
    starts = starts_of(np.bincount(once[0], minlength=len(held)))

    def metric(fitted: FittedNextItem) -> float:
        lists = fitted.recommend(asked, k, include_seen=include_seen)
        hit = ranking.hits(lists.items, starts, once[1])
        return float(np.mean(ranking.ndcg(hit, np.diff(starts), k))) if len(asked) else 0.0

    return metric
