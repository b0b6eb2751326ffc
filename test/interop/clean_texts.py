"""Writes strings and what the reference cleaning makes of them, one JSON line each.

    clean_texts.py SEED COUNT

ftfy.fix_text, html.unescape twice, white space, lower case and the pieces of CLIP's regular expression.
Most strings are made to hurt: mojibake of several encodings (some of it twice, some of it with lost bytes),
entities with and without semicolons, odd quotes, widths, line ends, controls, and code points at random.
"""

import html
import json
import random
import sys
from html.entities import html5

import ftfy
import regex

PIECES = regex.compile(
    r"""<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+""", regex.IGNORECASE
)
ENCODINGS = [
    "latin-1", "sloppy-windows-1252", "sloppy-windows-1251", "sloppy-windows-1250", "sloppy-windows-1253",
    "sloppy-windows-1254", "sloppy-windows-1257", "iso-8859-2", "macroman", "cp437",
]  # fmt: skip
WORDS = (
    "a photo of the cat's dog, it's we'll I'D can'T naïve café São à la às Ünïcödé ΑΣΙΣ ΟΔΟΣ Σ İstanbul ẞ straße "
    "Привет мир 你好 世界 日本語 ﾃｽﾄ ＡＢＣ １２３ 한국어 שלום مرحبا ไทย हिन्दी ❤️ 👩‍👩‍👧 😂🎉 ﬁre ﬂow oﬃce Ĳ ŉ “quoted” ‘x’ „low‟ … – — "
    "½ ² Ⅷ ٣ x² 3.14 $5 € £ ¥ © ® ™ <b> & &amp; &lt; é Å ﷽ ｡ ゙ が \u0345 ſ K 'ſ <start_of_text> <END_OF_TEXT>"
).split(" ")
SPACES = [" ", " ", " ", "  ", "\t", "\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x1f", "\x85", "\xa0", "\u1680",
          "\u2003", "\u2028", "\u2029", "\u202f", "\u3000", "\u200b", "\ufeff"]  # fmt: skip
NAMES = list(html5)


def entity(rng):
    kind = rng.randrange(6)
    if kind == 0:
        point = rng.choice([rng.randrange(0x200), rng.randrange(0x120000), 0xD83D, 0xFFFE, 0, 13, 0x80, 0x9F])
        return "&#" + (rng.choice(["x%x", "X%X", "x%06x"]) % point if rng.random() < 0.5 else str(point)) + rng.choice([";", ";", "", " "])
    name = rng.choice(NAMES)
    if kind == 1:
        name = name.upper()
    if kind == 2:
        name = name.rstrip(";") + rng.choice(["", "x", ";", "é", "1;"])
    if kind == 3:
        name = "amp;" + name
    return "&" + name


def mojibake(rng, text):
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        encoding = rng.choice(ENCODINGS)
        data = text.encode("utf-8", "surrogatepass")
        if rng.random() < 0.1:
            data = b"".join(
                c.encode("utf-16-be", "surrogatepass").decode("utf-16-be", "surrogatepass").encode("utf-8", "surrogatepass")
                if ord(c) < 0x10000
                else b"".join(
                    chr(u).encode("utf-8", "surrogatepass")
                    for u in (0xD800 + ((ord(c) - 0x10000) >> 10), 0xDC00 + ((ord(c) - 0x10000) & 0x3FF))
                )
                for c in text
            )
        text = data.decode(encoding, "replace")
    chars = list(text)
    for i, char in enumerate(chars):
        roll = rng.random()
        if char == "\xa0" and roll < 0.4:
            chars[i] = " "
        elif ord(char) > 127 and roll < 0.05:
            chars[i] = rng.choice("?\ufffd\x1a ")
        elif roll < 0.01:
            chars[i] = rng.choice(["\xc0", "\xc0\x80", "\xed", "\xc0\n", "\xed\xa0\x80\xed\xb0\n", ""])
    return "".join(chars)


def alphabet():
    """Characters that occur in mojibake, and near them."""
    out = set(map(chr, range(0x80, 0x180))) | set(map(chr, range(0x384, 0x460)))
    for name in ENCODINGS:
        out |= set(bytes(range(0x80, 0x100)).decode(name))
    return sorted(out) + list(" aZ.?<&;'’\x1a\n")


MIXED = alphabet()


def piece(rng):
    kind = rng.randrange(12)
    if kind < 4:
        return rng.choice(WORDS)
    if kind < 6:
        return mojibake(rng, rng.choice(WORDS))
    if kind == 6:
        return mojibake(rng, " ".join(rng.choice(WORDS) for _ in range(3)))
    if kind == 7:
        return entity(rng)
    if kind == 8:
        return "".join(rng.choice(MIXED) for _ in range(rng.randrange(1, 6)))
    if kind == 9:
        top = rng.choice([0x80, 0x250, 0x3000, 0x10000, 0x1FFFF])
        points = (rng.randrange(top) for _ in range(rng.randrange(1, 4)))
        return "".join(chr(p) for p in points if not 0xD800 <= p < 0xE000)
    if kind == 10:
        return rng.choice(["\x1b[31m", "\x1b[0;١m", "\x1b[", "\x07", "\x7f", "\u206a", "\ufff9", "\ufffc", "\u200d"])
    return "".join(chr(rng.randrange(0x20, 0x7F)) for _ in range(rng.randrange(1, 10)))


def main(seed, count):
    rng = random.Random(seed)
    for _ in range(count):
        parts = []
        for _ in range(rng.choice([1, 1, 2, 3, 5, 9])):
            parts += [piece(rng), rng.choice(SPACES) if rng.random() < 0.7 else ""]
        text = "".join(parts)
        if rng.random() < 0.1:
            text = mojibake(rng, text)
        fixed = ftfy.fix_text(text)
        clean = " ".join(html.unescape(html.unescape(fixed)).strip().split()).strip().lower()
        print(json.dumps({"text": text, "fixed": fixed, "clean": clean, "pieces": PIECES.findall(clean)}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
