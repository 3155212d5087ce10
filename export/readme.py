"""The model card in a build folder: what the file is and how to run it in five lines."""

# ruff: noqa: E501 - a line of Markdown is one line here

from typing import Any

from genq_export.config.build import BuildConfig
from genq_export.models.loaded import LoadedModel


def build_readme(config: BuildConfig, model: LoadedModel, facts: dict[str, Any], engine: dict[str, Any] | None) -> str:
    """Markdown for `README.md` in the build folder."""
    channels, height, width = model.input_size
    bits = config.quantize.grid_name
    return f"""# {model.name}, {bits} for {config.target}

Quantized without training data by genq-export. `report.html` says what it costs and how it was checked;
`genq-export build --config config.yaml` repeats the build.

| | |
|---|---|
| network | {model.name}, {model.classes} classes |
| grid | {bits}, first and last layer {config.quantize.first_last_bits} bits |
| storage | weights {facts["weight_storage"]}, activations 8-bit containers |
| compute | int8 products, int32 sums |
| file | `model.onnx`, opset {facts["opset"]}, IR version {facts["ir_version"]}, {facts["bytes"]:,} bytes |

## Run it

Input `input` is float32 [N, {channels}, {height}, {width}], pixels scaled to [0, 1], minus {_numbers(model.mean)}, over {_numbers(model.std)};
output `logits` is float32 [N, {model.classes}].

{_how_to_run(config, model, engine)}"""


def _engine_line(engine: dict[str, Any]) -> str:
    return (
        f"`model.engine` was built by {engine['builder']} {engine['version']} for {', '.join(engine['compute_capabilities'])}"
        " (details in `engine.json`).\n\n"
    )


def _numbers(values: tuple[float, ...]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else f"({', '.join(f'{value:g}' for value in values)})"


def _how_to_run(config: BuildConfig, model: LoadedModel, engine: dict[str, Any] | None) -> str:
    channels, height, width = model.input_size
    if config.target == "tensorrt":
        built = "" if engine is None else _engine_line(engine)
        smallest, best, largest = config.export.engine_batches
        return f"""{built}`genq_export.load` on this folder runs the engine where it fits the GPU and says why where it does not.
Build an engine where the GPU is (TensorRT 10 or newer; precision is in the file, no flags choose it):

```sh
trtexec --onnx=model.onnx --stronglyTyped --saveEngine=model.engine \\
  --minShapes=input:{smallest}x{channels}x{height}x{width} --optShapes=input:{best}x{channels}x{height}x{width} --maxShapes=input:{largest}x{channels}x{height}x{width}
```
"""
    return f"""```python
import numpy as np, onnxruntime, pathlib
options, cpu = onnxruntime.SessionOptions(), pathlib.Path("/proc/cpuinfo")
if not cpu.is_file() or "vnni" not in cpu.read_text(): options.add_session_config_entry("session.x64quantprecision", "1")
session = onnxruntime.InferenceSession("model.onnx", options)
print(session.run(["logits"], {{"input": np.zeros((1, {channels}, {height}, {width}), np.float32)}})[0].argmax(1))  # your images
```

The option keeps 8-bit sums exact on x86 CPUs without VNNI instructions, where they saturate otherwise. With VNNI they are
exact, and it would cost half the speed of 8-bit weights.
"""
