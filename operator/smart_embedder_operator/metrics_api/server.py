"""The HTTP side of the metrics API: who may ask, and which question is asked.

Only the cluster's aggregation layer may: the kube-apiserver has authenticated and authorised the
user already and proves itself with the front-proxy client certificate. Values come from the
scraper, documents from `answers`, sockets and certificates from `listener`.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import msgspec
from aiohttp import web

from smart_embedder_operator.metrics_api import answers
from smart_embedder_operator.metrics_api.exposition import METRICS
from smart_embedder_operator.metrics_api.front_proxy import common_names
from smart_embedder_operator.metrics_api.pods import PodTable, ScrapedPod
from smart_embedder_operator.metrics_api.scrape import Sample, Scraper
from smart_embedder_operator.metrics_api.selectors import BadSelector, matches, parse_selector

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
HEALTH = "/healthz"
ANY_POD = "*"


@dataclass(frozen=True, slots=True)
class Question:
    """Which pods' values of which metric are wanted."""

    namespace: str
    pod: str
    metric: str
    selector: str


class MetricsApi:
    """Answers from what was scraped."""

    def __init__(
        self, pods: PodTable, scraper: Scraper, allowed_names: Callable[[], frozenset[str]]
    ) -> None:
        """`allowed_names` gives the common names of the front proxy; none means any."""
        self._pods = pods
        self._scraper = scraper
        self._allowed_names = allowed_names

    def application(self) -> web.Application:
        """The routes, guarded."""
        app = web.Application(middlewares=[self._guard])
        app.router.add_get(HEALTH, _healthy)
        app.router.add_get("/apis", _serve(answers.group_list()))
        app.router.add_get(f"/apis/{answers.GROUP}", _serve(answers.api_group()))
        for version in answers.VERSIONS:
            root = f"/apis/{answers.GROUP}/{version}"
            app.router.add_get(root, _serve(answers.resource_list(version)))
            path = f"{root}/namespaces/{{namespace}}/pods/{{pod}}/{{metric}}"
            app.router.add_get(path, self._values(version))
        return app

    def _values(self, version: str) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            question = Question(
                **request.match_info, selector=request.query.get("labelSelector", "")
            )
            try:
                return self._answer(version, question)
            except BadSelector as error:
                return _refuse(400, "BadRequest", str(error))

        return handler

    def _answer(self, version: str, question: Question) -> web.Response:
        if question.metric not in METRICS:
            return _refuse(404, "NotFound", f"there is no metric {question.metric} of pods")
        samples = dict(self._find(question))
        # The HPA takes a missing pod for one at its target: it would scale down without the
        # busiest, which a new operator is the last to hear of. Refused, it leaves all as it is.
        if None in samples.values() and self._scraper.is_new:
            return _refuse(503, "ServiceUnavailable", "not every pod has been read yet")
        found = [
            (pod, sample)
            for pod, sample in samples.items()
            if sample is not None and question.metric in sample.values
        ]
        if not found and question.pod != ANY_POD:
            what = f"{question.metric} of pod {question.namespace}/{question.pod}"
            return _refuse(404, "NotFound", f"there is no current value for {what}")
        return _json(answers.value_list(version, question.metric, found))

    def _find(self, question: Question) -> Iterator[tuple[ScrapedPod, Sample | None]]:
        selector = parse_selector(question.selector)
        for pod in self._candidates(question):
            # The HPA takes a pod without a value for idle when it would add pods and for fully
            # loaded when it would remove some: right for a pod that is still loading its model.
            if not pod.loading and matches(selector, pod.labels):
                yield pod, self._scraper.fresh(pod)

    def _candidates(self, question: Question) -> list[ScrapedPod]:
        if question.pod != ANY_POD:
            pod = self._pods.get((question.namespace, question.pod))
            return [pod] if pod is not None else []
        return [pod for pod in self._pods if pod.namespace == question.namespace]

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path != HEALTH:
            # TLS has checked the chain; what is left to check is whose certificate it is.
            shown = request.transport and request.transport.get_extra_info("peercert")
            if not shown:
                return _refuse(401, "Unauthorized", "only the aggregation layer is served")
            allowed = self._allowed_names()
            if allowed and not allowed & common_names(shown):
                return _refuse(403, "Forbidden", "this client certificate is not a front proxy's")
        try:
            return await handler(request)
        except web.HTTPException as error:
            return _refuse(error.status, error.reason.replace(" ", ""), f"no {request.path} here")


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="ok")


def _serve(document: answers.Document) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return _json(document)

    return handler


def _json(document: answers.Document, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(document), status=status, content_type="application/json"
    )


def _refuse(code: int, reason: str, message: str) -> web.Response:
    return _json(answers.failure(code, reason, message), code)
