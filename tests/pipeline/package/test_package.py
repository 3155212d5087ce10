"""A build as Hugging Face's libraries load it: settings, model, card, and what goes to the hub."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from huggingface_hub import ModelCard
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from genq_export.core.errors import UserError
from genq_export.core.workspace import Workspace
from genq_export.models.description import NetworkDescription
from genq_export.pipeline.package.push import check_repository, push
from genq_export.pipeline.package.settings import preprocessor_settings
from genq_export.pipeline.package.write import Wish, package_files, write_package
from tests.runtime_tests.measured import report, run

CLASSES = ("boot", "bag", "shirt")
NETWORK = NetworkDescription(
    name="net", input_size=(3, 32, 32), mean=(0.5, 0.4, 0.3), std=(0.5, 0.25, 0.5), crop_pct=0.875,
    interpolation="bicubic", class_names=CLASSES, classes=3, layout="RGB", outputs={"logits": (3,)},
)  # fmt: skip


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """What the export and the report of a build leave, by hand."""
    folder = Workspace.open(tmp_path / "build").folder
    weight = numpy_helper.from_array(np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32), "w")
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["input"], ["mean"], axes=[2, 3], keepdims=0),
            helper.make_node("MatMul", ["mean", "w"], ["logits"]),
        ],
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
        [weight],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx"
    )
    (folder / "network.json").write_text(NETWORK.model_dump_json())
    (folder / "report.json").write_text(report(run()).model_dump_json())
    (folder / "report.html").write_text("<html>")
    return folder


def settings(files: dict[str, bytes], name: str) -> Any:
    return json.loads(files[name])


def test_the_model_computes_the_same_from_pixel_values(build: Path) -> None:
    files, _ = package_files(build, Wish())
    batch = np.random.default_rng(1).normal(size=(2, 3, 32, 32)).astype(np.float32)
    (build / "renamed.onnx").write_bytes(files["onnx/model_quantized.onnx"])
    answers = [
        onnxruntime.InferenceSession(build / name).run(None, {source: batch})[0]
        for name, source in (("model.onnx", "input"), ("renamed.onnx", "pixel_values"))
    ]
    np.testing.assert_array_equal(*answers)


def test_config_names_classes_bits_and_an_existing_type(build: Path) -> None:
    found = settings(package_files(build, Wish())[0], "config.json")
    assert found["model_type"] == "timm_wrapper" and found["label_names"] == list(CLASSES)
    assert found["id2label"] == {"0": "boot", "1": "bag", "2": "shirt"} and found["label2id"]["bag"] == 1
    assert found["quantization_config"]["quant_method"] == "genq-export"
    assert found["pretrained_cfg"]["crop_pct"] == 0.875
    named = settings(package_files(build, Wish(model_type="resnet"))[0], "config.json")
    assert named["model_type"] == "resnet" and "label_names" not in named


def test_transformers_reads_the_config_and_not_imagenets_names(build: Path, tmp_path: Path) -> None:
    from transformers import AutoConfig

    write_package(package_files(build, Wish())[0], tmp_path / "package")
    found = AutoConfig.from_pretrained(tmp_path / "package")
    assert found.model_type == "timm_wrapper" and found.id2label == dict(enumerate(CLASSES))


def test_the_processors_give_what_the_networks_own_preprocessing_gives(build: Path, tmp_path: Path) -> None:
    """timm's, which transformers takes for a network of timm's, exactly; the general one but for rounding."""
    from transformers import AutoImageProcessor, CLIPImageProcessor

    write_package(package_files(build, Wish())[0], tmp_path / "package")
    pixels = np.random.default_rng(0).integers(0, 256, (10, 13, 3), np.uint8)
    picture = Image.fromarray(pixels).resize((130, 100), Image.Resampling.BICUBIC)
    expected = NETWORK.with_module(None).transform()(picture).numpy()  # type: ignore[arg-type]
    for kind, most in ((AutoImageProcessor, 0.0), (CLIPImageProcessor, 0.05)):
        processor = kind.from_pretrained(tmp_path / "package")
        found = processor(picture, return_tensors="pt")["pixel_values"][0].numpy()
        assert found.shape == expected.shape and np.abs(found - expected).max() <= most


def test_the_doors_own_processor_is_kept_and_what_none_gives_is_said() -> None:
    own = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    assert preprocessor_settings(NETWORK.model_copy(update={"processor": own})) == (own, None)
    grey = NETWORK.model_copy(update={"input_size": (1, 32, 32), "mean": (0.5,), "std": (0.5,)})
    found, why = preprocessor_settings(grey)
    assert found is None and "one channel" in (why or "")


def test_the_card_has_metadata_that_the_hub_reads_and_the_reports_figures(build: Path) -> None:
    files, _ = package_files(build, Wish(license_name="mit", base_model="timm/net"))
    card = ModelCard(files["README.md"].decode())
    told = card.data.to_dict()
    assert told["license"] == "mit" and told["base_model"] == "timm/net" and told["base_model_relation"] == "quantized"
    assert told["pipeline_tag"] == "image-classification" and "genq-export" in told["tags"]
    known = json.loads((build / "report.json").read_text())["accuracy"]
    values = {item.metric_name: item.metric_value for item in card.data.eval_results or []}
    assert values == {f"top-1, {name}": round(score["top1"], 4) for name, score in known.items()} and values
    assert "ORTModelForImageClassification" in card.text and ("Passed" in card.text or "Failed" in card.text)


def test_text_of_a_stranger_does_not_break_the_card(build: Path) -> None:
    evil = NETWORK.model_copy(update={"task": "<script>alert(1)</script>", "outputs": {}})
    (build / "network.json").write_text(evil.model_dump_json())
    text = package_files(build, Wish())[0]["README.md"].decode()
    assert "<script>" not in text


def test_a_package_is_a_new_folder(build: Path, tmp_path: Path) -> None:
    files, _ = package_files(build, Wish())
    write_package(files, tmp_path / "package")
    assert {str(path.relative_to(tmp_path / "package")) for path in (tmp_path / "package").rglob("*.*")} == set(files)
    with pytest.raises(UserError, match="not empty: give a new folder"):
        write_package(files, tmp_path / "package")


class Hub:
    """A hub that remembers, or refuses."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[dict[str, Any]] = []
        self._error = error

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        if self._error is not None:
            raise self._error
        self.calls.append({"repo_id": repo_id, "private": private})

    def upload_folder(self, **given: Any) -> None:
        self.calls.append(given)


