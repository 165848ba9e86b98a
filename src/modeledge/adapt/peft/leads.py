"""What stands before examples, in files: `prompt_embeddings` as it is computed, whatever network made it.

PEFT saves the vectors that an encoder of prompts makes, or the keys and values that a projection makes, and throws the
network away: what is read back is a plain table, and training it goes on with the table itself.

    PROMPT_TUNING, P_TUNING   prompt_embeddings [length, width of the table]
    MULTITASK_PROMPT_TUNING   the same, prefix_task_cols [tasks, length, ranks], prefix_task_rows [tasks, ranks, width]
    PREFIX_TUNING             prompt_embeddings [length, layers · 2 · kv_heads · head_width]

PEFT would compute something else in three cases, which are written under a type of our own, so that it refuses them:
a prefix of an encoder–decoder, which has a set for each of its three attentions (theirs acts on one of them alone), a
head that reads the first token where PEFT's reads the first vector, and tables whose embeddings are scaled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from modeledge.adapt.leading import check_free, put_before, readable
from modeledge.adapt.mpt import COLUMNS, ROWS, MultitaskPromptTuning, TaskPrompt
from modeledge.adapt.peft.config import CONFIG, OWN, check_keys, number
from modeledge.adapt.peft.page import Filed, shaped
from modeledge.adapt.prefix import Prefix
from modeledge.adapt.prompt import Prompt
from modeledge.adapt.ptuning import PromptEncoder
from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.lead import Lead
from modeledge.model.transformer import Transformer

L = TypeVar("L", bound=Lead)
TABLE = "prompt_embeddings"
BODY = "base_model."  # how names of the base begin, which PEFT does not wrap here
SIZES = ("num_virtual_tokens", "token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers")
NAMES = frozenset({TABLE, COLUMNS, ROWS, *(f"{TABLE}.{place}" for place in ("encoder", "decoder", "cross"))})


class LeadPage:
    """One method. `reads` and `inert` are as in `Page`."""

    peft_type: ClassVar[str]
    reads: ClassVar[Sequence[str]] = ()
    inert: ClassVar[Sequence[str]] = ()
    kind: ClassVar[type[Lead]]

    def write(self, lead: Lead) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Its own keys, and its tensors."""
        return {}, {TABLE: lead.vectors()[0].detach()}

    def read(self, said: Mapping[str, Any], model: Transformer, held: Mapping[str, Tensor]) -> Lead:
        """Theirs → ours; `E-KEYS` for tensors that do not fit."""
        length, width = length_of(said), model.tokens.shape[1]
        rows = length
        if said.get("num_transformer_submodules") == 2:  # a second half, for the decoder, that PEFT never reads
            rows = 2 * length
        shaped(self.peft_type, dict(held), {TABLE: (rows, width)})
        lead = fresh(lambda: Prompt(length, width))
        fill(lead, {"embedding.weight": held[TABLE][:length]})
        return lead


class PromptPage(LeadPage):
    """`peft_type` PROMPT_TUNING."""

    peft_type, kind = "PROMPT_TUNING", Prompt
    inert = ("prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs")

    def write(self, lead: Lead) -> tuple[dict[str, Any], dict[str, Tensor]]:
        said, tensors = super().write(lead)
        return said | {"prompt_tuning_init": "RANDOM"}, tensors


class EncodedPage(LeadPage):
    """`peft_type` P_TUNING."""

    peft_type, kind = "P_TUNING", PromptEncoder
    inert = ("encoder_reparameterization_type", "encoder_hidden_size", "encoder_num_layers", "encoder_dropout")

    def write(self, lead: Lead) -> tuple[dict[str, Any], dict[str, Tensor]]:
        assert isinstance(lead, PromptEncoder)
        said: dict[str, Any] = {"encoder_dropout": 0.0}
        if lead.lstm_head is not None:
            said |= {"encoder_reparameterization_type": "LSTM", "encoder_hidden_size": lead.lstm_head.hidden_size}
            said |= {"encoder_num_layers": lead.lstm_head.num_layers}
        else:
            first = lead.mlp_head[0]
            assert isinstance(first, nn.Linear)
            said |= {"encoder_reparameterization_type": "MLP", "encoder_hidden_size": first.out_features}
        return said, super().write(lead)[1]


