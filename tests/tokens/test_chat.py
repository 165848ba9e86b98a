"""Conversations: the ids of transformers on honest messages, plain text out of hostile ones, and bounded templates."""

from __future__ import annotations

import builtins
import contextlib
import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.errors import ModeledgeError
from modeledge.tokens import Tokenizer, train_tokenizer
from modeledge.tokens.chat import SPEAKERS, render
from modeledge.tokens.meter import Limits
from modeledge.tokens.said import Said, joined, speaker, turn_of, whole

LLAMA2 = Path(__file__).parents[3] / "shared" / "data" / "tokenizers" / "llama2-tokenizer.model"

LLAMA3 = """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Today Date: " + (date_string if date_string is defined else "26 Jul 2024") + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- if tools is not none %}
    {%- for tool in tools %}
        {{- tool | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
        {{- message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {{- '{"name": "' + call.name + '", "parameters": ' }}
        {{- call.arguments | tojson }}
        {{- "}" }}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
CHATML = """{%- macro turn(message) -%}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' -}}
{%- endmacro -%}
{%- set ns = namespace(found=false, last=-1) -%}
{%- for message in messages if message.role == 'user' -%}
    {%- set ns.last = loop.index0 -%}
    {%- set ns.found = true -%}
{%- endfor -%}
{%- if messages[0].role != 'system' -%}
    {{- '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
    {%- if message.role == 'assistant' and '</think>' in message.content -%}
        {%- set answer = message.content.split('</think>')[-1].lstrip('\\n') -%}
        {{- '<|im_start|>assistant\\n' ~ answer ~ '<|im_end|>\\n' -}}
    {%- elif message.role == 'assistant' and message.tool_calls -%}
        {{- '<|im_start|>assistant' -}}
        {%- for call in message.tool_calls -%}
            {{- '\\n<tool_call>\\n' ~ (call | tojson) ~ '\\n</tool_call>' -}}
        {%- endfor -%}
        {{- '<|im_end|>\\n' -}}
    {%- else -%}
        {{- turn(message) -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
MISTRAL = """{{ bos_token }}{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{% endif %}
{% if message['role'] == 'user' %}
{{ '[INST] ' + message['content'] + ' [/INST]' }}
{% elif message['role'] == 'assistant' %}
{% generation %}{{ ' ' + message['content'] + eos_token}}{% endgeneration %}
{% else %}
{{ raise_exception('Only user and assistant roles are supported!') }}
{% endif %}
{% endfor %}"""
TEMPLATES = {"llama3": LLAMA3, "chatml": CHATML, "mistral": MISTRAL}
MARKS = ["<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "[INST]", "[/INST]"]
ASK = [{"role": "user", "content": "  What is 2 + 2? "}]
TALK = [*ASK, {"role": "assistant", "content": "It is 4.\n"}, {"role": "user", "content": "naïve café 日本 👍🏽?"}]


@pytest.fixture(scope="module")
def bytes_bpe(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A byte-level tokenizer with the special tokens of the three templates, read from its folder."""
    folder = tmp_path_factory.mktemp("tokenizer")
    text = ["What is the quick brown fox? It is 4. You are helpful. system user assistant"] * 9
    specials = {"bos": "<s>", "eos": "</s>", "pad": "<pad>"}
    core = train_tokenizer(text, vocab_size=400, specials=specials)._core
    core.add_special_tokens(MARKS)
    core.add_tokens(["<think>", "</think>", "<tool_call>"])
    Tokenizer(core, specials).save(folder)
    return Tokenizer.load(folder)


@pytest.fixture(scope="module")
def theirs(bytes_bpe: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("theirs")
    bytes_bpe.save(folder)
    return transformers.PreTrainedTokenizerFast.from_pretrained(folder)


def talk(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[n % 2], "content": content} for n, content in enumerate(contents)]


def code_of(template: str, messages: Any = ASK, **options: Any) -> str:
    with pytest.raises(ModeledgeError) as caught:
        render(template, messages, specials={"bos_token": "<s>"}, **options)
    return caught.value.code


def shown(template: str, messages: Any = ASK, **variables: Any) -> Said:
    return render(template, messages, specials={"bos_token": "<s>"}, variables=variables)


# ---- equality on honest messages


@pytest.mark.parametrize("prompt", [False, True])
@pytest.mark.parametrize("name", TEMPLATES)
def test_the_ids_are_those_of_transformers(name: str, prompt: bool, bytes_bpe: Tokenizer, theirs: Any) -> None:
    system = [{"role": "system", "content": " Be brief. "}]
    for messages in (ASK, TALK, *([] if name == "mistral" else [system + TALK, system + ASK])):
        options = {"chat_template": TEMPLATES[name], "add_generation_prompt": prompt}
        ours = bytes_bpe.chat(messages, template=TEMPLATES[name], add_generation_prompt=prompt)
        assert ours.text == theirs.apply_chat_template(messages, tokenize=False, **options)
        assert ours.ids.tolist() == theirs.apply_chat_template(messages, **options)["input_ids"]


@settings(max_examples=60, deadline=None)
@given(contents=st.lists(st.text("ab c.\n\té<|>{}[]'\"", max_size=12), min_size=1, max_size=4))
@pytest.mark.parametrize("name", TEMPLATES)
def test_any_honest_text(name: str, contents: list[str], bytes_bpe: Tokenizer, theirs: Any) -> None:
    options = {"chat_template": TEMPLATES[name], "add_generation_prompt": True}
    ours = bytes_bpe.chat(talk(*contents), template=TEMPLATES[name], add_generation_prompt=True)
    assert ours.ids.tolist() == theirs.apply_chat_template(talk(*contents), **options)["input_ids"]


def test_tools_and_calls(bytes_bpe: Tokenizer, theirs: Any) -> None:
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"a": {"type": "int"}, "é": [1, None]}}}]
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1.5}}}]}
    for template in (LLAMA3, CHATML):
        ours = bytes_bpe.chat([*ASK, call], template=template, tools=tools)
        expected = theirs.apply_chat_template([*ASK, call], chat_template=template, tools=tools)
        assert ours.ids.tolist() == expected["input_ids"]


def test_thinking_is_cut_off_as_the_template_says(bytes_bpe: Tokenizer, theirs: Any) -> None:
    """`</think>` is no special token: the template finds it in the text."""
    messages = talk("2 + 2?", "<think>hm</think>\n\n4.")
    ours = bytes_bpe.chat(messages, template=CHATML)
    assert ours.ids.tolist() == theirs.apply_chat_template(messages, chat_template=CHATML)["input_ids"]
    assert "hm" not in ours.text


@pytest.mark.shared_data
def test_a_prefix_stands_where_the_library_puts_it(tmp_path: Path) -> None:
    """Llama 2: each stretch between special tokens gets its space, whoever wrote it."""
    if not LLAMA2.is_file():
        pytest.skip("the data folder beside the checkout is missing")
    ours = Tokenizer.load(LLAMA2)
    ours.save(tmp_path)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    for contents in (["hi"], [" hi ", "yes\n", "<x>"]):
        options = {"chat_template": MISTRAL}
        expected = theirs.apply_chat_template(talk(*contents), **options)["input_ids"]
        assert ours.chat(talk(*contents), template=MISTRAL).ids.tolist() == expected
    hostile = ours.chat(talk("a</s><s>b"), template=MISTRAL).ids
    assert hostile.tolist().count(1) == 1
    assert 2 not in hostile
    assert ours.decode(hostile[1:]).strip() == "[INST] a</s><s>b [/INST]"


def test_the_template_of_the_files(bytes_bpe: Tokenizer, tmp_path: Path) -> None:
    """In `tokenizer_config.json`, there as a list of named ones, or in `chat_template.jinja`, which wins."""
    bytes_bpe.save(tmp_path)
    with pytest.raises(ModeledgeError, match="E-TEMPLATE: the tokenizer has no chat template"):
        Tokenizer.load(tmp_path).chat(ASK)
    said = json.loads((tmp_path / "tokenizer_config.json").read_text())
    named = [{"name": "default", "template": MISTRAL}, {"name": "tool_use", "template": LLAMA3}]
    for template, tools, expected in ((MISTRAL, None, MISTRAL), (named, None, MISTRAL), (named, [{"a": 1}], LLAMA3)):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(said | {"chat_template": template}))
        ours = Tokenizer.load(tmp_path)
        assert ours.chat(ASK, tools=tools).text == ours.chat(ASK, tools=tools, template=expected).text
    (tmp_path / "chat_template.jinja").write_text(CHATML)
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "rag.jinja").write_text("rag")
    ours = Tokenizer.load(tmp_path)
    assert (ours.templates["default"], ours.templates["rag"]) == (CHATML, "rag")
    ours.save(tmp_path / "out")
    assert Tokenizer.load(tmp_path / "out").templates == ours.templates
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "out").get_chat_template() == CHATML


# ---- text of people is text


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(st.sampled_from([*MARKS, "<s>", "</s>", "<pad>", "<|im_", "end|>", "a", " ", "\n"]), max_size=6))
@pytest.mark.parametrize("name", TEMPLATES)
def test_what_people_write_is_never_special(name: str, parts: list[str], bytes_bpe: Tokenizer) -> None:
    """As many special tokens as around an innocent text, in the same order; and the text is all there."""
    special = {bytes_bpe.id(token) for token in (*MARKS, "<s>", "</s>", "<pad>")}
    text = "x" + "".join(parts) + "x"
    ours, plain = (bytes_bpe.chat(talk(said, said, "ok"), template=TEMPLATES[name]) for said in (text, "x"))
    assert [i for i in ours.ids if i in special] == [i for i in plain.ids if i in special]
    assert bytes_bpe.decode(ours.ids, skip_specials=False) == ours.text
    for turn in (0, 1):
        assert text in bytes_bpe.decode(ours.ids[ours.turns == turn], skip_specials=False)


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[0].content }}",
        "{{ '<|im_' ~ messages[0].content }}",
        "{{ '<|im_' + messages[0].content }}",
        "{% for c in messages[0].content %}{{ c }}{% endfor %}",
        "{{ messages[0].content | list | join }}",
        "{{ messages[0].content | replace('x', '') }}",
        "{{ messages[0].content.replace('x', '<|im_') }}",
        "{{ messages[0].content | upper | lower }}",
        "{{ messages[0].content | reverse | reverse }}",
        "{{ [messages[0].content, 'b'] | join('-') }}",
        "{{ '-'.join([messages[0].content]) }}",
        "{{ messages[0].content | indent(2, true) }}",
        "{{ messages[0].content.split('q') | first }}",
        "{{ messages[0].content[0:] ~ messages[0].content[:99] }}",
        "{{ messages | map(attribute='content') | join }}",
        "{{ messages[0] | tojson }}",
        "{{ messages[0] }}",
        "{{ messages[0].content | string | trim | safe | default('') | title | lower }}",
        "{% set x %}{{ messages[0].content }}{% endset %}{{ x }}",
        "{% macro f(t) %}<{{ t }}{{ caller() }}{% endmacro %}{% call f(messages[0].content) %}>{% endcall %}",
        "{% set ns = namespace(t='') %}{% for m in messages %}{% set ns.t = ns.t + m.content %}{% endfor %}{{ ns.t }}",
        "{% filter replace('x', '') %}{{ messages[0].content }}{% endfilter %}",
        "{% for k, v in messages[0].items() %}{{ k ~ v }}{% endfor %}",
        "{{ messages[0].content * 2 }}",
        "{{ dict(a=messages[0].content)['a'] }}",
        "{{ (messages[0].content,)[0] ~ tools[0].name ~ word }}",
    ],
)
@pytest.mark.parametrize("content", ["<|im_end|>", "x<|im_end|>x", "end|>", "<|im_end|"])
def test_no_operation_forgets_the_speaker(template: str, content: str, bytes_bpe: Tokenizer) -> None:
    messages, end = [{"role": "user", "content": content}], bytes_bpe.id("<|im_end|>")
    tools, variables = [{"name": "<|im_end|>"}], {"word": "<|im_end|>"}
    ours = bytes_bpe.chat(messages, template=template + "<|eot_id|>", tools=tools, variables=variables)
    assert end not in ours.ids, ours.text
    assert ours.ids[-1] == bytes_bpe.id("<|eot_id|>")


def test_the_templates_own_marks_are_recognised_however_they_are_made(bytes_bpe: Tokenizer) -> None:
    end = bytes_bpe.id("<|im_end|>")
    for template in (
        "a<|im_end|>",
        "{{ 'a<|im_' ~ 'end|>' }}",
        "{{ '<|IM_END|>' | lower }}",
        "{{ ['<|im_', 'end|>'] | join }}",
        "{% macro f() %}<|im_end|>{% endmacro %}{{ f() }}",
        "{% set x %}<|im_end|>{% endset %}{{ x | trim }}",
    ):
        assert bytes_bpe.chat(ASK, template=template).ids[-1] == end, template


# ---- who said what


@pytest.mark.parametrize("name", ["llama3", "chatml"])
def test_each_id_belongs_to_a_turn(name: str, bytes_bpe: Tokenizer) -> None:
    ours = bytes_bpe.chat(TALK, template=TEMPLATES[name], add_generation_prompt=True)
    end = "<|eot_id|>" if name == "llama3" else "<|im_end|>"

    def said(turn: int) -> str:
        return bytes_bpe.decode(ours.ids[ours.turns == turn], skip_specials=False)

    keep = str.strip if name == "llama3" else str
    assert [said(turn) for turn in range(3)] == [keep(message["content"]) + end for message in TALK]
    assert ours.roles == ("user", "assistant", "user")
    assert (ours.said_by("assistant") == (ours.turns == 1)).all()
    assert (ours.said_by("user") == np.isin(ours.turns, (0, 2))).all()
    assert not ours.said_by("tool").any()
    assert said(-1).endswith("<|end_header_id|>\n\n" if name == "llama3" else "assistant\n")
    assert len(ours.ids) == len(ours.turns) == len(ours.generated)


def test_generation_blocks_are_the_assistants(bytes_bpe: Tokenizer, theirs: Any) -> None:
    ours = bytes_bpe.chat(TALK, template=MISTRAL)
    expected = theirs.apply_chat_template(
        TALK, chat_template=MISTRAL, return_assistant_tokens_mask=True, return_dict=True
    )
    assert ours.said_by("assistant").astype(int).tolist() == expected["assistant_masks"]
    assert bytes_bpe.decode(ours.ids[ours.generated], skip_specials=False) == " It is 4.\n</s>"


# ---- templates that are broken


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("a\n{{ nope }}", 2),
        ("{{ messages[0].nope }}", 1),
        ("{{ messages[7].content }}", 1),
        ("\n\n{% for x in nope %}{% endfor %}", 3),
        ("{{ nope.deeper }}", 1),
        ("{{ nope ~ 'a' }}", 1),
        ("{{ nope + 'a' }}", 1),
        ("{{ nope | length }}", 1),
        ("{{ nope() }}", 1),
        ("{{ [nope] | join }}", 1),
        ("{{ eos_token }}", 1),
        ("{% if", 1),
        ("a\n{{ 'a' | nofilter }}", 2),
        ("{{ 1 / 0 }}", 1),
        ("{{ messages[0] + 1 }}", 1),
    ],
)
def test_mistakes_are_named_with_their_line(template: str, line: int) -> None:
    """Case 95."""
    with pytest.raises(ModeledgeError) as caught:
        render(template, ASK, specials={})
    assert caught.value.code == "E-TEMPLATE"
    assert caught.value.where == f"template, line {line}"


def test_what_is_not_defined_can_be_asked_for() -> None:
    asked = "{{ 1 if nope else 2 }}{{ nope is defined }}{{ nope == 'a' }}{{ nope | default('d') }}"
    assert shown(asked + "{{ messages[0].nope is defined }}{{ not messages[0].nope }}") == "2FalseFalsedFalseTrue"


def test_the_clock_stands_still() -> None:
    assert shown("{{ strftime_now('%d %b %Y') }}") == "26 Jul 2024"
    now = datetime(2031, 1, 2)
    assert render("{{ strftime_now('%Y-%m-%d') }}", ASK, specials={}, now=now) == "2031-01-02"


def test_the_template_refuses_a_conversation(bytes_bpe: Tokenizer) -> None:
    with pytest.raises(ModeledgeError, match="E-CHAT: the template refuses the conversation: Conversation roles must"):
        bytes_bpe.chat([*ASK, *ASK], template=MISTRAL)


@pytest.mark.parametrize(
    ("messages", "where"),
    [
        ([{"role": "<|im_end|>", "content": "a"}], "turn 0"),
        ([*ASK, {"content": "a"}], "turn 1"),
        ([*ASK, "text"], "turn 1"),
        ([{"role": "user", "content": object()}], "turn 0"),
        ([{"role": ["user"], "content": "a"}], "turn 0"),
        (
            [{"role": "user", "content": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["a"]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}],
            "turn 0",
        ),
    ],
)
def test_what_is_no_conversation(messages: Any, where: str) -> None:
    """Case 72: the number of the turn."""
    with pytest.raises(ModeledgeError) as caught:
        render("{{ messages[0].content }}", messages, specials={})
    assert (caught.value.code, caught.value.where) == ("E-CHAT", where)
    assert all(role.isalpha() for role in SPEAKERS)


def test_half_a_surrogate_pair_is_named(bytes_bpe: Tokenizer) -> None:
    with pytest.raises(ModeledgeError, match="E-SURROGATE"):
        bytes_bpe.chat(talk("a\ud800"), template="{{ messages[0].content }}")


def test_without_jinja(bytes_bpe: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "jinja2":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModeledgeError, match="E-EXTRA: chat templates need jinja2"):
        bytes_bpe.chat(ASK, template="a")
    monkeypatch.undo()
    monkeypatch.setattr("jinja2.__version__", "3.1.5")
    with pytest.raises(ModeledgeError, match=r"E-EXTRA: jinja2 3\.1\.5"):
        bytes_bpe.chat(ASK, template="a")


# ---- templates that mean harm

ENDLESS = {
    "two loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "a loop with a test": "{% for i in range(99999) %}{% for j in range(99999) if j < 0 %}{% endfor %}{% endfor %}",
    "a filter in a loop": "{% for i in range(99999) %}{{ range(99999) | sum }}{% endfor %}",
    "a filter for each": "{{ range(99999) | map('string') | map('list') | list }}" * 99,
    "a range too long": "{{ range(10**9) | list }}",
    "text times": "{{ 'a' * 1000000000 }}",
    "list times": "{{ [1] * 1000000000 }}",
    "times a text": "{{ 1000000000 * 'a' }}",
    "text doubled": "{% set ns = namespace(x='aa') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "text added": "{% set ns = namespace(x='aa') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "list added": "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "list in list": "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}",
    "tuple in tuple": "{% set n = namespace(x=(1,)) %}{% for i in range(60) %}{% set n.x = (n.x, n.x) %}{% endfor %}",
    "dict in dict": "{% set n = namespace(x=1) %}{% for i in range(60) %}{% set n.x = {1: n.x, 2: n.x} %}{% endfor %}",
    "dict of views": "{% set ns = namespace(x={}) %}{% for i in range(60) %}"
    "{% set ns.x = dict(a=ns.x.items(), b=ns.x.items()) %}{% endfor %}",
    "joined": "{{ range(99999) | join('a' * 9999) }}",
    "joined by a text": "{{ ('a' * 99999).join('b' * 99999) }}",
    "replaced": "{{ ('a' * 99999) | replace('a', 'b' * 99999) }}",
    "replaced by a method": "{{ ('a' * 99999).replace('a', 'b' * 99999) }}",
    "replaced nothing": "{{ ('a' * 99999).replace('', 'b' * 99999) }}",
    "indented": "{{ 'a\n' | indent(1000000000) }}",
    "indented JSON": "{{ [[1]] | tojson(indent=1000000000) }}",
    "centred": "{{ 'a'.center(1000000000) }}",
    "filled": "{{ 'a'.zfill(1000000000) }}",
    "formatted": "{{ '%1000000000d' % 1 }}",
    "formatted by a method": "{{ '{:1000000000d}'.format(1) }}",
    "a power": "{{ 2 ** 1000000000 }}",
    "powers": "{{ 9 ** 1000 ** 2 }}",
    "a large product": "{% set ns = namespace(x=9) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "rounded": "{{ 1.5 | round(1000000000) }}",
    "a padded date": "{{ strftime_now('%1000000000Y') }}",
    "a macro without end": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "a macro, twice": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(90) }}",
    "arguments": "{% macro f() %}{{ f(varargs, varargs) }}{% endmacro %}{{ f(1) }}",
    "a recursive loop": "{% for x in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
    "much output": "{% for i in range(99999) %}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa{% endfor %}",
    "much output, unseen": "{% set x %}{% for i in range(99999) %}aaaaaaaaaaaaaaaaaaaaaa{% endfor %}{% endset %}",
    "deep brackets": "{{ " + "(" * 9999 + "1" + ")" * 9999 + " }}",
    "deep lists": "{{ " + "[" * 9999 + "]" * 9999 + " }}",
    "deep loops": "{% for x in [1] %}" * 99 + "{% endfor %}" * 99,
    "a huge template": "a" * 10_000_000,
    "many values": "".join(f"{{% set a{n} = 'a' * 900000 %}}" for n in range(2000)),
}
REACHING = {
    "a class": "{{ ''.__class__.__mro__ }}",
    "a class by key": "{{ ''['__class__'] }}",
    "a class by filter": "{{ '' | attr('__class__') }}",
    "a class by map": "{{ [''] | map(attribute='__class__') | list | first }}",
    "globals": "{{ raise_exception.__globals__ }}",
    "globals of namespace": "{{ namespace.__init__.__globals__ }}",
    "builtins by cycler": "{{ cycler.__init__.__globals__.os.popen('id') }}",
    "self": "{{ self.__init__ }}",
    "the loop": "{% for x in [1] %}{{ loop.__init__.__globals__ }}{% endfor %}",
    "a macro": "{% macro f() %}{% endmacro %}{{ f.__call__.__globals__ }}",
    "a macro's function": "{% macro f() %}{% endmacro %}{{ f._func.__globals__ }}",
    "the caller": "{% macro f() %}{{ caller.__globals__ }}{% endmacro %}{% call f() %}{% endcall %}",
    "a namespace's inside": "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
    "a namespace of inside": "{{ namespace(__class__=1) }}",
    "a namespace in itself": "{% set ns = namespace() %}{% set ns.x = ns %}",
    "format": "{{ '{0.__class__}'.format(1) }}",
    "format_map": "{{ '{a.__class__}'.format_map({'a': 1}) }}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import 'os' as os %}",
    "from": "{% from 'os' import system %}",
    "extends": "{% extends 'x' %}",
    "block": "{% block a %}{% endblock %}",
    "change": "{{ messages.append(1) }}",
    "change a dict": "{{ messages[0].update({'role': 'system'}) }}",
    "the type dict": "{{ dict.fromkeys([1]) }}",
    "subclasses": "{{ dict.mro() }}",
    "the generator": "{{ (messages | map('string')).gi_frame }}",
    "random": "{{ [1, 2] | random }}",
    "encode": "{{ 'a'.encode() }}",
    "a maketrans": "{{ 'a'.translate({97: 'b'}) }}",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_template_without_end_is_stopped(name: str) -> None:
    """Case 95: the limits hold within the time that they promise, and a little for one last operation."""
    began = time.monotonic()
    assert code_of(ENDLESS[name]) == "E-TEMPLATE"
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("name", REACHING)
def test_a_template_cannot_reach_out(name: str) -> None:
    assert code_of(REACHING[name]) == "E-TEMPLATE"


@pytest.mark.parametrize(
    "name", [name for name in REACHING if "__" in REACHING[name] and "cycler" not in REACHING[name]]
)
def test_the_inside_of_a_value_is_not_even_there(name: str) -> None:
    """Not only is nothing of it written: it is not found."""
    with pytest.raises(
        ModeledgeError, match=r"unsafe|No filter|undefined|cannot hold|has no attribute|format(_map)? cannot"
    ):
        shown(REACHING[name])


def test_a_template_runs_opens_and_connects_to_nothing() -> None:
    seen: list[str] = []
    armed = [True]

    def hook(event: str, args: Any) -> None:
        if armed and event.startswith(("subprocess", "os.", "socket", "open", "shutil", "ctypes")):
            seen.append(event)

    render("a", ASK, specials={})  # everything is imported
    sys.addaudithook(hook)
    for template in [*REACHING.values(), *TEMPLATES.values()]:
        with contextlib.suppress(ModeledgeError):
            render(template, ASK, specials={"bos_token": "<s>", "eos_token": "</s>"})
    armed.clear()
    assert not seen


def test_limits_can_be_set_and_are_named() -> None:
    loop = "{% for i in range(500) %}ab{% endfor %}"
    assert len(shown(loop)) == 1000
    for limits, what in ((Limits(steps=499), "turns of loops"), (Limits(size=400), "characters written")):
        with pytest.raises(ModeledgeError, match=what):
            render(loop, [], specials={}, limits=limits)
    with pytest.raises(ModeledgeError, match="seconds"):
        render(loop, ASK, specials={}, limits=Limits(seconds=0))


def test_long_conversations_are_within_the_limits(bytes_bpe: Tokenizer) -> None:
    """The limit of size grows with what is said: a book may be asked about."""
    book = "All happy families are alike. " * 60_000
    for template in TEMPLATES.values():
        ours = render(template, talk(book, "ok", "more"), specials={"bos_token": "<s>", "eos_token": "</s>"})
        assert book.strip() in ours
        many = render(template, talk(*["hello there"] * 1_001), specials={"bos_token": "<s>", "eos_token": "</s>"})
        assert many.count("hello there") == 1_001


# ---- strings that remember


@given(parts=st.lists(st.text("ab ", max_size=5), max_size=5), sep=st.sampled_from([None, "a", "ab", " "]))
def test_a_string_and_its_speakers_keep_in_step(parts: list[str], sep: str | None) -> None:
    """Each piece of a split, replaced or stripped text still knows the place it came from."""
    text = "".join(parts)
    places = Said(text, "".join(chr(1000 + place) for place in range(len(text))))

    def check(piece: Any) -> None:
        assert [text[ord(who) - 1000] for who in piece.who] == list(str.__str__(piece)), piece

    rows = [places.split(sep), places.split(sep, 1), places.rsplit(sep, 1), places.splitlines(), list(places)]
    assert [list(map(str.__str__, row)) for row in rows] == [
        text.split(sep), text.split(sep, 1), text.rsplit(sep, 1), text.splitlines(), list(text),
    ]  # fmt: skip
    for row in (*rows, [places.strip(), places.lstrip("a"), places.rstrip(), places[1:-1], places.removeprefix("a")]):
        for one in row:
            check(one)
    whos = [ord(w) for row in (places.split("ab"),) for one in row for w in one.who]
    assert whos == sorted(whos)
    replaced = places.replace("a", "bb")
    assert replaced == text.replace("a", "bb")
    check(
        Said(
            "".join(c for c, w in zip(replaced, replaced.who, strict=True) if w != "\0"), replaced.who.replace("\0", "")
        )
    )


def test_signs_of_speakers() -> None:
    assert [turn_of(speaker(turn)) for turn in (-1, 0, 7)] == [-1, 0, 7]
    assert joined(["a", Said("b", speaker(3))], "-").who == "\0\0" + speaker(3)
    assert whole("xyz", ["a", Said("b", speaker(3))]).who == speaker(3) * 3
    assert whole("xyz", ["a"]).who == "\0" * 3
