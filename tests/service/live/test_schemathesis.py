"""Two thousand requests made up from the OpenAPI document: the service keeps to it."""

from typing import Protocol

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

EXAMPLES = 90
"""For each operation that has a body: 25 of them and the pages make 2,000."""
CHECKS = [
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
    content_type_conformance,
]


class Live(Protocol):
    """What the fixture gives."""

    url: str
    headers: dict[str, str]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_request_gets_a_5xx_and_every_answer_matches_its_schema(live: Live) -> None:
    schema = schemathesis.openapi.from_url(f"{live.url}/openapi.json")
    sent = 0

    def probe(case: schemathesis.Case) -> None:
        nonlocal sent
        sent += 1
        # A deadline of a millionth of a second is refused with 504, and rightly so.
        case.headers.pop("X-Request-Timeout", None)
        case.call_and_validate(checks=CHECKS, headers=live.headers, session=session)

    with requests.Session() as session:
        for operation in schema.get_all_operations():
            settings(
                max_examples=EXAMPLES,
                deadline=None,
                database=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            )(given(case=operation.ok().as_strategy())(probe))()
    assert sent >= 2000
