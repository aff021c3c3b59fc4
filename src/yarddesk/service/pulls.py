"""`yarddesk pull`: images fetched from their upstreams before anybody asks for them."""

import re
from collections.abc import Sequence

from yarddesk.cache.prefetch import Prefetched, Prefetcher
from yarddesk.content.registry_host import DOCKER_HUB, is_docker_hub
from yarddesk.content.target import NotFound
from yarddesk.control.works import Document, Report
from yarddesk.errors import YarddeskError
from yarddesk.oci.descriptor import Platform
from yarddesk.oci.image_text import ImageText
from yarddesk.oci.name import InvalidName, RepositoryName, format_reference, is_loopback
from yarddesk.oci.platforms import parse_platform
from yarddesk.progress import ProgressMeter
from yarddesk.service.copies import told
from yarddesk.service.surroundings import ImageRoutes, Surroundings
from yarddesk.settings.model import ServerSettings

_PORT = re.compile(r":[0-9]+\Z", re.ASCII)


class Pulling:
    """The work behind the command."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    async def pull(self, parameters: Document, report: Report) -> Document:
        """Fetch `images`; an item for each, with `error` where it failed: the others go on.

        `platforms`: of indexes what is for these, null for all. `foreign`: the names are of other registries, as in a compose
        file, and ours only where nothing else fits. `referrers`: with what is about them.
        """
        images, platforms = _texts(parameters, "images"), _platforms(parameters)
        foreign, referrers = parameters.get("foreign") is True, parameters.get("referrers") is not False
        failed = 0
        async with self._around.pulls() as prefetcher:
            for number, image in enumerate(images):
                names = Names(self._around.routes(), self._around.settings().server, foreign=foreign)
                work = _Pull(prefetcher, names, image, platforms, referrers=referrers)
                item = await work.run(report, count_done=number, count_total=len(images))
                failed += item["error"] is not None
                await report.item(item)
        return {"count": len(images), "failed": failed}


class _Pull:
    """One image."""

    def __init__(
        self,
        prefetcher: Prefetcher,
        names: "Names",
        image: str,
        platforms: Sequence[Platform] | None,
        *,
        referrers: bool,
    ) -> None:
        self._prefetcher = prefetcher
        self._names = names
        self._image = image
        self._platforms = platforms
        self._referrers = referrers

    async def run(self, report: Report, **figures: int) -> dict[str, object]:
        meter = ProgressMeter()
        item: dict[str, object] = {"image": self._image, "name": None, "digest": None, "error": None}
        try:
            async with told(meter, report, {"doing": f"pulling {self._image}", **figures}):
                name, found = await self._first(meter)
        except YarddeskError as error:
            return {**item, "error": {"title": error.title, "message": error.message, "hint": error.hint}}
        if found.lacking:
            there = f"What is for {', '.join(found.platforms)} is here." if found.platforms else ""
            item["error"] = {"title": f"It is not for {', '.join(found.lacking)}.", "message": there, "hint": ""}
        return {
            **item,
            "name": name,
            "digest": found.digest,
            "size": found.size,
            "fetched": meter.snapshot().bytes_sent,
            "platforms": found.platforms,
            "referrers": found.about,
            "remarks": found.remarks,
        }

    async def _first(self, meter: ProgressMeter) -> tuple[str, Prefetched]:
        """By the first of its names that leads to something."""
        text = ImageText.parse(self._image)
        missing: NotFound | None = None
        for repository in self._names.of(text):
            try:
                found = await self._prefetcher.pull(
                    repository, text.reference, self._platforms, meter, referrers=self._referrers
                )
            except NotFound as error:
                missing = missing or error
                continue
            return format_reference(repository, text.reference), found
        assert missing is not None
        raise missing


class Names:
    """What images are called here. `foreign`: whoever wrote them down meant other registries, and Docker Hub where none is named."""

    def __init__(self, routes: ImageRoutes, server: ServerSettings, *, foreign: bool) -> None:
        self._routes = routes
        self._server = server
        self._foreign = foreign

    def of(self, image: ImageText) -> Sequence[RepositoryName]:
        """The likeliest first: as it's written, where such a repository has an upstream, and what engines take it for.

        Raises YarddeskError where none has an upstream.
        """
        registry = image.registry if image.registry and not is_docker_hub(image.registry) else DOCKER_HUB
        elsewhere = self._routes.repository_of(registry, _as_engines_ask(registry, image.name))
        is_us = self._is_us(image.registry)
        as_written = self._with_upstream(str(image.name) if is_us else image.whole_name)
        ours_first = not (self._foreign or image.registry)
        found = [name for name in ((as_written, elsewhere) if ours_first else (elsewhere, as_written)) if name]
        if not found and is_us:
            raise YarddeskError(
                f"There is no upstream to pull {image.name} from.",
                hint="`yarddesk upstream list` shows those that there are.",
            )
        if not found:
            raise YarddeskError(
                f"No upstream leads to {registry}.",
                hint=f"Add it: yarddesk upstream add https://{registry} --prefix {_prefix_for(registry)} --no-push",
            )
        return list(dict.fromkeys(found))

    def _is_us(self, registry: str) -> bool:
        hosts = (self._server.host, *self._server.allowed_hosts)
        return is_loopback(registry) or registry in {f"{host}:{self._server.port}" for host in hosts}

    def _with_upstream(self, name: str) -> RepositoryName | None:
        try:
            repository = self._routes.canonical(RepositoryName.parse(name))
        except InvalidName:
            return None
        return repository if self._routes.pull_upstreams(repository) else None


def _as_engines_ask(registry: str, name: RepositoryName) -> RepositoryName:
    """Docker Hub's official images have a name in two parts, also where another registry stands for Docker Hub."""
    official = is_docker_hub(registry) and "/" not in name
    return RepositoryName.parse(f"library/{name}") if official else name


def _prefix_for(registry: str) -> str:
    """What its repositories may go by here: its host as a repository's name can hold it, in lower case and without the port."""
    return _PORT.sub("", registry.lower())


def _texts(parameters: Document, key: str) -> list[str]:
    given = parameters.get(key)
    if not isinstance(given, list) or not given or not all(isinstance(each, str) for each in given):
        raise YarddeskError(f"{key} is a list of texts.")
    return given


def _platforms(parameters: Document) -> list[Platform] | None:
    if parameters.get("platforms") is None:
        return None
    return [parse_platform(text) for text in _texts(parameters, "platforms")]
