"""A model hub in the case's namespace: nothing is on it, and one owner's models are gated."""

from e2e.diagnosis.row import Scene
from e2e.workloads import PORT, PROGRAM, pod

NAME = "hub"
ENDPOINT = f"http://{NAME}:{PORT}"

# The hub's own way to say it: a status and a header that its client turns into an error's name.
_HUB = f"""
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Hub(BaseHTTPRequestHandler):
    def do_GET(self):
        gated = "/gated/" in self.path
        self.send_response(403 if gated else 404)
        self.send_header("X-Error-Code", "GatedRepo" if gated else "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

ThreadingHTTPServer(("", {PORT}), Hub).serve_forever()
"""


def open_hub(scene: Scene) -> None:
    """Run it behind a Service; done twice it is one."""
    scene.kubectl.apply(
        pod(NAME, scene.operator_image, ["python3", "-c", _HUB]),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME},
            "spec": {"selector": {PROGRAM: NAME}, "ports": [{"port": PORT}]},
        },
    )
    scene.kubectl("wait", f"pod/{NAME}", "--for=condition=Ready", "--timeout=90s")
