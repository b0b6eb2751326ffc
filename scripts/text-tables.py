"""Writes models/clip-text/: the facts that text cleaning and tokenizing look up, taken from the reference
implementations (ftfy, Python's html module, OpenAI's vocabulary) so that nothing is typed by hand.

    python3 scripts/text-tables.py bpe_simple_vocab_16e6.txt.gz

Needs ftfy 6.3.1, regex 2026.11.15, brotli and Python 3.11 (whose unicodedata, Unicode 14, made the
reference data).
"""

import gzip
import json
import pathlib
import sys
import unicodedata
from html.entities import html5

import brotli
import regex
from ftfy import badness, chardata

OUT = pathlib.Path(__file__).parent.parent / "models" / "clip-text"
MERGES = 49152 - 256 - 2


def ranges(points):
    """Sorted code points as [first, last] pairs."""
    out = []
    for point in sorted(points):
        if out and out[-1][1] == point - 1:
            out[-1][1] = point
        else:
            out.append([point, point])
    return out


def expand(text):
    """The code points of the inside of a character class."""
    points, i = set(), 0
    while i < len(text):
        if i + 2 < len(text) and text[i + 1] == "-":
            points.update(range(ord(text[i]), ord(text[i + 2]) + 1))
            i += 3
        else:
            points.add(ord(text[i]))
            i += 1
    return points


def matching(pattern):
    """The code points that a pattern matches as CLIP's tokenizer asks, ignoring case."""
    compiled = regex.compile(pattern, regex.IGNORECASE)
    return ranges(p for p in range(0x110000) if not 0xD800 <= p < 0xE000 and compiled.match(chr(p)))


def class_ranges(classes):
    return {name: ranges(expand(text)) for name, text in classes.items()}


def main(vocabulary):
    with gzip.open(vocabulary) as file:
        lines = file.read().decode("utf-8").split("\n")[1 : MERGES + 1]
    (OUT / "merges.txt.br").write_bytes(brotli.compress("\n".join(lines).encode(), quality=11, lgwin=24))

    high = bytes(range(0x80, 0x100))
    tables = {
        "encodings": {name: (b"\x1a" + high).decode(name) for name in chardata.CHARMAP_ENCODINGS},
        "windows1252": high.decode("windows-1252", "replace"),
        "badness": class_ranges(badness.MOJIBAKE_CATEGORIES),
        "utf8Clues": class_ranges(chardata.UTF8_CLUES),
        "ligatures": {chr(point): text for point, text in chardata.LIGATURES.items()},
        "letters": matching(r"[\p{L}]"),
        "numbers": matching(r"[\p{N}]"),
        "unassigned14": ranges(p for p in range(0x110000) if unicodedata.category(chr(p)) == "Cn"),
        "entities": html5,
    }
    assert all(len(text) == 129 for text in tables["encodings"].values())
    (OUT / "tables.json").write_text(json.dumps(tables, sort_keys=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
