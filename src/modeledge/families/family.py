"""What a family is, and what a model remembers of the file that it came from."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from modeledge.errors import ModeledgeError, printable
from modeledge.families.keys import SPELLED, changed
from modeledge.families.rules import Rule, needed
from modeledge.model.backbone import Backbone
from modeledge.model.config import Patches, Stack, Tokens, TransformerConfig
from modeledge.model.heads import Head
from modeledge.model.kinds import Learned, Rotary
from modeledge.model.transformer import Transformer
from modeledge.seed import Noise

T = TypeVar("T")


@dataclass(frozen=True)
class Extra:
    """A configuration as it was said, whole: keys that change no number, and which keys were left out.

    Empty for a model that was not read from this family.
    """

    said: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """One architecture, read and written by the same page.

    `heads` says which heads a file holds, from its configuration and its names; `write_heads` is its inverse.
    `spelling` gives each name of a file its canonical form (the one of the class with a head on it). `lacks` names what
    a model has that this format cannot say; it is empty where the model can be written. `called` gives a canonical name
    the form of the class that these heads make, where that one is spelled otherwise. `start` is the token with which a
    decoder that reads an encoder begins.
    """

    model_type: str
    read_config: Callable[[Mapping[str, Any]], tuple[TransformerConfig, Extra]]
    write_config: Callable[[TransformerConfig, Extra], dict[str, Any]]
    heads: Callable[[Mapping[str, Any], Collection[str]], dict[str, Head]]
    write_heads: Callable[[TransformerConfig, Mapping[str, Head]], dict[str, Any]]
    rules: Callable[[TransformerConfig, Mapping[str, Head]], tuple[Rule, ...]]
    lacks: Callable[[TransformerConfig, Mapping[str, Head]], list[str]]
    spelling: Callable[[Mapping[str, Any], Collection[str]], dict[str, str]] = lambda said, names: {n: n for n in names}
    prefix: str = ""
    called: Callable[[Mapping[str, Head], str], str] = lambda heads, name: name
    start: Callable[[Mapping[str, Any]], int | None] = lambda said: None


@dataclass
class Origin:
    """What a model remembers of its file, so that writing it untouched gives the same file.

    `names` maps canonical names to those of the file; `kept` holds tensors that nothing is computed with; `copies` the
    tied tensors that were stored twice; `dtypes` what each tensor was stored as; `metadata` the file's own notes;
    `placed` which shard held which tensor (empty: one file did); `source` the name, revision and endpoint that it was
    fetched by (empty: it was not).
    """

    family: str
    said: dict[str, Any]
    heads: dict[str, Head]
    names: dict[str, str]
    kept: dict[str, Tensor]
    copies: frozenset[str]
    dtypes: dict[str, torch.dtype]
    metadata: dict[str, str]
    placed: dict[str, str] = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=dict)


def origin_of(model: Backbone) -> Origin | None:
    """What the model remembers of its file; `None` for a model that was not loaded."""
    origin = getattr(model, "origin", None)
    assert origin is None or isinstance(origin, Origin)
    return origin


def blank(config: TransformerConfig, heads: Mapping[str, Head]) -> Transformer:
    """A model without memory behind its parameters: names and shapes alone. Impossible sizes are `E-CONFIG`."""
    try:
        with torch.device("meta"):
            model = Transformer(config)
            model.add_heads(heads, Noise(0))
    except (RuntimeError, OverflowError) as error:  # torch's, for sizes beyond any memory
        what = f"no model of this shape can be built ({str(error).splitlines()[0]})"
        raise ModeledgeError("E-CONFIG", what) from error
    return model


def respelled(
    names: Collection[str], prefix: str, tops: Sequence[str], legacy: Sequence[tuple[str, str]] = ()
) -> dict[str, str]:
    """File's name → canonical name: the body's prefix is added where it is missing, old endings are renewed.

    `tops` are the beginnings of names that stand beside the body. Two names that become one are `E-KEYS`.
    """
    found: dict[str, str] = {}
    taken: dict[str, str] = {}
    for name in names:
        canonical = name if name.startswith((prefix, *tops)) else prefix + name
        for old, new in legacy:
            canonical = canonical.removesuffix(old) + new if canonical.endswith(old) else canonical
        if canonical in taken:
            what = f"{printable(name)!r} and {printable(taken[canonical])!r} are two names of one weight"
            raise ModeledgeError("E-KEYS", what)
        taken[canonical], found[name] = name, canonical
    return found


def named(said: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    """The classes that `architectures` names; one that is not known here is `E-FAMILY`."""
    listed = said.get("architectures") or []
    if not isinstance(listed, list):
        raise ModeledgeError("E-CONFIG-VALUE", "architectures must be a list of names", where="architectures")
    for name in listed:
        if name not in known:
            remedy = "known: " + ", ".join(sorted(known))
            what = f"the class {name!r} is not known here"
            raise ModeledgeError("E-FAMILY", what, where="architectures", remedy=remedy)
    return listed


def merged(
    family: Family, config: TransformerConfig, heads: Mapping[str, Head], origin: Origin | None
) -> dict[str, Any]:
    """The configuration to write: what a model was read from, with what has changed since."""
    said = {} if origin is None else origin.said
    written = family.write_config(config, Extra(said))
    now = family.write_heads(config, heads)
    if origin is None:
        return {**written, **now}
    before = family.write_heads(family.read_config(said)[0], origin.heads)
    out = changed(written, before, now)
    if "id2label" in now and now["id2label"] != before.get("id2label"):
        out = {key: value for key, value in out.items() if key not in ("num_labels", "_num_labels")}
    return out


def unsayable(
    page: Family,
    config: TransformerConfig,
    heads: Mapping[str, Head],
    like: TransformerConfig,
    either: Collection[str] = (),
) -> list[str]:
    """What a model has that a page cannot say: where it differs from what the page would read of what it writes.

    `like` is any model of the page: its towers and kinds of positions are those that the page can write. `either` names
    fields, `attention.qkv`, that its rules write both ways.
    """
    kinds = [("towers", towers(config), towers(like)), ("embeddings", type(config.embed), type(like.embed))]
    for name in towers(like):
        ours, theirs = getattr(config, name), getattr(like, name)
        kinds.append(("positions", type(ours and ours.position), type(theirs.position)))
    wrong = [f"its {what} are others" for what, ours, theirs in kinds if ours != theirs]
    if wrong:
        return wrong
    said = page.write_config(config, Extra())
    try:
        again = settled(page.read_config(said)[0])
    except ModeledgeError as error:  # the page would write what it refuses to read
        return [error.what]
    found = [
        f"{path} is {ours!r}, and would be read as {theirs!r}"
        for path, ours, theirs in differences(dataclasses.asdict(settled(config)), dataclasses.asdict(again))
        if path.split(".", 1)[-1] not in either
    ]
    if found:
        return found
    now = page.write_heads(config, heads)
    try:
        names = needed(page.rules(config, heads))
    except KeyError as error:
        return [f"there is no head {error}"]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        return [f"two of its heads would be one weight, {twice[0]}"]
    told = page.heads({**said, **now}, names)
    return [
        f"head {name!r} would be lost or changed"
        for name in sorted(heads.keys() | told.keys())
        if heads.get(name) != told.get(name)
    ]


def settled(config: TransformerConfig) -> TransformerConfig:
    """The same model said in one way: numbers that are what they would be anyway are left out, lists that repeat are
    as short as they can be."""
    encoder, decoder = (stack and _settled(stack, config.width) for stack in (config.encoder, config.decoder))
    return replace(config, encoder=encoder, decoder=decoder)


def _settled(stack: Stack, width: int) -> Stack:
    said, position = stack.attention, stack.position
    head_width = said.head_width or width // said.heads
    windows = shortest([said.windows[n % len(said.windows)] for n in range(stack.layers)])
    attention = replace(
        said,
        kv_heads=None if said.kv_heads == said.heads else said.kv_heads,
        head_width=None if head_width * said.heads == width else head_width,
        output_bias=None if said.output_bias == said.bias else said.output_bias,
        scale=None if said.scale == head_width**-0.5 else said.scale,
        windows=windows,
    )
    if isinstance(position, Rotary):
        turns = shortest([position.layers[n % len(position.layers)] for n in range(stack.layers)])
        alike = position.local_base == position.base and position.stretch is None
        local = None if alike or windows == (None,) else position.local_base
        position = replace(position, layers=turns, local_base=local)
    return replace(stack, attention=attention, position=position)


def shortest(values: Sequence[T]) -> tuple[T, ...]:
    """The shortest beginning that, repeated, gives all the values."""
    sizes = range(1, len(values) + 1)
    size = next(size for size in sizes if all(v == values[n % size] for n, v in enumerate(values)))
    return tuple(values[:size])


def towers(config: TransformerConfig) -> tuple[str, ...]:
    """Which stacks a model has."""
    return tuple(name for name in ("encoder", "decoder") if getattr(config, name) is not None)


def differences(one: Any, two: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two plain values differ: the path, and both values there."""
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        for key in {**one, **two}:
            yield from differences(one.get(key), two.get(key), f"{path}.{key}" if path else key)
    elif one != two:
        yield path, one, two


