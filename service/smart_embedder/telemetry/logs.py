"""Logs: structlog for everybody, one line of JSON each, or readable ones on a terminal.

Our own lines are written straight to the stream, because there is one for each request; those of
the libraries come through the standard library and look the same. What is never logged is decided
where lines are written: no text, no token, no body.
"""

import logging
import sys
from typing import BinaryIO

import orjson
import structlog
from structlog.typing import Processor

from smart_embedder.settings import Settings

_QUIET = ("httpx", "httpcore", "urllib3", "huggingface_hub", "transformers", "filelock")
"""Libraries that tell their own story at INFO; theirs is heard from WARNING on."""

_FACTS: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
_AS_JSON: list[Processor] = [
    structlog.processors.format_exc_info,
    structlog.processors.EventRenamer("message"),
    structlog.processors.JSONRenderer(orjson.dumps),
]
_FOR_PEOPLE: list[Processor] = [
    structlog.dev.ConsoleRenderer(),
    lambda _, __, line: str(line).encode(),
]


def set_up_logs(settings: Settings, stream: BinaryIO | None = None) -> None:
    """Configure structlog and the standard library, once, for the process."""
    level = logging.getLevelNamesMapping()[settings.log_level]
    if not settings.enable_logging:
        level = logging.CRITICAL + 1
    page = stream or sys.stderr.buffer
    rendering = _AS_JSON if settings.json_output or not page.isatty() else _FOR_PEOPLE
    structlog.configure(
        processors=[*_FACTS, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(page),
    )
    root = logging.getLogger()
    root.handlers = [_Foreign(page, rendering)]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


class _Foreign(logging.Handler):
    """Writes what the libraries log the way our own lines are written."""

    def __init__(self, page: BinaryIO, rendering: list[Processor]) -> None:
        super().__init__()
        self._logger = structlog.wrap_logger(
            structlog.BytesLogger(page),
            processors=[*_FACTS, *rendering],
            wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            self._logger.log(
                record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info
            )
        except Exception:  # noqa: BLE001 - the contract of a handler: never into the caller
            self.handleError(record)
