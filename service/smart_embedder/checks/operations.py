"""What a person who runs the server looks at: probes, counters, documentation, concurrency."""

from concurrent.futures import ThreadPoolExecutor

from smart_embedder.checks.server import Check, Server, expect
from smart_embedder.client import Connection


def health_is_ok(server: Server) -> str:
    body = server.get("/health").json()
    expect(body.get("model"), f"no model in {sorted(body)}")
    return f"{body['model']}, version {body.get('version')}"


def liveness_readiness_and_startup_answer(server: Server) -> str:
    for probe in ("live", "ready", "startup"):
        server.get(f"/health/{probe}")
    return "200, 200, 200"


def stats_count_requests(server: Server) -> str:
    before = server.get("/stats").json()["total_requests"]
    server.embed()
    after = server.get("/stats").json()["total_requests"]
    expect(after > before, f"total_requests stayed {before} over a request")
    return f"total_requests {before} to {after}"


def metrics_show_the_queue_depth(server: Server) -> str:
    text = server.get("/metrics").body.decode()
    for name in ("smart_embedder_queue_depth", "embedding_requests_total", "embedding_queue_size"):
        expect(f"\n{name}" in text, f"{name} is missing")
    return f"{text.count('# TYPE')} metrics"


def openapi_lists_the_endpoints(server: Server) -> str:
    paths = server.get("/openapi.json").json()["paths"]
    for path in ("/rerank", "/v1/embeddings", "/health"):
        expect(path in paths, f"{path} is missing among {len(paths)} paths")
    return f"{len(paths)} paths"


def documentation_needs_no_other_host(server: Server) -> str:
    for page in ("/docs", "/redoc"):
        text = server.get(page).body.decode()
        expect("https://" not in text, f"{page} loads something from elsewhere")
    return "/docs and /redoc"


def concurrent_requests_are_all_answered(server: Server) -> str:
    def once(number: int) -> int:
        with Connection(server.target) as connection:
            return connection.post("/embeddings/", {"sentences": [f"Text {number}"]}).status

    with ThreadPoolExecutor(8) as lanes:
        statuses = list(lanes.map(once, range(16)))
    expect(set(statuses) == {200}, f"statuses {sorted(set(statuses))}")
    return "16 of 16"


CHECKS: tuple[Check, ...] = (
    health_is_ok,
    liveness_readiness_and_startup_answer,
    stats_count_requests,
    metrics_show_the_queue_depth,
    openapi_lists_the_endpoints,
    documentation_needs_no_other_host,
    concurrent_requests_are_all_answered,
)
