"""Text files are read whole or refused with the place and the way out."""

import gzip
from pathlib import Path

import pytest

from seqloom.data.text import decode, fitting, read_text

CHINESE = "公司今天宣布，不会把全部生产转移到国外，虽然那里增长很快。\n"
TRADITIONAL = "這是一個很好的電影，我非常喜歡看。\n"
JAPANESE = "今日はとても良い天気ですね。映画を見ました。\n"


def test_a_byte_order_mark_is_no_character(tmp_path: Path) -> None:
    for encoding, codec in [("utf-8", "utf-8-sig"), ("utf-16", "utf-16"), ("utf-32", "utf-32")]:
        path = tmp_path / codec
        path.write_bytes("naïve".encode(codec))
        assert read_text(path, encoding) == "naïve"


def test_gzip_is_unpacked_whatever_the_name_is(tmp_path: Path) -> None:
    for name in ("a.txt.gz", "a.txt"):
        (tmp_path / name).write_bytes(gzip.compress(b"one\ntwo"))
        assert read_text(tmp_path / name) == "one\ntwo"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (CHINESE, "gb18030"),
        (TRADITIONAL, "big5"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc-jp"),
        ("naïve café déjà vu, größer über Straße", "latin-1"),
        ("été", "latin-1"),
        ("“naïve” it’s", "cp1252"),
        ("naïve", "utf-8"),
    ],
)
def test_the_encoding_that_fits_is_told(text: str, encoding: str) -> None:
    assert fitting(text.encode(encoding)) == encoding


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\nnaïve\n".encode("latin-1"), r"not UTF-8: byte 0xef in line 2 \(offset 4\).*--encoding latin-1"),
        (CHINESE.encode("gb18030"), r"byte 0xb9 in line 1 \(offset 0\).*--encoding gb18030"),
        ("naïve".encode("utf-16"), "byte-order mark of utf-16; add --encoding utf-16"),
        ("naïve".encode("utf-32"), "byte-order mark of utf-32; add --encoding utf-32"),
        ("a text\n".encode("utf-16-le"), "byte 1 is NUL, as in utf-16-le; add --encoding utf-16-le"),
        ("a text\n".encode("utf-16-be"), "byte 0 is NUL, as in utf-16-be"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "is no text"),
        (b"one\ntwo\0three", "NUL byte in line 2"),
        (b"", "is empty"),
        (b" \n\n", "only blanks"),
        (gzip.compress(b"text " * 500, mtime=0)[:-20], "cannot read"),  # without a time: every worker names it alike
    ],
)
def test_what_is_no_text_is_refused_with_the_place(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_text(path)


@pytest.mark.parametrize("encoding", ["utf8x", "hex", "rot13"])
def test_an_encoding_that_is_none_is_refused(encoding: str) -> None:
    with pytest.raises(ValueError, match=f"encoding '{encoding}' is unknown"):
        decode(b"text", "text.txt", encoding)


def test_a_missing_file_suggests_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").touch()
    with pytest.raises(ValueError, match="no file .*Did you mean 'train.tsv'"):
        read_text(tmp_path / "trian.tsv")
    with pytest.raises(ValueError, match="no folder .*nowhere"):
        read_text(tmp_path / "nowhere" / "train.tsv")
    with pytest.raises(ValueError, match="cannot read"):
        read_text(tmp_path)
