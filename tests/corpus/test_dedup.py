"""One copy of each text; which one, and in which order, cannot depend on the order of the input."""

import hashlib
import random
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from near_small import WORDS, articles, planted

from modeledge.corpus import verify, workers
from modeledge.corpus.dedup import Dedup, deduplicated, digest, exact_duplicates
from modeledge.corpus.filter import size
from modeledge.corpus.minhash import PRESETS
from modeledge.corpus.pipeline import reading
from modeledge.corpus.shingles import Shingling, jaccard, shingle
from modeledge.corpus.spool import in_order, order_key
from modeledge.corpus.workers import Processes, in_this_process
from modeledge.errors import ModeledgeError
from modeledge.records import Document, Ledger

TEXTS = st.lists(st.sampled_from(["a b", "a  b", " a\nb ", "e\u0301", "\u00e9", "c", "ab", ""]), max_size=12)


def named(texts):
    return [Document(text, f"file.txt:{i}", f"file.txt:{i}") for i, text in enumerate(texts, 1)]


def slow_oracle(documents):
    """The same rule by comparing every pair: a document stays when no earlier one has the same plain text."""
    import unicodedata

    def plain(text):
        return unicodedata.normalize("NFC", text).split()

    return [d for i, d in enumerate(documents) if not any(plain(e.text) == plain(d.text) for e in documents[:i])]


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.randoms(use_true_random=False))
def test_any_input_order_keeps_the_same_copies_in_the_same_order(texts, chance):
    documents = named(texts)
    shuffled = list(documents)
    chance.shuffle(shuffled)
    ledger = Ledger()
    assert list(exact_duplicates(shuffled, ledger=ledger)) == slow_oracle(documents)
    lost = len(documents) - len(slow_oracle(documents))
    assert (ledger.filtered["duplicate"].records if lost else 0) == lost


@settings(max_examples=30, deadline=None)
@given(TEXTS)
def test_bytes_lost_are_those_of_the_copies_that_left(texts):
    documents, ledger = named(texts), Ledger()
    kept = list(exact_duplicates(reversed(documents), ledger=ledger))
    lost = sum(len(d.text.encode()) for d in documents) - sum(len(d.text.encode()) for d in kept)
    assert sum(count.bytes for count in ledger.filtered.values()) == lost


def test_numbers_in_ids_count_as_numbers():
    ids = ["a:10", "a:9", "a:2:1", "a:2", "b:1", "a", "a:002", "a:99999999999999999999999", ""]
    ordered = ["", "a", "a:002", "a:2", "a:2:1", "a:9", "a:10", "a:99999999999999999999999", "b:1"]
    assert sorted(random.Random(1).sample(ids, len(ids)), key=order_key) == ordered


def test_documents_come_back_whole():
    documents = [Document("x\n\u2028\ud800é", "b", "w:1", {"day": object()}), Document("", "a", "w:2")]
    assert list(exact_duplicates(documents, ledger=Ledger())) == documents[::-1]
    assert list(in_order(documents)) == documents[::-1]


def test_in_order_keeps_duplicates():
    assert [d.id for d in in_order(reversed(named(["a", "a"])))] == ["file.txt:1", "file.txt:2"]


@pytest.mark.parametrize("other", ["same", "different"])
def test_a_shared_id_names_both_places(other):
    documents = [Document("same", "7", "b.jsonl:3"), Document("between", "8", "b.jsonl:4"), Document(other, "7", "a:1")]
    for stage in (lambda d: exact_duplicates(d, ledger=Ledger()), in_order):
        with pytest.raises(ModeledgeError, match=r"a:1 and b\.jsonl:3: the id '7'") as caught:
            list(stage(documents))
        assert caught.value.code == "E-DUP-ID"


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="ab \n\t\r\x0b\x0c\x1c\x1f\x85é", max_size=12))
def test_a_digest_is_that_of_the_words(text):
    plain = " ".join(text.split()).encode()
    assert digest(text) == hashlib.blake2b(plain, digest_size=16).digest()


# --- near duplicates

STRICT = Dedup(near=PRESETS["strict"])


def run(documents, config, **how):
    """The texts that stay, what was dropped, and the ledger."""
    ledger, dropped = Ledger(), []
    kept = list(deduplicated(reading(documents, ledger=ledger), config, ledger=ledger, dropped=dropped.append, **how))
    ledger.kept.add(len(kept), bytes=sum(map(size, kept)))
    assert ledger.balanced()
    assert sum(count.records for count in ledger.filtered.values()) == len(dropped)
    return kept, dropped, ledger


def told(dropped):
    return [(d.document.id, d.reason, d.stays) for d in dropped]


def slow_pairs(documents, threshold, config):
    """Every pair at or above a similarity, by comparing all."""
    found = shingle([d.text for d in documents], config)
    sets = [set(found.of(i).tolist()) for i in range(len(documents))]
    ids = [d.id for d in documents]
    return {
        frozenset((ids[i], ids[j]))
        for i in range(len(ids))
        for j in range(i)
        if len(sets[i] & sets[j]) >= threshold * len(sets[i] | sets[j]) > 0
    }


def test_planted_copies_leave_and_say_who_stands_for_them():
    documents, copies = planted(60)
    documents.append(Document(documents[0].text.replace(" ", "  "), "c:1", "c:1"))  # an exact copy of a:0
    kept, dropped, ledger = run(documents, STRICT)
    wanted = {copy: ("near duplicate", first) for copy, first in copies.items()} | {"c:1": ("duplicate", "a:0")}
    assert {id: (reason, stays) for id, reason, stays in told(dropped)} == wanted
    assert [d.id for d in kept] == [f"a:{i}" for i in range(60)]
    assert {k: c.records for k, c in ledger.filtered.items()} == {"near duplicate": 20, "duplicate": 1}


