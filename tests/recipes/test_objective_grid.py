"""Every kind of pre-training on every architecture: it learns a toy language, or is refused with a reason.

**The language.** A text is in one of six tongues and has two halves, of two sentences each. A sentence is a word that
says which half it is, the same in all tongues, and four words drawn from the three that the tongue has for that half.
No two of the twelve sets share a word. So a reader who has seen one of a set knows the set, which is worth ln 12 = 2.48
nats for each other word of it; which of the three words it is nobody can know.

**The bars.** A blind reader, who sees nothing of a text and knows how often each answer is right, pays the entropy of
the answers: that is computed for each cell from the answers that it asks for. A cell must do better than the blind by
what `BARS` states, with its reason, on the mean of `LAST` steps that follow each other. `STEPS` are the most that it
may take: a cell that is there sooner is not trained further.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from modeledge.cli import app
from modeledge.config import load_config
from modeledge.errors import ModeledgeError
from modeledge.families import save_model
from modeledge.model.transformer import Transformer
from modeledge.objectives import prepared
from modeledge.objectives.middle import NAMES
from modeledge.objectives.mixture import MODES
from modeledge.recipes.corpora.texts import CorpusRecipe
from modeledge.recipes.objectives import AIMS
from modeledge.recipes.objectives.fits import ARCHITECTURES, PREFIX, fits, markdown
from modeledge.recipes.pretraining.pretrain import prepare_corpus, pretrain, ready
from modeledge.recipes.pretraining.start import shape
from modeledge.recipes.recipe import PretrainRecipe
from modeledge.records import Document
from modeledge.seed import Noise
from modeledge.train import StepRecord

SYLLABLES = [a + b for a in "bdfgkl" for b in "aeiou"]
TONGUES, WORDS, MARKS = 6, 3, ("sooner", "later")
LAST, LEAST = 10, 20  # steps that a cell is judged by, and takes at least
STEPS = defaultdict(
    lambda: 60,
    {
        "diffusion": 120,
        "electra": 150,
        "bert": 120,
        "albert": 120,
        "masked": 80,
        "span": 130,
        "denoise": 110,
        "blend": 160,
    },
)
TURNED = "decoder read both ways"
HALF = 0.5 * math.log(2 * TONGUES)
BARS: dict[str, tuple[float, str]] = {
    "lm": (HALF, "half of what the set of a word tells of the word: 2.48 nats of a word, which most answers are"),
    "elbo": (0.3, "the bound is a mean over all shares of hidden tokens, and of most texts too little is shown"),
    "next": (0.1, "ln 2 is blind; the halves that follow and the tongues that do not match tell more than 0.4 nats"),
    "rank": (0.5, "one of twelve sets is worth 2.48 nats, where each sentence is told from those of 31 others"),
    "replaced": (0.02, "a word of another tongue stands out, until the generator knows the tongue as well"),
}
MORE: dict[str, dict[str, Any]] = {
    "multi-token": {"ahead": 2},
    "simcse": {"pool": "mean"},
    "electra": {"generator": 0.5},
    **{kind: {"rate": 0.3} for kind in ("masked", "span", "unilm", "bert")},
}
PARTS = {"encoder": ("masked", "diffusion"), "decoder": ("causal", "fim"), "encoder-decoder": ("denoise", "prefix")}


def text(lots: random.Random) -> str:
    tongue = lots.randrange(TONGUES)
    said = []
    for half in (0, 0, 1, 1):
        words = [SYLLABLES[2 * tongue + half] + lots.choice(SYLLABLES[:WORDS]) for _ in range(4)]
        said.append(" ".join([MARKS[half], *words]).capitalize() + ".")
    return " ".join(said)


def quiet(line: str) -> None:
    """Says nothing."""


class Ground:
    """The language as shards of every channel, and a tokenizer with every special token, a word a token."""

    def __init__(self, folder: Path) -> None:
        lots, self.folder = random.Random(0), folder
        documents = [Document(text(lots), f"d{number}") for number in range(600)]
        corpus = {"channels": ["sentences", "words"], "deduplicate": False}
        tokenizer = {"kind": "wordpiece", "vocab_size": 200, "lowercase": True, "sentinels": 20}
        folder.mkdir()
        made = load_config(
            PretrainRecipe,
            None,
            values={"corpus": corpus, "tokenizer": {**tokenizer, "extra": [*NAMES, *MODES]}},
        )
        self.tokenizer, self.shards = prepare_corpus(made, folder, documents, quiet)

    def recipe(self, kind: str, architecture: str, start: Path) -> PretrainRecipe:
        """A cell. A decoder that is to be read both ways lies in the folder `start`."""
        model: dict[str, Any] = {"shape": body(architecture, kind)}
        if architecture == TURNED:
            drawn = Transformer(shape(None, model["shape"], self.tokenizer.vocab_size))
            save_model(drawn, start, family="modeledge")
            self.tokenizer.save(start)
            model = {"start": str(start), "bidirectional": True}
        values = {
            "corpus": {"shards": str(self.folder / "corpus")},
            "tokenizer": {"path": str(self.folder / "tokenizer")},
            "model": model,
            "objective": objective(kind, architecture),
            "train": {"steps": STEPS[kind], "batch": 32, "length": 32, "learning_rate": 0.01, "precision": "fp32"},
        }
        return load_config(PretrainRecipe, None, values=values)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(tmp_path_factory.mktemp("grid") / "ground")


def body(architecture: str, kind: str) -> dict[str, Any]:
    """Two layers of width 32 on each side (one, with half of them), and what a kind needs beside its towers."""
    stack = {
        "layers": 1 if architecture == "half the layers" else 2,
        "attention": {"heads": 2},
        "feedforward": {"width": 64},
        "position": {"kind": "rotary"},
        "dropout": {"hidden": 0.1 if AIMS[kind].needs == "dropout" else 0.0},
    }
    towers = ["decoder"] if architecture == TURNED else ARCHITECTURES[architecture].split("-")
    types = {"types": 2} if AIMS[kind].needs == "token types" else {}
    shared = {"share_sides": True} if architecture == "shared layers" else {}
    return {"width": 32, "init": 0.1, "embed": types, **shared, **dict.fromkeys(towers, stack)}


def objective(kind: str, architecture: str) -> dict[str, Any]:
    """The kind in the form of this architecture; a blend has two parts that it can train."""
    if kind == "blend":
        names = ("denoise", "prefix") if architecture == PREFIX else PARTS[ARCHITECTURES[architecture]]
        parts = {name: {"objective": objective(name, architecture)} for name in names}
        return {"kind": kind, "mode": "in turn", "parts": parts}
    form = {PREFIX: "prefix", "decoder": "causal"}.get(architecture)
    chosen = {"form": form} if form and (AIMS[kind].forms or form == "prefix") else {}
    return {"kind": kind, **MORE.get(kind, {}), **chosen}


def trained(ground: Ground, kind: str, architecture: str, start: Path) -> dict[str, tuple[float, float]]:
    """What each term costs over the last steps, and what it costs the blind."""
    trainer, (stream,) = ready(ground.recipe(kind, architecture, start), ground.tokenizer, ground.shards)
    answers: dict[str, Counter[int]] = defaultdict(Counter)
    for number in range(200):
        item = prepared(trainer.module.objective, stream.example(number), Noise(number))
        for name, labels in item.labels.items():
            answers[name].update(np.ravel(labels).tolist())
    last: deque[StepRecord] = deque(maxlen=LAST)
    terms = set[str]()

    def costs() -> dict[str, tuple[float, float]]:
        blind = {name: entropy(list(counts.values())) for name, counts in answers.items()} | {"rank": math.log(32)}
        replaced = [value for record in last for name, value in record.logs.items() if name == "share_replaced"]
        if replaced:
            share = float(np.mean(replaced))
            blind["replaced"] = entropy([share, 1 - share])
        seen = {name: [record.terms[name] for record in last if name in record.terms] for name in terms}
        return {name: (float(np.mean(values)), blind[name]) for name, values in seen.items() if values}

    def listen(record: StepRecord) -> None:
        last.append(record)
        terms.update(record.terms)
        told = costs() if record.step >= LEAST and record.step % 5 == 0 else {}
        if told.keys() == terms and all(cost < blind - bar(name)[0] for name, (cost, blind) in told.items()):
            raise Passed

    with suppress(Passed):
        trainer.fit(STEPS[kind], [listen])
    return costs()


class Passed(Exception):
    """The cell has done what it must."""


def bar(term: str) -> tuple[float, str]:
    """How much better than the blind a term must be, and why."""
    name = term.rpartition(".")[2]
    return BARS[{"lm2": "lm", "sbo": "lm"}.get(name, name)]


def entropy(counts: list[float] | list[int]) -> float:
    """Of answers that come so often, in nats."""
    shares = np.array(counts, np.float64) / sum(counts)
    return float(-(shares * np.log(shares)).sum())


CELLS = [(kind, name) for kind in AIMS for name in ARCHITECTURES]
LEGAL = [(kind, name) for kind, name in CELLS if fits(AIMS[kind], name)]
ILLEGAL = [(kind, name) for kind, name in CELLS if not fits(AIMS[kind], name)]


@pytest.mark.parametrize(("kind", "architecture"), LEGAL)
def test_a_cell_learns_the_language(kind: str, architecture: str, ground: Ground, tmp_path: Path) -> None:
    costs = trained(ground, kind, architecture, tmp_path / "start")
    for term, (cost, blind) in costs.items():
        gain, why = bar(term)
        assert cost < blind - gain, f"{term} costs {cost:.3f}, the blind pay {blind:.3f}, and {gain:.2f} less: {why}"


def asked_for(ground: Ground, kind: str, architecture: str, folder: Path) -> None:
    """The cell's whole run, on texts that nobody may read."""
    asked = ground.recipe(kind, architecture, folder / "start").model_copy(update={"corpus": CorpusRecipe()})
    pretrain(asked, folder / "run", documents=unread(), say=quiet)


