"""Detectors of torchvision without what runs around them: images of one size in, boxes and scores out.

torchvision's own forward takes lists of images and suppresses boxes. Here the anchors are those of the input size, and
suppression is left to whoever reads boxes and scores.
"""

import torch
from torch import Tensor, nn
from torchvision.models.detection.fcos import FCOS
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.models.detection.ssd import SSD

_BOXES, _SCORES = "boxes", "scores"


class BoxesAndScores(nn.Module):
    """float32 [B, 3, H, W] -> boxes [B, N, 4], corners in pixels, and scores [B, N, classes] in [0, 1].

    Scores of an SSD are without that of the background.
    """

    anchor_centre: Tensor
    anchor_size: Tensor

    def __init__(self, network: SSD | RetinaNet | FCOS, input_size: tuple[int, int, int]) -> None:
        super().__init__()
        self.network = network
        anchors = _anchors(network, input_size)
        self.register_buffer("anchor_centre", (anchors[:, :2] + anchors[:, 2:]) / 2)
        self.register_buffer("anchor_size", anchors[:, 2:] - anchors[:, :2])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Run backbone and head, and place their boxes."""
        found: dict[str, Tensor] = self.network.head(list(self.network.backbone(x).values()))
        logits, offsets = found["cls_logits"], found["bbox_regression"]
        if isinstance(self.network, FCOS):
            scores = (logits.sigmoid() * found["bbox_ctrness"].sigmoid()).sqrt()
            return {_BOXES: self._around(offsets), _SCORES: scores}
        scores = logits.softmax(-1)[..., 1:] if isinstance(self.network, SSD) else logits.sigmoid()
        return {_BOXES: self._moved(offsets), _SCORES: scores}

    def _moved(self, offsets: Tensor) -> Tensor:
        """Anchors moved and stretched (Ren et al., Faster R-CNN, 2015, eq. 2)."""
        coder = self.network.box_coder
        weights = torch.tensor(coder.weights, dtype=offsets.dtype)
        centre = offsets[..., :2] / weights[:2] * self.anchor_size + self.anchor_centre
        half = (offsets[..., 2:] / weights[2:]).clamp(max=coder.bbox_xform_clip).exp() * self.anchor_size / 2
        return torch.cat((centre - half, centre + half), -1)

    def _around(self, offsets: Tensor) -> Tensor:
        """Distances from the anchor's centre to the four sides, in anchor sizes (Tian et al., FCOS, 2019)."""
        scaled = offsets * self.anchor_size.repeat(1, 2)
        return torch.cat((self.anchor_centre - scaled[..., :2], self.anchor_centre + scaled[..., 2:]), -1)


def _anchors(network: SSD | RetinaNet | FCOS, input_size: tuple[int, int, int]) -> Tensor:
    """Of one image, corners in pixels, [N, 4]."""
    image = torch.zeros(1, *input_size)
    with torch.no_grad():
        features = list(network.backbone(image).values())
    anchors: list[Tensor] = network.anchor_generator(ImageList(image, [input_size[1:]]), features)
    return anchors[0]
