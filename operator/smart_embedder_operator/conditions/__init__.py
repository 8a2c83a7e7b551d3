"""What an Embedder's status says: `evaluate` is the one way in.

`reasons` is the closed list of causes with what to do; one file per field looks for them
(`asked`, `scheduling`, `volumes`, `containers`, `exposure`); `diagnosis` gathers, `progress` says
how far things are, `status` writes it all down. Everything is computed from live state each time.
"""

from smart_embedder_operator.conditions.reasons import ADVICE, Reason
from smart_embedder_operator.conditions.status import evaluate

__all__ = ["ADVICE", "Reason", "evaluate"]
