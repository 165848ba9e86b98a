"""Each rule and its inverse, on any bits: NaN, −0 and infinities included."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.errors import ModeledgeError
from modeledge.families.modules import module_names
from modeledge.families.rules import (
    Join,
    Keep,
    Rename,
    Rule,
    Split,
    Tie,
    Transpose,
    allowed,
    needed,
    read_tensors,
    same_bits,
    write_tensors,
)

sizes = st.lists(st.integers(1, 5), min_size=1, max_size=4)


def any_bits(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """fp32 tensors over all bit patterns."""
    draw = torch.Generator().manual_seed(seed)
    return (
        torch.randint(-(2**31), 2**31 - 1, shape, generator=draw, dtype=torch.int64).to(torch.int32).view(torch.float32)
    )


@settings(max_examples=60, deadline=None)
@given(parts=sizes, inputs=st.integers(1, 5), transposed=st.booleans(), tied=st.booleans(), seed=st.integers(0, 9999))
def test_writing_undoes_reading_bit_for_bit(
    parts: list[int], inputs: int, transposed: bool, tied: bool, seed: int
) -> None:
    ours = tuple(f"our.{i}.weight" for i in range(len(parts)))
    rules: tuple[Rule, ...] = (
        Rename("a.weight", "x.weight"),
        Transpose("b.weight", "y.weight"),
        Split("c.weight", ours, tuple(parts), transposed=transposed),
        Tie("copy", "a.weight"),
        Keep("mask"),
        Keep("never"),
    )
    whole = (inputs, sum(parts)) if transposed else (sum(parts), inputs)
    theirs = {
        "a.weight": any_bits((3, 2), seed),
        "b.weight": any_bits((2, 5), seed + 1),
        "c.weight": any_bits(whole, seed),
    }
    theirs |= {"mask": torch.tensor([True, False])} | ({"copy": theirs["a.weight"].clone()} if tied else {})
    reading = read_tensors(rules, theirs)
    assert reading.ours.keys() == {"x.weight", "y.weight", *ours}
    assert [reading.ours[name].shape for name in ours] == [(n, inputs) for n in parts]
    assert reading.ours["y.weight"].shape == (5, 2)
    back = write_tensors(rules, reading.ours, kept=reading.kept, copies=reading.copies)
    assert back.keys() == theirs.keys()
    assert all(same_bits(back[name], theirs[name]) for name in theirs)
    again = read_tensors(rules, back)
    assert all(same_bits(again.ours[name], reading.ours[name]) for name in reading.ours)


def test_rules_say_which_names_they_need_and_know() -> None:
    rules: tuple[Rule, ...] = (Rename("a", "x"), Tie("b", "a"), Keep("c"), Split("d", ("y", "z"), (1, 1)))
    assert needed(rules) == ("a", "d")
    assert allowed(rules) == {"a", "b", "c", "d"}


def test_modules_are_named_as_the_checkpoint_names_them() -> None:
    rules: tuple[Rule, ...] = (
        Transpose("h.c_attn.weight", "query.weight"),
        Rename("h.c_attn.bias", "query.bias"),
        Split("h.qkv.weight", ("a.weight", "b.weight"), (1, 1)),
    )
    assert module_names(rules) == {"query": ("h.c_attn", True), "a": ("h.qkv", False), "b": ("h.qkv", False)}


def test_a_tied_copy_that_differs_is_refused() -> None:
    one = torch.zeros(2)
    rules = (Rename("a", "x"), Tie("b", "a"))
    read_tensors(rules, {"a": one, "b": one.clone()})
    with pytest.raises(ModeledgeError, match="b differs from a") as caught:
        read_tensors(rules, {"a": one, "b": -one})
    assert caught.value.code == "E-KEYS"


def test_what_another_rule_writes_now_is_not_written_from_memory() -> None:
    rules = (Rename("pooler", "x"), Keep("pooler"))
    new = torch.ones(2)
    assert write_tensors(rules, {"x": new}, kept={"pooler": torch.zeros(2)}, copies=())["pooler"] is new


def test_shapes_that_do_not_fit_a_rule_are_refused() -> None:
    for rule, shape in (
        (Split("a", ("x", "y"), (1, 2)), (4, 1)),
        (Transpose("a", "x"), (3,)),
        (Split("a", ("x",), (1,)), ()),
    ):
        with pytest.raises(ModeledgeError, match="a ") as caught:
            read_tensors((rule,), {"a": torch.zeros(shape)})
        assert caught.value.code == "E-KEYS"


@settings(max_examples=40, deadline=None)
@given(parts=sizes, width=st.integers(1, 4), deep=st.booleans(), seed=st.integers(0, 9999))
def test_joined_tensors_come_apart_as_they_were(parts: list[int], width: int, deep: bool, seed: int) -> None:
    """Rows below rows; or tokens of their own, stored as `[1, 1, width]` each."""
    parts = [1] * len(parts) if deep else parts
    names = tuple(f"part.{n}" for n in range(len(parts)))
    shape = (1, 1, width) if deep else None
    rules = (Join(names, "whole", tuple(parts), shape),)
    theirs = {name: any_bits(shape or (rows, width), seed + rows) for name, rows in zip(names, parts, strict=True)}
    reading = read_tensors(rules, theirs)
    assert reading.ours["whole"].shape == (sum(parts), width)
    for name, row in zip(names, reading.ours["whole"].split(parts), strict=True):
        assert same_bits(row, theirs[name].reshape(row.shape))
    back = write_tensors(rules, reading.ours, kept={}, copies=())
    assert back.keys() == theirs.keys()
    assert all(same_bits(back[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("shape", [(1, 3), (3,), (), (2, 1, 3), (1, 1, 4), (1, 3, 1)])
def test_a_joined_tensor_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    rules = (Join(("a", "b"), "whole", (1, 1), (1, 1, 3)),)
    with pytest.raises(ModeledgeError, match=r"b is .* and must be \[1, 1, 3\]"):
        read_tensors(rules, {"a": torch.zeros(1, 1, 3), "b": torch.zeros(shape)})
