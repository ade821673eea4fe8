"""Creates or updates `.venv` for the run scripts: `_setup.py run`, or `cp`,
`translation` or `dev` for what these extras of pyproject.toml add.

A stamp in `.venv`, a copy of the files that the installation came from, is written
after an installation has succeeded and removed before the next one begins. An
environment that these scripts made and that carries no stamp was interrupted; it is
made anew, since pip takes a half-written package for an installed one.
"""

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
MADE_HERE = VENV / ".dlrt-made-here"
SOURCES = {
    "run": ("requirements.txt",),
    "cp": ("requirements.txt", "pyproject.toml"),
    "translation": ("requirements.txt", "pyproject.toml"),
    "dev": ("requirements.txt", "pyproject.toml"),
}
PIP_ARGUMENTS = {
    "run": ("-r", "requirements.txt"),
    "cp": ("-e", ".[cp]"),
    "translation": ("-e", ".[translation]"),
    "dev": ("-e", ".[dev]"),
}
# What else an installation is good for.
INCLUDES = {
    "run": (),
    "cp": ("run",),
    "translation": ("run",),
    "dev": ("run", "cp", "translation"),
}


def stamp_path(extra: str) -> Path:
    return VENV / f".dlrt-{extra}"


def wanted_stamp(extra: str) -> bytes:
    return b"".join((ROOT / name).read_bytes() for name in SOURCES[extra])


def read_stamps() -> dict[str, bytes]:
    paths = {extra: stamp_path(extra) for extra in SOURCES}
    return {extra: path.read_bytes() for extra, path in paths.items() if path.exists()}


def write_stamps(stamps: dict[str, bytes]) -> None:
    for extra, content in stamps.items():
        temporary = VENV / f".dlrt-{extra}.new"
        temporary.write_bytes(content)
        temporary.replace(stamp_path(extra))


def call(command: list[str], lock: IO[str]) -> None:
    # The child holds the lock too, so that nobody else starts while it outlives us.
    subprocess.run(
        command, cwd=ROOT, stdout=sys.stderr, pass_fds=(lock.fileno(),), check=True
    )


def create_environment(lock: IO[str]) -> None:
    if MADE_HERE.exists():
        shutil.rmtree(VENV)
    if not VENV.exists():
        VENV.mkdir()
        MADE_HERE.touch()
    call([sys.executable, "-m", "venv", str(VENV)], lock)


def set_up(extra: str, lock: IO[str]) -> None:
    stamps = read_stamps() if PYTHON.exists() else {}
    if stamps.get(extra) == wanted_stamp(extra):
        return  # Another script did it while this one waited for the lock.
    if not PYTHON.exists() or (MADE_HERE.exists() and not stamps):
        say("Setting up .venv, which takes a minute or two.")
        create_environment(lock)
    else:
        say("Updating .venv.")
    for name in SOURCES:
        stamp_path(name).unlink(missing_ok=True)
    # What is read now is what pip gets to see, or an earlier state of it.
    done = {name: wanted_stamp(name) for name in (extra, *INCLUDES[extra])}
    pip = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check"]
    try:
        call([*pip, *PIP_ARGUMENTS[extra]], lock)
    except subprocess.CalledProcessError as error:
        if error.returncode > 0:
            # pip gave up by itself, which leaves what was there before usable.
            write_stamps(stamps)
        raise
    write_stamps(stamps | done)


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def main(extra: str) -> int:
    try:
        with open(ROOT / ".venv.lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("Another script is setting up .venv; waiting for it to finish.")
                fcntl.flock(lock, fcntl.LOCK_EX)
            set_up(extra, lock)
    except subprocess.CalledProcessError as error:
        say(f"The set-up of .venv failed at: {' '.join(map(str, error.cmd))}")
        return 1
    except OSError as error:
        say(f"The set-up of .venv failed: {error}")
        return 1
    except KeyboardInterrupt:
        say("The set-up of .venv was interrupted; the next start does it anew.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
