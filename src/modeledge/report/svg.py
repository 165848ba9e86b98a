"""Pictures as text: matplotlib figures as small inline SVG that follow the page's light or dark colours.

Plots are drawn with a few stand-in colours; `render_figure` replaces each by a CSS variable of the page (with the
light colour as its fallback, so that the SVG stands alone too), keeps words as text in the page's own font, drops
what a reader cannot see (metadata, ids that nothing names, the sixth decimal) and makes the remaining ids unique to
the picture, for many pictures share one page.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure

from modeledge.report.markup import clean

# stand-in colour in matplotlib → (CSS variable, colour on a light page)
INK, MUTED, GRID, PAPER = "#010101", "#020202", "#030303", "#fdfdfd"
SERIES = tuple(f"#0404{n:02x}" for n in range(1, 8))
# Okabe and Ito 2008 ("Color universal design"), darkened where white paper asks for contrast; never the only sign
LIGHT = ("#0067a5", "#cc5500", "#008060", "#b0528c", "#a87400", "#2e8fc9", "#55585f")
VARIABLES = {
    INK: ("--ink", "#1b1d21"),
    MUTED: ("--muted", "#5d636e"),
    GRID: ("--line", "#e3e2dc"),
    PAPER: ("--paper", "#ffffff"),
    **{stand_in: (f"--series-{n}", LIGHT[n - 1]) for n, stand_in in enumerate(SERIES, 1)},
}
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "modeledge",
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.linewidth": 1,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "xtick.major.pad": 6,
    "ytick.major.pad": 6,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
}
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
TAGS = re.compile(r"svg|title|desc|defs|clipPath|g|path|rect|circle|line|polyline|polygon|use|text|tspan")
ATTRIBUTES = re.compile(
    r"xmlns|viewBox|width|height|role|aria-label|id|class|d|x|y|x1|y1|x2|y2|cx|cy|r|rx|ry|points|transform|style|href"
    r"|clip-path|fill|stroke|stroke-width|text-anchor|font-size|dx|dy|preserveAspectRatio"
)
UNSAFE_VALUE = re.compile(r"url\(\s*(?!#)|@import|expression\(|javascript:|data:|\\", re.IGNORECASE)


@contextmanager
def drawing() -> Iterator[None]:
    """The house style, whatever matplotlib settings the user keeps; silent about glyphs that only browsers have."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")
        warnings.filterwarnings("ignore", message=".*does not support.*natively.*")
        yield


def render_figure(figure: Figure, title: str) -> str:
    """A figure as an `<svg>` element, the same bytes each time. Call it inside `drawing()`.

    `title` is what a screen reader says.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    root = ElementTree.fromstring(text[text.index("<svg") :])
    prefix = "f" + hashlib.sha256(text.encode()).hexdigest()[:8] + "-"
    shape = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib.update({"xmlns": SVG, "viewBox": shape, "role": "img", "aria-label": clean(title)})
    drop_styles(root)
    used = set(re.findall(r"#([\w.-]+)", " ".join(v for e in root.iter() for k, v in e.attrib.items() if links(k, v))))
    for element in root.iter():
        tidy(element, prefix, used)
    return check_svg(ElementTree.tostring(root, encoding="unicode"))


def links(key: str, value: str) -> bool:
    """Does this attribute name an id?"""
    return key.endswith("href") or "url(#" in value


def drop_styles(root: ElementTree.Element) -> None:
    """Remove matplotlib's global style sheet and metadata: they would reach beyond the picture."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("style", "metadata"):
                parent.remove(child)


def tidy(element: ElementTree.Element, prefix: str, used: set[str]) -> None:
    """One element: no namespace, page colours, page font, short numbers, unique ids."""
    element.tag = element.tag.rpartition("}")[2]
    element.tail = "\n" if (element.tail or "").strip() == "" else element.tail
    if element.tag != "text" and not (element.text or "").strip():
        element.text = None
    attributes = dict(element.attrib)
    element.attrib.clear()
    for key, value in attributes.items():
        name = key.rpartition("}")[2]
        if name == "id" and value not in used:
            continue
        element.set(name, tidy_value(name, value, prefix))


def tidy_value(name: str, value: str, prefix: str) -> str:
    """One attribute's value."""
    if name == "id":
        return prefix + value
    if name == "href":
        return "#" + prefix + value.removeprefix("#")
    if name == "aria-label":
        return value
    if name == "style":
        value = re.sub(r"font-family: [^;]*;? ?", "", value)
        for stand_in, (variable, light) in VARIABLES.items():
            value = value.replace(stand_in, f"var({variable}, {light})")
    value = value.replace("url(#", f"url(#{prefix}")
    if name in ("d", "x", "y", "width", "height", "transform", "points"):
        value = re.sub(r"-?\d+\.\d+", lambda n: f"{float(n[0]):.2f}".rstrip("0").rstrip("."), value)
        value = " ".join(value.replace("rotate(-0 ", "rotate(0 ").split())
    return value


def check_svg(svg: str) -> str:
    """The same SVG, after it proved to be plain shapes and text that load and run nothing; else `ValueError`.

    An allow-list of elements and attributes, links within the picture only, and no declarations (entities).
    """
    if not svg.startswith("<svg") or "<!" in svg or "<?" in svg:
        raise ValueError("a figure must be one <svg> element without declarations, comments or instructions")
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise ValueError(f"a figure must be well-formed SVG: {error}") from error
    for element in root.iter():
        if not TAGS.fullmatch(element.tag.removeprefix(f"{{{SVG}}}")):
            raise ValueError(f"a figure may not hold the element {element.tag!r}")
        for key, value in element.attrib.items():
            name = "href" if key == f"{{{XLINK}}}href" else key
            outside = name == "href" and not value.startswith("#")
            if not ATTRIBUTES.fullmatch(name) or outside or (name != "aria-label" and UNSAFE_VALUE.search(value)):
                raise ValueError(f"a figure may not hold the attribute {key}={value[:40]!r}")
    return svg
