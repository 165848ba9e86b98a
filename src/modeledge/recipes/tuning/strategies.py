"""What the strategies are for, and what moves under each: drawn from the strategy object, never from a description.

A strategy is put on a small model (or on one that is named) and led through a run by a clock, as the trainer would; the
drawing is what it then says of each part. `docs/strategies.md` is this page (`modeledge strategies --docs`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modeledge import files
from modeledge.adapt import STRATEGIES, Clock, Strategy, compose
from modeledge.adapt.parts import Part, parts_of
from modeledge.model import (
    Attention,
    ClassHead,
    FeedForward,
    Learned,
    Stack,
    Tokens,
    Transformer,
    TransformerConfig,
)
from modeledge.model.backbone import Backbone
from modeledge.recipes.asking.tables import check_fresh
from modeledge.report import Code, Figure, Page, Paragraph, Section, render_page
from modeledge.report.moves import Cell, Moves, moves_plot, moves_text
from modeledge.seed import Noise

WIDTH = 256  # of the model that is drawn: the share of an adapter falls with it
SAMPLES = 60  # points of the run at which a strategy is asked
MOMENTS = {"start": 0, "middle": SAMPLES // 2, "end": SAMPLES - 1}


@dataclass(frozen=True)
class Run:
    """The run that is drawn: epochs of so many steps each, the judge asked once an epoch, never content again."""

    epochs: float = 8.0
    steps: int = 800

    def clock(self, sample: int) -> Clock:
        """The clock at a sample of the run."""
        gone = sample / SAMPLES
        judged = int(gone * self.epochs)
        return Clock(int(gone * self.steps), self.steps, gone * self.epochs, {}, judged, max(0, judged - 1))


@dataclass(frozen=True)
class Row:
    """One row of the table as the docs show it: what is typed behind `--strategy`, the idea, the paper."""

    word: str
    idea: str
    paper: str
    more: str = ""  # keys of the recipe that belong beside it


GALLERY = (
    Row("full", "Every weight moves at one rate: the default.", "Devlin et al. 2019, section 3.2"),
    Row(
        "probe",
        "The head alone moves over a frozen body, whose states are computed once: what does the body know already?",
        "Alain and Bengio 2016, arXiv 1610.01644",
    ),
    Row(
        "lp-ft:share=0.3",
        "The head first, then everything: a head that fits already sends no senseless gradients into the body, which\n"
        "helps most on test data unlike the training data. `restarts` lets the rates begin anew at the switch.",
        "Kumar et al. 2022, arXiv 2202.10054, section 4",
        "train.restarts=[0.3]",
    ),
    Row(
        "freeze:first=3",
        "The embeddings and the lower layers stay: they hold what most tasks share, and cost nothing backwards.\n"
        "`all_but=k` freezes all layers but the last k.",
        "Yosinski et al. 2014, arXiv 1411.1792",
    ),
    Row(
        "freeze",
        "The embeddings alone stay: rare words keep their place beside frequent ones.",
        "Lee et al. 2019, arXiv 1911.03090",
    ),
    Row(
        "named:only=*.attention.*",
        "Parameters move, or stay (`still=`), by name: globs, or regular expressions behind `re:`, parted by spaces.\n"
        "Here the attention alone moves, with the head.",
        "Touvron et al. 2022, arXiv 2203.09795",
    ),
    Row(
        "bitfit",
        "Biases and the head move: about 0.1 % of BERT. A model without biases is refused.",
        "Ben-Zaken et al. 2022, arXiv 2106.10199",
    ),
    Row(
        "unfreeze",
        "Gradual unfreezing: the head first, then one layer more an epoch, from the top; the embeddings come last.\n"
        "`group=2` lets two layers follow at a time, `per=steps,every=100` counts updates.",
        "Howard and Ruder 2018, arXiv 1801.06146, section 3.3",
    ),
    Row(
        "unfreeze:per=plateau,every=2",
        "The same when the judge is no longer content: after `every` verdicts in a row without a better one.\n"
        "It needs `train.judge_every`; a `train.patience` must leave it time.",
        "Howard and Ruder 2018, section 3.3, with a plateau in the place of an epoch",
        "train.judge_every=50",
    ),
    Row(
        "rates:decay=0.385",
        "Discriminative rates: each layer moves at that of the one above divided by 2.6, the head at the base rate.\n"
        "ULMFiT is this row with `unfreeze` and the slanted triangle.",
        "Howard and Ruder 2018, section 3.1 and equation 3",
        "train.schedule=slanted",
    ),
    Row(
        "reinit:top=2",
        "The top layers, which hold what is most particular to pre-training, are drawn anew; everything moves.",
        "Zhang et al. 2021, arXiv 2006.05987, section 5",
    ),
    Row(
        "l2-sp",
        "α/2 ‖w − w⁰‖² pulls the body to where it started, β/2 ‖w‖² the rest to 0; everything moves.",
        "Li et al. 2018, arXiv 1802.01483, equation 3",
        "train.weight_decay=0",
    ),
    Row("new-head", "The head is drawn anew: old scores mean nothing for new labels.", "Razavian et al. 2014"),
    Row(
        "replaced-head:outputs=5",
        "A fresh class head with another number of scores takes the place of the one that is there.",
        "Razavian et al. 2014, arXiv 1403.6382",
    ),
    Row(
        "layers:count=2",
        "Fresh layers on top of a frozen body; `body=moving` lets the old weights follow.",
        "",
    ),
    Row(
        "new-input:body=frozen",
        "A new table of tokens (`vocab=`), or a new map of patches (`channels=`), under a body that stays.",
        "Artetxe et al. 2020, arXiv 1910.11856; Lu et al. 2021, arXiv 2103.05247",
    ),
)

PAPERS = {
    "lora": "Hu et al. 2021, arXiv 2106.09685",
    "dora": "Liu et al. 2024, arXiv 2402.09353",
    "adalora": "Zhang et al. 2023, arXiv 2303.10512",
    "loha": "Hyeon-Woo et al. 2021, arXiv 2108.06098",
    "lokr": "Yeh et al. 2023, arXiv 2309.14859",
    "ia3": "Liu et al. 2022, arXiv 2205.05638",
    "vera": "Kopiczko et al. 2023, arXiv 2310.11454",
    "adapter": "Houlsby et al. 2019, arXiv 1902.00751",
    "prompt": "Lester et al. 2021, arXiv 2104.08691",
    "p-tuning": "Liu et al. 2021, arXiv 2103.10385",
    "prefix": "Li and Liang 2021, arXiv 2101.00190",
    "mpt": "Wang et al. 2023, arXiv 2303.02861",
}


def stand_in(layers: int = 6) -> Transformer:
    """A small decoder with biases and a last norm: it has every part that a drawing has, and room for what is added."""
    forward, position = FeedForward(width=4 * WIDTH), Learned(length=128)
    stack = Stack(layers=layers, attention=Attention(heads=4), feedforward=forward, position=position)
    model = Transformer(TransformerConfig(width=WIDTH, embed=Tokens(vocab=1024), decoder=stack), seed=0)
    model.add_heads({"class": ClassHead(outputs=2, pool="last")}, Noise(0))
    return model


def moves_of(strategies: Sequence[Strategy], model: Backbone, run: Run = Run(), *, name: str = "") -> Moves:
    """What moves in the model's parts at the start, the middle and the end of a run, as the strategies say.

    The strategies are attached, so the model is not the same afterwards. Raises what they raise.
    """
    for strategy in strategies:
        strategy.attach(model, Noise(0))
    told = [compose(strategies, model, run.clock(sample)) for sample in range(SAMPLES)]  # in order: some remember
    parts = parts_of(model)
    named = {"embeddings": parts.embeddings}
    named |= {str(number): block for number, block in enumerate(parts.blocks, 1)}
    named |= {"norm": parts.last, "head": Part.joined(list(parts.heads.values()))}
    there = {name: part for name, part in named.items() if part.names}
    sizes = {n: p.numel() for n, p in model.named_parameters()}
    moments = tuple(
        (moment, tuple(_cell(part, told[sample], sizes) for part in there.values()))
        for moment, sample in MOMENTS.items()
    )
    return Moves(name or " + ".join(map(repr, strategies)), tuple(there), moments)


def _cell(part: Part, rates: Mapping[str, float], sizes: Mapping[str, int]) -> Cell:
    moving = [name for name in part.names if name in rates]
    if not moving:
        return Cell()
    share = sum(sizes[name] for name in moving) / sum(sizes[name] for name in part.names)
    found = [rates[name] for name in moving]
    return Cell(share, min(found), max(found))


def draw(words: Sequence[str], build: Callable[[str], Strategy], model: Backbone | None = None) -> Moves:
    """The drawing of strategies as they are typed, which act together."""
    name = " + ".join(words)
    return moves_of([build(word) for word in words], stand_in() if model is None else model, name=name)


def gallery(build: Callable[[str], Strategy]) -> list[tuple[Row, Moves]]:
    """Every row of the table with its drawing. A row that is not described here says what its class says."""
    told = {row.word.partition(":")[0] for row in GALLERY}
    rows = list(GALLERY)
    for kind, strategy in STRATEGIES.items():
        if kind not in told:
            idea = " ".join((strategy.__doc__ or "").partition("\n\n")[0].split())
            rows.append(Row(kind, idea, PAPERS.get(kind, "")))
    return [(row, draw([row.word], build)) for row in rows]


def command(row: Row) -> str:
    """What is typed to run a row."""
    return " ".join(word for word in ("modeledge finetune MODEL DATA --strategy", row.word, row.more) if word)


def table_text(drawn: Sequence[tuple[Row, Moves]]) -> str:
    """Every row with its idea and its drawing, for a terminal."""
    return "\n\n".join(f"{row.idea}\n{moves_text(moves)}" for row, moves in drawn)


HEAD = """# Strategies: which weights move

