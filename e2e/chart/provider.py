"""Somebody else's provider of custom metrics: a pod that answers the aggregation layer."""

from e2e.cluster.kubectl import Kubectl
from e2e.workloads import PROGRAM, python

PORT = 6443
VERSION = "v1beta2"
API_SERVICE = f"{VERSION}.custom.metrics.k8s.io"
# A certificate of nobody's, and one document whatever the question: enough to be Available.
_ANSWERS = """
import datetime, http.server, json, ssl, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "adapter")])
now = datetime.datetime.now(datetime.timezone.utc)
certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name)
    .public_key(key.public_key()).serial_number(1).not_valid_before(now)
    .not_valid_after(now + datetime.timedelta(days=1)).sign(key, hashes.SHA256()))
with open("/dev/shm/both.pem", "wb") as both:
    both.write(certificate.public_bytes(serialization.Encoding.PEM))
    both.write(key.private_bytes(serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = sys.argv[2].encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

server = http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Answer)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/dev/shm/both.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
_DOCUMENT = (
    '{"kind": "APIResourceList", "apiVersion": "v1", "resources": [{"name": "pods/requests",'
    f' "namespaced": true, "kind": "MetricValueList", "verbs": ["get"]}}],'
    f' "groupVersion": "custom.metrics.k8s.io/{VERSION}"}}'
)


def start(kubectl: Kubectl, image: str) -> None:
    """Let it hold the group; returns when the API server finds it well."""
    kubectl.apply(
        python("adapter", image, _ANSWERS, str(PORT), _DOCUMENT),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "adapter"},
            "spec": {
                "selector": {PROGRAM: "adapter"},
                "ports": [{"port": 443, "targetPort": PORT}],
            },
        },
    )
    kubectl("wait", "pod/adapter", "--for=condition=Ready", "--timeout=90s")
    kubectl.apply(
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": API_SERVICE},
            "spec": {
                "group": "custom.metrics.k8s.io",
                "version": VERSION,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "insecureSkipTLSVerify": True,
                "service": {"namespace": kubectl.namespace, "name": "adapter"},
            },
        }
    )
    kubectl("wait", f"apiservice/{API_SERVICE}", "--for=condition=Available", "--timeout=60s")


def stop(kubectl: Kubectl) -> None:
    """Give the group back."""
    kubectl("delete", "apiservice", API_SERVICE, "--ignore-not-found")
