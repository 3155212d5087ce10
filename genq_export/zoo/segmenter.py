"""The segmenter of the zoo: a class for every pixel."""

from torch import Tensor, nn

from genq_export.zoo.convolutions import Backbone, Pyramid, conv_bn_relu

_WIDTH = 32


class Segmenter(nn.Module):
    """float32 [B, 3, H, W] -> {"masks": logits [B, classes, H, W]}; H and W are multiples of 16.

    The finest features have half the image's size; a last convolution tells of each of their cells the four pixels
    (Shi et al., sub-pixel convolution, CVPR 2016).
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.pyramid = Pyramid(Backbone.widths, _WIDTH)
        self.head = nn.Sequential(conv_bn_relu(_WIDTH, _WIDTH), nn.Conv2d(_WIDTH, 4 * classes, 1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Tell classes apart, background first."""
        return {"masks": self.head(self.pyramid(self.backbone(x))[0])}
