"""A discriminator that judges small patches of a picture, not the face as a whole: whether detail is real (Isola et al. 2017)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from models.layers import LEAKY_SLOPE

STRIDES = (1, 2, 2, 1)
"""Of the 3x3 convolutions; a score looks at 25 x 25 pixels."""


class PatchDiscriminator(nn.Module):
    """Convolutions with spectral norm (Miyato et al. 2018; for hidden areas Yu et al. 2019)."""

    def __init__(self, width: int) -> None:
        """width: channels of the first convolution; each with a stride of 2 doubles them."""
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for stride in STRIDES:
            width = width * stride
            layers += [spectral_norm(nn.Conv2d(inputs, width, 3, stride, 1)), nn.LeakyReLU(LEAKY_SLOPE)]
            inputs = width
        layers.append(spectral_norm(nn.Conv2d(inputs, 1, 3, 1, 1)))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """images: (B, 3, R, R) in [-1, 1]. Returns scores of patches, (B, 1, R/4, R/4), higher = more real."""
        scores: Tensor = self.layers(images)
        return scores


def hidden_mean(values: Tensor, hidden: Tensor) -> Tensor:
    """The mean of scores over the patches of hidden pixels, over the whole batch.

    values: (B, 1, h, w). hidden: (B, 1, R, R), 1 where the face is.
    """
    weight = functional.interpolate(hidden, values.shape[-2:], mode="area")
    return (values.float() * weight).sum() / weight.sum().clamp_min(1e-6)
