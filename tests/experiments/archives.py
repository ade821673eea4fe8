"""Archives of sweeps as tests write them."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

from dlrt.history import workbook as _workbook
from dlrt_names.log_schema import METRICS
from experiments.archive import command as archive
from experiments.runs import names

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 3
SMALL = "DLRTRank4-5TestDim8-11ep3batch256lr0-001Noise20Dataset10Run2"
FULL = "SGDTestDim8-11ep3batch256lr0-01Reg0-1Run0"
RANKS = "DLRTRank1-5TestDim8-9ep3batch256lr0-001Run0"


def rows_of(name, epochs=EPOCHS, **changes):
    ranks = {"rank hidden_1": 4, "rank hidden_2": 3} if name.dlrt else {}
    return [
        {"epoch": epoch, "seconds": 0.5}
        | dict.fromkeys(METRICS, 1 / epoch)
        | ranks
        | changes
        for epoch in range(1, epochs + 1)
    ]


def settings(name, stem):
    return names.settings(name, *names.parse_stem(stem, name))


def write(
    folder, stem, rows=None, epochs=EPOCHS, configuration=None, tables=None, **changes
):
    """Writes a workbook as a sweep does."""
    name = names.parse(folder.name)
    path = folder / "historyLogs" / f"{stem}.xlsx"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = rows_of(name, epochs, **changes) if rows is None else rows
    if configuration is None:
        configuration = settings(name, stem)
    path.write_bytes(_workbook.render(rows, configuration, tables))
    return path


def sample(epochs, translation="a book"):
    """The rows of a further sheet, two an epoch."""
    return {
        "translations": [
            {"epoch": epoch, "source": source, "translation": translation}
            for epoch in epochs
            for source in ("um livro", "o livro")
        ]
    }


def run(root, subcommand, *words):
    return archive.main([subcommand, "--log-dir", str(root), *map(str, words)])


def problems(root, capsys):
    capsys.readouterr()
    status = run(root, "validate")
    *lines, count = capsys.readouterr().out.splitlines()
    assert status == (1 if lines else 0)
    assert count.split()[0] == str(len(lines))
    return lines


@contextlib.contextmanager
def claimed(folder):
    """Another process has claimed a cell, as one that trains it does."""
    code = (
        "import sys; from pathlib import Path;"
        "from experiments.archive.claims import Claims;"
        "claims = Claims(Path(sys.argv[1]));"
        "print(claims.take(sys.argv[2]), flush=True);"
        "sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, folder.parent, f"{folder.name}/dim8"],
        cwd=Path(archive.__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "True\n"
    yield
    process.communicate("")


def old(path):
    os.utime(path, (time.time() - 3600,) * 2)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


OLD_NAME = "dlrt_rank4-5_test_dim8-11_ep3_batch256_lr1e-3_noise0.2_dataset0.1_run2"
OLD_LOG = """\
loss_train;acc_train;loss_val;acc_val;loss_test;acc_test;rank1;rank2
2.5;0.25;2.25;0.125;2.0;0.5;4;4
1.5;0.5;nan;0.5;1.75;0.625;3;4
1,25;0.75;1.25;0.75;1.5;;2;4
"""


def write_old(root, stem="dim8", text=OLD_LOG):
    path = root / OLD_NAME / "historyLogs" / f"{stem}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
