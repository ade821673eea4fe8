"""The archive that an Excel file is: parts, compressed once, and a list of sheets.

openpyxl drops what it does not know of a file, charts and pictures among it, and writes
all sheets anew each time. Here a part that nobody changes stays as it is, and one that
grows is compressed as far as it has come.
"""

import io
import itertools
import posixpath
import struct
import zipfile
import zlib
from typing import NamedTuple
from xml.dom import minidom

_TYPES = "[Content_Types].xml"
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
# Style of the names of columns, in a workbook that begins with `_EMPTY`.
BOLD = "1"
# Says that nobody else has a part in a file: whoever saves it leaves this out.
_OWN = b"dlrt"
_PLAIN = 'numFmtId="0" fillId="0" borderId="0"'

_EMPTY = {
    _TYPES: (
        f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPE}.sheet.main+xml"/>'
        f'<Override PartName="/xl/styles.xml" ContentType="{_TYPE}.styles+xml"/>'
        "</Types>"
    ),
    "_rels/.rels": (
        f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
    ),
    "xl/workbook.xml": (
        f'<workbook xmlns="{MAIN}"><bookViews><workbookView/></bookViews><sheets/>'
        "</workbook>"
    ),
    "xl/_rels/workbook.xml.rels": (
        f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId0" '
        f'Type="{_OFFICE}/styles" Target="styles.xml"/></Relationships>'
    ),
    "xl/styles.xml": (
        f'<styleSheet xmlns="{MAIN}">'
        '<fonts count="2"><font><sz val="11"/><name val="Calibri"/></font>'
        '<font><b/><sz val="11"/><name val="Calibri"/></font></fonts>'
        '<fills count="2"><fill><patternFill patternType="none"/></fill>'
        '<fill><patternFill patternType="gray125"/></fill></fills>'
        '<borders count="1"><border/></borders>'
        f'<cellStyleXfs count="1"><xf {_PLAIN} fontId="0"/></cellStyleXfs>'
        f'<cellXfs count="2"><xf {_PLAIN} fontId="0" xfId="0"/>'
        f'<xf {_PLAIN} fontId="1" xfId="0" applyFont="1"/></cellXfs>'
        '<cellStyles count="1">'
        '<cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles>'
        "</styleSheet>"
    ),
}


class Part(NamedTuple):
    """A compressed part, with the size and checksum of what is in it."""

    content: bytes
    size: int
    checksum: int


class Growing:
    """A part that is compressed as it grows."""

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        self._content = bytearray()
        self._size = self._checksum = 0

    def write(self, data: bytes) -> None:
        """Adds something for good."""
        self._content += self._compressor.compress(data)
        self._size += len(data)
        self._checksum = zlib.crc32(data, self._checksum)

    def finish(self, end: bytes = b"") -> Part:
        """Returns the part with an end, which the next writing takes away again."""
        compressor = self._compressor.copy()
        content = bytes(self._content) + compressor.compress(end) + compressor.flush()
        checksum = zlib.crc32(end, self._checksum)
        return Part(content, self._size + len(end), checksum)


