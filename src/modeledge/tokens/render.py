"""One rendering of a chat template: compiled once, metered each time, its errors in our words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from types import TracebackType
from typing import Any

from jinja2 import Template
from jinja2.exceptions import TemplateSyntaxError

from modeledge.errors import ModeledgeError, printable
from modeledge.tokens.meter import METER, Limits, Meter, Refused
from modeledge.tokens.said import Said, joined
from modeledge.tokens.sandbox import Sandbox


def rendered(source: str, values: Mapping[str, Any], now: datetime, limits: Limits | None) -> Said:
    """What the template makes of the values (`E-TEMPLATE`, `E-CHAT`). The limit of size grows with the values."""
    allowed = limits or Limits()
    meter = Meter(Limits(allowed.seconds, allowed.size + 4 * _length(values), allowed.steps))
    token, template = METER.set(meter), None
    try:
        template = _compiled(source, now)
        pieces = []
        for piece in template.root_render_func(template.new_context(dict(values))):
            meter.step(0)
            pieces.append(piece)
        meter.room(sum(map(len, pieces)))
        return joined(pieces)
    except Refused as error:
        what = f"the template refuses the conversation: {printable(str(error))}"
        raise ModeledgeError("E-CHAT", what, remedy="change the turns as it says") from error
    except TemplateSyntaxError as error:
        raise ModeledgeError(
            "E-TEMPLATE", printable(str(error.message)), where=f"template, line {error.lineno}"
        ) from error
    except (RecursionError, MemoryError) as error:
        raise ModeledgeError("E-TEMPLATE", "it calls itself without end", where=_line(template, None)) from error
    except Exception as error:  # whatever a stranger's program makes of our values
        what = printable(str(error) or type(error).__name__)
        raise ModeledgeError("E-TEMPLATE", what, where=_line(template, error.__traceback__)) from error
    finally:
        METER.reset(token)


@lru_cache(maxsize=32)
def _compiled(source: str, now: datetime) -> Template:
    return Sandbox(now).from_string(source)


def _length(value: object) -> int:
    """How many characters and parts the values have."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(_length(k) + _length(v) for k, v in value.items()) + 1
    return sum(map(_length, value)) + 1 if isinstance(value, list) else 1


def _line(template: Template | None, trace: TracebackType | None) -> str:
    """Which line of the template was at work."""
    found = "template"
    while template is not None and trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            found = f"template, line {template.get_corresponding_lineno(trace.tb_lineno)}"
        trace = trace.tb_next
    return found
