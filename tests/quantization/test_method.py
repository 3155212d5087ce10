"""Methods: every one has its name and its file, and those of a config come in an order that undoes none."""

import itertools

import pytest

from genq_export.config.quantize import DEFAULT_METHODS, QuantizeConfig
from genq_export.config.registry import METHODS
from genq_export.core.errors import UserError
from genq_export.core.registry import find, module_of
from genq_export.quantization.method import methods_of


def config(**changes: object) -> QuantizeConfig:
    return QuantizeConfig.model_validate({"weight_bits": 4, "activation_bits": 4} | changes)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_the_name_that_it_is_found_by(name: str) -> None:
    method = find(METHODS, name, "method")
    assert method.name == name == module_of(METHODS[name]).rpartition(".")[2]


def test_a_config_that_names_none_gets_those_in_use_in_the_usual_order() -> None:
    everything = config(
        mixed_precision={"size_budget": 10**6}, wide_activations={"mean_bits": 5}, float_layers={"sqnr_db": 20.0},
        qat={"epochs": 1}, relu_refit={"steps": 1},
    )  # fmt: skip
    assert tuple(method.name for method in methods_of(everything)) == DEFAULT_METHODS
    usual = [method.name for method in methods_of(config())]
    assert usual == [
        name
        for name in DEFAULT_METHODS
        if name not in ("relu_refit", "mixed_precision", "wide_activations", "float_layers", "qat")
    ]


def test_of_two_phases_only_one_order_is_accepted() -> None:
    for first, second in itertools.combinations(("layernorm_equalization", "gptq", "qat", "rounding_ties"), 2):
        names = [first, second]
        training = {"qat": {"epochs": 1}} if "qat" in names else {}
        assert [method.name for method in methods_of(config(methods=names, **training))] == names
        with pytest.raises(UserError, match=rf"quantize\.methods: {first} .* has to come before {second}"):
            methods_of(config(methods=names[::-1], **training))
