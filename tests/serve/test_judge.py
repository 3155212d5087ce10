"""What counts as the same codes, as near enough, and as others."""

import hashlib
from collections.abc import Callable

import numpy as np
import pytest

from export.check.golden import Answers, Golden, Subject, make_golden
from genq_export.serve.answer import Codes, ImageAnswer
from genq_export.serve.judge import judge

SUBJECT = Subject(
    "net", "W8A8", "onnxruntime", "0" * 64, {"a": "a/codes", "b": "b/codes"}, {"a": "uint8", "b": "uint8"}, {}, 0.999
)
SIZE = 4000
Found = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]


def truth() -> Answers:
    codes = np.arange(SIZE, dtype=np.int32) % 200 + 20
    return {"logits": np.linspace(0, 1, 10, dtype=np.float32)[None]}, {"a": codes, "b": codes[::-1].copy()}


def golden(room: int = 100_000) -> Golden:
    pixels, table = np.zeros((2, 1, 4, 4), np.uint8), np.zeros((1, 256), np.float32)
    return make_golden(SUBJECT, pixels, table, lambda batch: truth(), room)[0]


def as_answer(asked: Golden, found: Found) -> ImageAnswer:
    outputs, codes = found
    stored = {item.name: codes[item.name].astype(np.uint8) for item in asked.quantizers}
    return ImageAnswer.model_construct(
        moved=0.0,
        outputs={name: value.tobytes() for name, value in outputs.items()},
        codes={
            item.name: Codes.model_construct(
                dtype="uint8",
                sha256=hashlib.sha256(stored[item.name].tobytes()).hexdigest(),
                kept=stored[item.name][:: item.step].tobytes(),
            )
            for item in asked.quantizers
        },
    )


def judged(change: Callable[[Found], object], asked: Golden | None = None) -> dict[str, object]:
    asked = asked or golden()
    outputs, codes = truth()
    found = (dict(outputs), dict(codes))
    change(found)
    return judge(asked, [truth(), truth()], [as_answer(asked, truth()), as_answer(asked, found)])  # type: ignore[arg-type]


def test_equal_codes_are_the_same() -> None:
    result = judged(lambda found: None)
    assert result["verdict"] == "same codes" and result["outputs_equal"] and result["codes_equal"] == 1


def a_tie_and_what_follows(found: Found) -> None:
    found[1]["a"][7] += 1
    found[1]["b"][:300] += 9
    found[0]["logits"][0, 0] += 0.01


@pytest.mark.parametrize(
    ("change", "verdict", "first"),
    [
        (a_tie_and_what_follows, "same within its tolerance", ("a", 1, 1)),
        (lambda found: np.add.at(found[1]["b"], slice(0, 4), 1), "same within its tolerance", ("b", 4, 1)),
        (lambda found: np.add.at(found[1]["b"], slice(0, 5), 1), "other codes", ("b", 5, 1)),
        (lambda found: np.add.at(found[1]["a"], slice(7, 8), 2), "other codes", ("a", 1, 2)),
    ],
)
def test_the_first_quantizer_that_differs_decides(
    change: Callable[[Found], object], verdict: str, first: tuple[str, int, int]
) -> None:
    result = judged(change)
    assert result["verdict"] == verdict
    assert (result["first_unlike"], result["first_unlike_codes"], result["first_unlike_by"]) == first


def test_another_answer_is_never_near_enough() -> None:
    def change(found: Found) -> None:
        found[1]["a"][7] += 1
        found[0]["logits"][0, 0] = 2

    result = judged(change)
    assert result["verdict"] == "other codes" and result["same_answers"] == 1


def test_a_code_that_was_not_kept_is_found_by_its_hash() -> None:
    asked = golden(room=3000)
    assert asked.quantizers[0].step > 1
    result = judged(lambda found: np.add.at(found[1]["a"], slice(1, 2), 50), asked)
    assert result["quantizers_unlike"] == 1 and result["first_unlike"] == "a" and result["first_unlike_codes"] == 0


def test_numbers_that_are_none_are_differences() -> None:
    result = judged(lambda found: found[0]["logits"].fill(np.nan))
    assert not result["outputs_equal"] and result["outputs_largest_gap"] == 1e30
