"""What a fitted classical head is: arrays and a few plain values that say what they saw, and arithmetic over both.

scikit-learn fits a head; what it learned is then taken out of the estimator, and the estimator is dropped. So a head is
saved without a pickle (which would run code when it is read), predicts without scikit-learn, and marks are always made
by the very arithmetic that a saved head has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar, NoReturn, Self

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from modeledge.errors import ModeledgeError
from modeledge.records import AnyArray

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
LINKS = ("identity", "sigmoid", "softmax", "margin")


class Stored:
    """A part of what was fitted: a frozen dataclass whose arrays go to safetensors, and whose other fields to JSON."""

    kind: ClassVar[str]

    @property
    def inputs(self) -> int:
        """How many numbers of a row it reads."""
        raise NotImplementedError

    @property
    def outputs(self) -> int:
        """How many numbers it gives for a row."""
        raise NotImplementedError

    def checked(self) -> Self:
        """The part, if its arrays fit each other (`E-KEYS`): what comes from a file is believed no further."""
        raise NotImplementedError

    def arrays(self) -> dict[str, AnyArray]:
        """The fields that are arrays."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}

    def said(self) -> dict[str, Any]:
        """The fields that are plain values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in values.items() if not isinstance(value, np.ndarray)}

    @classmethod
    def of(cls, arrays: Mapping[str, AnyArray], said: Mapping[str, Any]) -> Self:
        """The inverse of `arrays` and `said`; a field too many or too few is `E-KEYS`."""
        given, wanted = {*arrays, *said}, {f.name for f in fields(cls)}  # type: ignore[arg-type]
        if given != wanted:
            damaged(f"a part of kind {cls.kind!r} has {', '.join(sorted(wanted))}, not {', '.join(sorted(given))}")
        return cls(**arrays, **said).checked()


class Head(Stored):
    """What answers: `inputs` features a row are read, `outputs` classes told apart (or 1 value)."""

    def told(self, x: Floats) -> Floats:
        """Features `[rows, inputs]` → probabilities `[rows, classes]`, or values `[rows, 1]`."""
        raise NotImplementedError


def damaged(what: str) -> NoReturn:
    """Arrays that are no head (`E-KEYS`)."""
    raise ModeledgeError("E-KEYS", what, remedy="copy the head's two files again, or fit it again")


def check_array(name: str, array: AnyArray, shape: tuple[int | None, ...], dtype: type = np.float64) -> None:
    """An array of this shape (`None`: any size) and dtype, whose numbers are finite (`E-KEYS`)."""
    fits = isinstance(array, np.ndarray) and array.ndim == len(shape) and array.dtype == dtype
    if not fits or any(want not in (None, got) for want, got in zip(shape, array.shape, strict=True)):
        got = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
        damaged(f"{name} is {got}, not {np.dtype(dtype)} {['any' if n is None else n for n in shape]}")
    if not np.isfinite(array).all():
        damaged(f"{name} holds NaN or infinity")


def linked(raw: Floats, link: str) -> Floats:
    """What raw scores `[rows, outputs]` say: values as they are, or probabilities `[rows, classes]`.

    A "sigmoid" is of one score for the second of two classes. A "margin" is a support vector machine's: a softmax over
    the margins (for two classes over 0 and the one margin) keeps their order, and was never fitted to be a probability.
    """
    if link == "identity":
        return raw
    if link == "sigmoid" or (link == "margin" and raw.shape[1] == 1):
        right = expit(raw[:, :1])
        return np.hstack([1 - right, right])
    shares = np.exp(raw - raw.max(1, keepdims=True))
    return np.asarray(shares / shares.sum(1, keepdims=True))


def classes_of(link: str, scores: int) -> int:
    """How many numbers `linked` gives for so many raw scores; an unknown link is `E-KEYS`."""
    if link not in LINKS or (link == "sigmoid" and scores != 1):
        damaged(f"link {link!r} does not read {scores} scores")
    return 2 if link == "sigmoid" or (link == "margin" and scores == 1) else scores
