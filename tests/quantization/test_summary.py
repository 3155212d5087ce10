"""The summary of the stage: refused where it holds what it should not, readable where an older version wrote it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from genq_export.config.quantize import LayerOverride
from genq_export.quantization.summary import BlockError, Findings, QuantizeSummary, TrainingHistory

LAYER = {
    "name": "fc", "op": "linear", "weight_bits": 4, "input": "relu", "input_bits": 4, "input_signed": False,
    "input_zero_point": 0, "weight_shape": [10, 64],
}  # fmt: skip
EMPTY = {
    "images": 3, "layers": [], "quantizers": [], "unquantized": [], "dead": [], "sensitivity": [], "assigned_bits": {},
    "blocks": {}, "qat": {},
}  # fmt: skip


def test_what_version_0_1_wrote_is_read() -> None:
    read = QuantizeSummary.model_validate(EMPTY | {"layers": [LAYER | {"weight_sqnr_db": 21.5}]})
    assert read.layers[0].weight_shape == (10, 64) and read.qat.held_out_kl == ()


@pytest.mark.parametrize("change", [{"colour": "red"}, {"layers": [LAYER | {"colour": "red"}]}, {"images": "many"}])
def test_what_no_summary_holds_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        QuantizeSummary.model_validate(EMPTY | change)


@given(st.dictionaries(st.text("abc.0123", min_size=1), st.floats(0, 1e6)), st.lists(st.floats(0, 10)))
def test_findings_are_taken_together_and_survive_json(errors: dict[str, float], history: list[float]) -> None:
    blocks = {name: BlockError(before=error, after=error / 2) for name, error in errors.items()}
    found = Findings(blocks=blocks).together_with(Findings(qat=TrainingHistory(held_out_kl=tuple(history))))
    found = found.together_with(Findings(assigned_bits={"fc": LayerOverride(weight_bits=3)})).together_with(Findings())
    summary = QuantizeSummary(images=1, layers=(), quantizers=(), **dict(found))
    assert summary.blocks == blocks and list(summary.qat.held_out_kl) == history
    assert QuantizeSummary.model_validate(json.loads(json.dumps(summary.model_dump(mode="json")))) == summary
