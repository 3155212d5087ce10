from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrate.prompts import (
    PLAIN_TEMPLATE,
    TEMPLATES,
    PromptBook,
    known_templates,
    prompt_names,
    read_templates,
    stable_integer,
    wordnet_glosses,
)
from genq_export.core.errors import UserError


def test_a_prompt_names_its_class_with_the_right_article() -> None:
    book = PromptBook(("ankle boot", "bag"), (PLAIN_TEMPLATE,), seed=0)
    assert book.prompt(0, 0).text == "a photo of an ankle boot"
    assert book.prompt(1, 1).text == "a photo of a bag"


@given(st.integers(0, 10**6), st.integers(0, 2**31 - 1), st.integers(0, 4))
def test_a_prompt_follows_from_its_number_alone(number: int, seed: int, label: int) -> None:
    names = ("a1", "b2", "c3", "d4", "e5")
    book, again = PromptBook(names, TEMPLATES, seed, mixup=True), PromptBook(names, TEMPLATES, seed, mixup=True)
    prompt = book.prompt(number, label)
    assert prompt == again.prompt(number, label)
    assert prompt.label == label != prompt.second
    assert prompt.second is not None and names[label] in prompt.text and names[prompt.second] in prompt.text


def test_mixup_of_a_single_class_is_that_class() -> None:
    assert PromptBook(("bag",), (PLAIN_TEMPLATE,), 0, mixup=True).prompt(3, 0).text == "a photo of a bag"


def test_every_template_comes_up_about_equally_often() -> None:
    book = PromptBook(("bag",), TEMPLATES, seed=0)
    texts = [book.prompt(number, 0).text for number in range(2400)]
    counts = [texts.count(text) for text in set(texts)]
    assert len(counts) == len(TEMPLATES) and min(counts) > 140 and max(counts) < 270


@given(st.lists(st.one_of(st.integers(), st.text()), min_size=1))
def test_stable_integers_fit_what_a_jsonl_reader_and_torch_take(parts: list[object]) -> None:
    assert 0 <= stable_integer(*parts) < 2**63


def test_stable_integers_never_change() -> None:
    # A changed value would silently change every set that anyone can reproduce today.
    assert stable_integer(0, 0, "image", 0) == 5744768822792316251


def test_template_files(tmp_path: Path) -> None:
    path = tmp_path / "templates.txt"
    path.write_text("# mine\na drawing of a {}\n\n{} on a table\n")
    assert read_templates(path) == ("a drawing of a {}", "{} on a table")
    path.write_text("a drawing\n")
    with pytest.raises(UserError, match="needs exactly one"):
        read_templates(path)
    path.write_text("# nothing\n")
    with pytest.raises(UserError, match="no prompt template"):
        read_templates(path)
    with pytest.raises(UserError, match="cannot read prompt templates"):
        read_templates(tmp_path / "none.txt")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot read prompt templates"):
        read_templates(path)


def test_templates_with_words_unknown_to_the_generator_are_left_out() -> None:
    tame = tuple(template for template in TEMPLATES if "weird" not in template)
    assert known_templates(TEMPLATES, lambda text: "weird" not in text) == tame
    assert known_templates(TEMPLATES, lambda text: False) == (PLAIN_TEMPLATE,)


def test_glosses_tell_words_with_several_senses_apart() -> None:
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo()
    names = info.label_descriptions()
    glossed = prompt_names(names, wordnet_glosses(info.label_descriptions(detailed=True)))
    assert glossed[21].startswith("kite, any of several small graceful hawks")
    assert glossed[134] == "crane, large long-necked wading bird of marshes and plains in many parts"
    assert glossed[517] == "crane, lifts and moves heavy objects"
    assert glossed[2] == "great white shark"
    assert prompt_names(names)[21] == "kite"


def words_within(limit: int) -> Callable[[str], bool]:
    """A generator that reads so many words."""
    return lambda text: len(text.split()) <= limit


SUFFIX = " in the style of X"


@pytest.mark.parametrize(
    ("template", "limit", "text"),
    [
        ("a photo of a {} on a red table", 14, "a photo of an ankle boot, a sturdy shoe on a red table"),
        ("a photo of a {} on a red table", 11, "a photo of an ankle boot, a sturdy shoe on a"),
        ("a photo of a {} on a red table", 9, "a photo of an ankle boot, a sturdy shoe"),
        ("a photo of a {} on a red table", 8, "a photo of an ankle boot, a sturdy"),
        ("a photo of a {} on a red table", 7, "a photo of an ankle boot"),
        ("a photo of a {}", 6, "a photo of an ankle boot"),
        ("a photo of a {}", 5, "ankle boot"),
    ],
)
def test_a_long_prompt_loses_its_end_but_neither_class_nor_style(template: str, limit: int, text: str) -> None:
    names, short = ("ankle boot, a sturdy shoe",), ("ankle boot",)
    book = PromptBook(names, (template,), 0, suffix=SUFFIX, fits=words_within(limit + 5), short=short)
    assert book.prompt(0, 0).text == text + SUFFIX
    whole = "a photo of an ankle boot, a sturdy shoe" + template.partition("{}")[2]
    assert book.shortened() == ([] if text == whole else [text + SUFFIX])


def test_two_classes_stay_two() -> None:
    book = PromptBook(
        ("crane, a wading bird", "kite, a hawk"), ("a photo of a {} at night",), 0, mixup=True, fits=words_within(8),
        short=("crane", "kite"),
    )  # fmt: skip
    assert book.prompt(0, 0).text == "a photo of a crane and a kite"


def test_a_class_that_does_not_fit_is_refused() -> None:
    book = PromptBook(("one two three",), TEMPLATES, 0, suffix=SUFFIX, fits=words_within(7))
    for ask in (book.shortened, lambda: book.prompt(0, 0), lambda: book.described(0, SUFFIX)):
        with pytest.raises(UserError, match=r"'one two three in the style of X': give shorter class names"):
            ask()


@given(st.integers(2, 20), st.integers(0, 99), st.booleans())
def test_every_prompt_fits_and_names_its_class(limit: int, number: int, mixup: bool) -> None:
    names = ("kite, any of several small graceful hawks", "crane, lifts and moves heavy objects")
    book = PromptBook(names, TEMPLATES, 0, mixup, fits=words_within(limit + 1), short=("kite", "crane"))
    text = book.prompt(number, 0).text
    assert len(text.split()) <= limit + 1 and "kite" in text and (not mixup or "crane" in text)


def test_commas_of_other_names_stay() -> None:
    assert prompt_names(["dress, long", "bag"]) == ("dress, long", "bag")
