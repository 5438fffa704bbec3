"""The sequence encoders' speed: training, encoding a million users, HSTU by length.

    python benchmarks/sequence.py peer --peer-python PYTHON   # beside RecTools' SASRec, with a
                              # Python that has rectools[torch]==0.19.0; nine minutes on two cores
    python benchmarks/sequence.py peer --peer-python PYTHON --threads 1 --users 4000
    python benchmarks/sequence.py encode    # ten minutes at most on two cores; 1.5 GB of disk
    python benchmarks/sequence.py hstu      # five minutes
    python benchmarks/sequence.py           # the tables of what was measured last

Each writes one JSON file to --results (docs/results/sequence), from which the tables are made.
Every measurement is a process of its own, one after the other, with the same number of threads.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import clickprint
from clickprint.core.files import write_text
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.ragged import starts_of
from clickprint.core.recommendations import Recommendations
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.session import Session
from clickprint.data.histories import build
from clickprint.data.split import HistoriesPast
from clickprint.encoders.hstu import HSTU
from clickprint.encoders.sasrec import SASRec
from clickprint.encoders.sequence import FittedNextItem, HistorySpec
from clickprint.metrics import compare
from clickprint.nn import losses
from clickprint.nn.next_item import Batch, NextItem, NextItemLoss, shifted
from clickprint.nn.train import Training
from clickprint.tasks import ranking
from clickprint.work.facts import commit, cores, machine, versions

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "docs" / "results" / "sequence"
PEER = HERE / "peers" / "rectools_sasrec.py"
DATA = Path(os.environ.get("CLICKPRINT_DATA", HERE.parent.parent / "shared" / "data"))
BEAUTY = "amazon14_beauty_sequences.parquet"
K = 10


# -- beside RecTools ------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True, slots=True)
class PeerLoss(NextItemLoss):
    """RecTools' `sampled_softmax`: a drawn negative that is the target stays a negative.

    Our own leaves it out.
    """

    def of(self, states: Tensor, items: Tensor, targets: Tensor) -> Tensor:
        negatives = torch.randint(1, len(items), (len(targets), self.negatives))
        true = (states * items[targets]).sum(-1, keepdim=True)
        others = losses.dot_with(states, items, negatives)
        return (torch.logsumexp(torch.cat([true, others], 1), 1) - true[:, 0]).sum()


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerSASRec(SASRec):
    """Our SASRec, its weights drawn as RecTools draws them.

    Xavier's normal for every matrix, queries, keys and values as one.
    """

    def model(self, sizes: Mapping[str, int]) -> NextItem:
        network = SASRec.model(self, sizes)
        for value in network.parameters():
            if value.ndim > 1:
                nn.init.xavier_normal_(value)
        for layer in network.layers:
            attention: Any = layer.attention
            for part in (attention.query, attention.key, attention.value):
                nn.init.normal_(part.weight, std=(2 / (4 * self.width)) ** 0.5)
                nn.init.zeros_(part.bias)
            nn.init.zeros_(attention.out.bias)
        network.embed["item"].weight.data[0] = 0
        return network


def train_ours(folder: Path, out: Path, told: Mapping[str, Any]) -> None:
    """What peers/rectools_sasrec.py does, with the same files in and out."""
    torch.set_num_threads(told["threads"])
    histories = Histories.open(folder)
    ends: list[float] = []
    events = 0

    def step(stage: str, done: int, total: int) -> None:
        ends.append(perf_counter() - start)

    class Counting(PeerLoss):
        def of(self, states: Tensor, items: Tensor, targets: Tensor) -> Tensor:
            nonlocal events
            events += len(targets)
            return PeerLoss.of(self, states, items, targets)

    recipe = PeerSASRec(
        width=told["width"],
        layers=told["layers"],
        heads=told["heads"],
        dropout=told["dropout"],
        history=HistorySpec(length=told["length"]),
        loss=Counting(name="sampled", negatives=told["negatives"]),
        training=Training(epochs=told["epochs"], batch=told["batch"], lr=told["lr"]),
    )
    start = perf_counter()
    fitted = recipe.fit(
        HistoriesPast(histories),
        rng=RNG(told["seed"]),
        progress=step,
        session=Session(accelerator="cpu"),
    )
    seconds, peak = perf_counter() - start, status("VmHWM")
    lists = fitted.recommend(Requests(histories), told["k"], include_seen=False)
    np.save(out / "users.npy", lists.users)
    np.save(out / "lists.npy", np.where(lists.items == NONE, -1, lists.items))
    users = len(histories)
    rows = [min(told["batch"], users - first) for first in range(0, users, told["batch"])] * told[
        "epochs"
    ]
    parameters = sum(p.numel() for p in fitted.network.parameters())
    run = {
        "seconds": seconds,
        "ends": ends,
        "rows": rows,
        "events": events,
        "peak_mib": peak,
        "parameters": parameters,
    }
    (out / "run.json").write_text(json.dumps({**run, "versions": versions()}))


def peer(given: argparse.Namespace) -> dict[str, Any]:
    told = {
        "epochs": given.epochs,
        "batch": 128,
        "width": 64,
        "layers": 1,
        "heads": 1,
        "length": 50,
        "dropout": 0.2,
    }
    told |= {
        "negatives": 256,
        "lr": 1e-3,
        "seed": given.seed,
        "threads": given.threads,
        "k": K,
        "padding_masked": given.padding_masked,
    }
    with tempfile.TemporaryDirectory() as scratch:
        histories = beauty(Path(scratch), given.users)
        test, folder = ranking.leave_one_out(histories, back=1), Path(scratch) / "train"
        folder.mkdir()
        histories.but_last(2).last(told["length"] + 1).save(
            folder
        )  # RecTools does not know an item that is only before
        runs: dict[str, list[dict[str, Any]]] = {"clickprint": [], "RecTools": []}
        ways = {
            "clickprint": [sys.executable, __file__, "--cell", "train_ours"],
            "RecTools": [str(given.peer_python), str(PEER)],
        }
        scores: dict[str, list[ranking.RankingScore]] = {"clickprint": [], "RecTools": []}
        for turn in range(given.rounds):
            for name, command in ways.items():
                if name == "RecTools" and given.peer_python is None:
                    continue
                out = Path(scratch) / f"{name} {turn}"
                out.mkdir()
                _run(
                    [
                        *command,
                        str(folder),
                        str(out),
                        json.dumps({**told, "seed": given.seed + turn}),
                    ],
                    given.threads,
                )
                run = json.loads((out / "run.json").read_text())
                score = _scored(out, test)
                scores[name].append(score)
                low, high = map(float, compare.intervals(score.replicates(f"recall@{K}")))
                recall = {
                    "recall": score.mean(f"recall@{K}"),
                    "recall_low": low,
                    "recall_high": high,
                }
                runs[name].append(
                    {
                        **{
                            f: run[f]
                            for f in ("seconds", "events", "peak_mib", "parameters", "versions")
                        },
                        **steady(run),
                        **recall,
                    }
                )
                print(name, json.dumps(runs[name][-1]), flush=True)
        fingerprint, events = histories.fingerprint, histories.events
    found = {
        "told": told,
        "users": len(test.users),
        "fingerprint": fingerprint,
        "events": events,
        "runs": runs,
    }
    if scores["RecTools"]:
        metric = f"recall@{K}"
        ours, theirs = [
            np.mean([x.values[metric] for x in several], 0) for several in scores.values()
        ]
        weights = compare.resample_weights(test.users, ranking.RESAMPLES, 0)
        low, high, _ = compare.difference(
            compare.weighted_mean(ours, weights), compare.weighted_mean(theirs, weights)
        )
        found["gap"] = {
            "mean": float((ours - theirs).mean()),
            "low": float(low),
            "high": float(high),
        }
    return found


def steady(run: Mapping[str, Any]) -> dict[str, float]:
    """Sequences a second after the first steps (a tenth, at most ten), which ask for memory."""
    ends, rows = run["ends"], run["rows"]
    skip = min(10, max(len(ends) // 10, 1)) if len(ends) > 1 else 0
    before = ends[skip - 1] if skip else 0.0
    return {"steps": len(ends), "sequences_a_second": sum(rows[skip:]) / (ends[-1] - before)}


def beauty(folder: Path, users: int = 0) -> Histories:
    """Amazon14 Beauty; the first so many users, 0: all."""
    histories = build(
        clickprint.read("amazon_sequences", DATA / BEAUTY, out=folder / "log"),
        folder / "all",
        ("item", "time"),
    )
    return histories.take(np.arange(users)) if users else histories


def _scored(out: Path, test: ranking.RankingTest) -> ranking.RankingScore:
    items = np.load(out / "lists.npy")
    items = np.where(items == -1, NONE, items)
    scores = np.where(items == NONE, -np.inf, -np.arange(items.shape[1], dtype=np.float32)).astype(
        np.float32
    )
    return ranking.score(
        Recommendations(np.load(out / "users.npy"), items, scores), test, ks=(K,), rng=RNG(0)
    )


def peer_page(files: Sequence[Path]) -> list[str]:
    lines = ["### Training, beside RecTools' SASRec", ""]
    for file in files:
        told = json.loads(file.read_text("utf-8"))
        lines += [*about(told), "", *_peer_table(told), ""]
    return lines


def _peer_table(told: Mapping[str, Any]) -> list[str]:
    runs, same = told["runs"], told["told"]
    lines = [
        f"| {same['threads']} threads | sequences/s | training, s | peak memory, MiB | events"
        f" seen | R@{K} [95 %] of each seed |",
        "|---|---|---|---|---|---|",
    ]
    rate = {}
    for name, several in runs.items():
        if several:
            rate[name], seconds, peak = (
                float(np.median([r[f] for r in several]))
                for f in ("sequences_a_second", "seconds", "peak_mib")
            )
            last = several[-1]
            of = f" {last['versions']['rectools']}" if "rectools" in last["versions"] else ""
            recall = ", ".join(
                f"{r['recall']:.4f} [{r['recall_low']:.4f}, {r['recall_high']:.4f}]"
                for r in several
            )
            lines.append(
                f"| {name}{of} | {rate[name]:,.0f} | {seconds:.1f} | {peak:,.0f} |"
                f" {last['events']:,} | {recall} |"
            )
    if len(rate) == 2:
        gap = told["gap"]
        times = rate["clickprint"] / rate["RecTools"]
        lines.append(
            f"| **both** | **{times:.1f}×** | | | | {gap['mean']:+.4f} [{gap['low']:+.4f},"
            f" {gap['high']:+.4f}] |"
        )
    padding = (
        "with what takes no part in its attention"
        if same["padding_masked"]
        else "and attends to its padding (its default)"
    )
    words = (
        f"Amazon14 Beauty, {told['users']:,} users, all but their last two items; R@{K} of the"
        f" item before the last, among all items, seen",
        f"ones left out, by our evaluation. Both: width {same['width']}, {same['layers']} block,"
        f" {same['heads']} head,",
        f"length {same['length']}, batch {same['batch']}, dropout {same['dropout']}, Adam"
        f" {same['lr']:g} (.9, .98),",
        f"{same['epochs']} epochs of the last {same['length'] + 1} of those items of each user,"
        f" weights",
        f"drawn by the same rule, sampled softmax of {same['negatives']} uniform negatives for"
        f" each event; a negative that is the target",
        f"stays one, as in RecTools (our own loss leaves it out). RecTools pads to"
        f" {same['length']} {padding}.",
    )
    lines += ["", " ".join(words)]
    return lines


# -- a million users ------------------------------------------------------------------------------
def make_users(folder: Path, told: Mapping[str, Any]) -> None:
    """Histories of about `mean` events of items of very different zeal.

    Their lengths are log-normal, at least one.
    """
    random = RNG(told["seed"]).child("users").generator()
    spread = 1.0
    lengths = np.maximum(
        np.rint(random.lognormal(np.log(told["mean"]) - spread**2 / 2, spread, told["users"])), 1
    ).astype(np.int64)
    starts = starts_of(lengths)
    item = (told["items"] * random.random(int(starts[-1])) ** 2).astype(np.int64)
    folder.mkdir()
    Histories(np.arange(told["users"]), starts, {"item": item, "time": np.arange(len(item))}).save(
        folder
    )


def encode_users(folder: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    """Profiles of every history, each part put in its place of a file as it is made."""
    torch.set_num_threads(told["threads"])
    recipe = SASRec(
        width=told["width"], layers=told["layers"], history=HistorySpec(length=told["length"])
    )
    with torch.random.fork_rng():
        torch.manual_seed(told["seed"])
        network = recipe.model({"item": told["items"]}).eval()
    fitted = FittedNextItem(recipe, {"item": np.arange(told["items"])}, network)
    histories = Histories.open(folder)
    out = np.lib.format.open_memmap(
        folder / "embeddings.npy", "w+", np.float16, (len(histories), told["width"])
    )
    with sampled() as memory:
        start = perf_counter()
        for rows, states in fitted.stream(Requests(histories)):
            out[rows] = states
        seconds = perf_counter() - start
    read = int(np.minimum(histories.lengths, told["length"]).sum())
    return {
        "users": len(histories),
        "events": histories.events,
        "read": read,
        "seconds": seconds,
        **memory,
    }


def encode(given: argparse.Namespace) -> dict[str, Any]:
    told = {
        "width": 128,
        "length": 50,
        "items": given.items,
        "mean": 30,
        "layers": given.layers,
        "threads": given.threads,
        "seed": given.seed,
    }
    runs = []
    for users in given.users:
        with tempfile.TemporaryDirectory() as scratch:
            for name in ("make_users", "encode_users"):
                found = _run(
                    [
                        sys.executable,
                        __file__,
                        "--cell",
                        name,
                        scratch + "/users",
                        "",
                        json.dumps({**told, "users": users}),
                    ],
                    given.threads,
                )
            runs.append(json.loads(found))
            print(json.dumps(runs[-1]), flush=True)
    return {"told": told, "runs": runs}


def encode_page(files: Sequence[Path]) -> list[str]:
    lines = ["### Encoding users", ""]
    for file in files:
        told = json.loads(file.read_text("utf-8"))
        same = told["told"]
        lines += [*about(told), ""]
        lines += [
            "| users | events | events read | s | users/s | own memory at most, MiB | with mapped"
            " files, MiB |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {r['users']:,} | {r['events']:,} | {r['read']:,} | {r['seconds']:.1f} |"
            f" {r['users'] / r['seconds']:,.0f} "
            f"| {r['own_mib']:,.0f} | {r['mapped_mib']:,.0f} |"
            for r in told["runs"]
        ]
        words = (
            f"SASRec, width {same['width']}, {same['layers']} layers, the last {same['length']}"
            f" events, {same['items']:,} items,",
            f"{same['threads']} threads; weights are drawn, not trained. Histories of"
            f" {same['mean']} events on average (log-normal),",
            "read from mapped files; float16 profiles, written to a mapped file, whose pages the"
            " system takes back when it needs them.",
        )
        lines += ["", " ".join(words), ""]
    return lines


# -- HSTU by length -------------------------------------------------------------------------------
def hstu_cost(folder: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds for a forward and backward pass, by each way of making batches.

    Of histories of about `mean` events.
    """
    torch.set_num_threads(told["threads"])
    random = RNG(told["seed"]).child(f"length {told['mean']}").generator()
    spread = 0.7
    drawn = random.lognormal(np.log(told["mean"]) - spread**2 / 2, spread, told["histories"])
    lengths = np.clip(np.rint(drawn), 2, told["length"] + 1).astype(np.int64)
    starts = starts_of(lengths)
    fields = {
        "item": random.integers(1, told["items"] + 1, int(starts[-1])),
        "time": np.cumsum(random.integers(1, 86_400, int(starts[-1]))),
    }
    recipe = HSTU(
        width=64, layers=2, by_time=told["by_time"], history=HistorySpec(length=told["length"])
    )
    with torch.random.fork_rng():
        torch.manual_seed(told["seed"])
        network = recipe.model({"item": told["items"]}).train()
    loss = replace(recipe.loss, negatives=128)

    def full(rows: np.ndarray) -> Iterator[tuple[tuple[Batch, Batch], int]]:
        for part, weight in shifted(fields, starts, told["length"])(rows):
            padded = [
                Batch({n: _padded(v, told["length"]) for n, v in b.fields.items()}, b.lengths)
                for b in part
            ]
            yield (padded[0], padded[1]), weight

    ways: dict[str, Callable] = {
        "pieces": shifted(fields, starts, told["length"], told["pieces"]),
        "batch": shifted(fields, starts, told["length"]),
        "length": full,
    }
    found: dict[str, Any] = {"mean": float((lengths - 1).mean()), "histories": told["histories"]}
    for way, parts in ways.items():
        seconds, tokens, passes = 0.0, 0, 0
        order = np.arange(told["histories"])
        if way == "length":  # each costs the same
            order = order[: told["full"]]
        for turn in range(2):  # the first warms up, on one batch
            some = order[: told["batch"]] if not turn else order
            start, tokens = perf_counter(), 0
            for first in range(0, len(some), told["batch"]):
                network.zero_grad(set_to_none=True)
                for part, _ in parts(some[first : first + told["batch"]]):
                    tokens += part[0].fields["item"].numel()
                    loss(network, part).backward()
            seconds, passes = perf_counter() - start, len(some)
        found[way] = {
            "seconds_a_thousand": seconds / passes * 1000,
            "tokens_a_history": tokens / passes,
            "measured": passes,
        }
    return found | {"peak_mib": status("VmHWM")}


