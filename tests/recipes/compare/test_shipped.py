"""The shipped studies at their smoke scale: every objective on its architecture, every task on one of them.

The data are generated in the layouts of the real ones, so the whole way runs: readers, shared corpus, all cells, table.
"""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest
from studies_small import sentences

from modeledge.config import load_config
from modeledge.recipes.compare import Results, StudyRecipe, compare, load_study
from modeledge.recipes.compare.engine import recipe_of
from modeledge.recipes.compare.grid import units
from modeledge.recipes.compare.table import write_results
from modeledge.tokens import Tokenizer, train_tokenizer

RECIPES = Path(__file__).parents[3] / "recipes"
STUDIES = {
    "architectures": ["*/seed-0/pretrain", "prefix-lm-denoise", "shared-lm"],
    "masking": ["*/seed-0/pretrain", "spans-boundary"],
    "supervised": ["*/seed-0/pretrain", "*/seed-0/supervised", "both", "frozen"],
    "ladder": ["*/seed-0/pretrain", "top-little"],
    "salient": ["*/seed-0/pretrain", "salient"],
    "data": ["*/seed-0/pretrain", "weighed"],
    "sources": ["*/seed-0/pretrain", "shuffled", "shuffled-probe", "scratch"],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the studies read."""
    folder, lots = tmp_path_factory.mktemp("data"), random.Random(0)
    for name in (
        "gutenberg",
        "tinyshakespeare",
        "sotu",
        "sst2",
        "squad",
        "e2e",
        "mrpc",
        "multi30k",
        "rte",
        "nq_open",
        "web",
        "toxicity",
        "wikitext2_raw",
    ):
        (folder / name).mkdir()
    pages = [". ".join(s.capitalize() for s in sentences(12, 9, seed)) + "." for seed in range(60)]
    (folder / "gutenberg" / "a.txt").write_text("\n\n".join(pages[:20]))
    (folder / "gutenberg" / "blake-poems.txt").write_text("\n\n".join(pages[20:40]))
    (folder / "tinyshakespeare" / "input.txt").write_text("\n\n".join(pages[20:]))
    (folder / "sotu" / "sotu.jsonl.gz").write_bytes(gzip.compress(json.dumps({"text": pages[0]}).encode()))
    texts = list(dict.fromkeys(sentences(120, 8, 99)))
    for name, part in (("train_full", texts[:60]), ("dev", texts[60:80])):
        rows = [f"{text}\t{int('red' in text)}" for text in part]
        (folder / "sst2" / f"{name}.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    head = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"
    for name, part in (("train", texts[:60]), ("test", texts[60:90])):
        rows = [f"{n % 2}\t{n}\t{n}\t{text}\t{lots.choice(texts) if n % 2 else text}" for n, text in enumerate(part)]
        (folder / "mrpc" / f"msr_paraphrase_{name}.txt").write_text("\n".join([head, *rows]) + "\n")
    web = [json.dumps({"text": page}) for page in pages[40:]]
    (folder / "web" / "c4_demo.jsonl").write_text("\n".join(web) + "\n")
    (folder / "wikitext2_raw" / "wiki.valid.raw").write_text("\n".join(pages[:6]))
    (folder / "web" / "wiki_demo.txt").write_text("\n".join(pages[6:20]))
    tweets = "\n".join(["tweet,class", *(f"{text},1" for text in texts[:40])])
    (folder / "toxicity" / "labeled_data.csv.gz").write_bytes(gzip.compress(tweets.encode()))
    (folder / "multi30k" / "train.de.gz").write_bytes(gzip.compress("\n".join(texts[:40]).upper().encode()))
    foreign = train_tokenizer(pages, kind="bpe", vocab_size=300)
    foreign.save(folder / "tokenizers")
    (folder / "tokenizers" / "gpt2_tokenizer.json").write_bytes((folder / "tokenizers" / "tokenizer.json").read_bytes())
    for name, part in (("train", texts[:60]), ("val", texts[60:80])):
        (folder / "multi30k" / f"{name}.en").write_text("\n".join(part) + "\n")
        (folder / "multi30k" / f"{name}.de").write_text("\n".join(text.upper() for text in part) + "\n")
    asked = [json.dumps({"question": f"what is {text}", "answer": text.split()[:2]}) for text in texts[:40]]
    (folder / "nq_open" / "NQ-open.dev.jsonl").write_text("\n".join(asked) + "\n")
    for name, part in (("train", texts[:60]), ("dev", texts[60:80])):
        rows = [f"{n}\t{text}\t{text[:9]}\t{('', 'not_')[n % 2]}entailment" for n, text in enumerate(part)]
        (folder / "rte" / f"{name}.tsv").write_text("\n".join(["index\tsentence1\tsentence2\tlabel", *rows]) + "\n")
    articles = []
    for n, text in enumerate(texts[:40]):
        answer = {"text": text.split()[2], "answer_start": text.index(text.split()[2])}
        asked = {"id": str(n), "question": f"What is {n}?", "answers": [answer]}
        articles.append({"title": f"T{n}", "paragraphs": [{"context": text, "qas": [asked]}]})
    page = json.dumps({"version": "1.1", "data": articles}).encode()
    (folder / "squad" / "dev-v1.1.rebuilt.json.gz").write_bytes(gzip.compress(page))
    rows = [f'"name[{n}], food[{text.split()[0]}]","{text}"' for n, text in enumerate(texts[:60])]
    (folder / "e2e" / "devset.csv").write_text("\n".join(["mr,ref", *rows]) + "\n")
    return folder


SLOW = ("supervised", "ladder", "salient", "sources")  # each as long as the other two together


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.long if name in SLOW else ()) for name in STUDIES]
)
def ran(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A shipped study at its smallest, with rows enough for the shapes of batches to be those of a real one."""
    name, folder = request.param, tmp_path_factory.mktemp("shipped") / "study"
    study = load_study(RECIPES / f"{name}.toml", "smoke", ["pretrain.train.batch=12"], {"data": str(data)})
    told: list[str] = []
    failed = compare(study, folder, only=STUDIES[name], say=told.append)
    assert failed == [], [line for line in told if line.startswith("FAILED")]
    return name, folder


def test_a_shipped_study_runs_at_its_smallest(ran: tuple[str, Path]) -> None:
    name, folder = ran
    study = load_config(StudyRecipe, folder / "run.toml")
    results = write_results(study, folder)
    assert results.failed == {}
    assert set(results.facts) == set(study.cells)
    marks = {(cell, mark) for cell in study.cells if study.cells[cell].of is None for mark in study.marks}
    full = {cell for cell in study.cells if cell in STUDIES[name]}
    assert {(o.cell, o.task) for o in results.outcomes} == marks | {
        (cell, task) for cell in full for task in study.tasks
    }
    assert study.title in (folder / "report.html").read_text()
    if name == "sources":
        assert {cell for cell, _ in results.distances} == {c for c in study.cells if not study.cells[c].of}
    if name == "architectures":
        matched(results, Tokenizer.load(folder / "tokenizer").vocab_size)


def matched(results: Results, vocab: int) -> None:
    """As in Raffel et al. 2020, table 2: P and 2P parameters of the layers, M and M/2 operations a token."""
    width, facts = 192, results.facts
    layer, cross = 12 * width * width, 4 * width * width
    count = {cell: facts[cell]["parameters"] for cell in facts}
    for group in ("denoise", "lm"):
        one, both, shared, half = (
            count[f"{n}-{group}"] for n in ("language-model", "encoder-decoder", "shared", "half")
        )
        assert one == pytest.approx(4 * layer + vocab * width, rel=0.01)
        assert both - one == pytest.approx(4 * layer + 4 * cross, rel=0.01), "2P, and attention across"
        assert shared - one == pytest.approx(4 * cross, rel=0.02), "P, and attention across"
        assert half - one == pytest.approx(2 * cross, rel=0.02), "P, and attention across"
        whole = facts[f"language-model-{group}"]["flops_per_token"]
        cost = {n: facts[f"{n}-{group}"]["flops_per_token"] / whole for n in ("encoder-decoder", "shared", "half")}
        assert cost["encoder-decoder"] == cost["shared"]
        assert 0.75 < cost["shared"] < 1.25, (group, cost)
        assert cost["half"] / cost["shared"] == pytest.approx(0.5, abs=0.08), (group, cost)


@pytest.mark.parametrize("scale", ["default", "full"])
@pytest.mark.parametrize("name", STUDIES)
def test_every_recipe_of_every_scale_is_one(name: str, scale: str, tmp_path: Path) -> None:
    study = load_study(RECIPES / f"{name}.toml", scale)
    assert study.against in study.cells, "every shipped study says what its rows are compared with"
    for unit in units(study):
        assert recipe_of(study, unit, tmp_path).seed == unit.seed
