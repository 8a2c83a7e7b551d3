"""THE table of what is served: every dialect's endpoints. A new dialect is one line here."""

from smart_embedder.api import native, openai
from smart_embedder.api.dialect import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    *native.ENDPOINTS,
    *openai.ENDPOINTS,
)
