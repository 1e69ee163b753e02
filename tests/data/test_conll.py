"""Files of tagged tokens: every scheme reads alike, every row is accounted for, and nothing is guessed in silence."""

import gzip
import json
import random
from pathlib import Path

import pytest

from seqloom.core.runtime import data_dir
from seqloom.data.conll import read_tagged, read_tokens
from seqloom.data.schemes import SCHEMES, Span, fault_of, is_tag, scheme_of, spans_of, tags_of
from seqloom.data.sentences import cut, joined

needs_data = pytest.mark.skipif(data_dir() is None, reason="no real data sets: set SEQLOOM_DATA")
TAGS = ["O", "O", "B-X", "I-X", "E-X", "S-X", "I-Y", "E-Y", "B-Y"]
PAIR = [Span(0, 1, "ORG"), Span(1, 2, "LOC"), Span(2, 4, "PER"), Span(4, 5, "PER")]


def columns(path: Path, sentences: list[list[str]], apart: str = " ") -> Path:
    path.write_text("\n\n".join("\n".join(line.replace(" ", apart) for line in s) for s in sentences) + "\n")
    return path


def random_tags(generator: random.Random) -> list[str]:
    return [generator.choice(TAGS) for _ in range(generator.randrange(0, 9))]


def test_entities_are_those_that_seqeval_finds_also_in_tags_that_are_not_well_formed() -> None:
    from seqeval.metrics.sequence_labeling import get_entities

    generator = random.Random(0)
    for _ in range(3000):
        tags = random_tags(generator)
        assert [(label, start, end - 1) for start, end, label in spans_of(tags)] == get_entities(tags)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_entities_go_to_tags_of_each_scheme_and_back(scheme: str) -> None:
    generator = random.Random(1)
    for _ in range(1000):
        tags = random_tags(generator)
        spans = spans_of(tags)
        written = tags_of(spans, len(tags), scheme)
        assert spans_of(written) == spans and fault_of(written, scheme) is None
        assert all(is_tag(tag) for tag in written)


def test_the_schemes_are_as_their_table_shows() -> None:
    assert tags_of(PAIR, 6, "iob1") == ["I-ORG", "I-LOC", "I-PER", "I-PER", "B-PER", "O"]
    assert tags_of(PAIR, 6, "iob2") == ["B-ORG", "B-LOC", "B-PER", "I-PER", "B-PER", "O"]
    assert tags_of(PAIR, 6, "bmes") == ["S-ORG", "S-LOC", "B-PER", "E-PER", "S-PER", "O"]
    assert tags_of(PAIR, 6, "bilou") == ["U-ORG", "U-LOC", "B-PER", "L-PER", "U-PER", "O"]
    assert tags_of([Span(0, 3, "A")], 3, "bmes") == ["B-A", "M-A", "E-A"]
    with pytest.raises(ValueError, match="bmeso.*bmes"):
        tags_of(PAIR, 6, "bmeso")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_scheme_of_a_file_is_told_by_its_tags(scheme: str, tmp_path: Path) -> None:
    spans = [*PAIR, Span(5, 8, "ORG")]
    lines = [f"w{i} {tag}" for i, tag in enumerate(tags_of(spans, 9, scheme))]
    read = read_tagged(columns(tmp_path / "a.conll", [lines, lines]))
    assert read.scheme == scheme and read.odd == 0 and [s.spans for s in read.sentences] == [spans, spans]
    assert read_tagged(tmp_path / "a.conll", scheme=scheme).sentences == read.sentences  # type: ignore[arg-type]


def test_b_and_i_alone_are_read_in_any_mixture_and_it_is_told(tmp_path: Path) -> None:
    path = columns(tmp_path / "a.txt", [["a I-X", "b I-X", "c O"], ["d B-X", "e I-X"], ["f I-Y", "g O"]])
    read = read_tagged(path)
    assert (read.scheme, read.odd) == ("iob1", 1)
    assert [s.spans for s in read.sentences] == [[Span(0, 2, "X")], [Span(0, 2, "X")], [Span(0, 1, "Y")]]
    assert scheme_of([["B-X", "I-X"], ["I-X"], ["B-Y"]]) == "iob2"
    with pytest.raises(ValueError, match=r"Line 1: 'I-X' goes on with an entity that no B-X began.*line 8"):
        read_tagged(path, scheme="iob2")


def test_a_mixture_with_bmes_is_refused_with_its_lines(tmp_path: Path) -> None:
    good = [["a B-X", "b M-X", "c E-X"]] * 3
    path = columns(tmp_path / "a.bmes", [*good, ["d B-X", "e I-X", "f O"], ["g S-X", "h E-Y"]])
    with pytest.raises(ValueError, match=r"2 of 5 rows.*Line 14: 'I-X' leaves an entity open.*line 18: 'E-Y'"):
        read_tagged(path)
    read = read_tagged(path, allow_rejects=True)
    assert read.rows_in == 5 and len(read.sentences) == 3 and [line for line, _ in read.rejects] == [14, 18]


