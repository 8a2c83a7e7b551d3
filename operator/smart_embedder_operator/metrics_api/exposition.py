"""The few numbers we want from a pod's Prometheus page, found without parsing the rest of it.

A page has some hundred lines, and a thousand pods are read every five seconds: so each wanted
series is searched for by its bytes. Pure text in, numbers out.
"""

import re

QUEUE_DEPTH = "smart_embedder_queue_depth"
METRICS = (
    QUEUE_DEPTH,
    "smart_embedder_interactive_queue_depth",
    "smart_embedder_queue_waiting",
    "smart_embedder_queue_tokens",
    "smart_embedder_estimated_drain_seconds",
)
"""The label-free gauges that the metrics API answers with: those an autoscaler can be given."""

MODEL_INFO = "smart_embedder_model_info"
"""Says by its labels which models a pod holds: role, revision, fingerprint."""

Values = dict[str, float]
Labels = dict[str, str]

_LABEL = re.compile(rb'(\w+)="((?:[^"\\]|\\.)*)"')
_INFO = re.compile(rb"^" + MODEL_INFO.encode() + rb"\{(.*)\} 1(?:\.0)?\s*$", re.MULTILINE)


def read_gauges(page: bytes) -> Values:
    """The wanted gauges on a metrics page; one that is missing or not a number is left out."""
    text = b"\n" + page
    found = {name: _value(text, f"\n{name} ".encode()) for name in METRICS}
    return {name: value for name, value in found.items() if value is not None}


def read_models(page: bytes) -> tuple[Labels, ...]:
    """The labels of every model the pod says it holds."""
    return tuple(
        {_text(key): _text(value) for key, value in _LABEL.findall(line)}
        for line in _INFO.findall(page)
    )


def _text(label: bytes) -> str:
    """Whatever a pod sends is text: one page must not end the reading of all."""
    return label.decode(errors="replace")


def _value(text: bytes, start: bytes) -> float | None:
    at = text.find(start)
    if at < 0:
        return None
    end = text.find(b"\n", at + len(start))
    number = text[at + len(start) : end if end >= 0 else None].split(b" ")[0]
    try:
        value = float(number)
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None
