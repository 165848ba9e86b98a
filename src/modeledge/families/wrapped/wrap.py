"""Any model of Hugging Face's transformers, whole, behind the interface of our own.

An architecture that has no page here is wrapped: its class computes the states, everything above (objectives, tasks,
strategies, the trainer) works as on a `Transformer`. What is lost is what only our own model can do: rows are unpacked
before they are read, no cache is kept, the body cannot be cut at a layer, and its speed is that of its class.
docs/decisions/0008-a-model-that-is-wrapped.md says why the line is drawn there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from modeledge.errors import ModeledgeError
from modeledge.families.heads import described
from modeledge.families.wrapped.anatomy import probe, quiet, read, reading, same
from modeledge.families.wrapped.folder import library, read_body, read_heads, write_model
from modeledge.families.wrapped.rows import Layout, Reading, Rows, alike, chosen
from modeledge.families.wrapped.shape import WrappedConfig, shape_of
from modeledge.families.wrapped.sites import find_wrapped_sites
from modeledge.model.backbone import Backbone, Keep, Start, States
from modeledge.model.batch import Batch, Side
from modeledge.model.cache import Cache
from modeledge.model.draw import Draw
from modeledge.model.heads import LMHead
from modeledge.model.parts import Parts
from modeledge.model.sites import Site
from modeledge.seed import Noise


class HuggingFaceModel(Backbone):
    """Wrap a model of transformers: an `AutoModel`, or an `AutoModelFor…` whose head is a product with a vocabulary.

    `HuggingFaceModel.load(folder)` reads one from a local folder. `reads` says whether the body is an encoder or a
    decoder; without it the body is tried. Parameters are fp32 masters; with `compute` bf16 the body runs under
    autocast. Dropout is the body's own, drawn from (seed, step) as ours is, and nothing is dropped outside a step.
    A head that is more than a product, and a body that reads no text, are `E-USAGE`.
    """

    config: WrappedConfig

    def __init__(self, model: Any, *, reads: Literal["encoder", "decoder"] | None = None) -> None:
        super().__init__()
        library()
        if not any(p.dtype is torch.float64 for p in model.parameters()):
            model.float()
        body = getattr(model, "base_model", model)
        self.body: Any = body
        self.left: tuple[str, ...] = ()
        begins = getattr(body.config, "decoder_start_token_id", None)
        self.begins = begins if type(begins) is int else None
        self.prefix = "" if body is model else f"{model.base_model_prefix}."
        self.compute = next(body.parameters()).dtype
        table = body.get_input_embeddings()
        if not isinstance(getattr(table, "weight", None), Tensor):
            raise ModeledgeError("E-USAGE", f"{type(body).__name__} has no table of tokens")
        self.found = probe(body, body.config, len(table.weight))
        self.config = shape_of(body, self.found, self._encodes(reads))
        self.heads = nn.ModuleDict()
        self.register_state_dict_post_hook(without_copies)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(with_copies)  # type: ignore[no-untyped-call]
        if body is not model:
            self._carry(model)
        self.train(model.training)

    @staticmethod
    def load(
        folder: str | Path,
        *,
        architecture: Any = None,
        without: Sequence[str] = (),
        reads: Literal["encoder", "decoder"] | None = None,
        leave_heads: bool = False,
    ) -> HuggingFaceModel:
        """Read a local folder of safetensors; `architecture` is the class (default: `AutoModel`).

        Weights that the class has and the folder has not, or the other way round, are `E-KEYS`, but for names that
        begin with one of `without`; with `leave_heads` the library's own heads are left out, and named in `left`.
        Nothing is fetched, no code of the folder is run, no pickle is opened. Raises `E-EXTRA`, `E-NO-FILE`,
        `E-FAMILY`, `E-KEYS`, `E-CONFIG-UNSAFE`, `E-SAFETENSORS`, `E-UNSAFE-FORMAT`.
        """
        folder = Path(folder)
        body, left = read_body(folder, architecture, without, leave_heads=leave_heads)
        model = HuggingFaceModel(body, reads=reads)
        model.left = left
        heads, weights = read_heads(folder)
        model.add_heads(heads, Noise(0))
        wanted = model.heads.state_dict()
        wrong = [n for n in wanted.keys() | weights.keys() if n not in wanted or n not in weights]
        wrong += [n for n in wanted.keys() & weights.keys() if wanted[n].shape != weights[n].shape]
        if wrong and heads:
            raise ModeledgeError("E-KEYS", f"heads differ: {sorted(wrong)[:5]}", where=str(folder))
        model.heads.load_state_dict(weights if heads else wanted)
        return model.train()

    def save(self, folder: str | Path) -> None:
        """Write the body as its library does, and the heads beside it; `load` with the body's class reads it."""
        weights = {name: tensor.detach() for name, tensor in self.heads.state_dict().items()}
        write_model(Path(folder), self.body, described(self), weights)

    @property
    def table(self) -> Tensor:
        return self.body.get_input_embeddings().weight  # type: ignore[no-any-return]

    def forward(
        self,
        batch: Batch,
        cache: Cache | None = None,
        keep: Keep = Keep(),  # noqa: B008
        start: Start | None = None,
    ) -> States:
        """Unpack the rows, let the body read one example a row, and put the states back where their tokens stand.

        A cache, a start and attention weights are `E-USAGE`.
        """
        if cache is not None or start is not None:
            raise self._cannot("be continued from what it has read before", "read whole examples")
        if keep.attention:
            raise self._cannot("show its attention weights", "ask model.body with output_attentions=True")
        sides = [side for side in (batch.source, batch.target) if side is not None]
        if self.found.both != (len(sides) == 2):
            raise self._cannot(f"read {len(sides)} sides", "give a source and a target to an encoder–decoder alone")
        layouts = [Layout.of(side) for side in sides]
        if len(layouts) == 2 and not torch.equal(layouts[0].names, layouts[1].names):
            raise self._cannot("pair the sides", "an example has the same row and segment on both")
        with self._dropping(), self._casting():
            got = self._read(sides, layouts, keep.layers)
        target, source = layouts[-1], layouts[0]
        last = target.packed(got.last).to(self.compute)
        encoder = source.packed(got.encoder).to(self.compute) if got.encoder is not None else None
        if encoder is None and self.config.encoder is not None:
            encoder = last
        layers = tuple(target.packed(states).to(self.compute) for states in got.layers)
        below = tuple(source.packed(states).to(self.compute) for states in got.below)
        return States(last, encoder, layers, encoder_layers=below)

    def encode(self, batch: Batch) -> Tensor:
        states = self(replace(batch, target=batch.source) if self.found.both else batch)  # its class wants both sides
        assert states.encoder is not None, "it has an encoder"
        return states.encoder  # type: ignore[no-any-return]

    def layers_of(self, batch: Batch) -> tuple[Tensor, ...]:
        if not self.found.both:
            return super().layers_of(batch)
        states = self(replace(batch, target=batch.source), keep=Keep(layers=True))  # its class wants both sides
        return states.encoder_layers  # type: ignore[no-any-return]

    def new_cache(self, rows: int, capacity: int) -> Cache:
        raise self._cannot("generate with a cache", "call generate of the whole class on the folder that save writes")

    def sites(self, kind: str) -> Sequence[Site]:
        return find_wrapped_sites(self.body, self.found.anatomy, kind, self.prefix, both=self.found.both)

    def parts(self) -> Parts:
        return self.found.anatomy.parts(self.body, dict(self.heads.items()))

    def checkpoint_blocks(self, on: bool = True) -> None:
        if on and not self.body.supports_gradient_checkpointing:
            raise self._cannot("recompute its layers", "set train.recompute to false")
        if on or any(getattr(module, "gradient_checkpointing", False) for module in self.body.modules()):
            since_5 = hasattr(self.body, "activation_checkpointing_enable")  # the old name warns there
            change = getattr(
                self.body, f"{'activation' if since_5 else 'gradient'}_checkpointing_{'en' if on else 'dis'}able"
            )
            change({"use_reentrant": False}) if on else change()

    def _read(self, sides: list[Side], layouts: list[Layout], layers: bool) -> Reading:
        """All examples at once, padded; one length after another where the body's mask does not hide padding."""
        pad = getattr(self.body.config, "pad_token_id", None)
        pad = pad if isinstance(pad, int) and 0 <= pad < self.config.table.vocab else 0
        rows = [layout.unpacked(side, pad) for side, layout in zip(sides, layouts, strict=True)]
        if self.found.masks or all(r.mask is None for r in rows):
            return reading(self.body, read(self.body, *rows, layers=layers), layers=layers)
        groups = alike(layouts)
        got = []
        for examples in groups:
            first = int(examples[0])
            part = [chosen(r, examples, int(layout.lengths[first])) for r, layout in zip(rows, layouts, strict=True)]
            got.append(reading(self.body, read(self.body, *part, layers=layers), layers=layers))
        return Reading.joined(got, groups, layouts)

    @contextlib.contextmanager
    def _dropping(self) -> Iterator[None]:
        """The body draws its dropout from torch's generator, which is set from (seed, step) and put back afterwards.
        Outside a step, and where nothing of the body moves, nothing is dropped."""
        noise = Draw.current(self.training).noise
        if noise is None or not any(p.requires_grad for p in self.body.parameters()):
            with quiet(self.body):
                yield
            return
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(noise.at("wrapped").integer() >> 1)
            yield

    def _casting(self) -> contextlib.AbstractContextManager[Any]:
        """Products in `compute`, the parameters as they are."""
        if self.compute is next(self.body.parameters()).dtype:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.compute)

    def _encodes(self, reads: str | None) -> bool:
        """Does the body read both ways? As it is said, or as it was seen."""
        if reads is not None and self.found.both:
            raise self._cannot(f"be an {reads} alone", "leave reads out")
        return self.found.ahead if reads is None else reads == "encoder"

    def _carry(self, model: Any) -> None:
        """Take over the vocabulary head of a whole class, if it is a product and nothing more (`E-USAGE`)."""
        output = model.get_output_embeddings()
        rows = Rows(torch.arange(1, 5, device=self.device)[None])
        if isinstance(output, nn.Linear):
            spec = LMHead(tie=output.weight is self.table, bias=output.bias is not None)
            head = spec.build(self.config)
            own = {"weight": output.weight, "bias": output.bias}
            head.load_state_dict({name: own[name].detach() for name in head.state_dict()})
            self.heads["lm"] = head.to(self.device)
            with quiet(model), torch.no_grad():
                theirs = read(model, rows, rows if self.found.both else None).logits
                states = read(self.body, rows, rows if self.found.both else None).last_hidden_state
                if same(theirs, self.logits(states)):
                    return
        names = sorted({n.rpartition(".")[0] for n, _ in model.named_parameters() if not n.startswith(self.prefix)})
        what = f"the head of a {type(model).__name__} is more than a product with a vocabulary"
        remedy = f"wrap model.base_model and add a head of ours; {', '.join(names) or 'its head'} is then left out"
        raise ModeledgeError("E-USAGE", what, remedy=remedy)

    def _cannot(self, what: str, remedy: str) -> ModeledgeError:
        return ModeledgeError("E-USAGE", f"a wrapped {type(self.body).__name__} cannot {what}", remedy=remedy)


def copies_of(model: nn.Module) -> dict[str, str]:
    """Names of tied parameters that are second names of another, with that other name."""
    first: dict[int, str] = {}
    every = model.named_parameters(remove_duplicate=False)
    return {name: first[id(p)] for name, p in every if first.setdefault(id(p), name) != name}


def without_copies(model: nn.Module, state: dict[str, Tensor], prefix: str, metadata: Any) -> None:
    """A tied parameter is saved once: a checkpoint holds each tensor under one name."""
    for name in copies_of(model):
        state.pop(prefix + name, None)


def with_copies(model: nn.Module, state: dict[str, Tensor], prefix: str, *rest: Any) -> None:
    """What was saved once is loaded under all its names."""
    for name, first in copies_of(model).items():
        if prefix + first in state:
            state.setdefault(prefix + name, state[prefix + first])
