"""A stand-in for the service: answers its probes and its metrics, and starts in a blink.

Where a fault is Kubernetes' business it does not matter what the container computes, and a table
of rows would otherwise load torch two times each.
"""

from e2e.cluster.kubectl import Manifest
from e2e.diagnosis.row import OPERATOR_IMAGE
from e2e.questions import RESTRICTED

_SERVER = """
import os, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.partition("?")[0]
        known = path in {"/health/startup", "/health/ready", "/health/live", "/metrics"}
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(b"smart_embedder_queue_depth 0\\n")

time.sleep(float(os.environ.get("STARTS_AFTER", "0")))
for port in (int(os.environ["PORT"]), int(os.environ["METRICS_PORT"])):
    server = ThreadingHTTPServer(("", port), Page)
    threading.Thread(target=server.serve_forever).start()
"""

CONTAINER: Manifest = {"name": "embedder", "command": ["python3", "-c", _SERVER]}
STAND_IN: Manifest = {
    "image": {"reference": OPERATOR_IMAGE},
    "podTemplate": {"spec": {"containers": [CONTAINER], "terminationGracePeriodSeconds": 1}},
}
"""What makes an Embedder run it."""

WAITING: Manifest = {
    "name": "waiting",
    "image": OPERATOR_IMAGE,
    "command": ["python3", "-c", "import time; time.sleep(3600)"],
    "securityContext": RESTRICTED,
}
"""A container before it that never ends."""