def unread() -> Iterator[Document]:
    raise AssertionError("the texts were read")
    yield


@pytest.mark.parametrize(("kind", "architecture"), ILLEGAL)
def test_a_cell_that_cannot_be_is_refused_with_its_reason(
    kind: str, architecture: str, ground: Ground, tmp_path: Path
) -> None:
    """Before a text is read; the reason names the kind, and the body or the form that it does not have."""
    with pytest.raises(ModeledgeError) as caught:
        asked_for(ground, kind, architecture, tmp_path)
    assert repr(kind).strip("'") in str(caught.value)
    if AIMS[kind].bodies >= {ARCHITECTURES[architecture]}:
        assert re.search(r"form|left to right", str(caught.value))
    elif architecture == PREFIX:
        assert "'objective.form'" in str(caught.value)
    else:
        towers = ARCHITECTURES[architecture]
        assert f"the towers of {'an' if towers[0] == 'e' else 'a'} {towers}" in caught.value.what


def test_every_kind_has_a_body_and_every_body_a_kind() -> None:
    assert {kind for kind, _ in LEGAL} == set(AIMS)
    assert {name for _, name in LEGAL} == set(ARCHITECTURES)
    assert len(LEGAL) + len(ILLEGAL) == len(AIMS) * len(ARCHITECTURES)


