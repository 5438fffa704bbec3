"""Where tensors are computed."""

import torch

from clickprint.core.errors import ConfigError


def device(accelerator: str = "auto", index: int = 0) -> str:
    """The name torch has for a device.

    "auto" is the first of cuda, mps, cpu that is there, "gpu" the first of cuda, mps. Raises
    ConfigError for another word, or for what this machine does not have.
    """
    there = {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }
    wanted = {
        "auto": ("cuda", "mps", "cpu"),
        "gpu": ("cuda", "mps"),
        "cuda": ("cuda",),
        "mps": ("mps",),
        "cpu": ("cpu",),
    }
    if accelerator not in wanted:
        raise ConfigError(
            f"accelerator: found {accelerator!r}, expected one of {', '.join(wanted)}"
        )
    kind = next((k for k in wanted[accelerator] if there[k]), None)
    if kind is None:
        raise ConfigError(
            f"accelerator: found {accelerator!r}, but torch sees no such device here;"
            " use cpu, or install a torch built for it"
        )
    if not 0 <= index < there[kind]:
        raise ConfigError(
            f"device {index}: found {there[kind]} of {kind} here,"
            f" expected a number from 0 to {there[kind] - 1}"
        )
    return f"cuda:{index}" if kind == "cuda" else kind
