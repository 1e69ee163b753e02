"""Text files: bytes in, checked characters out, with a message that says what is wrong and where."""

import codecs
import gzip
import hashlib
import zlib
from pathlib import Path

from seqloom.core.registry import nearest

_BOMS = (  # the longer first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_KNOWN = ["utf-8", "utf-16", "latin-1", "cp1252", "gb18030", "big5", "shift_jis", "euc-jp", "euc-kr", "koi8-r"]
_SAMPLE_BYTES = 200_000  # around the first wrong byte: enough to tell encodings apart


def read_bytes(path: str | Path) -> bytes:
    """Return a file's bytes, unpacked if it is gzip.

    Raises:
        ValueError: the file is missing (the nearest name beside it is suggested), unreadable, damaged or empty.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b") or path.suffix == ".gz":
            content = gzip.decompress(content)
    except FileNotFoundError:
        raise ValueError(f"no file '{path}'{_beside(path)}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"cannot read '{path}': {error}; give a readable file, plain or .gz") from None
    if not content:
        raise ValueError(f"'{path}' is empty; give a file with data in it")
    return content


def read_text(path: str | Path, encoding: str = "utf-8") -> str:
    """Return a text file's characters, without a byte-order mark; gzip is unpacked.

    Raises:
        ValueError: as `read_bytes` and `decode`; or there is a NUL byte, the message says in which line.
    """
    text = decode(read_bytes(path), path, encoding)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"'{path}' has a NUL byte in line {line}: it is no text, or damaged; remove the NUL bytes")
    if not text.strip():
        raise ValueError(f"'{path}' holds only blanks; give a file with text in it")
    return text


def decode(content: bytes, path: str | Path, encoding: str = "utf-8") -> str:
    """Return the characters of a file's bytes, without a byte-order mark.

    Raises:
        ValueError: unknown encoding, or the bytes break its rules; the message names the first wrong byte, its line,
            and the encoding that fits.
    """
    try:
        known = codecs.lookup(encoding).name
        "a".encode(encoding)  # refuses codecs that are not of text
    except LookupError:
        raise ValueError(f"encoding '{encoding}' is unknown{nearest(encoding, _KNOWN)}") from None
    mark = next((name for bom, name in _BOMS if content.startswith(bom)), None)
    if mark and not known.startswith(mark):
        raise ValueError(
            f"'{path}' is not {encoding}: its first byte, 0x{content[0]:02x}, opens a byte-order mark of {mark}; "
            f"add --encoding {mark}"
        )
    if known == "utf-8" and mark is None and (wide := _wide(content)):
        at = content.index(0)
        raise ValueError(f"'{path}' is not UTF-8: byte {at} is NUL, as in {wide}; add --encoding {wide}")
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeError as error:
        at = error.start if isinstance(error, UnicodeDecodeError) else 0
    line = content.count(b"\n", 0, at) + 1
    if 0 in content and known == "utf-8":
        nul = content.count(b"\n", 0, content.index(0)) + 1
        raise ValueError(f"'{path}' is no text: byte {at} is not UTF-8 and line {nul} has a NUL byte; give a text file")
    raise ValueError(
        f"'{path}' is not {'UTF-8' if known == 'utf-8' else encoding}: byte 0x{content[at]:02x} in line {line} "
        f"(offset {at}); it reads as {(fit := fitting(content, at))}: add --encoding {fit}, or the one it was saved in"
    )


def fitting(content: bytes, at: int = 0) -> str:
    """Return the encoding that bytes are most likely in, judged by those around offset `at`.

    Chinese and Japanese encodings are told by their most frequent characters; what is left is taken for Western.
    """
    start = content.rfind(b"\n", 0, at) + 1
    end = content.rfind(b"\n", start, start + _SAMPLE_BYTES) + 1
    sample = content[start : end if end > start else len(content)]
    scores = {name: _share(sample, name) for name in ("utf-8", "gb18030", "big5", "shift_jis", "euc-jp")}
    best = max(scores, key=lambda name: scores[name])
    if scores[best] >= 0.8:
        return best
    try:
        sample.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252" if any(0x80 <= byte < 0xA0 for byte in sample) else "latin-1"


def digest(content: bytes) -> str:
    """Return 12 hexadecimal digits of the SHA-256 of a file's bytes, to know the data again by."""
    return hashlib.sha256(content).hexdigest()[:12]


def _share(sample: bytes, encoding: str) -> float:
    """Return the share of the characters beyond ASCII that are frequent in what the encoding is used for."""
    try:
        characters = [c for c in sample.decode(encoding) if c > "\x7f"]
    except UnicodeDecodeError:
        return 0.0
    return sum(_frequent(c, encoding) for c in characters) / max(len(characters), 1)


def _frequent(character: str, encoding: str) -> bool:
    if encoding == "utf-8":
        return True
    if encoding in ("shift_jis", "euc-jp"):
        return "\u3000" <= character <= "\u30ff" or _first(character, encoding) in range(0x88, 0xD0)
    # the first level of each standard and its punctuation; kana and Cyrillic letters there are other languages'
    lead = _first(character, "gb2312" if encoding == "gb18030" else encoding)
    return lead in (*range(0xA1, 0xA4), *(range(0xB0, 0xD8) if encoding == "gb18030" else range(0xA4, 0xC7)))


def _first(character: str, encoding: str) -> int:
    return character.encode(encoding, errors="replace")[0]


def _wide(content: bytes) -> str | None:
    """Return the encoding of UTF-16 text without a byte-order mark, which shows as a NUL beside each ASCII letter."""
    sample = content[:4096]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if len(sample) % 2 or max(even, odd) * 4 < len(sample):
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _beside(path: Path) -> str:
    if not path.parent.is_dir():
        return f"; there is no folder '{path.parent}' either. Check the path"
    names = sorted(item.name for item in path.parent.iterdir() if item.is_file())
    hint = nearest(path.name, names)
    return hint if "Did you mean" in hint else f" in '{path.parent.resolve()}'; check the path"