def _padded(values: Tensor, length: int) -> Tensor:
    return nn.functional.pad(values, (0, length - values.shape[1]))


def hstu(given: argparse.Namespace) -> dict[str, Any]:
    told = {
        "length": given.length,
        "items": 10_000,
        "batch": given.batch,
        "pieces": given.pieces,
        "threads": given.threads,
        "seed": given.seed,
    }
    told |= {"by_time": True, "full": given.full}
    runs = []
    for mean in given.means:
        cell = {**told, "mean": mean, "histories": given.histories}
        runs.append(
            json.loads(
                _run(
                    [sys.executable, __file__, "--cell", "hstu_cost", "", "", json.dumps(cell)],
                    given.threads,
                )
            )
        )
        print(json.dumps(runs[-1]), flush=True)
    return {"told": told, "runs": runs}


def hstu_page(files: Sequence[Path]) -> list[str]:
    lines = ["### HSTU by length", ""]
    for file in files:
        told = json.loads(file.read_text("utf-8"))
        same = told["told"]
        lines += [*about(told), ""]
        head = [
            f"in {same['pieces']} pieces by length",
            "padded to the batch's longest",
            f"padded to {same['length']:,}",
        ]
        lines += [
            f"| events on average | {' | '.join(f'{h}: s (places a history)' for h in head)} |"
            f" last to first |",
            "|---|---|---|---|---|",
        ]
        for r in told["runs"]:
            cells = [
                f"{r[w]['seconds_a_thousand']:.1f} ({r[w]['tokens_a_history']:,.0f})"
                for w in ("pieces", "batch", "length")
            ]
            lines.append(
                f"| {r['mean']:.0f} | {' | '.join(cells)} |"
                f" {r['length']['seconds_a_thousand'] / r['pieces']['seconds_a_thousand']:.1f}× |"
            )
        words = (
            "Seconds for a thousand histories, forward and backward: 2 layers of width 64 with"
            " place and time bias, batches of",
            f"{same['batch']}, sampled softmax of 128, {same['threads']} threads, log-normal"
            f" lengths of at most {same['length']:,}.",
            f"Padded to {same['length']:,}: measured on {told['runs'][0]['length']['measured']}"
            f" histories, since each costs the same.",
        )
        lines += ["", " ".join(words), ""]
    return lines


