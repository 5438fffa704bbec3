"""RecTools' SASRec on histories that `benchmarks/sequence.py peer` wrote.

That script runs it, in a Python that has `rectools[torch]`.

    PYTHON rectools_sasrec.py HISTORIES OUT '{"epochs": 1, "batch": 128, ...}'

Imports nothing of clickprint. HISTORIES has users.npy, starts.npy and item.npy (core.histories);
OUT gets users.npy, lists.npy (the K best items that a user has not had, by RecTools' own
`recommend`; −1 where there are fewer) and run.json.
"""

import json
import logging
import sys
import warnings
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel


class Clock(Callback):
    """When each step ended, and how many pairs of an event and the next one it had."""

    ends: ClassVar[list[float]] = []  # of the class: RecTools copies the trainer
    rows: ClassVar[list[int]] = []
    events = 0

    def on_train_batch_end(self, trainer, module, outputs, batch, number) -> None:
        Clock.ends.append(perf_counter())
        Clock.rows.append(len(batch["y"]))
        Clock.events += int((batch["y"] != 0).sum())


def main() -> None:
    folder, out, told = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(told["threads"])
    seed_everything(told["seed"])
    users, starts, item = (np.load(folder / f"{n}.npy") for n in ("users", "starts", "item"))
    lengths = np.diff(starts)
    place = np.arange(len(item)) - np.repeat(starts[:-1], lengths)
    frame = pd.DataFrame(
        {Columns.User: np.repeat(users, lengths), Columns.Item: item, Columns.Weight: 1}
    )
    frame[Columns.Datetime] = pd.to_datetime(place, unit="s")
    data = Dataset.construct(frame)

    def trainer() -> Trainer:  # RecTools' own, with a clock
        quiet = {
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": False,
            "enable_checkpointing": False,
        }
        return Trainer(
            max_epochs=told["epochs"],
            min_epochs=told["epochs"],
            devices=1,
            accelerator="cpu",
            callbacks=[Clock()],
            **quiet,
        )

    model = SASRecModel(
        n_blocks=told["layers"],
        n_heads=told["heads"],
        n_factors=told["width"],
        session_max_len=told["length"],
        dropout_rate=told["dropout"],
        loss="sampled_softmax",
        n_negatives=told["negatives"],
        lr=told["lr"],
        batch_size=told["batch"],
        use_key_padding_mask=told["padding_masked"],
        get_trainer_func=trainer,
        recommend_torch_device="cpu",
    )
    start = perf_counter()
    model.fit(data)
    seconds = perf_counter() - start
    rows = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(row.split()[1]) / 1024 for row in rows if row.startswith("VmHWM:"))
    found = model.recommend(users, data, told["k"], filter_viewed=True)
    lists = np.full((len(users), told["k"]), -1, np.int64)
    lists[np.searchsorted(users, found[Columns.User]), found[Columns.Rank].to_numpy() - 1] = found[
        Columns.Item
    ]
    np.save(out / "users.npy", users)
    np.save(out / "lists.npy", lists)
    if told.get("weights"):  # to look at: not part of a measurement
        torch.save(model.lightning_model.torch_model.state_dict(), out / "weights.pt")
        np.save(
            out / "known.npy", np.asarray(model.data_preparator.get_known_item_ids(), np.int64)
        )
    run = {
        "seconds": seconds,
        "ends": [end - start for end in Clock.ends],
        "rows": Clock.rows,
        "events": Clock.events,
        "peak_mib": peak,
        "parameters": sum(p.numel() for p in model.lightning_model.torch_model.parameters()),
        "versions": {
            p: metadata.version(p) for p in ("rectools", "torch", "pytorch-lightning", "numpy")
        },
    }
    (out / "run.json").write_text(json.dumps(run))


if __name__ == "__main__":
    main()