θ = (θ₁ moves, θ̂₂ stays): a strategy says which is which, at each step of a run, and at what rate. Several compose: a
weight moves only where every strategy lets it move, and rates multiply. A run that is stopped goes on bit for bit, in
the middle of a schedule too. A row that needs what a model does not have (biases, so many layers) refuses it before the
first step.

The drawings are written by `modeledge strategies --docs`, from the strategy objects themselves: a model of six layers
of width 256, a run of eight epochs. `■` moves, `·` stays, `×0.4` is a factor on the base rate, `4%` the share of
parameters that moves, those of an adapter among them (on a wider model it is smaller); a prompt or prefix is one of the
embeddings' parts. `modeledge strategies lp-ft rates:decay=0.9 --model MODEL` draws any combination on any model.

![What moves under each strategy](strategies.svg)
"""


def docs_page(drawn: Sequence[tuple[Row, Moves]]) -> str:
    """`docs/strategies.md`."""
    parts = [HEAD]
    for row, moves in drawn:
        kind = row.word.partition(":")[0]
        parts.append(f"## `{row.word}`\n" if row.word != kind else f"## `{kind}`\n")
        parts.append(row.idea + (f" ({row.paper}.)" if row.paper else "") + "\n")
        parts.append(f"```\n{command(row)}\n\n{moves_text(moves)}\n```\n")
    return "\n".join(parts)


def write_page(drawn: Sequence[tuple[Row | None, Moves]], out: Path) -> None:
    """An HTML page, or an SVG figure, of the drawings; a place that is taken is `E-OUTPUT`."""
    check_fresh(out, (".html", ".svg"))
    if out.suffix == ".svg":
        files.write_text(out, moves_plot([moves for _, moves in drawn]))
        return
    sections = []
    for row, moves in drawn:
        blocks: list[Paragraph | Figure | Code] = [Figure(moves_plot([moves]))]
        if row is not None:
            blocks = [Paragraph(f"{row.idea} {row.paper}"), *blocks, Code(command(row))]
        sections.append(Section(moves.name, blocks))
    subtitle = "Embeddings, layers from the bottom, last norm and head, at the start, the middle and the end of a run."
    files.write_text(out, render_page(Page("What moves", subtitle, sections)))