# -- common ---------------------------------------------------------------------------------------
def status(line: str) -> float:
    """MiB of this process by Linux's own account.

    VmHWM (the most so far), VmRSS, RssAnon (less what is mapped from files).
    """
    found = next(
        row
        for row in Path("/proc/self/status").read_text().splitlines()
        if row.startswith(f"{line}:")
    )
    return int(found.split()[1]) / 1024


@contextmanager
def sampled() -> Iterator[dict[str, float]]:
    """The most memory of a block, looked at fifty times a second.

    `own_mib`, and `mapped_mib` with the pages of mapped files.
    """
    found = {"own_mib": status("RssAnon"), "mapped_mib": status("VmRSS")}
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.02):
            found["own_mib"] = max(found["own_mib"], status("RssAnon"))
            found["mapped_mib"] = max(found["mapped_mib"], status("VmRSS"))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield found
    finally:
        stop.set()
        looking.join()


def about(told: Mapping[str, Any]) -> list[str]:
    """What the numbers rest on."""
    m = told["machine"]
    lines = [
        f"`{told['command']}`: {m['system']}, {m['cores']} cores, {m['memory_gib']} GiB, "
        + ", ".join(f"{package} {version}" for package, version in told["versions"].items())
        + f", commit `{told['commit']}`, seed {told['told']['seed']}"
        + (
            f", data fingerprint `{told['fingerprint']}`"
            if told.get("fingerprint")
            else ", synthetic data of that seed"
        )
        + "."
    ]
    return lines


