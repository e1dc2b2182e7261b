"""The laws of the translator: neighbours change nothing, long lines are cut, every format says the same."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from runs import CPU, PAIRS, SHORT, Answer, Scripted, scripted, stream, tiny_config, weights_of, write_run
from torch import Tensor

import nmt
from nmt import shortlist
from nmt.alignment import word_numbers
from nmt.batches import EOS, UNK, Padded
from nmt.config import SearchConfig
from nmt.errors import ModelError, ResourceError
from nmt.inspect.profile import parts_of_search
from nmt.models import build
from nmt.output import Writer
from nmt.search import search
from nmt.split import split
from nmt.stream import Block, Job, translate_stream
from nmt.tokenizer import Tokenizers
from nmt.training import checkpoint
from nmt.translate import Extras, Translator
from nmt.translation import Output, merge

SOURCES = [source for source, _ in PAIRS]
SPOKEN = SearchConfig(beam_size=2)
LISTS = SHORT.model_copy(update={"n_best": 2})
UNREPEATED = SHORT.model_copy(update={"no_repeat_ngram": 1})
SAMPLE = SHORT.model_copy(update={"sample": True, "n_best": 2})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("translate") / "run", tiny_config(max_length=40))


@pytest.fixture(scope="module")
def translator(run: Path) -> Translator:
    return Translator.load(run, device="cpu", threads=1)


@pytest.fixture(scope="module")
def tokenizers(run: Path) -> Tokenizers:
    return Tokenizers.load(run)


def test_the_package_loads_and_translates(run: Path, translator: Translator) -> None:
    lines = nmt.load(run, device="cpu").translate([SOURCES[0], ""], SHORT)
    torch.set_num_threads(1)  # `load` takes all cores, which tests that run side by side do not like
    assert lines == [*translator.translate(SOURCES[:1], SHORT), ""]


def test_a_translation_is_what_the_search_found(translator: Translator) -> None:
    (ids,) = translator.tokenizers.source.encode(SOURCES[:1])
    source = Padded(torch.tensor([[*ids, 3]]), torch.tensor([len(ids) + 1]))
    (found,) = search(translator.model, source, SHORT)
    (translation,) = translator.translate_block(SOURCES[:1], SHORT)
    assert translation.score == pytest.approx(found[0].score, abs=1e-5)
    assert translation.text == translator.tokenizers.target.decode([found[0].ids])[0].strip()


@pytest.mark.slow
@pytest.mark.parametrize("batch_tokens", [1, 50, 4096])
def test_neighbours_and_batch_size_change_nothing(translator: Translator, batch_tokens: int) -> None:
    lines = [*SOURCES, "", *SOURCES[:2], "A dog. " * 30]
    options = SHORT.model_copy(update={"batch_tokens": batch_tokens})
    together = translator.translate_block(lines, options)
    for line, translation in zip(lines, together, strict=True):
        (alone,) = translator.translate_block([line], SHORT)
        assert translation.text == alone.text
        assert translation.score == pytest.approx(alone.score, abs=1e-4)


def test_equal_sentences_are_translated_once(tokenizers: Tokenizers) -> None:
    speaker = scripted(tokenizers, tokenizers.target.encode(["Mann"])[0])
    assert speaker.translate(["a", "b", "a", "a", " ", "b"], SPOKEN) == ["Mann", "Mann", "Mann", "Mann", "", "Mann"]
    assert isinstance(speaker.model, Scripted)
    assert len(speaker.model.sentences) == 2


def test_drawn_translations_differ_by_line_and_not_by_block(translator: Translator) -> None:
    lines = [SOURCES[0]] * 4
    together = translator.translate_block(lines, SAMPLE)
    assert len({translation.text for translation in together}) > 1
    apart = [
        *translator.translate_block(lines[:1], SAMPLE),
        *translator.translate_block(lines[1:], SAMPLE, Extras(first=1)),
    ]
    assert [one.text for one in apart] == [one.text for one in together]
    other = translator.translate_block(lines, SAMPLE.model_copy(update={"seed": 2}))
    assert [one.text for one in other] != [one.text for one in together]


def test_a_prefix_begins_its_own_line_only(translator: Translator) -> None:
    found = translator.translate_block([SOURCES[0]] * 3, SHORT, Extras(prefixes=["Zwei Hunde", "", "Die Frau"]))
    assert found[0].text.startswith("Zwei Hunde")
    assert found[1].text == translator.translate(SOURCES[:1], SHORT)[0]
    assert found[2].text.startswith("Die Frau")


def test_n_best_are_in_order(translator: Translator) -> None:
    (translation,) = translator.translate_block(SOURCES[:1], SHORT.model_copy(update={"beam_size": 4, "n_best": 4}))
    scores = [output.score for output in translation.hypotheses]
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)


def test_alignments_name_words(tokenizers: Tokenizers) -> None:
    """The double looks at source piece t when it writes target piece t."""
    target = "Zwei Hunde laufen"
    (ids,) = tokenizers.target.encode([target])
    line = "Two dogs run"
    (translation,) = scripted(tokenizers, ids).translate_block([line], SPOKEN, Extras(alignments=True))

    def words(pieces: list[str]) -> list[int]:
        return [sum(piece.startswith("\u2581") for piece in pieces[: i + 1]) - 1 for i in range(len(pieces))]

    source = words(tokenizers.source.pieces(tokenizers.source.encode([line])[0]))
    looked = [source[min(place, len(source) - 1)] for place in range(len(ids))]
    assert translation.text == target
    assert set(translation.hypotheses[0].alignment) == set(
        zip(looked, words(tokenizers.target.pieces(ids)), strict=True)
    )


@pytest.mark.parametrize("line", ["Two dogs run", "it\u00b4s two dogs run", "\u00a8 dogs  run", "\u200b dogs run"])
def test_words_of_the_source_are_those_that_were_typed(line: str, tokenizers: Tokenizers) -> None:
    """An accent that was typed by itself is a word of its own to the tokenizer: what follows it does not move on."""
    (ids,) = tokenizers.target.encode(["Zwei Hunde laufen " * 9])
    (translation,) = scripted(tokenizers, ids).translate_block([line], SPOKEN, Extras(alignments=True))
    sources = {source for source, _ in translation.hypotheses[0].alignment}
    assert max(sources) == len(line.split()) - 1
    targets = {target for _, target in translation.hypotheses[0].alignment}
    assert targets == {*range(len(translation.text.split()))}


def test_a_space_of_its_own_is_no_word() -> None:
    assert word_numbers(["\u2581a", "\u2581", "\u2581b", "c", "\u2581"]) == [0, 1, 1, 1, 1]
    assert word_numbers(["\u2581", "a", "\u2581", "b"]) == [0, 0, 1, 1]


class Inattentive(Scripted):
    def attention(self, source: Padded, target: Tensor) -> dict[str, Tensor]:
        return {}


@pytest.mark.parametrize(("kind", "shown"), [(Scripted, "Red Quokkas Zwei run"), (Inattentive, "\u2047 Zwei \u2047")])
def test_unknown_words_are_copied_where_there_is_attention(kind: type[Scripted], shown: str) -> None:
    tokenizers = Tokenizers.train(PAIRS * 4, tiny_config("word").tokenizer)
    (word,) = tokenizers.target.encode(["Zwei"])
    model = kind([UNK, *word, UNK], tokenizers.target.size)
    translator = Translator(tiny_config("word"), tokenizers, model, CPU)
    assert translator.translate(["Red  Quokkas through run"], SPOKEN) == [shown]


# ---- long lines -------------------------------------------------------------------------------------------------


def letters(texts: Sequence[str]) -> list[int]:
    return [sum(not char.isspace() for char in text) for text in texts]


@pytest.mark.parametrize(
    ("limit", "text", "parts"),
    [
        (8, "One two. Three!  Four?", ["One two. ", "Three!  ", "Four?"]),
        (11, 'He said "Go." Then left. ', ['He said "Go." ', "Then left. "]),
        (6, "一二三。四五六！「七八。」九", ["一二三。", "四五六！", "「七八。」", "九"]),
        (8, "aaaa, bbbb, cc dd ee ff gg", ["aaaa, ", "bbbb, cc ", "dd ee ff gg"]),
        (8, "aaaa bbbbbb cc dd", ["aaaa ", "bbbbbb cc ", "dd"]),
        (8, "a" * 20, ["aaaaaaaa", "aaaaaaaa", "aaaa"]),
        (8, "3.14159 v1.2.3", ["3.14159 ", "v1.2.3"]),
        (99, "One two. Three!", ["One two. ", "Three!"]),
    ],
)
def test_a_long_text_is_cut_where_it_hurts_least(limit: int, text: str, parts: list[str]) -> None:
    assert split(text, letters, limit) == parts


@pytest.mark.parametrize("seed", range(5))
def test_parts_are_within_the_limit_and_join_to_the_text(seed: int) -> None:
    rng = random.Random(seed)
    text = "".join(rng.choice("abcdefgh  .,!。、\u00a0") for _ in range(3000))
    for limit in (1, 2, 7, 100):
        parts = split(text, letters, limit)
        assert "".join(parts) == text
        assert max(letters(parts)) <= limit


def test_a_whole_that_costs_more_than_its_parts_stays_within_the_limit() -> None:
    def squares(texts: Sequence[str]) -> list[int]:
        return [len(text) ** 2 for text in texts]

    parts = split("aaa bbb ccc ddd " * 5, squares, 40)
    assert "".join(parts) == "aaa bbb ccc ddd " * 5
    assert max(squares(parts)) <= 40


def test_a_long_line_is_the_translations_of_its_sentences(translator: Translator) -> None:
    (whole,) = translator.translate_block([" ".join(SOURCES)], SHORT)
    sentences = [part for line in SOURCES for part in line.replace("? ", "?|").split("|")]
    assert whole.parts == len(sentences)
    assert whole.text == " ".join(filter(None, translator.translate(sentences, SHORT)))


def test_of_a_long_line_what_is_blank_does_not_reach_the_model(translator: Translator) -> None:
    """It has tokens, of which a model would make words."""
    long = "A dog runs. " * 60
    plain, blank = translator.translate_block([long.strip(), f"{long}\u200b"], SHORT)
    assert plain.parts == blank.parts == 60
    assert plain.text == blank.text


@pytest.mark.parametrize(("lang", "glue"), [("de", " "), ("zh", ""), ("ja", ""), ("zh-CN", ""), ("th", "")])
def test_parts_are_joined_as_the_language_is_written(tokenizers: Tokenizers, lang: str, glue: str) -> None:
    config = tiny_config(max_length=10)
    config = config.model_copy(update={"data": config.data.model_copy(update={"target_lang": lang})})
    (ids,) = tokenizers.target.encode(["Mann"])
    speaker = Translator(config, tokenizers, Scripted(ids, tokenizers.target.size), CPU)
    assert speaker.translate(["Dogs run. Dogs run. Dogs run."], SPOKEN) == [glue.join(["Mann"] * 3)]


def test_alignments_of_parts_number_the_words_of_the_whole() -> None:
    """Without spaces a word goes on in the next part, of either side."""
    texts, outputs = ["Ein Hund. ", "Ein", "e Katze. "], ["a dog.", "", "one cat."]
    parts = [Output(output, 0.0, 0.0, (), ((0, 0), (1, 1)) if output else ()) for output in outputs]
    assert merge(parts, texts, " ").alignment == ((0, 0), (1, 1), (2, 2), (3, 3))
    assert merge(parts, texts, "").alignment == ((0, 0), (1, 1), (2, 1), (3, 2))
    assert merge(parts, texts, "").text == "a dog.one cat."


def test_alignments_of_parts_count_on(tokenizers: Tokenizers) -> None:
    (ids,) = tokenizers.target.encode(["Mann"])
    speaker = Translator(tiny_config(max_length=10), tokenizers, Scripted(ids, tokenizers.target.size), CPU)
    (translation,) = speaker.translate_block(["Dogs run. Dogs run."], SPOKEN, Extras(alignments=True))
    assert translation.parts == 2
    assert {target for _, target in translation.hypotheses[0].alignment} == {0, 1}
    assert {0, 2} <= {source for source, _ in translation.hypotheses[0].alignment}


def test_a_character_of_many_tokens_is_translated_all_the_same() -> None:
    tokenizers = Tokenizers.train(PAIRS * 4, tiny_config("char").tokenizer)
    speaker = Translator(tiny_config("char", max_length=4), tokenizers, Scripted([9], tokenizers.target.size), CPU)
    assert len(speaker.translate(["\ufdfa\ufdfa"], SPOKEN)) == 1  # one character, 18 after NFKC
    assert isinstance(speaker.model, Scripted)
    assert max(map(len, speaker.model.sentences)) <= 4


def test_only_the_first_part_has_the_prefix(tokenizers: Tokenizers) -> None:
    (ids,) = tokenizers.target.encode(["Mann"])
    speaker = Translator(tiny_config(max_length=10), tokenizers, Scripted(ids, tokenizers.target.size), CPU)
    extras = Extras(prefixes=["Zwei"])
    (translation,) = speaker.translate_block(["Dogs run. Dogs run. Dogs run."], SPOKEN, extras)
    assert translation.text.count("Zwei") == 1
    assert translation.text.startswith("Zwei")


# ---- likely words alone -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["unigram", "word"])
def listed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_run(tmp_path_factory.mktemp("listed") / "run", tiny_config(request.param), has_shortlist=True)
    checkpoint.save_checkpoint(run, 7, {"weights": weights_of(run, 1)}, {})
    return run


def shortened(run: Path, precision: str = "fp32") -> Translator:
    return Translator.load(run, device="cpu", precision=precision, threads=1, shortlist=True)


def possible(run: Path, source: str) -> set[str]:
    """Return the pieces that the shortlist of a run allows for a source."""
    tokenizers = Tokenizers.load(run)
    ids = checkpoint.load_shortlist(run).of(torch.tensor([*tokenizers.source.encode([source])[0], EOS]))
    return set(tokenizers.target.pieces(ids.tolist()))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("options", [SHORT, LISTS, SAMPLE, UNREPEATED], ids=["best", "lists", "drawn", "no repeats"])
def test_with_a_shortlist_likely_words_alone_are_said(
    listed: Path, options: SearchConfig, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortlist, "MULTIPLE", 1)
    usual, few = Translator.load(listed, device="cpu", threads=1), shortened(listed, precision)
    said, otherwise = set[str](), set[str]()
    for source in SOURCES:
        (translation,) = few.translate_block([source], options, Extras(alignments=True))
        assert len(translation.hypotheses) == options.n_best
        for output in translation.hypotheses:
            assert set(output.pieces) <= possible(listed, source)
            assert len(set(output.pieces)) == len(output.pieces) or not options.no_repeat_ngram
            said |= set(output.pieces)
        otherwise |= set(usual.translate_block([source], options)[0].hypotheses[0].pieces) - possible(listed, source)
    assert said
    assert otherwise  # what would be said without one


def test_a_prefix_may_hold_other_words_than_the_likely(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortlist, "MULTIPLE", 1)
    few, prefix = shortened(listed), "Zwei Hunde"
    (ids,) = few.tokenizers.target.encode([prefix])
    assert not set(few.tokenizers.target.pieces(ids)) <= possible(listed, SOURCES[0])
    first, second = few.translate_block([SOURCES[0], SOURCES[2]], SHORT, Extras(prefixes=[prefix, ""]))
    assert first.text.startswith(prefix)
    assert not second.text.startswith(prefix)


def test_a_shortlist_of_all_words_changes_nothing(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortlist, "MULTIPLE", 10_000)
    lines = [*SOURCES, "", "Unheard of words."]
    usual = Translator.load(listed, device="cpu", threads=1).translate_block(lines, LISTS)
    for mine, expected in zip(shortened(listed).translate_block(lines, LISTS), usual, strict=True):
        assert [output.text for output in mine.hypotheses] == [output.text for output in expected.hypotheses]
        assert mine.score == pytest.approx(expected.score, abs=1e-5)


def test_a_checkpoint_has_the_shortlist_of_its_run(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortlist, "MULTIPLE", 1)
    folder = checkpoint.step_folder(listed, 7)
    assert shortened(folder).translate(SOURCES, SHORT) == shortened(listed).translate(SOURCES, SHORT)


def test_a_run_without_a_shortlist_says_so(run: Path) -> None:
    with pytest.raises(ModelError, match=r"run: has no shortlist\.safetensors, .*; translate without --shortlist"):
        shortened(run)


# ---- several processes ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("options", [SHORT, LISTS, SAMPLE], ids=["best", "lists", "drawn"])
def test_processes_translate_as_one_thread_does(listed: Path, options: SearchConfig) -> None:
    lines = [*SOURCES, "", "Unheard of words.", *SOURCES]
    small = options.model_copy(update={"batch_tokens": 16})  # several batches
    extras = Extras(prefixes=["Zwei", *[""] * (len(lines) - 1)], alignments=True, first=5)
    expected = Translator.load(listed, device="cpu", threads=1).translate_block(lines, small, extras)
    together = Translator.load(listed, device="cpu", threads=2, fork=True)
    assert together.translate_block(lines, small, extras) == expected


def test_where_the_time_of_a_search_goes_is_seen_beside_other_threads(tokenizers: Tokenizers) -> None:
    config = tiny_config()
    model = build(config.model, tokenizers.source.size, tokenizers.target.size, shared=True).eval()
    torch.set_num_threads(2)
    try:
        speaker = Translator(config, tokenizers, model, CPU)
        shares = parts_of_search(speaker, SOURCES * 3, SHORT.model_copy(update={"batch_tokens": 16}))
    finally:
        torch.set_num_threads(1)
    assert shares["step"] > 0
    assert sum(shares.values()) == pytest.approx(1)
    assert speaker.translate(SOURCES, SHORT)


# ---- faults -----------------------------------------------------------------------------------------------------


class Greedy(Scripted):
    """A model for which a batch of more than two sentences does not fit into the device."""

    def encode(self, source: Padded):  # type: ignore[no-untyped-def]  # the memory of its base
        if len(source.ids) > self.room:
            raise self.error
        return super().encode(source)

    room = 2
    error: Exception


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("out of memory"), RuntimeError("CPUAllocator: can't allocate memory"), MemoryError()],
)
def test_a_batch_too_large_for_the_device_is_halved(tokenizers: Tokenizers, error: Exception) -> None:
    (ids,) = tokenizers.target.encode(["Mann"])
    model = Greedy(ids, tokenizers.target.size)
    model.error = error
    speaker = Translator(tiny_config(), tokenizers, model, CPU)
    assert speaker.translate(["a", "b", "c", "d", "e"], SPOKEN) == ["Mann"] * 5
    model.room = 0
    with pytest.raises(ResourceError, match="out of memory on one sentence; lower --beam-size"):
        speaker.translate(["a"], SPOKEN)


def test_no_model_is_an_error_that_says_where(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model; give a run folder, or train one with nmt train"):
        nmt.load(tmp_path / "nothing")


# ---- the stream -------------------------------------------------------------------------------------------------

DATA = "\n".join([SOURCES[0], "", SOURCES[1] + "\tx", ""]).encode()


def test_text_is_as_the_field_writes_it(translator: Translator) -> None:
    found = translator.translate_block(DATA.decode().split("\n")[:3], LISTS)
    plain = stream(translator, DATA).lines
    assert plain == [translation.text for translation in found]
    listed = stream(translator, DATA, Job(LISTS)).lines
    assert listed[0] == f"0 ||| {found[0].text} ||| {found[0].score:.4f}"
    assert [line.split(" ||| ")[0] for line in listed] == ["0", "0", "1", "2", "2"]
    scored = stream(translator, DATA, Job(SHORT, scores=True, alignments=True)).lines
    text, score, alignment = scored[0].split(" ||| ")
    assert (text, score) == (found[0].text, f"{found[0].score:.4f}")
    assert all(len(pair.split("-")) == 2 for pair in alignment.split())


def test_tsv_pairs_source_and_translation(translator: Translator) -> None:
    rows = [line.split("\t") for line in stream(translator, DATA, Job(SHORT, format="tsv")).lines]
    assert [row[0] for row in rows] == [SOURCES[0], "", SOURCES[1] + " x"]
    assert [row[1] for row in rows] == stream(translator, DATA).lines


def test_jsonl_has_an_object_per_line(translator: Translator) -> None:
    records = [json.loads(line) for line in stream(translator, DATA, Job(LISTS, format="jsonl")).lines]
    assert [record["source"] for record in records] == DATA.decode().split("\n")[:3]
    assert [record["translation"] for record in records] == stream(translator, DATA).lines
    assert len(records[0]["hypotheses"]) == 2
    assert records[0]["score"] == max(output["score"] for output in records[0]["hypotheses"])


def test_each_block_leaves_before_the_next_is_read(translator: Translator) -> None:
    out, seen = io.BytesIO(), list[int]()

    def blocks() -> Iterator[Block]:
        for number in range(3):
            seen.append(out.getvalue().count(b"\n"))
            yield Block("stdin", number + 1, [SOURCES[number]])

    translate_stream(translator, blocks(), Writer(out, "stdout"), Job(SHORT), pytest.fail)
    assert seen == [0, 1, 2]


def test_what_is_drawn_does_not_depend_on_the_blocks(translator: Translator) -> None:
    lines = [SOURCES[0]] * 4
    drawn = []
    for blocks in ([lines], [lines[:1], lines[1:2], lines[2:]]):
        out = io.BytesIO()
        job = Job(SAMPLE.model_copy(update={"n_best": 1}))
        translate_stream(translator, (Block("x", 1, block) for block in blocks), Writer(out, "x"), job, pytest.fail)
        drawn.append(out.getvalue())
    assert drawn[0] == drawn[1]


def test_a_prefix_is_for_every_line(translator: Translator) -> None:
    lines = stream(translator, DATA, Job(SHORT, prefix="Zwei")).lines
    assert [line[:4] for line in lines] == ["Zwei", "", "Zwei"]


def test_stats_count(tokenizers: Tokenizers) -> None:
    (ids,) = tokenizers.target.encode(["Mann"])
    answer: Answer = stream(scripted(tokenizers, ids), b"a\n\n" + b"b " * 600 + b"\n", Job(SPOKEN))
    assert (answer.stats.lines, answer.stats.blank, answer.stats.split) == (3, 1, 1)
    assert answer.stats.source_tokens == sum(map(len, tokenizers.source.encode(["a", "b " * 600])))
    assert "3 lines (1 blank, 1 in pieces" in str(answer.stats)
