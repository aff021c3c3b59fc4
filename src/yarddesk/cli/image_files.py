"""Which images compose and Kubernetes files name. They are read by the command, with its user's rights and in its folder."""

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from yarddesk.cli.compose_variables import interpolate, read_dotenv
from yarddesk.errors import YarddeskError

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
    """What was found: each image once, in the files' order; and what names an image that can't be told."""

    images: dict[str, None] = field(default_factory=dict)
    unclear: list[str] = field(default_factory=list)


def images_in(file: str, environ: Mapping[str, str]) -> NamedImages:
    """The images of a compose file, or of the Kubernetes objects in a file; `-` is standard input. Raises UnreadableFile."""
    found = NamedImages()
    place = Path.cwd() / "standard input" if file == _STREAM else Path(file).resolve()
    documents = _documents(file)
    for document in documents:
        if not isinstance(document, dict):
            raise UnreadableFile(f"{file} is neither a compose file nor one of Kubernetes objects.")
        if "kind" in document and "apiVersion" in document:
            _Objects(found).take(document)
        elif "services" in document or "include" in document:
            _Compose(found, environ).take(document, place)
        else:
            raise UnreadableFile(
                f"{file} is neither a compose file nor one of Kubernetes objects.",
                "It has neither services nor a kind and an apiVersion.",
            )
    return found


class _Compose:
    """Compose files: those that are included, too."""

    def __init__(self, found: NamedImages, environ: Mapping[str, str]) -> None:
        self._found = found
        self._environ = environ
        self._seen: set[Path] = set()

    def take(self, document: dict[str, Any], place: Path) -> None:
        if place in self._seen:
            return
        self._seen.add(place)
        variables = {**_dotenv(place.parent, self._environ), **self._environ}
        for name, service in _mapping(document.get("services")).items():
            if not isinstance(service, dict):
                continue
            try:
                image = "" if service.get("build") is not None else _image_of(document, str(name), place, variables, 0)
                for named in (image, *_mounted(service)):
                    if named:
                        self._found.images[interpolate(named, variables)] = None
            except YarddeskError as error:
                self._found.unclear.append(f"{place.name}: service {name}: {error}")
        for included in _list(document.get("include")):
            self._include(included, place, variables)

    def _include(self, included: object, place: Path, variables: Mapping[str, str]) -> None:
        paths = included.get("path") if isinstance(included, dict) else included
        for path in paths if isinstance(paths, list) else [paths]:
            try:
                file = (place.parent / interpolate(str(path), variables)).resolve()
                for document in _documents(str(file)):
                    self.take(_mapping(document), file)
            except YarddeskError as error:
                self._found.unclear.append(f"{place.name}: include {path}: {error}")


def _mounted(service: dict[str, Any]) -> Iterator[str]:
    """The images that it has as volumes."""
    for volume in map(_mapping, _list(service.get(_VOLUMES))):
        source = volume.get("source")
        if volume.get("type") == "image" and isinstance(source, str):
            yield source


def _image_of(document: dict[str, Any], name: str, place: Path, variables: Mapping[str, str], depth: int) -> str:
    """The image of a service, its own or the one of what it extends; empty where it has none, or is built."""
    service = _mapping(_mapping(document.get("services")).get(name))
    image = service.get("image")
    if isinstance(image, str):
        return image
    extends = service.get("extends")
    if extends is None or service.get("build") is not None:
        return ""
    if depth > _MOST_DEPTH:
        raise UnreadableFile("Its services extend each other in a circle.")
    if isinstance(extends, str):
        return _image_of(document, extends, place, variables, depth + 1)
    other = str(_mapping(extends).get("service") or name)
    file = _mapping(extends).get("file")
    if not isinstance(file, str):
        return _image_of(document, other, place, variables, depth + 1)
    path = place.parent / interpolate(file, variables)
    documents = _documents(str(path))
    return _image_of(_mapping(documents[0] if documents else None), other, path, variables, depth + 1)


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
            self._found.images[image] = None


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
    name = "standard input" if file == _STREAM else file
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


def _dotenv(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    try:
        text = (folder / ".env").read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFile(f"{os.path.join(folder, '.env')} can't be read.", str(error)) from error
    return read_dotenv(text, environ)


def _mapping(node: object) -> dict[Any, Any]:
    return node if isinstance(node, dict) else {}


def _list(node: object) -> list[Any]:
    return node if isinstance(node, list) else []
