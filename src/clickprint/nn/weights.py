"""Weights in files: safetensors, read and checked against the network that they are for."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clickprint.core.errors import first_line
from clickprint.core.forms import need_content, reading


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    save_file({n: v.detach().cpu().contiguous().clone() for n, v in tensors.items()}, path)


def read_tensors(path: Path, *, again: str = "") -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name. Raises DataError; `again` ends its message."""
    with reading(path, again):
        need_content(path)
        try:
            return load_file(path)
        except (SafetensorError, RuntimeError) as fault:
            raise ValueError(f"no tensors ({first_line(fault)})") from None


def take(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Gives a model these weights.

    Raises ValueError for another model's, for one of another shape or type, or no number.
    """
    if faults := misfits(weights, model.state_dict()):
        raise ValueError("; ".join(faults[:3]))
    if bad := unfit(weights):
        raise ValueError(bad)
    model.load_state_dict(dict(weights))


def misfits(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """Which tensors are missing, unknown, or of another type or shape than those wanted."""
    return [
        *(f"no {name}" for name in wanted if name not in weights),
        *(f"unknown {name[:60]!r}" for name in weights if name not in wanted),
        *(
            f"{name} is {found.dtype} {tuple(found.shape)},"
            f" expected {wanted[name].dtype} {tuple(wanted[name].shape)}"
            for name, found in weights.items()
            if name in wanted
            and (found.dtype, found.shape) != (wanted[name].dtype, wanted[name].shape)
        ),
    ]


def unfit(weights: Mapping[str, Tensor]) -> str:
    """Which tensors hold NaN or infinity; empty when none does."""
    bad = [
        name
        for name, values in weights.items()
        if values.is_floating_point() and not bool(torch.isfinite(values).all())
    ]
    return (
        f"{len(bad)} of {len(weights)} weights are no finite numbers, the first is {bad[0]}"
        if bad
        else ""
    )
