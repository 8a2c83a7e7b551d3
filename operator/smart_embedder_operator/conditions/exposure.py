"""Faults of what stands around the pods: autoscaler, monitoring, route, and mixed answers."""

from collections.abc import Iterator

from smart_embedder_operator.conditions.finding import Case, Finding
from smart_embedder_operator.conditions.reasons import Reason
from smart_embedder_operator.observed import Manifest
from smart_embedder_operator.resources.manifest import plain
from smart_embedder_operator.resources.route import Claim, claims
from smart_embedder_operator.spec import Embedder
from smart_embedder_operator.tracks import deployment


def condition(item: Manifest, kind: str) -> Manifest:
    """One condition of an object; empty when it has none."""
    found = (c for c in (item.get("status") or {}).get("conditions") or () if c["type"] == kind)
    return next(found, {})


def check_autoscaler(case: Case) -> Iterator[Finding]:
    """The autoscaler that was asked for cannot do its work."""
    embedder, known = case.decision.embedder, case.decision.platform.capabilities
    if embedder is None:
        return
    match embedder.spec.autoscaling.mode:
        case "HPA" if not known.custom_metrics:
            yield Finding(
                reason=Reason.METRICS_UNAVAILABLE,
                fact="the HorizontalPodAutoscaler gets no queue depth: nobody in this cluster "
                "answers custom.metrics.k8s.io",
            )
        case "HPA":
            yield from _hpa(case)
        case "KEDA" if not known.scaled_object:
            fact = "spec.autoscaling.mode is KEDA and this cluster has no ScaledObject kind"
            yield Finding(reason=Reason.CRD_NOT_INSTALLED, fact=fact)
        case "KEDA":
            yield from _keda(case)


def _hpa(case: Case) -> Iterator[Finding]:
    hpa = case.observed.named("HorizontalPodAutoscaler", case.name)
    if hpa is None or not has_ready_pods(case):
        return  # without pods there is nothing to measure; their own fault is told elsewhere
    active, able = condition(hpa, "ScalingActive"), condition(hpa, "AbleToScale")
    if active.get("status") == "False" and active.get("reason") != "ScalingDisabled":
        fact = f"the HorizontalPodAutoscaler gets no queue depth: {active.get('message', '')}"
        yield Finding(reason=Reason.METRICS_UNAVAILABLE, fact=fact)
    if able.get("status") == "False":
        fact = f"the HorizontalPodAutoscaler cannot scale: {able.get('message', '')}"
        yield Finding(reason=Reason.AUTOSCALER_FAILED, fact=fact)


def _keda(case: Case) -> Iterator[Finding]:
    scaled = case.observed.named("ScaledObject", case.name)
    ready = condition(scaled, "Ready") if scaled is not None else {}
    if ready.get("status") == "False":
        fact = f"KEDA cannot scale: {ready.get('message', '')}"
        yield Finding(reason=Reason.AUTOSCALER_FAILED, fact=fact)


def has_ready_pods(case: Case) -> bool:
    """Whether the serving track has a pod that answers."""
    live = deployment(case.name, case.serving, case.observed) if case.serving else None
    return bool(live and (live.get("status") or {}).get("readyReplicas"))


def check_monitoring(case: Case) -> Iterator[Finding]:
    """A kind of the Prometheus operator is asked for by name and is not installed."""
    embedder, known = case.decision.embedder, case.decision.platform.capabilities
    if embedder is None:
        return
    wish = embedder.spec.monitoring
    if wish.service_monitor == "Enabled" and not known.service_monitor:
        yield _not_installed("spec.monitoring.serviceMonitor", "ServiceMonitor")
    if wish.prometheus_rule == "Enabled" and not known.prometheus_rule:
        yield _not_installed("spec.monitoring.prometheusRule", "PrometheusRule")


def _not_installed(field: str, kind: str) -> Finding:
    fact = f"{field} asks for a {kind} and this cluster does not have that kind"
    return Finding(reason=Reason.CRD_NOT_INSTALLED, fact=fact)


def check_route(case: Case) -> Iterator[Finding]:
    """The route cannot be made, is refused by its Gateway, or belongs to another Embedder."""
    embedder = case.decision.embedder
    if embedder is None or embedder.spec.route is None:
        return
    if not case.decision.platform.capabilities.http_route:
        yield _not_installed("spec.route", "HTTPRoute")
        return
    yield from _rivals(case, embedder)
    route = case.observed.named("HTTPRoute", embedder.name)
    for parent in ((route or {}).get("status") or {}).get("parents") or ():
        for verdict in parent.get("conditions") or ():
            if verdict["type"] in {"Accepted", "ResolvedRefs"} and verdict["status"] == "False":
                gateway = (parent.get("parentRef") or {}).get("name")
                fact = f"Gateway {gateway} does not take the route: {verdict.get('message', '')}"
                yield Finding(reason=Reason.ROUTE_NOT_ACCEPTED, fact=fact)


def _rivals(case: Case, embedder: Embedder) -> Iterator[Finding]:
    """The oldest claim wins on a Gateway; both Embedders are told."""
    ours = set(claims(embedder.namespace, plain(embedder.spec.route)))
    for rival in case.observed.rivals:
        metadata = rival["metadata"]
        theirs = set(claims(metadata["namespace"], (rival.get("spec") or {}).get("route") or {}))
        if shared := ours & theirs:
            name = f"{metadata['namespace']}/{metadata['name']}"
            fact = f"Embedder {name} claims {_place(min(shared))} as well"
            yield Finding(reason=Reason.ROUTE_CONFLICT, fact=fact)


def _place(claim: Claim) -> str:
    _, gateway, _, _, host = claim
    return f"{'every host' if host == '*' else host} of Gateway {gateway}"


def check_vectors(case: Case) -> Iterator[Finding]:
    """Pods behind one Service whose vectors do not compare."""
    if case.serving is None:
        return
    told = {
        name: report.fingerprint
        for pod in case.observed.pods(case.serving)
        if (report := case.observed.reports.get(name := pod["metadata"]["name"])) is not None
        and report.fingerprint is not None
    }
    if len(set(told.values())) > 1:
        pods = ", ".join(f"{pod} {fingerprint}" for pod, fingerprint in sorted(told.items()))
        fact = f"pods of one Service give vectors that do not compare: {pods}"
        yield Finding(reason=Reason.MIXED_VECTORS, fact=fact)
