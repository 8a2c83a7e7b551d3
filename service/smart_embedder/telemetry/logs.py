"""Logs: structlog for everybody, one line of JSON each, or readable ones on a terminal.

The loggers of the libraries go the same way. What is never logged is decided where lines are
written: no text, no token, no body.
"""

import logging
import sys

import structlog
from structlog.typing import Processor

from smart_embedder.settings import Settings

_QUIET = ("httpx", "httpcore", "urllib3", "huggingface_hub", "transformers", "filelock")
"""Libraries that tell their own story at INFO; theirs is heard from WARNING on."""


def set_up_logs(settings: Settings) -> None:
    """Configure structlog and the standard library, once, for the process."""
    level = logging.getLevelNamesMapping()[settings.log_level]
    if not settings.enable_logging:
        level = logging.CRITICAL + 1
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    as_json = settings.json_output or not sys.stderr.isatty()
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(as_json=as_json),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _rendering(*, as_json: bool) -> list[Processor]:
    if as_json:
        return [
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(),
        ]
    return [structlog.dev.ConsoleRenderer()]
