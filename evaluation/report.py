"""One HTML page with the figures and tables of a sweep or a single run."""

import base64
import html
from collections.abc import Sequence
from typing import Any

from dlrt_names.log_schema import SESSION
from evaluation import style, tables
from evaluation.collection import Collection
from evaluation.figures import Drawing
from evaluation.logs import Log
from evaluation.series import uneven

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
       max-width: 70rem; margin: 0 auto; padding: 1rem 1.5rem 4rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
figure { margin: 1.5rem 0 2.5rem; } figure img { width: 100%; height: auto; }
figcaption, caption { color: #444; text-align: left; font-size: .9rem; }
caption { padding-bottom: .4rem; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .8rem; }
th, td { padding: .2rem .6rem; text-align: left; vertical-align: top;
         border-bottom: 1px solid #ddd; }
tbody td { white-space: nowrap; }
#configuration td { white-space: normal; overflow-wrap: anywhere; }
thead th { border-bottom: 2px solid #888; vertical-align: bottom; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
thead .number { text-align: left; }
.problems { background: #fdf3e1; border-left: 4px solid #e69f00; padding: .5rem 1rem; }
.problems li { overflow-wrap: anywhere; }
nav a { margin-right: 1rem; }
@media print { .scroll { overflow: visible; } figure { break-inside: avoid; } }
"""


def page(collection: Collection, drawings: Sequence[Drawing], title: str) -> str:
    """The page, which needs no other file.

    Args:
        collection: The logs.
        drawings: The figures to show.
        title: Its title.
    """
    found = {table.name: table for table in tables.all_tables(collection)}
    sections = {
        "Overview": [_overview(collection), _problems(collection)],
        "Figures": [_figure(drawing) for drawing in drawings]
        or ["<p>These logs give no figure.</p>"],
        "Double descent": [_scrolling(found["peaks"])] if "peaks" in found else [],
        "Results": [_scrolling(found["results"])] if "results" in found else [],
        "Transformers": [
            _scrolling(found[name])
            for name in ("transformers", "transformer-runs")
            if name in found
        ],
        "Images": [
            _scrolling(found[name])
            for name in ("images", "image-runs", "image-layers")
            if name in found
        ],
        "Runs": [_folded("Every run", _scrolling(found["runs"]))]
        if "runs" in found
        else [],
        "Configuration": [_scrolling(configuration(collection))],
    }
    sections = {name: parts for name, parts in sections.items() if parts}
    contents = "".join(
        f'<a href="#{_anchor(name)}">{html.escape(name)}</a>' for name in sections
    )
    body = "\n".join(
        f'<section id="{_anchor(name)}"><h2>{html.escape(name)}</h2>\n'
        + "\n".join(parts)
        + "</section>"
        for name, parts in sections.items()
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Without an icon of its own, a browser asks the server for one.
        '<link rel="icon" href="data:,">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{html.escape(title)}</h1>\n<nav>{contents}</nav>\n{body}\n"
        "</body>\n</html>\n"
    )


def configuration(collection: Collection) -> tables.Table:
    """What the logs say about how they came to be: a row a setting."""
    values: dict[str, dict[str, int]] = {}
    for log in (*collection.counted, *collection.uncounted):
        for key, value in log.configuration.items():
            # Says nothing but which process wrote a file.
            if key != SESSION:
                counts = values.setdefault(key, {})
                counts[_text(value)] = counts.get(_text(value), 0) + 1
    rows = [(key, _listed(list(counts))) for key, counts in values.items()]
    caption = "Settings and surroundings as the logs record them, all values of each"
    return tables.Table("configuration", caption, ("setting", "value"), rows)


def _listed(texts: list[str], most: int = 8) -> str:
    if len(texts) <= most:
        return "; ".join(texts)
    return f"{'; '.join(texts[: most - 1])}; ... {texts[-1]} ({len(texts)} values)"


def _text(value: Any) -> str:
    return "none" if value is None else str(value)


def _overview(collection: Collection) -> str:
    counted, excluded = len(collection.counted), len(collection.uncounted)
    by_test: dict[str, list[Log]] = {}
    for log in (*collection.counted, *collection.uncounted):
        by_test.setdefault(log.test, []).append(log)
    rows = []
    for test, logs in by_test.items():
        ranks = sorted({log.rank for log in logs if log.rank is not None})
        rows.append(
            (
                test,
                logs[0].setting.data,
                _span([log.width for log in logs if log.width is not None]),
                _span(ranks) if ranks else None,
                _span([log.seed for log in logs if log.seed is not None]),
                len(logs),
            )
        )
    header = ("test", "data", "widths", "fixed ranks", "seeds", "logs")
    text = f"{counted} {'log' if counted == 1 else 'logs'}"
    if excluded:
        verb = "is" if excluded == 1 else "are"
        text += f"; {excluded} diverged, failed or {verb} unfinished, in no mean"
    table = tables.Table("tests", "What was read", header, rows)
    return f"<p>{text}.</p>{_scrolling(table)}"


def _span(values: Sequence[int]) -> str | None:
    values = sorted(set(values))
    if len(values) > 4:
        return f"{values[0]}–{values[-1]} ({len(values)} values)"
    return ", ".join(map(str, values)) or None


def _problems(collection: Collection) -> str:
    known = [*map(str, collection.problems), *uneven(collection)]
    if not known:
        return "<p>No log was left out, and none was odd.</p>"
    items = "\n".join(f"<li>{html.escape(text)}</li>" for text in known)
    return (
        '<div class="problems"><p>To know about the logs:</p>'
        f"<ul>\n{items}\n</ul></div>"
    )


def _figure(drawing: Drawing) -> str:
    # As an image, for ids of several drawings in one page would meet.
    content = base64.b64encode(style.encode(drawing.draw(), "svg")).decode()
    caption = html.escape(drawing.caption)
    return (
        f'<figure id="{html.escape(drawing.name)}">'
        f'<img alt="{caption}" src="data:image/svg+xml;base64,{content}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _scrolling(table: tables.Table) -> str:
    return f'<div class="scroll">{tables.to_html(table)}</div>'


def _folded(summary: str, content: str) -> str:
    return f"<details><summary>{html.escape(summary)}</summary>{content}</details>"


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")
