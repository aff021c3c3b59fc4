"""Which images compose and Kubernetes files name. They are read by the command, with its user's rights and in its folder."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from yarddesk.cli.compose_variables import interpolate, read_dotenv
from yarddesk.errors import YarddeskError
from yarddesk.oci.platforms import parse_platform

_MOST_BYTES: Final = 8 * 1024 * 1024
_MOST_DEPTH: Final = 20
_MOST_KEYS: Final = 50_000
_STREAM: Final = "-"
_CONTAINERS: Final = ("containers", "initContainers", "ephemeralContainers")
_VOLUMES: Final = "volumes"
_HELM: Final = "It is a template: render it first, as in `helm template … | yarddesk pull -f -`."


class UnreadableFile(YarddeskError):
    """A file that names images, and can't be read as what it is."""


@dataclass(slots=True)
class NamedImages:
    """What was found: each image once, in the files' order; and what names an image that can't be told.

    With each image stand the platforms that it's said to be for; empty text where none is said.
    """

    images: dict[str, dict[str, None]] = field(default_factory=dict)
    unclear: list[str] = field(default_factory=list)

    def add(self, image: str, platform: str = "") -> None:
        self.images.setdefault(image, {})[platform] = None

    def update(self, other: Self) -> None:
        for image, platforms in other.images.items():
            self.images.setdefault(image, {}).update(platforms)
        self.unclear += other.unclear


def images_in(file: str, environ: Mapping[str, str]) -> NamedImages:
    """The images of a compose file, or of the Kubernetes objects in a file; `-` is standard input. Raises UnreadableFile."""
    found = NamedImages()
    place = Path.cwd() / "standard input" if file == _STREAM else Path(file).resolve()
    documents = _documents(file)
    if not documents:
        raise UnreadableFile(f"{_called(file)} is empty: it names no image.")
    for document in documents:
        if not isinstance(document, dict):
            raise UnreadableFile(f"{file} is neither a compose file nor one of Kubernetes objects.")
        if "kind" in document and "apiVersion" in document:
            _Objects(found).take(document)
        elif "services" in document or "include" in document:
            _Compose(found).take(document, place, place.parent, _dotenv(place.parent, environ))
        else:
            raise UnreadableFile(
                f"{file} is neither a compose file nor one of Kubernetes objects.",
                "It has neither services nor a kind and an apiVersion.",
            )
    return found


class _Compose:
    """Compose files: those that are included, too."""

    def __init__(self, found: NamedImages) -> None:
        self._found = found
        self._seen: set[Path] = set()

    def take(self, document: dict[str, Any], place: Path, folder: Path, variables: Mapping[str, str]) -> None:
        """`folder`: where what it names by a relative path is."""
        if place in self._seen:
            return
        self._seen.add(place)
        for name, service in _mapping(document.get("services")).items():
            if not isinstance(service, dict):
                continue
            try:
                image, platform = _image_of(list(_extended(document, str(name), folder, variables)), variables)
                if image:
                    self._found.add(image, platform)
                for mounted in _mounted(service):
                    self._found.add(interpolate(mounted, variables))
            except YarddeskError as error:
                self._found.unclear.append(f"{place.name}: service {name}: {error}")
        for included in _list(document.get("include")):
            self._include(included, place, folder, variables)

    def _include(self, included: object, place: Path, folder: Path, variables: Mapping[str, str]) -> None:
        """What is set here is so there, too, and goes before the env files of its own, or the `.env` there."""
        written = included if isinstance(included, dict) else {"path": included}
        paths = _several(written.get("path"))
        try:
            files = [folder / interpolate(str(path), variables) for path in paths]
            own, named = written.get("project_directory"), written.get("env_file")
            there = files[0].parent if own is None else folder / interpolate(str(own), variables)
            inside = _dotenv(there, variables) if named is None else _with(_several(named), folder, variables)
            for file in files:
                for document in _documents(str(file)):
                    self.take(_mapping(document), file.resolve(), there, inside)
        except YarddeskError as error:
            self._found.unclear.append(f"{place.name}: include {', '.join(map(str, paths))}: {error}")


def _mounted(service: dict[str, Any]) -> Iterator[str]:
    """The images that it has as volumes."""
    for volume in map(_mapping, _list(service.get(_VOLUMES))):
        source = volume.get("source")
        if volume.get("type") == "image" and isinstance(source, str):
            yield source


def _image_of(service: Sequence[dict[str, Any]], variables: Mapping[str, str]) -> tuple[str, str]:
    """The image of a service, given with those that it extends, and its platform; empty where it has none, or is built."""
    decides = next(
        (each for each in service if each.get("build") is not None or isinstance(each.get("image"), str)), {}
    )
    if decides.get("build") is not None or not decides.get("image"):
        return "", ""
    said = next((each["platform"] for each in service if isinstance(each.get("platform"), str)), "")
    platform = interpolate(said, variables)
    # An operating system alone says no more than that it's for this machine.
    return interpolate(decides["image"], variables), str(parse_platform(platform)) if "/" in platform else ""


