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