class TasksPage(LeadPage):
    """`peft_type` MULTITASK_PROMPT_TUNING."""

    peft_type, kind = "MULTITASK_PROMPT_TUNING", TaskPrompt
    reads = ("num_tasks", "num_ranks")
    inert = (*PromptPage.inert, "prompt_tuning_init_state_dict_path", "prompt_tuning_init_task")

    def write(self, lead: Lead) -> tuple[dict[str, Any], dict[str, Tensor]]:
        assert isinstance(lead, TaskPrompt)
        tasks, _, ranks = lead.prefix_task_cols.shape
        held = {TABLE: lead.embedding.weight, COLUMNS: lead.prefix_task_cols, ROWS: lead.prefix_task_rows}
        said = {"num_tasks": tasks, "num_ranks": ranks, "prompt_tuning_init": "RANDOM"}
        return said, {name: tensor.detach() for name, tensor in held.items()}

    def read(self, said: Mapping[str, Any], model: Transformer, held: Mapping[str, Tensor]) -> Lead:
        length, width = length_of(said), model.tokens.shape[1]
        tasks, ranks = (int(number(said, key, 1, least=1)) for key in self.reads)
        if said.get("num_transformer_submodules", 1) != 1:
            what = "it has prompts for the decoder too, and ours stand before the encoder alone"
            raise ModeledgeError("E-ADAPTER", what, where=f"{CONFIG}: num_transformer_submodules")
        shapes = {TABLE: (length, width), COLUMNS: (tasks, length, ranks), ROWS: (tasks, ranks, width)}
        shaped(self.peft_type, dict(held), shapes)
        lead = fresh(lambda: TaskPrompt(MultitaskPromptTuning(length, tasks=tasks, ranks=ranks), width))
        fill(lead, {"embedding.weight": held[TABLE], COLUMNS: held[COLUMNS], ROWS: held[ROWS]})
        return lead


class PrefixPage(LeadPage):
    """`peft_type` PREFIX_TUNING: the keys and values themselves, so `prefix_projection` is false in what we write."""

    peft_type, kind = "PREFIX_TUNING", Prefix
    reads = ("prefix_projection",)
    inert = ("encoder_hidden_size", "init_weights")

    def write(self, lead: Lead) -> tuple[dict[str, Any], dict[str, Tensor]]:
        assert isinstance(lead, Prefix)
        flat = {place: pairs.detach().permute(3, 0, 1, 2, 4).flatten(1) for place, pairs in given(lead).items()}
        tensors = {TABLE: next(iter(flat.values()))} if len(flat) == 1 else {f"{TABLE}.{p}": t for p, t in flat.items()}
        return {"prefix_projection": False}, {name: tensor.contiguous() for name, tensor in tensors.items()}

    def read(self, said: Mapping[str, Any], model: Transformer, held: Mapping[str, Tensor]) -> Lead:
        length = length_of(said)
        lead = fresh(lambda: Prefix(length, model, None))
        if model.config.both and TABLE in held:
            what = (
                "on an encoder–decoder PEFT's prefix acts on the decoder over itself alone, which is not as published"
            )
            raise ModeledgeError("E-ADAPTER", what, where=CONFIG, remedy="train it here: three sets, one an attention")
        names = {place: TABLE if len(lead.sets) == 1 else f"{TABLE}.{place}" for place in lead.sets}
        tables = {f"sets.{place}.embedding.weight": names[place] for place in names}
        shapes = {name: tuple(parameter.shape) for name, parameter in lead.named_parameters()}
        shaped(self.peft_type, dict(held), {tables[name]: shape for name, shape in shapes.items()})
        fill(lead, {name: held[tables[name]] for name in tables})
        return lead


LEADS: dict[str, LeadPage] = {p.peft_type: p for p in (PromptPage(), EncodedPage(), TasksPage(), PrefixPage())}
LEAD_TYPES = frozenset({*LEADS, *(OWN + kind for kind in LEADS)})


def pools_of(model: Transformer) -> list[str]:
    """What those heads read that read one vector an example."""
    return [pool for head in model.heads.values() if isinstance(pool := getattr(head, "pool", None), str)]