class Package:
    """The parts of a workbook: what a file holds, or without a sheet yet.

    A damaged file raises whatever zip and XML do.
    """

    def __init__(self, content: bytes | None = None) -> None:
        self.own = content is None
        texts = {name: text.encode() for name, text in _EMPTY.items()}
        if content is not None:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                texts = {
                    name: archive.read(name)
                    for name in archive.namelist()
                    if not name.endswith("/")
                }
        self._parts = {name: Growing().finish(text) for name, text in texts.items()}
        root = minidom.parseString(texts["_rels/.rels"])
        (self._workbook,) = _targets(root, "", "/officeDocument").values()
        folder, name = posixpath.split(self._workbook)
        self._links = f"{folder}/_rels/{name}.rels"
        self._xml = {
            name: minidom.parseString(texts[name])
            for name in (_TYPES, self._workbook, self._links)
        }
        if content is not None:
            self._calculate_anew()
        self.sheets = self._find_sheets()
        self._texts = {name: texts[name] for name in self.sheets.values()}

    @property
    def titles(self) -> list[str]:
        """The names of all sheets, those without cells included."""
        nodes = _nodes(self._xml[self._workbook], "sheet")
        return [node.getAttribute("name") for node in nodes]

    def text(self, title: str) -> bytes:
        """The XML of a sheet as it was read."""
        return self._texts[self.sheets[title]]

    def add_sheet(self, title: str) -> None:
        """Adds a sheet to the list; its content is set afterwards."""
        paths = (f"xl/worksheets/sheet{n}.xml" for n in itertools.count(1))
        path = next(path for path in paths if path not in self._parts)
        links, types = self._xml[self._links], self._xml[_TYPES]
        known = {
            node.getAttribute("Id"): node.getAttribute("Type")
            for node in _nodes(links, "Relationship")
        }
        # The strict form of the format has another name for it than the common one.
        office = posixpath.dirname(
            next(kind for kind in known.values() if kind.endswith(("/styles", "sheet")))
        )
        link = next(f"rId{n}" for n in itertools.count(1) if f"rId{n}" not in known)
        target = {"Id": link, "Type": f"{office}/worksheet", "Target": f"/{path}"}
        _append(links, find_root(links), "Relationship", target)
        kind = {"PartName": f"/{path}", "ContentType": f"{_TYPE}.worksheet+xml"}
        _append(types, find_root(types), "Override", kind)
        workbook = self._xml[self._workbook]
        sheets = _nodes(workbook, "sheet")
        numbers = [int(node.getAttribute("sheetId")) for node in sheets]
        number = str(max(numbers, default=0) + 1)
        # Other programs declare prefixes wherever they please.
        listed = {"name": title, "sheetId": number, "xmlns:r": office, "r:id": link}
        (parent,) = _nodes(workbook, "sheets")
        _append(workbook, parent, "sheet", listed)
        self.sheets[title] = path
        # A content comes before the next writing, and the name is taken until then.
        self._parts[path] = Growing().finish()
        self._write_lists()

    def set(self, title: str, part: Part) -> None:
        self._parts[self.sheets[title]] = part

    def render(self) -> bytes:
        """What the file of the workbook holds."""
        parts, directory = bytearray(), bytearray()
        for name, part in self._parts.items():
            encoded = name.encode()
            # Compressed, at the beginning of 1980, with a name in UTF-8.
            common = struct.pack(
                "<HHHHHIIIHH",
                *(20, 0x800, 8, 0, 0x21, part.checksum),
                *(len(part.content), part.size, len(encoded), 0),
            )
            directory += b"PK\x01\x02" + struct.pack("<H", 20) + common
            directory += struct.pack("<HHHII", 0, 0, 0, 0, len(parts)) + encoded
            parts += b"PK\x03\x04" + common + encoded + part.content
        count, comment = len(self._parts), _OWN if self.own else b""
        end = struct.pack(
            "<HHHHIIH", *(0, 0, count, count, len(directory), len(parts), len(comment))
        )
        return bytes(parts + directory + b"PK\x05\x06" + end + comment)

    def _find_sheets(self) -> dict[str, str]:
        """The paths of sheets with cells by their titles."""
        folder = posixpath.dirname(self._workbook)
        paths = _targets(self._xml[self._links], folder, "/worksheet")
        return {
            node.getAttribute("name"): paths[_id_of(node)]
            for node in _nodes(self._xml[self._workbook], "sheet")
            if _id_of(node) in paths
        }

    def _calculate_anew(self) -> None:
        """Has formulas calculated when the file is opened: they may count new rows."""
        for node in _nodes(self._xml[self._workbook], "calcPr"):
            node.setAttribute("fullCalcOnLoad", "1")
        # The order to do it in is left over from other cells, and made by itself.
        for name, kind, attribute, end in (
            (self._links, "Relationship", "Type", "/calcChain"),
            (_TYPES, "Override", "ContentType", ".calcChain+xml"),
        ):
            for node in _nodes(self._xml[name], kind):
                if node.getAttribute(attribute).endswith(end):
                    find_root(self._xml[name]).removeChild(node)
        self._parts.pop(f"{posixpath.dirname(self._workbook)}/calcChain.xml", None)
        self._write_lists()

    def _write_lists(self) -> None:
        for name, document in self._xml.items():
            self._parts[name] = Growing().finish(document.toxml("UTF-8"))


def is_own(content: bytes) -> bool:
    """Whether a file is as it was written here, and holds nothing of anybody else."""
    return content.endswith(_OWN)


def find_root(document: minidom.Document) -> minidom.Element:
    (root,) = (n for n in document.childNodes if isinstance(n, minidom.Element))
    return root


def _nodes(document: minidom.Document, name: str) -> list[minidom.Element]:
    return document.getElementsByTagNameNS("*", name)


def _append(
    document: minidom.Document,
    parent: minidom.Element,
    name: str,
    attributes: dict[str, str],
) -> None:
    prefix = f"{parent.prefix}:" if parent.prefix else ""
    node = document.createElement(f"{prefix}{name}")
    for key, value in attributes.items():
        node.setAttribute(key, value)
    parent.appendChild(node)


def _id_of(sheet: minidom.Element) -> str:
    """What links a sheet with its part, under whatever prefix."""
    (found,) = (x.value for x in sheet.attributes.values() if x.localName == "id")
    return found


def _targets(document: minidom.Document, folder: str, kind: str) -> dict[str, str]:
    """The paths that links of a kind lead to."""
    return {
        node.getAttribute("Id"): posixpath.normpath(
            posixpath.join("/", folder, node.getAttribute("Target"))
        )[1:]
        for node in _nodes(document, "Relationship")
        if node.getAttribute("Type").endswith(kind)
    }
