"""What a service account may do, by its roles, and what it did, by the audit log."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from e2e.audit import AuditLog
from e2e.cluster.kubectl import Kubectl


class Right(NamedTuple):
    """One verb on one resource, whose plural tells its group; a subresource after a slash."""

    resource: str
    verb: str


@dataclass
class Grants:
    """Rights, and the names that each is held to; none means any name."""

    names: dict[Right, set[str]] = field(default_factory=dict)

    @property
    def rights(self) -> set[Right]:
        """All of them."""
        return set(self.names)

    def add(self, rule: dict[str, Any]) -> None:
        """Take in a rule of a role; one without names widens what others hold to names."""
        for right in _rights(rule):
            before = self.names.get(right)
            names = set(rule.get("resourceNames", []))
            self.names[right] = before | names if before and names else names


def granted(kubectl: Kubectl, namespace: str, account: str) -> Grants:
    """Everything that bindings give to a service account, in the cluster and in namespaces."""
    subject = ("ServiceAccount", namespace, account)
    grants = Grants()
    for binding in kubectl.get("clusterrolebindings,rolebindings", "--all-namespaces")["items"]:
        bound = {(s["kind"], s.get("namespace"), s["name"]) for s in binding.get("subjects", [])}
        if subject in bound:
            for rule in _role(kubectl, binding)["rules"]:
                grants.add(rule)
    return grants


def used(logs: Iterable[Path], user: str) -> set[Right]:
    """What a user did and was not refused; an apply that made something was a create, too."""
    found: set[Right] = set()
    for log in logs:
        for request in AuditLog(log).requests(user):
            if not request.resource or request.code == 403:
                continue
            resource = "/".join(filter(None, (request.resource, request.subresource)))
            found.add(Right(resource, request.verb))
            if (request.verb, request.code) == ("patch", 201):
                found.add(Right(resource, "create"))
    return found


def _role(kubectl: Kubectl, binding: dict[str, Any]) -> Any:
    reference = binding["roleRef"]
    if reference["kind"] == "ClusterRole":
        return kubectl.get("clusterrole", reference["name"])
    return kubectl.inside(binding["metadata"]["namespace"]).get("role", reference["name"])


def _rights(rule: dict[str, Any]) -> Iterator[Right]:
    for resource in rule.get("resources", []):
        for verb in rule["verbs"]:
            yield Right(resource, verb)