@pytest.mark.parametrize("engine", [in_this_process, pytest.param(Processes(2), id="two-processes")])
@pytest.mark.parametrize("memory", [1, 20_000, 1 << 28])
def test_order_workers_and_memory_change_nothing(engine, memory, monkeypatch):
    if engine is not in_this_process and memory != 20_000:
        pytest.skip("processes are slow to start; once is enough")
    monkeypatch.setattr(workers, "BATCH", 9_000)
    monkeypatch.setattr(verify, "BATCH", 2_000 if memory < 1 << 28 else 9_000)  # a group in one piece, or in several
    documents, _ = planted(40, seed=1)
    wanted = run(documents, STRICT)
    shuffled = random.Random(memory).sample(documents, len(documents))
    kept, dropped, ledger = run(shuffled, replace(STRICT, memory=memory), ordered=engine)
    assert kept == wanted[0]
    assert told(dropped) == told(wanted[1])
    assert ledger == wanted[2]


def test_which_copy_stays():
    texts = {"a:2": "one two three four five six seven eight nine ten", "a:10": "x"}
    texts["b"] = texts["a:2"] + " eleven twelve"
    near = replace(PRESETS["strict"], threshold=0.5)
    documents = [Document(t, i, i, {"score": s}) for (i, t), s in zip(texts.items(), (0.5, 2, 0.5), strict=True)]
    for keep, stays in (("first", "a:2"), ("longest", "b"), ("score", "a:2")):
        kept, dropped, _ = run(documents, Dedup(near=near, keep=keep))
        assert [d.stays for d in dropped] == [stays]
        assert {d.id for d in kept} == {"a:10", stays}
    best = [replace(d, fields={"score": 7}) if d.id == "b" else d for d in documents]
    assert told(run(best, Dedup(near=near, keep="score"))[1]) == [("a:2", "near duplicate", "b")]
    with pytest.raises(ModeledgeError, match=r"E-MISSING-FIELD.*'merit'"):
        run(documents, Dedup(near=near, keep="score", score="merit"))


def test_texts_without_a_shingle_are_no_neighbours():
    documents = named(["...", "!?", "—", "", "  "])
    kept, dropped, _ = run(documents, Dedup(near=PRESETS["fineweb"]))  # candidates are joined unseen
    assert [d.id for d in kept] == [d.id for d in documents[:4]]  # "" and "  " are one text
    assert [d.reason for d in dropped] == ["duplicate"]


def test_verification_joins_what_reaches_the_threshold_and_nothing_else():
    """Pairs at every similarity: the clusters of "strict" are those of all pairs compared, at J ≥ 0.8."""
    documents = []
    for edits in range(0, 24):
        some, _ = planted(9, seed=100 + edits, words=400, edits=edits)
        documents += [replace(d, id=f"{edits}/{d.id}", where="") for d in some]
    pairs = slow_pairs(documents, 0.8, Shingling())
    joined = {frozenset((d.document.id, d.stays)) for d in run(documents, STRICT)[1]}
    assert joined == pairs  # each planted pair is a cluster by itself
    assert 20 < len(pairs) < 60
    loose = run(documents, Dedup(near=replace(PRESETS["strict"], threshold=None)))[1]
    assert len(loose) > len(pairs)


def test_a_chain_is_one_cluster_by_its_smallest_id():
    words = WORDS[:200]
    documents = [Document(" ".join(words[i : i + 150]), f"d:{20 - i}", "") for i in range(0, 20, 4)]
    ends = shingle([documents[0].text, documents[-1].text], Shingling())
    assert jaccard(ends.set(0), ends.set(1)) < 0.85
    near = replace(PRESETS["strict"], threshold=0.9)
    kept, dropped, _ = run(documents, Dedup(near=near))
    assert ([d.id for d in kept], {d.stays for d in dropped}) == (["d:4"], {"d:4"})


@pytest.mark.shared_data
def test_all_known_pairs_of_the_articles_are_found():
    documents, pairs = articles()
    # unverified, the other pairs (J < 0.18) meet in a band by chance: Σ 1 − (1 − J⁴)³² = 0.45 of them on the average
    for config, chance in ((STRICT, 0), (Dedup(near=replace(PRESETS["strict"], threshold=None)), 4)):
        dropped = run(documents, config)[1]
        stays = {d.document.id: d.stays for d in dropped}
        assert all(stays.get(a, a) == stays.get(b, b) for a, b in pairs)
        assert len(pairs) <= len(stays) <= len(pairs) + chance  # verified: precision and recall are 1


MEMORY = """
import random
from modeledge.corpus.dedup import Dedup, deduplicated
from modeledge.corpus.minhash import make_near
from modeledge.machine import peak_memory
from modeledge.records import Document, Ledger
chance = random.Random(0)
words = " ".join(str(chance.getrandbits(20)) for _ in range(100_000))
def documents(count):
    for i in range(count):
        at = random.Random(i).randrange(len(words) - 20_000)
        yield Document(f"{i} " + words[at : at + 20_000], f"a:{i}")
cap = 10 << 20
config = Dedup(near=make_near("strict", bands=4), memory=cap)
list(deduplicated(documents(9), config, ledger=Ledger()))  # what the modules take
before = peak_memory(reset=True)  # what rusage tells begins with the memory of the process that forked this one
ledger, size = Ledger(), 0
for document in deduplicated(documents(5300), config, ledger=ledger):
    size += len(document.text)
assert size + sum(count.bytes for count in ledger.filtered.values()) > 10 * cap
print((peak_memory() - before) / cap)
"""


def test_memory_stays_under_the_cap_on_a_corpus_ten_times_as_large():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1, done.stdout
