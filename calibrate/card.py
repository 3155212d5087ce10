"""The dataset card of a calibration set: what a stranger needs to use it, reproduce it and know its licence."""

from collections.abc import Sequence
from typing import Any

from calibrate.dataset import METADATA, Row


def dataset_card(summary: dict[str, Any], rows: Sequence[Row]) -> str:
    """Markdown with Hugging Face front matter."""
    sampler = "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in summary["sampler"].items())
    filters = "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in summary["filters"].items())
    reasons = "\n".join(f"| {reason} | {count} |" for reason, count in summary["reasons"].items())
    texts = sorted({row.prompt for row in rows if row.prompt})[:8]
    prompts = "\n".join(["Some of the prompts:\n", *(f"- `{text}`" for text in texts)]) if texts else ""
    real = f"{summary['real']} of the images are real ones that were given (no `seed`).\n" if summary["real"] else ""
    dry = summary["classes_dry"]
    dry_line = f"Classes with fewer images than asked for: {', '.join(dry)}.\n" if dry else ""
    return f"""---
license: {summary["license"]}
task_categories:
- image-classification
tags:
- synthetic
- quantization
- calibration
configs:
- config_name: default
  data_files:
  - {METADATA}
  - images/*.png
---

# Calibration set for `{summary["model"]}`

{summary["kept"]} images to calibrate quantization with, {summary["drawn"]} were drawn. Made without the training
data, after GenQ (Li et al., ECCV 2024), by the calibrate stage of genq-export.
{real}{dry_line}
`load_dataset("imagefolder", data_dir=".")` reads all of it; column `kept` tells which images calibrate, `reason` why
the others do not. `label` is the class that was prompted, empty where none was.

## Generator

`{summary["generator"]}`, licence: {summary["license"]}. Each image has its own seed (column `seed`, base seed
{summary["seed"]}); images are drawn in fixed batches, so the same machine, versions and settings give the same bytes.

| setting | value |
|---|---|
{sampler}

{prompts}

## Filters

| setting | value |
|---|---|
{filters}

| reason | images |
|---|---|
{reasons}
"""