def test_a_push_uploads_exactly_the_files(build: Path, tmp_path: Path) -> None:
    hub, files = Hub(), package_files(build, Wish())[0]
    push(tmp_path, files, "me/net", hub)
    assert hub.calls[0] == {"repo_id": "me/net", "private": True}
    assert hub.calls[1]["allow_patterns"] == sorted(files) and hub.calls[1]["folder_path"] == tmp_path


def test_what_the_hub_says_is_one_line_without_a_token(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did not take me/net") as caught:
        push(tmp_path, ["config.json"], "me/net", Hub(RuntimeError("401 for hf_abcDEF123: no\nmore")))
    assert "abcDEF" not in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UserError, match="OWNER/NAME is wanted"):
        check_repository("net")


def one_output(folder: Path, name: str, task: str) -> None:
    """Give the build's output this name and the network this task."""
    model = onnx.load(folder / "model.onnx")
    model.graph.output[0].name = model.graph.node[-1].output[0] = name
    onnx.save(model, folder / "model.onnx")
    (folder / "network.json").write_text(NETWORK.model_copy(update={"task": task, "outputs": {}}).model_dump_json())


@pytest.mark.parametrize(
    ("task", "name", "names", "model_class"),
    [
        ("segmentation", "masks", ["logits"], "ORTModelForSemanticSegmentation"),
        ("embedding", "embedding", ["pooler_output", "last_hidden_state"], "ORTModelForFeatureExtraction"),
        ("detection", "boxes", ["boxes"], ""),
    ],
)
def test_outputs_have_the_names_that_the_libraries_read(
    build: Path, task: str, name: str, names: list[str], model_class: str
) -> None:
    one_output(build, name, task)
    files, _ = package_files(build, Wish())
    session = onnxruntime.InferenceSession(files["onnx/model_quantized.onnx"])
    assert [output.name for output in session.get_outputs()] == names
    batch = np.random.default_rng(1).normal(size=(2, 3, 32, 32)).astype(np.float32)
    (ours,) = onnxruntime.InferenceSession(build / "model.onnx").run(None, {"input": batch})
    for output in session.run(None, {"pixel_values": batch}):
        np.testing.assert_array_equal(output, ours)
    card = files["README.md"].decode()
    assert model_class in card and f"const {{ {names[0]} }}" in card if model_class else "No class of Optimum" in card


def test_a_tensor_inside_that_has_the_name_gives_way(build: Path) -> None:
    one_output(build, "masks", "segmentation")
    model = onnx.load(build / "model.onnx")
    model.graph.node[0].output[0] = model.graph.node[1].input[0] = "logits"
    onnx.save(model, build / "model.onnx")
    files, _ = package_files(build, Wish())
    onnx.checker.check_model(onnx.load_from_string(files["onnx/model_quantized.onnx"]), full_check=True)


def test_a_network_of_transformers_keeps_its_type_and_a_path_its_last_part_alone(build: Path) -> None:
    (build / "network.json").write_text(NETWORK.model_copy(update={"model_type": "segformer"}).model_dump_json())
    told = json.loads((build / "report.json").read_text()) | {"model": "/home/somebody/nets/parts"}
    (build / "report.json").write_text(json.dumps(told))
    files, _ = package_files(build, Wish())
    found = settings(files, "config.json")
    assert (found["model_type"], found["architecture"]) == ("segformer", "parts") and "pretrained_cfg" not in found
    assert "/home/somebody" not in files["README.md"].decode() and "# parts, " in files["README.md"].decode()


def test_the_float_network_lies_beside_it_on_request(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch import nn

    from genq_export.config.build import BuildConfig
    from genq_export.pipeline.package import float_model

    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3)).eval()
    monkeypatch.setattr(float_model, "float_network", lambda *_: (NETWORK.with_module(net), "as it stands"))
    (build / "config.yaml").write_text(BuildConfig.for_model("fashion_resnet").to_yaml())
    files, notes = package_files(build, Wish(with_float=True))
    session = onnxruntime.InferenceSession(files["onnx/model.onnx"])
    assert [item.name for item in (*session.get_inputs(), *session.get_outputs())] == ["pixel_values", "logits"]
    assert 'from_pretrained(".", file_name="model_quantized.onnx", subfolder="onnx")' in files["README.md"].decode()
    assert "as it stands" in notes and "onnx/model.onnx" not in package_files(build, Wish())[0]
