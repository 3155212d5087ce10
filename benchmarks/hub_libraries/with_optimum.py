"""Answers of a package in Optimum: of tensors, and of pictures through the package's own processor and a pipeline.

Run by `benchmarks.hub_libraries.compare` in an environment that has optimum-onnx, transformers below 4.58 and pillow:
with_optimum.py PACKAGE WORK PIPELINE
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime as runtime
import torch
import transformers
from optimum import onnxruntime
from PIL import Image

CLASSES = {
    "image-classification": ("ORTModelForImageClassification", "logits"),
    "image-segmentation": ("ORTModelForSemanticSegmentation", "logits"),
    "image-feature-extraction": ("ORTModelForFeatureExtraction", "last_hidden_state"),
}
package, work, task = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
name, output = CLASSES[task]
options = runtime.SessionOptions()
options.add_session_config_entry("session.x64quantprecision", "1")  # as the package's card says
model = getattr(onnxruntime, name).from_pretrained(package, session_options=options)
kind = transformers.ImageProcessingMixin.get_image_processor_dict(package)[0]["image_processor_type"]
processor = getattr(transformers, kind).from_pretrained(package)
pictures = [Image.open(path) for path in sorted((work / "pictures").iterdir())]
pixels = processor(pictures, return_tensors="pt")["pixel_values"]
pipeline = transformers.pipeline(task, model=model, image_processor=processor)


def piped(picture: Image.Image) -> np.ndarray:
    """What the pipeline says: a class, a map of classes, or a vector; as numbers."""
    if task == "image-classification":
        return np.asarray(model.config.label2id[pipeline(picture, top_k=1)[0]["label"]])
    if task == "image-feature-extraction":
        return np.asarray(pipeline(picture), np.float32).reshape(-1)
    found = np.full(picture.size[::-1], 255, np.uint8)
    for segment in pipeline(picture):
        found[np.asarray(segment["mask"]) > 0] = model.config.label2id[segment["label"]]
    return found


np.savez(
    work / "optimum.npz",
    of_tensors=np.concatenate(
        [model(pixel_values=part)[output].numpy() for part in torch.from_numpy(np.load(work / "tensors.npy")).split(1)]
    ),
    pixels=pixels.numpy(),
    of_pictures=np.concatenate([model(pixel_values=part)[output].numpy() for part in pixels.split(1)]),
    piped=np.stack([piped(picture) for picture in pictures]),
)
