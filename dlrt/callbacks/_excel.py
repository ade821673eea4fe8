"""The bytes of an Excel file, made in memory.

openpyxl writes each sheet to a temporary file of its own. Where that fails, a full disk
for instance, lxml raises errors that are none of the operating system's, and parts of
sheets stay behind. In memory there is nothing of the kind to fail.
"""

import datetime
import io
import zipfile

import openpyxl
from openpyxl.worksheet._writer import WorksheetWriter
from openpyxl.worksheet.worksheet import Worksheet
from openpyxl.writer.excel import ExcelWriter


class _Writer(ExcelWriter):
    """Writes sheets of cells, without charts, images or links."""

    def write_worksheet(self, ws: Worksheet) -> None:
        writer = WorksheetWriter(ws, io.BytesIO())
        writer.write()
        self._archive.writestr(ws.path[1:], writer.read())
        self.manifest.append(ws)


def content(workbook: openpyxl.Workbook) -> bytes:
    """Returns what the file of a workbook holds, without a use of the disk."""
    workbook.properties.modified = datetime.datetime.now(datetime.UTC).replace(
        tzinfo=None
    )
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        _Writer(workbook, archive).write_data()
    return stream.getvalue()
