"""The page: nothing from data becomes markup, equal pages are equal bytes, every block shows what it was given."""

import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.report import (
    Code,
    Details,
    Figure,
    Headline,
    KeyValues,
    LedgerTable,
    Page,
    Paragraph,
    Result,
    Samples,
    Section,
    Table,
    Verdict,
    budget_plot,
    comparison_plot,
    render_page,
    write_report,
)
from modeledge.report.markup import clean, escape, number, size
from modeledge.report.page import POLICY
from modeledge.report.svg import check_svg

ATTACKS = [
    "<script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "</svg><script>alert(1)</script>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<img src=x onerror=alert(1)>",
    "<img src='http://evil.example/x.png'>",
    '"><img src=x onerror=alert(1)>',
    "'><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' onmouseover='alert(1)",
    "` onmouseover=alert(1) `",
    "<a href=javascript:alert(1)>x</a>",
    "<a href='java\nscript:alert(1)'>x</a>",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "<iframe src=//evil.example></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<object data=//evil.example></object>",
    "<embed src=//evil.example>",
    "<base href=//evil.example/>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<style>@import '//evil.example/x.css'</style>",
    "<style>*{background:url(//evil.example)}</style>",
    "<form action=//evil.example><input type=submit>",
    "<button formaction=javascript:alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<audio src=x onerror=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<body onload=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<marquee onstart=alert(1)>",
    "<math><mtext></mtext><script>alert(1)</script></math>",
    "<!--<img src=--><img src=x onerror=alert(1)//>",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?xml-stylesheet href='//evil.example'?>",
    "<!DOCTYPE html [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>&x;",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "<scr\x00ipt>alert(1)</scr\x00ipt>",
    "<script\x0c>alert(1)</script>",
    "\ud800<script>alert(1)</script>",
    "\u202e<script>alert(1)</script>",
    "＜script＞alert(1)＜/script＞",
    "<template><script>alert(1)</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<xmp><p title='</xmp><img src=x onerror=alert(1)>'>",
    "$\\href{javascript:alert(1)}{x}$",
    "$\\frac{",
    "\\x3cscript\\x3ealert(1)",
    "{{constructor.constructor('alert(1)')()}}",
    "x; background: url(//evil.example)",
    "url(#x) url(//evil.example)",
    "]]><script>alert(1)</script>",
]
TAGS = re.compile(
    r"html|head|meta|title|style|body|header|p|h1|h2|nav|ol|li|a|main|section|div|span|b|figure|figcaption|"
    r"table|thead|tbody|tr|th|td|pre|code|blockquote|dl|dt|dd|ul|details|summary|svg|g|path|defs|clippath|rect|"
    r"use|text"
)
ATTRIBUTES = re.compile(
    r"lang|charset|http-equiv|content|name|class|id|href|role|aria-label|aria-hidden|dir|scope|tabindex|style|"
    r"xmlns|viewbox|d|x|y|width|height|transform|clip-path"
)