def _extended(
    document: dict[str, Any], name: str, folder: Path, variables: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """A service, and those that it extends, the nearest first."""
    for _ in range(_MOST_DEPTH):
        service = _mapping(_mapping(document.get("services")).get(name))
        yield service
        extends = service.get("extends")
        if extends is None:
            return
        if isinstance(extends, str):
            name = extends
            continue
        name, file = str(_mapping(extends).get("service") or name), _mapping(extends).get("file")
        if isinstance(file, str):
            path = folder / interpolate(file, variables)
            documents = _documents(str(path))
            document, folder = _mapping(documents[0] if documents else None), path.parent
    raise UnreadableFile("Its services extend each other in a circle.")


class _Objects:
    """Kubernetes objects of any kind: what runs containers has them under names of their own, however deep."""

    def __init__(self, found: NamedImages) -> None:
        self._found = found
        self._seen: set[int] = set()

    def take(self, document: object) -> None:
        left = [document]
        while left:
            node = left.pop()
            if not isinstance(node, dict | list) or id(node) in self._seen:
                continue
            self._seen.add(id(node))  # anchors may name one node a million times
            left += reversed(list(node.values() if isinstance(node, dict) else node))
            if isinstance(node, dict):
                for image in _images_of(node):
                    self._name(image)

    def _name(self, image: str) -> None:
        if "{{" in image:
            self._found.unclear.append(f"{image}: {_HELM}")
        else:
            self._found.add(image)


def _images_of(node: dict[Any, Any]) -> Iterator[str]:
    for key, value in node.items():
        for each in _list(value) if key in _CONTAINERS or key == _VOLUMES else ():
            image = (
                _mapping(_mapping(each).get("image")).get("reference")
                if key == _VOLUMES
                else _mapping(each).get("image")
            )
            if isinstance(image, str) and image:
                yield image


def _documents(file: str) -> list[Any]:
    """The YAML documents (or the JSON) of a file, those that are not empty. Raises UnreadableFile."""
    name = _called(file)
    try:
        if file == _STREAM:
            raw = sys.stdin.buffer.read(_MOST_BYTES + 1)
        else:
            with open(file, "rb") as opened:
                raw = opened.read(_MOST_BYTES + 1)
        if len(raw) > _MOST_BYTES:
            raise UnreadableFile(f"{name} has more than {_MOST_BYTES:,} bytes.")
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise UnreadableFile(f"{name} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"{name} is not UTF-8 text.") from error
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    try:
        return [document for document in yaml.load_all(text) if document is not None]
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        # Its own text quotes the file.
        raise UnreadableFile(f"{name}{line} is not valid YAML.", hint=_HELM if "{{" in text else "") from None
    except (YAMLError, RecursionError, ValueError):
        raise UnreadableFile(f"{name} is not valid YAML.", hint=_HELM if "{{" in text else "") from None


class _Constructor(SafeConstructor):
    """Takes what has a tag of its own (compose's `!reset`, `!override`) for what stands there."""

    def flatten_mapping(self, node: Any) -> None:  # noqa: ANN401 - ruamel.yaml's own types are not complete
        super().flatten_mapping(node)
        if len(node.value) > _MOST_KEYS:
            raise YAMLError("merges that grow beyond all bounds")


def _untagged(constructor: SafeConstructor, _tag: str, node: Node) -> object:
    if isinstance(node, MappingNode):
        return constructor.construct_mapping(node, deep=True)
    if isinstance(node, SequenceNode):
        return constructor.construct_sequence(node, deep=True)
    assert isinstance(node, ScalarNode)
    return constructor.construct_scalar(node)


_Constructor.add_multi_constructor("!", _untagged)


def _called(file: str) -> str:
    return "standard input" if file == _STREAM else file


def _dotenv(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """What is set, and what the `.env` of that folder sets beside it."""
    return _with([".env"] if os.path.exists(folder / ".env") else [], folder, environ)


def _with(files: Iterable[object], folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """What is set, and what these env files set beside it, the later before the earlier."""
    found: dict[str, str] = {}
    for file in files:
        path = folder / interpolate(str(file), environ)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UnreadableFile(f"{path} can't be read.", str(error)) from error
        found.update(read_dotenv(text, {**found, **environ}))
    return {**found, **environ}


def _mapping(node: object) -> dict[Any, Any]:
    return node if isinstance(node, dict) else {}


def _list(node: object) -> list[Any]:
    return node if isinstance(node, list) else []


def _several(node: object) -> list[Any]:
    """What may be written as one or as a list."""
    return node if isinstance(node, list) and node else [node]
