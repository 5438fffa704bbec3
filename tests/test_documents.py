"""What the README and the docs tell people to type works.

Every `sh` and `python` block runs, in its file's order, in an empty folder. `clickprint` is a fork
there (forks.py); test_forks.py calls the one of the installation.

Blocks marked `console` are not run: they need minutes, a network, or files that we do not have.
`make` lines are only looked up.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

from forks import python

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.M | re.S)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
DOCUMENTS = [p for p in PAGES if BLOCK.search(p.read_text())]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_commands_run(document: Path, tmp_path: Path) -> None:
    environment = os.environ | {
        "PATH": f"{Path(python()).parent}{os.pathsep}{os.environ['PATH']}",
        "CLICKPRINT_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    for language, text in BLOCK.findall(document.read_text()):
        command = (
            [python(), "-c", text]
            if language == "python"
            else ["bash", "-euo", "pipefail", "-c", without_make(text)]
        )
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def without_make(text: str) -> str:
    """The lines to run; a `make` line must name a target of the Makefile."""
    kept = []
    for line in text.splitlines():
        if line.startswith("make "):
            assert set(line.split("#")[0].split()[1:]) <= TARGETS, f"no such target: {line}"
        else:
            kept.append(line)
    return "\n".join(kept)


@pytest.mark.parametrize("document", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text())
    assert not [link for link in links if not (document.parent / link).exists()]