def test_any_blanks_or_tabs_separate_columns_and_tokens_may_hold_blanks_between_tabs(tmp_path: Path) -> None:
    blanks = tmp_path / "a.txt"
    blanks.write_bytes(b"\n\na  NN \t O\r\nb NN\tI-X  \r\n\r\n \t \r\nc NN O\r\n")
    assert [s.tokens for s in read_tagged(blanks).sentences] == [["a", "b"], ["c"]]
    assert [s.line for s in read_tagged(blanks).sentences] == [3, 7]
    tabs = tmp_path / "b.txt"
    tabs.write_text("New York\tB-X\n.\tO\n")
    assert read_tagged(tabs).sentences[0].tokens == ["New York", "."]


def test_tokens_that_python_takes_for_blanks_or_line_ends_are_tokens(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("北 S-X\n\u3000 O\n\u2028 O\n\x85 O\n京 S-X\n", encoding="utf-8")
    assert read_tagged(path).sentences[0].tokens == ["北", "\u3000", "\u2028", "\x85", "京"]


def test_documents_and_comments_are_no_sentences(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("-DOCSTART- -X- O O\n\n# id 7 domain=en\na NN I-NP B-X\n\n# NN O O\nb NN O O\n\n\n-DOCSTART- O\n")
    read = read_tagged(path)
    assert [s.tokens for s in read.sentences] == [["a"], ["#", "b"]] and read.documents == 2 and read.rows_in == 2


def test_columns_are_chosen_by_number_and_refused_where_there_are_none(tmp_path: Path) -> None:
    path = columns(tmp_path / "a.txt", [["O 1 a", "S-X 2 b"]])
    read = read_tagged(path, token=-1, tag=0)
    assert read.sentences[0].tokens == ["a", "b"] and read.sentences[0].spans == [Span(1, 2, "X")]
    with pytest.raises(ValueError, match="no tag column 3.*have 3, from 0 to 2"):
        read_tagged(path, tag=3)
    with pytest.raises(ValueError, match="both column 2"):
        read_tagged(path, token=2)
    with pytest.raises(ValueError, match="one column: are there tags"):
        read_tagged(columns(tmp_path / "b.txt", [["a", "b"]]))


def test_every_row_is_used_or_rejected_with_its_line_and_reason(tmp_path: Path) -> None:
    sentences = [["a NN O", "b NN B-X"]] * 6 + [["c O"], ["d NN O", "e NN thing"], ["f NN E-"]]
    path = columns(tmp_path / "a.txt", sentences)
    with pytest.raises(ValueError, match="3 of 9 rows cannot be used.*--allow-rejects.*Line 19: 2 columns where most"):
        read_tagged(path)
    read = read_tagged(path, allow_rejects=True)
    assert read.rows_in == 9 == len(read.sentences) + len(read.rejects)
    assert [(r.line, r.reason[:16]) for r in read.rejects] == [
        (19, "2 columns where "),
        (22, "'thing' is no ta"),
        (24, "'E-' is no tag: "),
    ]


def test_spans_of_json_lines_count_tokens_or_characters(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        {"tokens": ["New", "York", "is"], "spans": [{"start": 0, "end": 2, "label": "LOC"}]},
        {"text": "He saw U.N. men in 北京.", "spans": [{"start": 7, "end": 11, "label": "ORG"}]},
        {"text": "北京好", "spans": [{"start": 0, "end": 2, "label": "LOC"}]},
        {"text": "none here"},
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    read = read_tagged(path)
    assert [s.tokens for s in read.sentences[1:3]] == [
        ["He", "saw", "U.N.", "men", "in", "北", "京", "."],
        ["北", "京", "好"],
    ]
    spans = [[Span(0, 2, "LOC")], [Span(2, 3, "ORG")], [Span(0, 2, "LOC")], []]
    assert [s.spans for s in read.sentences] == spans and read.scheme == "spans"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "not JSON"),
        ("[1]", "no object with either 'tokens' or 'text'"),
        ('{"tokens": [], "spans": []}', "no token in it"),
        ('{"text": "  "}', "no token in it"),
        ('{"tokens": ["a", ""]}', "not a list of texts"),
        ('{"tokens": ["a"], "spans": [{"start": 0, "end": 2, "label": "X"}]}', "does not begin and end with tokens"),
        ('{"tokens": ["a"], "spans": [{"start": 0, "end": 0, "label": "X"}]}', "does not begin and end with tokens"),
        ('{"text": "abc d", "spans": [{"start": 1, "end": 3, "label": "X"}]}', "does not begin and end with tokens"),
        ('{"tokens": ["a"], "spans": [{"start": "0", "end": 1, "label": "X"}]}', "is not {start: number"),
        ('{"tokens": ["a"], "spans": {}}', "'spans' is not a list"),
        (
            '{"tokens": ["a", "b"], "spans": [{"start": 0, "end": 2, "label": "X"}, '
            '{"start": 1, "end": 2, "label": "Y"}]}',
            "overlap",
        ),
    ],
)
def test_a_json_line_that_breaks_a_rule_is_rejected(row: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"tokens": ["a"]}\n' + row)
    read = read_tagged(path, allow_rejects=True)
    assert len(read.sentences) == 1 and read.rejects[0].line == 2 and reason in read.rejects[0].reason


