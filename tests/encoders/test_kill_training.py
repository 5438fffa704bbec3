"""A training that is killed goes on from its checkpoint to the same bytes, whenever it was.

By SIGKILL, so that nothing can be tidied up.
"""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from test_sequence import walks

from clickprint.core.rng import RNG
from clickprint.core.session import Session
from clickprint.data.split import HistoriesPast
from clickprint.encoders import sequence
from clickprint.encoders.sasrec import SASRec
from clickprint.encoders.sequence import HistorySpec
from clickprint.nn.next_item import NextItemLoss
from clickprint.nn.train import Training
from forks import python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

# In all: 3 epochs of 3 batches; a checkpoint after each, and after each epoch, makes 12.
STEPS = 9
RECIPE = SASRec(
    width=8,
    history=HistorySpec(length=6, basket_targets=True),  # what is predicted is drawn, too
    loss=NextItemLoss(name="sampled", negatives=4),
    training=Training(epochs=3, batch=8, lr=0.01, warmup=4, decay_to=0.1, patience=3, clip=1.0),
)


def fit(checkpoints=None, progress=lambda *_: None):
    hourly = walks(24)
    pairs = replace(
        hourly, fields=hourly.fields | {"time": hourly.fields["time"] // 7_200_000_000}
    )
    kept, asked, held = sequence.hold_out(pairs, baskets=True)
    measure = sequence.last_item_metric(asked, held)
    return RECIPE.fit(
        HistoriesPast(kept),
        rng=RNG(2),
        progress=progress,
        session=Session(metric=measure, checkpoints=checkpoints, accelerator="cpu"),
    )


# Runs each moment in a process of its own that kills itself there, then another one that goes on;
# torch is loaded once.
SCRIPT = """
import json, os, signal, sys
from dataclasses import replace
from pathlib import Path
here, out, moments = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
sys.path.insert(0, here)
import torch, torch._dynamo  # which the first step would load
torch.set_num_threads(1)
from test_kill_training import fit
from clickprint.core import files
from clickprint.nn import train as loop
loop.SAVE_SECONDS = -1.0  # after every step

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def arm(where, turn):
    left = [turn]
    def now():
        left[0] -= 1
        return left[0] < 0
    write, exchange = loop.write_tensors, files._exchange
    def writes(path, tensors):  # half a file
        write(path, tensors)
        if now():
            whole = Path(path).read_bytes()
            Path(path).write_bytes(whole[: len(whole) // 2])
            die()
    def written(path, tensors):  # the weights, and not yet what they are
        write(path, tensors)
        if now():
            die()
    def exchanges(one, other):  # the new checkpoint is there, the old one not yet removed
        found = exchange(one, other)
        if now():
            die()
        return found
    if where == "writing":
        loop.write_tensors = writes
    elif where == "written":
        loop.write_tensors = written
    elif where == "exchanged":
        files._exchange = exchanges
    return (lambda *_: die() if now() else None) if where == "step" else (lambda *_: None)

def apart(work):
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(7)
    return os.waitpid(pid, 0)[1]

for where, turn in moments:
    folder = out / f"{where}-{turn}"
    checkpoint = folder / "checkpoint"
    def killed():
        fit(checkpoint, arm(where, turn))
    def goes_on():
        steps = []
        fit(checkpoint, lambda *_: steps.append(1)).save(folder / "fitted")
        (folder / "steps").write_text(str(len(steps)))
        os._exit(0)
    status = apart(killed)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (where, turn, status)
    assert apart(goes_on) == 0, (where, turn)
"""


def check(moments: dict[tuple[str, int], int], out: Path) -> None:
    """`moments`.

    Where and the how many-th time it is killed there → how many steps are left then.
    """
    script = out / "kill.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [
        python(),
        str(script),
        str(Path(__file__).parent),
        str(out),
        json.dumps(list(moments)),
    ]
    subprocess.run(command, check=True, timeout=600, env=environment)
    fit().save(out / "unbroken")
    wanted = {f.name: f.read_bytes() for f in (out / "unbroken").iterdir()}
    for (where, turn), left in moments.items():
        folder = out / f"{where}-{turn}"
        assert {f.name: f.read_bytes() for f in (folder / "fitted").iterdir()} == wanted, (
            where,
            turn,
        )
        assert int((folder / "steps").read_text()) == left, (where, turn)
        assert {f.name for f in folder.iterdir()} == {"checkpoint", "fitted", "steps"}, (
            "what the killed process left is removed"
        )


def test_killed_while_it_wrote_a_checkpoint_or_replaced_one(tmp_path: Path) -> None:
    """The sixth checkpoint is that after the fifth step.

    Four steps are left, or five where it was not finished.
    """
    check({("writing", 5): STEPS - 4, ("exchanged", 4): STEPS - 5}, tmp_path)


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path: Path) -> None:
    """A step's watch is told before its checkpoint.

    After 3, 6 and 9 steps there are two checkpoints.
    """
    saved = [1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 9]  # steps in the n-th checkpoint
    before = [0, *saved[:-1]]
    moments = {("step", n): STEPS - n for n in range(STEPS)}
    moments |= {
        (where, n): STEPS - before[n] for n in range(12) for where in ("writing", "written")
    }
    moments |= {
        ("exchanged", n - 1): STEPS - saved[n] for n in range(1, 12)
    }  # the first one takes nobody's place
    check(moments, tmp_path)