def write_lead(model: Transformer, adapter: str, task: str | None) -> Filed:
    """A lead of a model as its files say it; `task` is the class that stands on the body, in PEFT's words."""
    lead = model.leads[adapter]
    assert isinstance(lead, Lead)
    page = next((page for page in LEADS.values() if type(lead) is page.kind), None)
    if page is None:
        raise ModeledgeError("E-ADAPTER", f"no page of the format holds a {type(lead).__name__}")
    own, tensors = page.write(lead)
    config, attention = model.config, model.config.stack.attention
    table = next(iter(tensors.values()))
    said = dict(zip(SIZES, (len(table), table.shape[1], 1, attention.heads, config.stack.layers), strict=True))
    if isinstance(lead, Prefix):
        heads = attention.kv_heads or attention.heads
        said |= {"num_attention_heads": heads, "token_dim": table.shape[1] // (2 * config.stack.layers)}
    kind = page.peft_type if as_peft(lead, model, task, pools_of(model)) else OWN + page.peft_type
    notes: dict[str, Any] = {"pooled": lead.leads, "task": lead.task if isinstance(lead, TaskPrompt) else None}
    if isinstance(lead, TaskPrompt) and lead.names:
        notes["tasks"] = list(lead.names)
    return Filed(kind, said | own, tensors, BODY, (), {"lead": notes})


def as_peft(lead: Lead, model: Transformer, task: str | None, pools: Sequence[str]) -> bool:
    """Does PEFT compute the same with it, under a class of this `task` whose heads read `pools`?"""
    if isinstance(lead, Prefix):
        return not model.config.both
    if model.config.embed.scale != 1:  # type: ignore[union-attr]
        return False
    if model.config.both:
        return task == "SEQ_2_SEQ_LM" and not lead.leads
    if model.config.decoder is None and pools:
        return lead.leads and task == "SEQ_CLS" and set(pools) == {"first"}
    return not lead.leads and set(pools) <= {"last"}


def read_lead(
    model: Backbone, adapter: str, said: Mapping[str, Any], tensors: Mapping[str, Tensor], notes: Mapping[str, Any]
) -> None:
    """Put what stands before examples there, out of files, under a name. Of a file that is not ours the head reads
    what PEFT lets it read."""
    kind = str(said["peft_type"]).removeprefix(OWN)
    page = LEADS[kind]
    check_keys(said, (*SIZES, *page.reads), page.inert)
    model = readable(model, CONFIG)
    length = length_of(said)
    check_free(model, adapter, length, CONFIG)
    lead = page.read(said, model, tensors)
    told = notes.get("lead", {})
    if told:
        pooled, task, names = told.get("pooled"), told.get("task"), told.get("tasks", [])
        if type(pooled) is not bool or not (task is None or type(task) is int) or not isinstance(names, list):
            raise ModeledgeError("E-CONFIG-VALUE", f"its notes say {told!r}", remedy="read it with what wrote it")
        lead.leads = pooled
        if isinstance(lead, TaskPrompt):
            lead.task, lead.names = task, tuple(map(str, names))
    elif not isinstance(lead, Prefix):
        pools = pools_of(model)
        lead.leads = model.config.decoder is None and bool(pools)
        if not as_peft(lead, model, said.get("task_type"), pools):
            what = "PEFT's head reads other vectors of a prompt than any of ours"
            raise ModeledgeError("E-ADAPTER", what, where=CONFIG, remedy="train it here")
    put_before(model, adapter, lead)


def given(lead: Prefix) -> dict[str, Tensor]:
    """Its keys and values `[layers, 2, kv_heads, length, head_width]` by their attention."""
    return {place: made() for place, made in lead.sets.items()}


def length_of(said: Mapping[str, Any]) -> int:
    """How many stand there."""
    return int(number(said, "num_virtual_tokens", 0, least=1))


def fresh(build: Callable[[], L]) -> L:
    """A module whose weights are not drawn: nothing is taken from torch's own generator."""
    with torch.device("meta"):
        made = build()
    return made.to_empty(device="cpu")


def fill(lead: Lead, tensors: Mapping[str, Tensor]) -> None:
    """Give a lead its numbers, all of them."""
    parameters = dict(lead.named_parameters())
    assert parameters.keys() == tensors.keys(), "a lead is filled as a whole"
    with torch.no_grad():
        for name, tensor in tensors.items():
            parameters[name].copy_(tensor)