def test_encodings_and_gzip_are_read_and_the_wrong_one_is_named(tmp_path: Path) -> None:
    text = "我 O\n在 O\n北 B-LOC\n京 E-LOC\n工 O\n作 O\n\n"
    path = tmp_path / "a.bmes.gz"
    path.write_bytes(gzip.compress((text * 4).encode("gb18030")))
    read = read_tagged(path, encoding="gb18030")
    assert read.sentences[0].spans == [Span(2, 4, "LOC")] and joined(read.sentences[0].tokens) == "我在北京工作"
    with pytest.raises(ValueError, match="not UTF-8.*--encoding gb18030"):
        read_tagged(path)


def test_files_without_sentences_are_refused(tmp_path: Path) -> None:
    for content, message in (("", "is empty"), (" \n\n", "only blanks"), ("-DOCSTART- O\n\n", "no sentence")):
        path = tmp_path / "a.conll"
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            read_tagged(path)
    path.write_text("a\0 O\n")
    with pytest.raises(ValueError, match="NUL byte in line 1"):
        read_tagged(path)


def test_word_segmentation_has_one_label_without_a_name(tmp_path: Path) -> None:
    read = read_tagged(columns(tmp_path / "a.txt", [["a B", "b M", "c E", "d S"]]))
    assert read.sentences[0].spans == [Span(0, 3, "_"), Span(3, 4, "_")] and read.scheme == "bmes"


def test_inputs_are_read_from_columns_json_or_lines_and_what_is_none_has_its_place(tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("Peter lives in U.K.\n\nHe\u2028is.\n")
    assert [s.tokens for s in read_tokens(text)] == [["Peter", "lives", "in", "U.K."], [], ["He", "is", "."]]
    assert [s.tokens for s in read_tokens(columns(tmp_path / "b.txt", [["a O", "b S-X"], ["c O"]]))] == [
        ["a", "b"],
        ["c"],
    ]
    assert [s.tokens for s in read_tokens(columns(tmp_path / "c.conll", [["a", "b"], ["c"]]))] == [["a", "b"], ["c"]]
    lines = tmp_path / "d.jsonl"
    lines.write_text('{"tokens": ["a b", "c"]}\n{"text": "d e"}\n')
    assert [s.tokens for s in read_tokens(lines)] == [["a b", "c"], ["d", "e"]]
    lines.write_text('{"tokens": 3}\n{"text": ""}\n\n{"text": "a"}\n')
    *broken, sound = read_tokens(lines)
    reasons = ["'tokens' is not a list of texts that are not empty", "no token in it", "the line is blank"]
    assert broken == list(enumerate(reasons, 1)) and sound.tokens == ["a"]
    broken, sound = read_tokens(columns(tmp_path / "e.conll", [["a x", "b"], ["c y"]]), token=1)
    assert broken == (2, "no token in column 1 of 1") and sound.tokens == ["y"]
    (tmp_path / "f.conll").write_bytes(b"a\nb\0\n\nc\n")
    broken, sound = read_tokens(tmp_path / "f.conll")
    assert broken == (2, "a NUL byte") and sound.tokens == ["c"]


def test_text_is_cut_where_it_can_be_put_together_again() -> None:
    text = "Mr. Smith's 1996-08-22 trip, 3,000 US$ 在北京2008年。"
    sentence = cut(text)
    assert [text[start:end] for start, end in sentence.places] == sentence.tokens
    assert sentence.tokens == [
        *("Mr", ".", "Smith's", "1996-08-22", "trip", ",", "3,000", "US", "$", "在", "北", "京", "2008", "年", "。")
    ]
    assert cut("हिन्दी में, می‌خواهم!").tokens == ["हिन्दी", "में", ",", "می‌خواهم", "!"]
    assert cut("a bc", characters=True).tokens == ["a", "b", "c"] and cut("").tokens == []


@pytest.mark.realdata
@needs_data
def test_conll_2003_has_the_published_numbers_of_sentences_and_entities() -> None:
    folder = data_dir()
    assert folder is not None
    for name, sentences, entities in (("testa", 3250, 5942), ("testb", 3453, 5648)):
        read = read_tagged(folder / "conll2003" / f"eng.{name}")
        assert read.scheme == "iob1" and not read.rejects
        assert (len(read.sentences), sum(len(s.spans) for s in read.sentences)) == (sentences, entities)
