"""Pictures as sequences: a picture is cut into squares, read row by row, each flattened to one vector (Dosovitskiy et
al. 2021, section 3.1). What follows is what follows for words: a label is learned at [CLS].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from modeledge.errors import ModeledgeError
from modeledge.model.config import Patches
from modeledge.records import AnyArray, Example, Piece, Prepared
from modeledge.seed import Noise

CHANNEL = "patches"


def patches(
    images: AnyArray, patch: int, *, mean: Sequence[float], std: Sequence[float], leading: int = 1
) -> npt.NDArray[np.float32]:
    """Pictures `[n, channels, height, width]` → `[n, leading + patches, channels · patch²]`, ready for a model.

    Bytes are read as 0 to 1, floats as they are; then each channel is (x − mean) / std. `leading` rows of zeros stand
    where the model has learned tokens. Sides that are no multiple of `patch`, and a mean or std that is not one number
    a channel, are `E-CONFIG-VALUE`.
    """
    if images.ndim != 4 or images.dtype.kind not in "uf" or (images.dtype.kind == "u" and images.dtype != np.uint8):
        what = (
            f"pictures are {images.dtype} {list(images.shape)}; they are [n, channels, height, width] of uint8 or float"
        )
        raise ModeledgeError("E-CONFIG-VALUE", what, where="images")
    count, channels, height, width = images.shape
    if patch < 1 or height % patch or width % patch:
        what = f"pictures of {height} × {width} are not cut into squares of {patch}"
        remedy = f"crop or resize them to {height // max(patch, 1) * patch} × {width // max(patch, 1) * patch}"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="images", remedy=remedy)
    if len(mean) != channels or len(std) != channels or not all(s > 0 for s in std):
        what = f"{channels} channels need {channels} means and {channels} deviations above 0"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="mean, std")
    scaled = images.astype(np.float32) / 255 if images.dtype == np.uint8 else images.astype(np.float32)
    mean_, std_ = (np.asarray(v, dtype=np.float32)[:, None, None] for v in (mean, std))
    rows, columns = height // patch, width // patch
    cut = ((scaled - mean_) / std_).reshape(count, channels, rows, patch, columns, patch)
    flat = cut.transpose(0, 2, 4, 1, 3, 5).reshape(count, rows * columns, channels * patch**2)
    return np.concatenate((np.zeros((count, leading, flat.shape[2]), np.float32), flat), axis=1)


@dataclass(frozen=True)
class PicturePrepare:
    """An example's patches (in its channel "patches", as `patches` makes them) → one piece, with its class.

    `length` and `dim` are those of the model's `Patches`: a picture of another size would be read at the wrong places,
    and is `E-POSITION`.
    """

    length: int
    dim: int
    channels: frozenset[str] = frozenset({CHANNEL})
    noisy: ClassVar[bool] = False

    @staticmethod
    def of(embed: Patches) -> PicturePrepare:
        """For the pictures that a model reads."""
        return PicturePrepare(embed.length, embed.dim)

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        where = example.where or f"example {example.index}"
        picture = example.channels.get(CHANNEL)
        if picture is None or picture.shape != (self.length, self.dim):
            shape = "no picture" if picture is None else f"a picture of {list(picture.shape)}"
            what = f"{shape}; the model reads patches of [{self.length}, {self.dim}]"
            raise ModeledgeError(
                "E-POSITION", what, where=where, remedy="resize the pictures, or build the model for them"
            )
        if example.label is None:
            raise ModeledgeError("E-LABEL-MISSING", "no label", where=where)
        return Prepared(
            example.index,
            source=Piece(picture),
            labels={"class": np.array([example.label], dtype=np.int64)},
            weights={"class": np.ones(1, dtype=np.float32)},
        )
