"""What decides asks nobody: no cluster, no clock, no loop, no file is within its reach."""

import grimp

OPERATOR = "smart_embedder_operator"
EFFECTS = {"aiohttp", "asyncio", "httpx", "kopf", "lightkube", "pathlib", "random", "time"}


def test_decisions_reach_no_effect() -> None:
    graph = grimp.build_graph(OPERATOR, include_external_packages=True, cache_dir=None)
    pure = {f"{OPERATOR}.decision", f"{OPERATOR}.conditions.status", f"{OPERATOR}.schema"}
    reached = pure.union(*(graph.find_upstream_modules(module) for module in pure))
    assert "msgspec" in reached, "the graph sees other packages"
    assert {module for module in reached if module in EFFECTS or ".kube" in module} == set()
