"""Logits of a package in Optimum: of tensors, and of pictures through the package's own processor.

Run by `benchmarks.hub_libraries.compare` in an environment that has optimum-onnx, transformers below 4.58 and pillow.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from optimum.onnxruntime import ORTModelForImageClassification
from PIL import Image
from transformers import CLIPImageProcessor, pipeline

package, work = Path(sys.argv[1]), Path(sys.argv[2])
model = ORTModelForImageClassification.from_pretrained(package)
tensors = torch.from_numpy(np.load(work / "tensors.npy"))
processor = CLIPImageProcessor.from_pretrained(package)
pictures = [Image.open(path) for path in sorted((work / "pictures").iterdir())]
pixels = processor(pictures, return_tensors="pt")["pixel_values"]
classify = pipeline("image-classification", model=model, image_processor=processor, top_k=1)
np.savez(
    work / "optimum.npz",
    logits=np.concatenate([model(part).logits.numpy() for part in tensors.split(1)]),
    pixels=pixels.numpy(),
    of_pictures=np.concatenate([model(part).logits.numpy() for part in pixels.split(1)]),
    labels=np.asarray([answer[0]["label"] for answer in classify(pictures)]),
)
