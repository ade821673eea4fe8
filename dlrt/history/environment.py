"""What a run met: package versions, machine, time and source revision."""

import importlib
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras


def describe() -> dict[str, Any]:
    """Returns the `FACTS` of a log's schema, those of git only where there are any."""
    backend = keras.backend.backend()
    facts = {
        "python version": platform.python_version(),
        "keras version": keras.__version__,
        "backend": backend,
        "backend version": _version(backend),
        "numpy version": _version("numpy"),
        "dlrt version": _version("dlrt"),
        "platform": platform.platform(),
        "cpu count": os.cpu_count(),
        "start time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return facts | _git_facts()


def _version(package: str) -> str:
    return str(getattr(importlib.import_module(package), "__version__", "unknown"))


def _git_facts() -> dict[str, Any]:
    """Commit of the running script's repository, else of the current directory's."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    directories = [Path(script).resolve().parent] if script else []
    for directory in [*directories, Path(".")]:
        commit = _git(directory, "rev-parse", "HEAD")
        if commit is not None:
            changes = _git(directory, "status", "--porcelain", "--untracked-files=no")
            dirty = None if changes is None else changes != ""
            return {"git commit": commit, "git dirty": dirty}
    return {}


def _git(directory: Path, *arguments: str) -> str | None:
    """Returns what git prints, or None without git, repository or commit."""
    try:
        process = subprocess.run(
            ["git", "-C", str(directory), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            # A mere look must not take the lock of somebody's index.
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout.strip() if process.returncode == 0 else None
