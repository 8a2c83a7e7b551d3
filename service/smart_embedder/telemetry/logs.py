"""Logs: structlog for everybody, one line of JSON each, or readable ones on a terminal.

Our own lines are written straight to the stream; those of the libraries come through the standard
library and look the same. The lines of requests, of which there may be thousands a second, come
complete and are written together. What is never logged is decided where lines are written: no
text, no token, no body.
"""

import logging
import sys
import threading
from collections.abc import Callable, Mapping
from typing import BinaryIO

import orjson
import structlog
from structlog.typing import Processor

from smart_embedder.settings import Settings

_QUIET = ("httpx", "httpcore", "urllib3", "huggingface_hub", "transformers", "filelock")
"""Libraries that tell their own story at INFO; theirs is heard from WARNING on."""

_OF_STRUCTLOG = ("message", "level")

_FACTS: list[Processor] = [
    structlog.processors.add_log_level,
    structlog.processors.MaybeTimeStamper(fmt="iso", utc=True),
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

log = structlog.get_logger(__name__)


class Page:
    """The stream that lines are written to, in their order."""

    def __init__(self, stream: BinaryIO, level: int, *, as_json: bool) -> None:
        self._stream = stream
        self._shows_requests = level <= logging.INFO
        self._as_json = as_json
        self._gathered: list[bytes] = []
        self._lock = threading.Lock()
        """Some lines come from the thread of a device."""

    def write(self, line: bytes) -> None:
        """Write a line, after those that have been gathered."""
        with self._lock:
            self._gathered += line, b"\n"
            self._write_gathered()

    def request(self, line: Mapping[str, object]) -> None:
        """Keep the line of a request, which is complete, for the next flush.

        Each write gives the interpreter away to another thread and waits to have it back; and JSON
        alone costs a third of JSON by way of structlog.
        """
        if not self._shows_requests:
            return
        if self._as_json:
            with self._lock:
                self._gathered += orjson.dumps(line), b"\n"
        else:
            log.info(line["message"], **{k: v for k, v in line.items() if k not in _OF_STRUCTLOG})

    def flush(self) -> None:
        """Write what has been gathered."""
        with self._lock:
            self._write_gathered()

    def _write_gathered(self) -> None:
        self._stream.write(b"".join(self._gathered))
        self._stream.flush()
        self._gathered.clear()


class _Lines:
    """What structlog takes for a logger: lines of every level go one way."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = write


def set_up_logs(settings: Settings, stream: BinaryIO | None = None) -> Page:
    """Configure structlog and the standard library, once, for the process.

    Returns:
        The page, for the lines of requests and for a flush at the end.
    """
    level = logging.getLevelNamesMapping()[settings.log_level]
    if not settings.enable_logging:
        level = logging.CRITICAL + 1
    file = stream or sys.stderr.buffer
    as_json = settings.json_output or not file.isatty()
    rendering = _AS_JSON if as_json else _FOR_PEOPLE
    page = Page(file, level, as_json=as_json)
    lines = _Lines(page.write)
    structlog.configure(
        processors=[*_FACTS, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: lines,
    )
    root = logging.getLogger()
    root.handlers = [_Foreign(lines, rendering)]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    return page


class _Foreign(logging.Handler):
    """Writes what the libraries log the way our own lines are written."""

    def __init__(self, lines: _Lines, rendering: list[Processor]) -> None:
        super().__init__()
        self._logger = structlog.wrap_logger(
            lines,
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