@pytest.mark.parametrize("kind", [kind for kind, aim in AIMS.items() if aim.needs in ("token types", "dropout")])
def test_what_a_kind_needs_beside_its_towers_is_asked_for(kind: str, ground: Ground, tmp_path: Path) -> None:
    """The cells above have it; a body without it is refused."""
    bare = {"shape": body("encoder", "masked")}
    asked = ground.recipe(kind, "encoder", tmp_path).model_copy(update={"corpus": CorpusRecipe()})
    asked = asked.model_copy(update={"model": asked.model.model_copy(update=bare)})
    with pytest.raises(ModeledgeError, match=AIMS[kind].needs):
        pretrain(asked, tmp_path / "run", documents=unread(), say=quiet)


def test_the_grid_in_the_documentation_is_this_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "pretraining.md").read_text(encoding="utf-8")
    assert markdown() in page
    told = CliRunner().invoke(app, ["objectives"])
    assert told.exit_code == 0
    shown = [line.split() for line in told.stdout.splitlines()]
    assert [line[0] for line in shown[1:]] == list(AIMS)
    bodies = re.findall(r"^\| `([\w-]+)` \| ([^|]*) \|", page, re.MULTILINE)
    words = {kind: cells for kind, cells in bodies if kind in AIMS and "coder" in cells}
    for kind, aim in AIMS.items():
        said = {word.replace("–", "-").strip() for word in words.get(kind, "").split(",")}
        assert kind == "blend" or said == aim.bodies, kind
