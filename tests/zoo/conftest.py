"""An importable torchvision, before any test module imports timm."""

from genq_export.core.imports import ensure_torchvision

ensure_torchvision()
