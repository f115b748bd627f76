"""Makes `literature.jsonl` again: the opening of every chapter, article and longer entry of nine public-domain works.

Run it on Debian or Ubuntu, from any folder: `python pipelines/data/make_literature.py`. It downloads three packages
with `apt-get download` (nothing is installed), reads the texts out of them and writes the same bytes every time.
README.md in this folder says why each text is free to use.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import re
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PACKAGES = ("r-cran-janeaustenr", "dict-devil", "miscfiles")

# Long enough for statistics that mean something, short enough that a model reads it for a hundredth of a cent.
LONGEST = 2_400

NOVELS = {
    "sensesensibility": ("Sense and Sensibility", 1811),
    "prideprejudice": ("Pride and Prejudice", 1813),
    "mansfieldpark": ("Mansfield Park", 1814),
    "emma": ("Emma", 1815),
    "northangerabbey": ("Northanger Abbey", 1817),
    "persuasion": ("Persuasion", 1817),
}


def opening(text: str) -> str:
    """The paragraphs that fit into `LONGEST` characters; when they fill less than half, the next up to a full stop."""
    kept = ""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        flat = " ".join(paragraph.split())
        room = LONGEST - len(kept)
        if len(flat) > room:
            if len(kept) < LONGEST / 2:
                kept += flat[: flat.rfind(". ", 0, room) + 1]
            break
        kept += flat + "\n\n"
    return kept.strip()


def record(kind: str, number: int, **fields: Any) -> dict[str, Any]:
    return {"id": f"{kind}-{number:03d}", **fields, "text": opening(fields["text"])}


# --- Jane Austen: an R data base, a handful of whose value types are enough -----------------------------------------


class RObjects:
    """Reads R's own binary serialisation, as far as character vectors, numbers, lists and their names go."""

    def __init__(self, data: bytes) -> None:
        assert data[:2] == b"X\n", "R's binary format begins with X"
        self.data, self.at = data, 14
        self.symbols: list[Any] = []
        if self.int_at(2) == 3:  # version 3 names the native encoding next
            self.at += 4 + self.int_at(14)

    def int_at(self, at: int) -> int:
        return struct.unpack_from(">i", self.data, at)[0]

    def take(self) -> int:
        self.at += 4
        return self.int_at(self.at - 4)

    def value(self) -> Any:
        flags = self.take()
        kind, has_attributes, has_tag = flags & 0xFF, flags & 0x200, flags & 0x400
        if kind == 254:  # NULL
            return None
        if kind == 255:  # a symbol met before
            return self.symbols[(flags >> 8) - 1]
        if kind == 1:  # a symbol
            self.symbols.append(self.value())
            return self.symbols[-1]
        if kind == 9:  # one string
            size = max(0, self.take())
            self.at += size
            return self.data[self.at - size : self.at].decode()
        if kind == 2:  # a pair list, only met as attributes
            if has_attributes:
                self.value()
            tag = self.value() if has_tag else ""
            head = self.value()
            return {tag: head, **(self.value() or {})}
        count = self.take()
        if kind == 16 or kind == 19:
            items: Any = [self.value() for _ in range(count)]
        else:
            form, size = {10: ("i", 4), 13: ("i", 4), 14: ("d", 8)}[kind]
            items = list(struct.unpack_from(f">{count}{form}", self.data, self.at))
            self.at += size * count
        names = (self.value() or {}).get("names") if has_attributes else None
        return dict(zip(names, items, strict=True)) if names else items


def austen(root: Path) -> Iterator[dict[str, Any]]:
    folder = root / "usr/lib/R/site-library/janeaustenr/data"
    index = RObjects(zlib.decompress((folder / "Rdata.rdx").read_bytes(), wbits=47)).value()["variables"]
    database = (folder / "Rdata.rdb").read_bytes()
    number = 0
    for name, (title, year) in NOVELS.items():
        offset, size = index[name]
        lines = RObjects(unpacked(database[offset : offset + size])).value()
        for part, text in chapters(lines):
            number += 1
            yield record("austen", number, title=title, author="Jane Austen", year=year, part=part, text=text)


