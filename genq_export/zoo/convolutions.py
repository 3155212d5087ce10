"""What the detector and the segmenter of the zoo share: a small residual network and a pyramid of its features."""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

STRIDES = (4, 8, 16)  # of the features, in pixels
_STEM, _WIDTHS = 16, (32, 64, 88)


def conv_bn_relu(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU; [B, inputs, H, W] -> [B, outputs, H / stride, W / stride]."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class Residual(nn.Module):
    """Two convolutions around which the input is added (He et al., CVPR 2016); the shape stays."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = conv_bn_relu(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Compute and add."""
        return F.relu(x + self.second(self.first(x)))


class Backbone(nn.Module):
    """float32 [B, 3, H, W] -> features of the strides 2, 4, 8 and 16, [B, width, H / stride, W / stride] each."""

    widths = (_STEM, *_WIDTHS)

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn_relu(3, _STEM, stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(conv_bn_relu(inputs, outputs, stride=2), Residual(outputs))
            for inputs, outputs in pairwise(self.widths)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """From the finest to the coarsest."""
        features = [self.stem(x)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features


class Pyramid(nn.Module):
    """Coarse features carried down into finer ones (Lin et al., Feature Pyramid Networks, CVPR 2017).

    Args:
        widths: channels of the features, finest first.
        width: channels of all that comes out.
    """

    def __init__(self, widths: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(conv_bn_relu(inputs, width, kernel=1) for inputs in widths)
        self.smooth = nn.ModuleList(conv_bn_relu(width, width) for _ in widths[:-1])

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """As many, finest first, each half the size of the one in front of it."""
        carried = [lateral(feature) for lateral, feature in zip(self.lateral, features, strict=True)]
        for number in range(len(carried) - 2, -1, -1):
            coarser = F.interpolate(carried[number + 1], scale_factor=2, mode="nearest")
            carried[number] = self.smooth[number](carried[number] + coarser)
        return carried