class Inspector(HTMLParser):
    """Collects what a browser would see: elements, attributes, text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.wrong: list[str] = []
        self.text: list[str] = []
        self.ids: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if not TAGS.fullmatch(tag):
            self.wrong.append(f"<{tag}>")
        for key, value in attrs:
            self.attribute(tag, key, value or "")

    def attribute(self, tag, key, value):
        if key == "id":
            self.ids.append(value)
        outside = re.search(r"//|javascript:|data:|url\((?!#)", value, re.IGNORECASE)
        allowed = key in ("aria-label", "xmlns") or (tag == "meta" and value == POLICY)
        if not ATTRIBUTES.fullmatch(key) or key.startswith("on") or (outside and not allowed):
            self.wrong.append(f"{tag} {key}={value}")
        if key == "href" and not re.fullmatch(r"#[\w-]+", value):
            self.wrong.append(f"{tag} {key}={value}")
        if key == "xmlns" and value != "http://www.w3.org/2000/svg":
            self.wrong.append(f"{tag} {key}={value}")

    def handle_comment(self, data):
        self.wrong.append(f"comment {data}")

    def handle_pi(self, data):
        self.wrong.append(f"instruction {data}")

    def unknown_decl(self, data):
        self.wrong.append(f"declaration {data}")

    def handle_data(self, data):
        self.text.append(data)


def count(records=1, octets=10, tokens=0):
    return {"records": records, "bytes": octets, "tokens": tokens}


def page_of(text: str, svg: str = "") -> Page:
    """A page with `text` in every place that a word can come to."""
    ledger = {
        "read": count(3, 30),
        "kept": count(),
        "filtered": {text: count()},
        "quarantined": {text: count()},
        "notes": [text],
    }
    blocks = [
        Paragraph(text),
        *(Verdict(text, tone) for tone in ("good", "bad", "mixed", "neutral")),
        Table((text, "b"), [[text, 1.5], [None, text]], caption=text, highlight={0, (1, 1)}),
        *([Figure(svg, text)] if svg else []),
        Code(text, text),
        Samples([(text, text)], text),
        Samples([(text, text)], text, apart=True),
        KeyValues({text: text, "nested": {text: [text, 1]}}),
        LedgerTable(ledger),
    ]
    sections = [Section(text, blocks), Section(text, [Details(text, blocks)])]
    return Page(text, text, sections, [Headline(text, text, text)])


PLAIN = Inspector(render_page(page_of("word")))


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_attack_becomes_markup(attack):
    seen = Inspector(render_page(page_of(attack)))
    assert seen.wrong == []
    assert seen.tags == PLAIN.tags
    shown = "".join(seen.text)
    assert shown.count(clean(attack)) >= 25  # it is all there, as text


@settings(deadline=None, max_examples=60)
@given(st.text(alphabet=st.characters(), min_size=1, max_size=30).filter(lambda t: clean(t).strip()))
def test_no_text_becomes_markup(text):
    seen = Inspector(render_page(page_of("x" + text.replace("\n\n", "\n"))))
    assert seen.wrong == []
    assert seen.tags == PLAIN.tags


@pytest.mark.parametrize("attack", ATTACKS[::4] + ATTACKS[40:54])
def test_no_attack_in_a_plot_becomes_markup(attack):
    rows = [Result(attack, 10, 0.5, 0.4, 0.6), Result("b", 100, 0.6, 0.5, 0.7)]
    for svg in (comparison_plot(rows, score=attack, chance=0.2), budget_plot(rows, score=attack)):
        assert Inspector(render_page(page_of("word", svg))).wrong == []


@pytest.mark.parametrize(
    "svg",
    [
        "<p>x</p>",
        "<svg><script>alert(1)</script></svg>",
        '<svg onload="alert(1)"></svg>',
        '<svg><a href="javascript:alert(1)"><text>x</text></a></svg>',
        '<svg><image href="http://evil.example/x.png"/></svg>',
        '<svg><use href="http://evil.example/x.svg#a"/></svg>',
        '<svg xmlns:xlink="http://www.w3.org/1999/xlink"><use xlink:href="//evil.example#a"/></svg>',
        '<svg><path style="fill: url(//evil.example)"/></svg>',
        '<svg><path style="fill: u\\72l(//evil.example)"/></svg>',
        '<svg><path clip-path="url( http://evil.example#a)"/></svg>',
        "<svg><style>*{color:red}</style></svg>",
        "<svg><foreignObject><p>x</p></foreignObject></svg>",
        "<svg><!-- x --></svg>",
        "<svg><![CDATA[<script>]]></svg>",
        '<!DOCTYPE svg [<!ENTITY a "b">]><svg>&a;</svg>',
        "<svg><text>",
        '<svg xmlns:h="http://www.w3.org/1999/xhtml"><h:script>alert(1)</h:script></svg>',
        '<svg xmlns="http://www.w3.org/1999/xhtml"><text>x</text></svg>',
        "<svg/><script>alert(1)</script>",
    ],
)
def test_a_figure_that_could_run_or_load_is_refused(svg):
    with pytest.raises(ValueError, match="a figure"):
        render_page(page_of("word", svg))


def test_the_page_forbids_itself_everything():
    html = render_page(page_of("word"))
    assert "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\"" in html
    assert html.index("Content-Security-Policy") < html.index("<style>")
    style = html[html.index("<style>") : html.index("</style>")]
    assert not re.search(r"url\(|@import|//", style)
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style


def test_equal_pages_are_equal_bytes_in_another_process(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; import hashlib;"
        "import test_report_page as t; print(hashlib.sha256(t.full_page().encode()).hexdigest())"
    )
    here = __file__.rpartition("/")[0]
    digests = {
        subprocess.run(
            [sys.executable, "-c", code, here], capture_output=True, text=True, check=True, env=env
        ).stdout.strip()
        for env in ({"PYTHONHASHSEED": "1", "MPLCONFIGDIR": str(tmp_path)}, {"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo"})
    }
    assert len(digests) == 1
    assert len(digests.pop()) == 64


def full_page() -> str:
    rows = [Result(s, n, 0.5 + n / 1e4, 0.4, 0.7) for s in ("b", "a", "ü") for n in (300, 1000)]
    return render_page(page_of("word", comparison_plot(rows, chance=0.3)))


def test_ids_are_unique_and_every_link_arrives():
    rows = [Result("a", 1, 0.5, 0.4, 0.6), Result("b", 10, 0.6, 0.5, 0.7)]
    blocks = [Figure(comparison_plot(rows)), Figure(budget_plot(rows)), Figure(comparison_plot(rows[:1]))]
    html = render_page(Page("t", "s", [Section("a", blocks), Section("b", blocks[:0])]))
    ids = Inspector(html).ids
    assert len(ids) == len(set(ids))
    targets = set(re.findall(r'href="#([^"]+)"', html)) | set(re.findall(r"url\(#([^)]+)\)", html))
    assert targets <= set(ids)
    assert {"s1", "s2"} <= targets


def test_write_report_replaces_whole_files(tmp_path):
    path = write_report(tmp_path / "run", page_of("wren"))
    assert path == tmp_path / "run" / "report.html"
    assert path.read_text(encoding="utf-8") == render_page(page_of("wren"))
    write_report(tmp_path / "run", page_of("owl"))
    assert "wren" not in path.read_text(encoding="utf-8")
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_a_ledger_that_does_not_balance_says_so():
    good = {"read": count(2, 20), "kept": count(), "filtered": {"short": count()}}
    assert "it balances" in render_page(Page("t", "s", [Section("a", [LedgerTable(good)])]))
    for bad in ({**good, "read": count(3, 20)}, {**good, "read": count(2, 21)}):
        html = render_page(Page("t", "s", [Section("a", [LedgerTable(bad)])]))
        assert "does not balance" in html
        assert "it balances" not in html


def test_tables_align_numbers_right_and_mark_what_is_best():
    table = Table(("name", "value"), [["a", 1.5], ["b", 31102]], highlight={(1, 1), 0})
    html = render_page(Page("t", "s", [Section("a", [table])]))
    assert '<tr class="marked"><td class="left">a</td><td class="right">1.5</td></tr>' in html
    assert '<td class="right best">31,102</td>' in html
    with pytest.raises(AssertionError):
        render_page(Page("t", "s", [Section("a", [Table(("one",), [["a", "b"]])])]))


@given(st.text(alphabet=st.characters()))
def test_escaped_text_has_no_sign_of_markup_and_can_be_encoded(text):
    assert not re.search("[<>\"']", escape(text))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", escape(text))
    escape(text).encode("utf-8")


@given(st.floats(-1e300, 1e300) | st.integers(-(10**20), 10**20))
def test_numbers_keep_three_digits(value):
    shown = float(number(value).replace("−", "-").replace(",", ""))
    assert shown == pytest.approx(value, rel=6e-3)


@pytest.mark.parametrize(
    ("octets", "shown"),
    [(0, "0 B"), (999, "999 B"), (999_960, "1.0 MB"), (8_123_456, "8.1 MB"), (5 * 10**15, "5,000.0 TB")],
)
def test_sizes(octets, shown):
    assert size(octets) == shown


@pytest.mark.parametrize(
    "code", [0x00, 0x1B, 0x7F, 0x9B, 0x2028, 0x202A, 0x202E, 0x2066, 0x2069, 0xD800, 0xDFFF, 0xFFFE]
)
def test_what_nobody_can_see_is_written_out(code):
    assert clean(f"a{chr(code)}b") == f"a\\u{code:04x}b"
    assert clean("a\r\nb\rc\td\u200d") == "a\nb\nc\td\u200d"


def test_check_svg_returns_what_it_checked():
    svg = '<svg viewBox="0 0 1 1"><defs><path id="a" d="M 0 0"/></defs><use href="#a" clip-path="url(#a)"/></svg>'
    assert check_svg(svg) is svg


def test_report_imports_no_torch():
    code = "import sys, modeledge.report; print('torch' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["False", "False"]
