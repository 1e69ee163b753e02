"""Text files: bytes in, checked characters out, with a message that says what is wrong and where."""

import codecs
import gzip
import hashlib
import sys
import zlib
from collections.abc import Iterable
from itertools import chain
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
READING = (OSError, EOFError, zlib.error)  # what reading a file, packed or not, may raise
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
    except READING as error:
        raise unreadable(path, error) from None
    if not content:
        raise ValueError(f"'{path}' is empty; give a file with data in it")
    return content


def unreadable(path: Path, error: Exception) -> ValueError:
    """Return the error that tells why a file cannot be read."""
    if isinstance(error, FileNotFoundError):
        return ValueError(f"no file '{path}'{_beside(path)}")
    return ValueError(f"cannot read '{path}': {error}; give a readable file, plain or .gz")


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
    check_start(content, path, encoding)
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeError:
        raise wrong_byte([content], path, encoding) from None


def check_start(content: bytes, path: str | Path, encoding: str) -> str:
    """Return the codec's name that reads a file which begins with these bytes (4096 or more, or all it has).

    Raises:
        ValueError: unknown encoding, or the first bytes are those of another.
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
    if known in ("utf-16", "utf-32") and mark is None:
        return f"{known}-{sys.byteorder[0]}e"  # as Python reads what has no mark
    return known


def wrong_byte(chunks: Iterable[bytes], path: str | Path, encoding: str) -> ValueError:
    """Return the error that tells of the first byte of a file that breaks its encoding's rules. Work O(bytes)."""
    known = codecs.lookup(encoding).name
    decoder = codecs.getincrementaldecoder(encoding)()
    offset, line, nul = 0, 1, 0  # of what is read so far: its bytes, the line that follows, the line of the first NUL
    for chunk in chain(chunks, [b""]):
        nul = nul or (line + chunk.count(b"\n", 0, chunk.index(0)) if 0 in chunk else 0)
        try:
            decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            kept = len(error.object) - len(chunk)  # bytes of the chunk before
            return _wrong(path, encoding, error.object, error.start, offset - kept, line, nul)
        except UnicodeError:
            return _wrong(path, encoding, chunk, 0, offset, line, nul)
        offset, line = offset + len(chunk), line + chunk.count(b"\n")
    raise AssertionError(f"'{path}' breaks no rule of {known}")


def _wrong(path: str | Path, encoding: str, window: bytes, at: int, offset: int, line: int, nul: int) -> ValueError:
    known = codecs.lookup(encoding).name
    if nul and known == "utf-8":
        return ValueError(
            f"'{path}' is no text: byte {offset + at} is not UTF-8 and line {nul} has a NUL byte; give a text file"
        )
    line += window.count(b"\n", 0, at)
    return ValueError(
        f"'{path}' is not {'UTF-8' if known == 'utf-8' else encoding}: byte 0x{window[at]:02x} in line {line} "
        f"(offset {offset + at}); it reads as {(fit := fitting(window, at))}: add --encoding {fit}, or the one it was "
        "saved in"
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


def split_lines(text: str) -> list[str]:
    """Return the lines of a text: a line feed ends one, with a carriage return before it, and nothing else does.

    Other separators of Unicode may stand inside a sentence, and a line too many would shift all that follow.
    """
    lines = text.split("\n")
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]


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
