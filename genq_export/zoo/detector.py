"""The detector of the zoo: no anchors of given shapes, three scales, sides of boxes as distributions.

Every cell of a scale tells how far the four sides of a box around it are, each as a distribution over whole strides
whose mean is the distance (Li et al., Generalized Focal Loss, NeurIPS 2020, eq. 5), and a score for each class.
"""

import torch
from torch import Tensor, nn

from genq_export.zoo.convolutions import STRIDES, Backbone, Pyramid, conv_bn_relu

BINS = 8  # distances that a side may have, 0 to 7 strides
SIDES = 4
_WIDTH = 48
_RARE = -4.6  # logit of 0.01, the share of cells that a class is seen in (Lin et al., Focal Loss, ICCV 2017)


class Detector(nn.Module):
    """float32 [B, 3, side, side] -> boxes [B, cells, 4], corners in pixels, and scores [B, cells, classes] in [0, 1].

    Args:
        classes: told apart.
        side: of the square image, a multiple of 16 pixels.
    """

    centres: Tensor  # [cells, 2], x before y, in strides
    strides: Tensor  # [cells, 1], in pixels
    distances: Tensor  # [BINS], in strides

    def __init__(self, classes: int, side: int) -> None:
        super().__init__()
        self.classes = classes
        self.backbone = Backbone()
        self.pyramid = Pyramid(Backbone.widths[1:], _WIDTH)
        self.boxes = nn.ModuleList(_branch(SIDES * BINS) for _ in STRIDES)
        self.scores = nn.ModuleList(_branch(classes, _RARE) for _ in STRIDES)
        centres, strides = _cells(side)
        self.register_buffer("centres", centres, persistent=False)
        self.register_buffer("strides", strides, persistent=False)
        self.register_buffer("distances", torch.arange(float(BINS)), persistent=False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Detect; boxes that overlap are left for others to suppress."""
        sides, scores = self.raw(x)
        return {"boxes": self.placed(sides), "scores": scores.sigmoid()}

    def raw(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the sides' distances [B, cells, 4, BINS] and of the classes [B, cells, classes]."""
        features = self.pyramid(self.backbone(x)[1:])
        sides = [_rows(branch(feature)) for branch, feature in zip(self.boxes, features, strict=True)]
        scores = [_rows(branch(feature)) for branch, feature in zip(self.scores, features, strict=True)]
        return torch.cat(sides, 1).unflatten(2, (SIDES, BINS)), torch.cat(scores, 1)

    def placed(self, sides: Tensor) -> Tensor:
        """Boxes [B, cells, 4] in pixels of logits [B, cells, 4, BINS]: the mean of each side's distribution."""
        distance = (sides.softmax(-1) * self.distances).sum(-1)
        first, last = self.centres - distance[..., :2], self.centres + distance[..., 2:]
        return torch.cat((first, last), -1) * self.strides


def _branch(outputs: int, start: float = 0.0) -> nn.Sequential:
    """Two convolutions; all that comes of them is about `start` before training."""
    last = nn.Conv2d(_WIDTH, outputs, 1)
    if last.bias is not None:
        nn.init.constant_(last.bias, start)
    return nn.Sequential(conv_bn_relu(_WIDTH, _WIDTH), last)


def _rows(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H * W, C]."""
    return x.flatten(2).transpose(1, 2)


def _cells(side: int) -> tuple[Tensor, Tensor]:
    """Middles of all scales' cells in strides, x before y, [cells, 2], and their strides in pixels, [cells, 1]."""
    centres, strides = [], []
    for stride in STRIDES:
        places = torch.arange(side // stride) + 0.5
        rows, columns = torch.meshgrid(places, places, indexing="ij")
        centres.append(torch.stack((columns, rows), -1).reshape(-1, 2))
        strides.append(torch.full((len(centres[-1]), 1), float(stride)))
    return torch.cat(centres), torch.cat(strides)
