"""A few invented rows in each layout, written exactly as the benchmark writes its files."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Sample:
    """Files by name, the path and split to read, how many rows come, what the first holds, what is filtered."""

    files: dict[str, str]
    rows: int
    first: dict[str, Any]
    split: str = "train"
    filtered: dict[str, int] = field(default_factory=dict)
    unlabelled: dict[str, str] = field(default_factory=dict)  # the files of the split "test"

    def write(self, folder: Path) -> Path:
        for name, content in (self.files | self.unlabelled).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8", newline="")
        return folder


def tsv(*rows: str) -> str:
    return "".join(row.replace("|", "\t") + "\n" for row in rows)


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def squad(*questions: dict[str, Any], context: str = "Mia met 😀 Leo in Ulm.", **more: Any) -> str:
    article = {"title": "T", "paragraphs": [{"context": context, "qas": list(questions)}]}
    return json.dumps({"data": [article], **more})


def qa(id: str, text: str = "Leo", start: int | None = 10, **more: Any) -> dict[str, Any]:
    answer = {"text": text} if start is None else {"text": text, "answer_start": start}
    return {"id": id, "question": "Who?", "answers": [answer], **more}


NO_GOLD = "no gold label: the annotators disagree ('-')"
QUOTED = 'He said "no'  # one double quote: with quoting on it would swallow the rows below
NLI = {"sentence1": "A dog runs.", "sentence2": "It moves.", "gold_label": "entailment"}
CONLL3 = "-DOCSTART- -X- -X- O\n\nEva NNP B-NP I-PER\nruns VBZ B-VP O\n\nOslo NNP B-NP I-LOC\nBonn NNP B-NP B-LOC\n\n"
WORD = "{}\t{}\t{}\tVERB\tVB\tX=1\t{}\troot\t_\t_\n"
CONLLU = (
    "# sent_id = s1\n# text = don't go\n1-2\tdon't\t_\t_\t_\t_\t_\t_\t_\t_\n"
    + WORD.format(1, "do", "do", 3)
    + WORD.format(2, "n't", "not", 3)
    + WORD.format("2.1", "you", "you", "_")
    + WORD.format(3, "go", "go", 0)
    + "\n# a comment alone\n\n"
    + WORD.format(1, "Stop", "stop", 0)
    + "\n"
)
MNLI_HEAD = (
    "index|promptID|pairID|genre|sentence1_binary_parse|sentence2_binary_parse|sentence1_parse|sentence2_parse"
    "|sentence1|sentence2"
)
MNLI_ROW = "0|1|1n|fiction|( a )|( b )|(ROOT)|(ROOT)|A.|B."
RACE = {
    "article": "Ann went out. It rained.",
    "questions": ["Who went out?", "It   _  ."],
    "options": [["Bo", "Ann", "Cy", "Di"], ["rained", "snowed", "froze", "dawned"]],
    "answers": ["B", "A"],
}
MULTIRC = {
    "idx": 4,
    "passage": {
        "text": "Rain fell.",
        "questions": [
            {
                "question": "What fell?",
                "idx": 7,
                "answers": [{"text": "Rain", "idx": 0, "label": 1}, {"text": "Snow", "idx": 1, "label": 0}],
            }
        ],
    },
}
RECORD = {
    "idx": 1,
    "passage": {
        "text": "Ann saw Bob.\n@highlight\nAnn left",
        "entities": [{"start": 0, "end": 2}, {"start": 8, "end": 10}, {"start": 24, "end": 26}],
    },
    "qas": [{"idx": 2, "query": "@placeholder was seen", "answers": [{"start": 8, "end": 10, "text": "Bob"}]}],
}
WSC = {
    "idx": 0,
    "text": "Tom fed the cat because it cried.",
    "label": True,
    "target": {"span1_index": 2, "span1_text": "the cat", "span2_index": 5, "span2_text": "it"},
}
COQA = {
    "version": "1.0",
    "data": [
        {
            "id": "s",
            "story": "Ida has a red hat.",
            "questions": [{"input_text": "Who has it?", "turn_id": 1}, {"input_text": "Which colour?", "turn_id": 2}],
            "answers": [{"input_text": "Ida", "turn_id": 1}, {"input_text": "red", "turn_id": 2}],
            "additional_answers": {"0": [{"input_text": "Ida does"}, {"input_text": "it is red"}]},
        }
    ],
}
PARLAI = (
    "1 your persona: i like tea.\n2 partner's persona: i ski.\n3 hello\thi there\t\tno|hi there\n4 tea ?\tyes please\n"
    "1 your persona: i swim.\n2 hey\tyo\n"
)
SEMEVAL = (
    '1\t"The <e1>engine</e1> caused the <e2>noise</e2>."\nCause-Effect(e1,e2)\nComment: plain\n\n'
    '2\t"A <e1>cup</e1> of <e2>tea</e2>."\nOther\nComment:\n\n'
)
TACRED = {
    "id": "t",
    "token": ["Bo", "runs", "Acme", "Inc", "."],
    "subj_start": 2,
    "subj_end": 3,
    "obj_start": 0,
    "obj_end": 0,
    "relation": "org:top",
}
ARC = {
    "id": "q",
    "question": {"stem": "Hot?", "choices": [{"text": "ice", "label": "1"}, {"text": "fire", "label": "2"}]},
    "answerKey": "2",
}
ARC_FLAT = {"id": "r", "question": "Cold?", "choices": {"text": ["ice", "fire"], "label": ["A", "B"]}, "answerKey": "A"}
ELI5 = {
    "q_id": "a",
    "title": "Why is it blue?",
    "selftext": "",
    "answers": {"text": ["meh", "Light scatters."], "score": [1, 9]},
}
MBPP = {
    "task_id": 601,
    "text": "Add two.",
    "code": "def f(a, b):\n    return a + b",
    "test_list": ["assert f(1, 2) == 3"],
}
PAIR = {"premise": "It rained.", "hypothesis": "It was wet.", "label": "entailment", "idx": 0}

SAMPLES: dict[str, Sample] = {
    "cola": Sample(
        {"train.tsv": tsv(f"gj04|1||{QUOTED}.", "cj99|0|*|Me sleeps.")},
        2,
        {"sentence": f"{QUOTED}.", "label": "1", "source": "gj04"},
        unlabelled={"test.tsv": tsv("index|sentence", "0|Birds sing.")},
    ),
    "sst2": Sample(
        {"train.tsv": tsv("sentence|label", f"{QUOTED} |1", "dull |0")},
        2,
        {"sentence": f"{QUOTED} ", "label": "1"},
        unlabelled={"test.tsv": tsv("index|sentence", "0|fine")},
    ),
    "mrpc": Sample(
        {"train.tsv": "\ufeff" + tsv("Quality|#1 ID|#2 ID|#1 String|#2 String", f"1|7|8|{QUOTED}|b", "0|7|8|c|d")},
        2,
        {"#1 String": QUOTED, "Quality": "1"},
        unlabelled={"test.tsv": tsv("index|#1 ID|#2 ID|#1 String|#2 String", "0|7|8|a|b")},
    ),
    "stsb": Sample(
        {
            "train.tsv": tsv(
                "index|genre|filename|year|old_index|source1|source2|sentence1|sentence2|score",
                f"0|g|f|2012|1|none|none|{QUOTED}|b|2.500",
            )
        },
        1,
        {"sentence1": QUOTED, "score": 2.5},
        unlabelled={"test.tsv": tsv("index|sentence1|sentence2", "0|a|b")},
    ),
    "qqp": Sample(
        {
            "train.tsv": tsv(
                "id|qid1|qid2|question1|question2|is_duplicate", f"1|2|3|{QUOTED}?|b?|0", "4|5|6|a?|b?|1", "9|cut"
            )
        },
        2,
        {"question1": f"{QUOTED}?", "is_duplicate": "0"},
        unlabelled={"test.tsv": tsv("id|question1|question2", "0|a|b")},
    ),
    "mnli": Sample(
        {"train.tsv": tsv(f"{MNLI_HEAD}|label1|gold_label", f"{MNLI_ROW}|neutral|neutral", f"{MNLI_ROW}|neutral|-")},
        1,
        {"sentence1": "A.", "gold_label": "neutral"},
        filtered={NO_GOLD: 1},
        unlabelled={"test_matched.tsv": tsv(MNLI_HEAD, MNLI_ROW), "test_mismatched.tsv": tsv(MNLI_HEAD, MNLI_ROW)},
    ),
    "qnli": Sample(
        {"train.tsv": tsv("index|question|sentence|label", f"0|Who?|{QUOTED}|not_entailment")},
        1,
        {"sentence": QUOTED, "label": "not_entailment"},
        unlabelled={"test.tsv": tsv("index|question|sentence", "0|a|b")},
    ),
    "rte": Sample(
        {"train.tsv": tsv("index|sentence1|sentence2|label", f"0|{QUOTED}|b|entailment")},
        1,
        {"sentence1": QUOTED, "label": "entailment"},
        unlabelled={"test.tsv": tsv("index|sentence1|sentence2", "0|a|b")},
    ),
    "wnli": Sample(
        {"train.tsv": tsv("index|sentence1|sentence2|label", "0|a|b|1")},
        1,
        {"label": "1"},
        unlabelled={"test.tsv": tsv("index|sentence1|sentence2", "0|a|b")},
    ),
    "glue_diagnostics": Sample(
        {"diagnostic.tsv": tsv("index|sentence1|sentence2", "0|a|b")}, 1, {"sentence1": "a"}, split="test"
    ),
    "glue_diagnostics_full": Sample(
        {"diagnostic-full.tsv": tsv("Lexical Semantics|Logic|Premise|Hypothesis|Label", "x||a|b|contradiction")},
        1,
        {"Premise": "a", "Label": "contradiction"},
        split="test",
    ),
    "boolq": Sample(
        {"train.jsonl": lines({"question": "is it so", "passage": "It is.", "idx": 0, "label": True})},
        1,
        {"label": "true"},
        unlabelled={"test.jsonl": lines({"question": "is it so", "passage": "It is.", "idx": 0})},
    ),
    "cb": Sample({"train.jsonl": lines(PAIR | {"label": "neutral"})}, 1, {"label": "neutral"}),
    "copa": Sample(
        {
            "train.jsonl": lines(
                {"premise": "He fell.", "choice1": "Ice.", "choice2": "Sun.", "question": "cause", "label": 0, "idx": 0}
            )
        },
        1,
        {"choices": ["Ice.", "Sun."], "connective": "because", "label": 0},
        unlabelled={
            "test.jsonl": lines(
                {"premise": "He fell.", "choice1": "Ice.", "choice2": "Sun.", "question": "effect", "idx": 0}
            )
        },
    ),
    "multirc": Sample(
        {"train.jsonl": lines(MULTIRC)}, 2, {"answer": "Rain", "label": "1", "group": "4-7", "id": "4-7-0"}
    ),
    "record": Sample({"train.jsonl": lines(RECORD)}, 1, {"choices": ["Ann", "Bob"], "label": 1, "answers": ["Bob"]}),
    "superglue_rte": Sample({"train.jsonl": lines(PAIR)}, 1, {"label": "entailment"}),
    "wic": Sample(
        {
            "train.jsonl": lines(
                {"word": "bat", "sentence1": "A bat flew.", "sentence2": "His bat broke.", "label": False, "start1": 2}
            )
        },
        1,
        {"label": "false", "source": "sentence1: A bat flew. sentence2: His bat broke. word: bat"},
    ),
    "wsc": Sample(
        {"train.jsonl": lines(WSC)},
        1,
        {"marked": "Tom fed the cat because *it* cried.", "noun": "the cat", "pronoun": "it", "label": "true"},
    ),
    "superglue_ax_b": Sample(
        {"AX-b.jsonl": lines({"sentence1": "a", "sentence2": "b", "label": "not_entailment", "idx": 0})},
        1,
        {"label": "not_entailment"},
        split="dev",
    ),
    "superglue_ax_g": Sample({"AX-g.jsonl": lines(PAIR)}, 1, {"label": "entailment"}, split="dev"),
    "snli": Sample(
        {"snli_1.0_train.jsonl": lines(NLI, NLI | {"gold_label": "-"}, NLI | {"gold_label": "neutral"})},
        2,
        {"gold_label": "entailment"},
        filtered={NO_GOLD: 1},
    ),
    "multinli": Sample({"multinli_1.0_dev_matched.jsonl": lines(NLI)}, 1, NLI, split="dev_matched"),
    "scitail": Sample({"snli_format/scitail_1.0_train.txt": lines(NLI)}, 1, NLI),
    "scitail_tsv": Sample(
        {"tsv_format/scitail_1.0_train.tsv": tsv(f"{QUOTED}|b|entails", "c|d|neutral")},
        2,
        {"premise": QUOTED, "label": "entails"},
    ),
    "anli": Sample(
        {"train.jsonl": lines({"uid": "u", "context": "a", "hypothesis": "b", "label": "c", "reason": ""})},
        1,
        {"label": "c"},
    ),
    "squad": Sample(
        {"train-v1.1.json": squad(qa("1"), qa("2", start=None), version="1.1")},
        2,
        {"id": "1", "answers": [{"text": "Leo", "answer_start": 10}], "is_impossible": False},
    ),
    "squad2": Sample(
        {
            "train-v2.0.json": squad(
                {**qa("1"), "answers": [], "is_impossible": True}, qa("2", is_impossible=False), version="v2.0"
            )
        },
        2,
        {"answers": [], "is_impossible": True},
    ),
    "conll2003": Sample(
        {"eng.train": CONLL3},
        2,
        {"tokens": ["Eva", "runs"], "ner": ["I-PER", "O"], "pos": ["NNP", "VBZ"]},
        filtered={"-DOCSTART-: a mark between documents, no sentence": 1},
    ),
    "conll2000": Sample({"train.txt": "The DT B-NP\ncat NN I-NP\n\nGo VB B-VP\n\n"}, 2, {"chunk": ["B-NP", "I-NP"]}),
    "columns": Sample(
        {"train.conll": "a\tx\tDET\nb c\tx\tNOUN\n\nc\tx\tVERB\n"}, 2, {"tokens": ["a", "b c"], "tags": ["DET", "NOUN"]}
    ),
    "tokens": Sample(
        {"train.txt": lines({"tokens": ["Eva", "runs"], "tags": ["B-PER", "O"]}, {"tokens": [], "tags": []})},
        1,
        {"tags": ["B-PER", "O"]},
        filtered={"a sentence without tokens": 1},
    ),
    "conllu": Sample(
        {"train.conllu": CONLLU},
        2,
        {"tokens": ["do", "n't", "go"], "heads": [3, 3, 0], "multiword": [(1, 2, "don't")], "text": "don't go"},
        filtered={"comments alone, no sentence": 1},
    ),
    "conllu_xpos": Sample(
        {"train.conllu": CONLLU}, 2, {"xpos": ["VB"] * 3}, filtered={"comments alone, no sentence": 1}
    ),
    "parallel": Sample(
        {"train.de": "Hallo\n\nTschüss\n", "train.fr": "Salut\nOui\nAu revoir"},
        2,
        {"source": "Hallo", "target": "Salut"},
        filtered={"the source is empty": 1},
    ),
    "parallel_tsv": Sample({"train.tsv": tsv(f"{QUOTED}|Nein", "Yes|Ja")}, 2, {"source": QUOTED, "target": "Nein"}),
    "multi30k": Sample(
        {"train.en": "Hi\nBye\n", "train.de": "Hallo\nTschüss\n"}, 2, {"source": "Hi", "target": "Hallo"}
    ),
    "xsum": Sample(
        {
            "train.jsonl": lines(
                {"document": "Long.", "summary": "Short.", "id": "1"}, {"document": " ", "summary": "x"}
            )
        },
        1,
        {"summary": "Short."},
        filtered={"document empty": 1},
    ),
    "cnn_dm": Sample(
        {"train.jsonl": lines({"article": "Long.", "highlights": "Short.", "id": "1"})}, 1, {"highlights": "Short."}
    ),
    "e2e": Sample(
        {"trainset.csv": 'mr,ref\n"name[A], food[B]","A, with ""B""."\nname[C],C.\n"name[A], food[B]",B at A.\n'},
        2,
        {"mr": "name[A], food[B]", "refs": ['A, with "B".', "B at A."]},
    ),
    "eli5": Sample(
        {"train.jsonl": lines(ELI5, {"id": "k", "input": "Why?", "output": [{"answer": "So."}, {"provenance": []}]})},
        2,
        {"question": "Why is it blue?", "target": "Light scatters.", "answers": ["Light scatters.", "meh"]},
    ),
    "titles": Sample(
        {"train.jsonl": lines({"abstract": "We do.", "title": "Doing"})}, 1, {"text": "We do.", "title": "Doing"}
    ),
    "mbpp": Sample(
        {"mbpp.jsonl": lines(MBPP, MBPP | {"task_id": 11})},
        1,
        {"task_id": 601},
        filtered={"of another split than 'train'": 1},
    ),
    "nq_open": Sample(
        {"NQ-open.train.jsonl": lines({"question": "who", "answer": ["Al", "Al B"]})},
        1,
        {"answers": ["Al", "Al B"], "target": "Al"},
    ),
    "gsm8k": Sample(
        {"train.jsonl": lines({"question": "1k+72?", "answer": "It is <<1000+72=1072>>1072.\n#### 1,072"})},
        1,
        {"final": "1072", "solution": "It is <<1000+72=1072>>1072."},
    ),
    "mmlu": Sample(
        {"val/anatomy_val.csv": '"Where, then?",a,b,c,d,C\nx,,,,,3\n', "val/law_val.csv": "Who?,a,b,c,d,A\n"},
        2,
        {"choices": ["a", "b", "c", "d"], "label": 2, "subject": "anatomy"},
        split="val",
        filtered={"all choices are empty": 1},
    ),
    "arc": Sample(
        {"ARC-Easy-Train.jsonl": lines(ARC, ARC_FLAT)}, 2, {"question": "Hot?", "choices": ["ice", "fire"], "label": 1}
    ),
    "race": Sample(
        {
            "train/middle/1.txt": json.dumps({**RACE, "id": "middle1.txt"}),
            "train/high/2.txt": json.dumps({**RACE, "id": "high2.txt"}),
        },
        4,
        {
            "article": "Ann went out. It rained.",
            "question": "Who went out?",
            "choices": ["Bo", "Ann", "Cy", "Di"],
            "label": 1,
            "level": "middle",
            "id": "middle1.txt",
        },
    ),
    "lambada": Sample(
        {"lambada_test_plain_text.txt": "he saw the sea\nword\n"},
        1,
        {"context": "he saw the", "word": "sea"},
        split="test",
        filtered={"a passage of one word": 1},
    ),
    "lambada_jsonl": Sample(
        {"lambada_test.jsonl": lines({"text": "he saw the sea"})}, 1, {"word": "sea"}, split="test"
    ),
    "coqa": Sample({"coqa-train-v1.0.json": json.dumps(COQA)}, 2, {"history": [], "answers": ["Ida", "Ida does"]}),
    "dialogue": Sample({"train.jsonl": lines({"history": ["Hi", "Hello"], "reply": "Tea?"})}, 1, {"reply": "Tea?"}),
    "convai2": Sample(
        {"train_self_original.txt": PARLAI},
        3,
        {
            "persona": ["i like tea."],
            "partner": ["i ski."],
            "history": ["hello"],
            "reply": "hi there",
            "candidates": ["no", "hi there"],
        },
        filtered={"a line about a speaker, part of the rows that follow": 3},
    ),
    "tacred": Sample(
        {"train.json": json.dumps([TACRED])},
        1,
        {"text": "[E2] Bo [/E2] runs [E1] Acme Inc [/E1] .", "relation": "org:top", "subject": "Acme Inc"},
    ),
    "semeval2010_8": Sample(
        {"TRAIN_FILE.TXT": SEMEVAL},
        2,
        {
            "text": "The [E1] engine [/E1] caused the [E2] noise [/E2].",
            "relation": "Cause-Effect(e1,e2)",
            "comment": "plain",
        },
        unlabelled={"TEST_FILE.txt": '8001\t"A <e1>b</e1> <e2>c</e2>."\n8002\t"D <e1>e</e1> <e2>f</e2>."\n'},
    ),
    "vader": Sample(
        {"tweets_GroundTruth.txt": f"1\t2.5\t{QUOTED}\r\n2\t-0.1\tmeh\r\n"},
        2,
        {"text": QUOTED, "rating": 2.5},
        split="tweets",
    ),
    "toxicity": Sample(
        {"labeled_data.csv": ',count,hate_speech,offensive_language,neither,class,tweet\n0,3,0,0,3,2,"a, b"\n'},
        1,
        {"class": "2", "tweet": "a, b"},
    ),
}