def beyond_learned(config: TransformerConfig) -> list[str]:
    """What a model has that neither BERT nor GPT-2 knows."""
    stack, attention = config.stack, config.stack.attention
    heads, width = attention.heads, config.width
    facts = (
        (not isinstance(stack.position, Learned), "its positions are not learned"),
        (stack.norm.kind != "layer", "its norm is not LayerNorm"),
        (stack.feedforward.kind not in SPELLED, f"its feed-forward is {stack.feedforward.kind}"),
        (not (attention.bias and stack.feedforward.bias), "it has products without bias"),
        (attention.kv_heads not in (None, heads), "it has fewer key heads than query heads"),
        (
            attention.head_width not in (None, width // heads) or width % heads != 0,
            "its heads have a width of their own",
        ),
        (attention.qk_norm is not None, "it normalises queries and keys"),
        (attention.scale is not None, "it scales its attention scores by a number of its own"),
        (attention.output_bias not in (None, attention.bias), "its attention has a bias in one place alone"),
        (not stack.norm.bias or not stack.norm.first, "its norms have no bias, or one is left out"),
        (stack.share or stack.parallel, "its layers share weights, or run side by side"),
        (isinstance(stack.position, Learned) and stack.position.offset > 0, "its positions have an offset"),
        (config.both or isinstance(config.embed, Patches), "it reads a source or images"),
        (
            isinstance(config.embed, Tokens) and (config.embed.width is not None or config.embed.scale != 1.0),
            "its embeddings are projected or scaled",
        ),
        (attention.softcap is not None, "it caps its attention scores"),
        (any(w is not None for w in attention.windows), "it attends within windows"),
    )
    return [reason for true, reason in facts if true]