def _run(command: list[str], threads: int) -> str:
    """The last line that a fresh process says."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, **dict.fromkeys(names, str(threads))},
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return (done.stdout.splitlines() or [""])[-1]


def show(results: Path) -> str:
    """The tables of the files in `results`."""
    lines: list[str] = []
    for name, page in PAGES.items():
        files = sorted(results.glob(f"{name}*.json"))
        lines += page(files) if files else [f"`{name}` was not measured yet.", ""]
    return "\n".join(lines).rstrip()


PAGES = {"peer": peer_page, "encode": encode_page, "hstu": hstu_page}
CELLS: dict[str, Callable[[Path, Mapping[str, Any]], Any]] = {
    f.__name__: f for f in (make_users, encode_users, hstu_cost)
}


def main(words: Sequence[str] | None = None) -> None:
    words = list(sys.argv[1:] if words is None else words)
    if words[:1] == ["--cell"]:
        name, folder, out, told = words[1:]
        if name == "train_ours":
            return train_ours(Path(folder), Path(out), json.loads(told))
        return print(json.dumps(CELLS[name](Path(folder), json.loads(told))))
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.set_defaults(measure=None)
    options.add_argument("--results", type=Path, default=RESULTS)
    several = options.add_subparsers()
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--results", type=Path, default=argparse.SUPPRESS, help="the folder of the JSON files"
    )
    common.add_argument("--threads", type=int, default=cores())
    common.add_argument("--seed", type=int, default=0)
    one = several.add_parser("peer", parents=[common])
    one.add_argument(
        "--peer-python",
        type=Path,
        help="a Python that has rectools[torch]; without it only ours is measured",
    )
    one.add_argument("--epochs", type=int, default=2)
    one.add_argument(
        "--rounds", type=int, default=1, help="turns of both, each with the next seed"
    )
    one.add_argument("--users", type=int, default=0, help="the first so many; 0: all")
    one.add_argument(
        "--padding-masked",
        action="store_true",
        help="RecTools' attention leaves its padding out (not its default)",
    )
    one.set_defaults(measure=peer)
    two = several.add_parser("encode", parents=[common])
    two.add_argument("--users", type=int, nargs="+", default=[100_000, 1_000_000])
    two.add_argument("--items", type=int, default=100_000)
    two.add_argument("--layers", type=int, default=2)
    two.set_defaults(measure=encode)
    three = several.add_parser("hstu", parents=[common])
    three.add_argument("--means", type=int, nargs="+", default=[16, 32, 64, 128, 256, 512])
    three.add_argument("--length", type=int, default=1024)
    three.add_argument("--histories", type=int, default=256)
    three.add_argument(
        "--full",
        type=int,
        default=32,
        help="histories of those that are padded to the full length",
    )
    three.add_argument("--batch", type=int, default=32)
    three.add_argument("--pieces", type=int, default=4)
    three.set_defaults(measure=hstu)
    given = options.parse_args(words)
    if given.measure is None:
        return print(show(given.results))
    found = given.measure(given)
    python = {"--peer-python"} & set(words)
    said = [("PYTHON" if i and words[i - 1] in python else w) for i, w in enumerate(words)]
    told = {
        "command": f"python benchmarks/sequence.py {' '.join(said)}",
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
    }
    given.results.mkdir(parents=True, exist_ok=True)
    name = given.measure.__name__
    if given.measure is peer:
        name += f"-{given.threads}-threads" + ("-masked" if given.padding_masked else "")
    write_text(given.results / f"{name}.json", json.dumps({**told, **found}, indent=1) + "\n")
    print("\n".join(PAGES[given.measure.__name__]([given.results / f"{name}.json"])))


if __name__ == "__main__":
    main()