def unpacked(blob: bytes) -> bytes:
    if blob[4:5] == b"2":
        return bz2.decompress(blob[5:])
    if blob[4:5] == b"Z":
        return lzma.decompress(blob[5:], lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 9}])
    return zlib.decompress(blob[4:])


def chapters(lines: list[str]) -> Iterator[tuple[str, str]]:
    """The chapters in order, counted through where a novel has volumes."""
    starts = [at for at, line in enumerate(lines) if re.match(r"chapter [\divxlc]+\b", line.strip(), re.IGNORECASE)]
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(lines)], strict=True), start=1):
        body = re.split(r"\n\s*(?:VOLUME|THE END|FINIS|End of)\b", "\n".join(lines[start + 1 : end]))[0]
        yield f"Chapter {number}", body.replace("_", "")


# --- Ambrose Bierce: a dictionary with one entry per capitalised headword --------------------------------------------


def bierce(root: Path) -> Iterator[dict[str, Any]]:
    text = gzip.decompress((root / "usr/share/dictd/devil.dict.dz").read_bytes()).decode("latin-1")
    entries = re.split(r"\n(?=[A-Z][A-Z' -]+, (?:n|v|adj|adv|pp|x)\.)", text)[1:]
    number = 0
    for entry in entries:
        if len(entry.split()) >= 150:  # a one-line joke needs no digest
            number += 1
            headword = entry.split(",", 1)[0].capitalize()
            fields = {"title": "The Devil's Dictionary", "author": "Ambrose Bierce", "year": 1911, "part": headword}
            yield record("bierce", number, **fields, text=entry.replace("{", "").replace("}", ""))


# --- The founding papers of the United States ------------------------------------------------------------------------


def papers(root: Path) -> Iterator[dict[str, Any]]:
    folder = root / "usr/share/state"
    declaration = gzip.decompress((folder / "us-declaration.gz").read_bytes()).decode("latin-1")
    fields = {"title": "The Declaration of Independence", "author": "Thomas Jefferson and others", "year": 1776}
    yield record("papers", 1, **fields, part="The whole", text=declaration)
    constitution = gzip.decompress((folder / "us-constitution.gz").read_bytes()).decode("latin-1")
    constitution = re.sub(r"\n[^\n]*(?:Passed|Proposed|Ratified) [^\n]*\d{4}[^\n]*", "", constitution)
    fields = {"title": "The Constitution of the United States", "author": "The Constitutional Convention", "year": 1787}
    for number, (part, text) in enumerate(sections(constitution), start=2):
        yield record("papers", number, **fields, part=part, text=text)


def sections(constitution: str) -> Iterator[tuple[str, str]]:
    """Articles and amendments by their sections; one of under 40 words says too little to be digested."""
    pieces = re.split(r"\n\s*((?:Article|Amendment|Section) [\dIVXL]+)\b[^\n]*\n", constitution)
    article = ""
    for heading, text in zip(pieces[1::2], pieces[2::2], strict=True):
        article = article if heading.startswith("Section") else heading
        if len(text.split()) >= 40:
            yield (article if heading == article else f"{article}, {heading}"), text


def unpack(package: str, folder: Path) -> Path:
    subprocess.run(["apt-get", "download", "-q", package], cwd=folder, check=True, stdout=sys.stderr)  # noqa: S603, S607
    archive = next(folder.glob(f"{package}_*.deb"))
    subprocess.run(["dpkg-deb", "-x", str(archive), str(folder / package)], check=True)  # noqa: S603, S607
    return folder / package


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        austen_root, bierce_root, papers_root = (unpack(package, Path(scratch)) for package in PACKAGES)
        records = [*austen(austen_root), *bierce(bierce_root), *papers(papers_root)]
    lines = [json.dumps(each, ensure_ascii=False) + "\n" for each in records]
    (HERE / "literature.jsonl").write_text("".join(lines), encoding="utf-8")
    sys.stderr.write(f"{len(records)} records, {sum(map(len, lines)):,} characters\n")


if __name__ == "__main__":
    main()
