"""Where networks compute when nobody says where."""

AUTO = "auto"


def chosen_device(device: str) -> str:
    """`auto` becomes `cuda` where torch sees a GPU, else `cpu`; every other device stays what it is."""
    if device != AUTO:
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
