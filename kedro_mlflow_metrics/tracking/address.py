"""An address of MLflow: what it leads to, and how it may be shown and written down."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Server", "absolute", "default_uri", "page", "safe_uri", "same_store", "spelt_right"]

_LONGEST = 300  # characters of a foreign message: a few lines of a terminal
_SCHEME = re.compile(r"[\w+.-]{2,}:")  # one letter is a drive
_HOST_AND_PORT = re.compile(r"(?:[^/]*@)?([\w.-]{2,}:\d+(?:/.*)?)")


@dataclass(frozen=True)
class Server:
    """An address of MLflow, and how to talk to it."""

    uri: str  # a tracking URI, with whatever user name and password it carries
    timeout: float = 10.0  # seconds for one request over http(s)
    # MLflow's environment variables for credentials. They do not travel to other processes, which inherit the
    # environment or have one of their own
    variables: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Take a trailing slash off: with it the address is the same, but the text is not."""
        if self.http and "://" in (bare := self.uri.rstrip("/")):
            object.__setattr__(self, "uri", bare)

    def __repr__(self) -> str:
        """Show no password."""
        return f"Server({self.safe!r})"

    def __getstate__(self) -> dict[str, Any]:
        """Leave the credentials behind."""
        return {**self.__dict__, "variables": {}}

    @cached_property
    def safe(self) -> str:
        """The address without user name, password, query and fragment."""
        return safe_uri(self.uri)

    @property
    def where(self) -> str:
        """What a message calls it."""
        return f"MLflow at {self.safe}"

    @property
    def http(self) -> bool:
        """Whether a server answers there, in place of a database or a folder in this process."""
        return self.uri.startswith(("http://", "https://"))

    @property
    def database(self) -> Path | None:
        """The file of a SQLite address; None for any other, and for one in memory."""
        scheme, _, rest = self.uri.partition(":///")
        path = rest.partition("?")[0]
        if scheme.partition("+")[0] != "sqlite" or not path or path.startswith((":memory:", "file:")):
            return None
        return Path(path).absolute()

    @cached_property
    def local(self) -> Path | None:
        """The SQLite file or the folder of a store on this machine; None for any other."""
        folder = _folder(self.uri)
        return self.database if folder is None else Path(folder).absolute()

    @property
    def repeatable(self) -> bool:
        """Whether the same points sent twice are there once; MLflow's folder store doubles them."""
        return _folder(self.uri) is None

    def portable(self, base: Path | None) -> str:
        """Return the address as it may be written down: no secret, and a path below ``base`` relative to that."""
        scheme, mark, rest = self.safe.partition("://")
        path = rest if scheme == "file" else rest[1:] if scheme.partition("+")[0] == "sqlite" else ""
        if base is None or not mark or not path.startswith(f"{base.as_posix()}/"):
            return self.safe
        path = path[len(base.as_posix()) + 1 :]
        return path if scheme == "file" else f"{scheme}:///{path}"

    def one_line(self, text: str) -> str:
        """Shorten a foreign message to one line without passwords."""
        text = text.replace(self.uri, self.safe)
        for secret in filter(None, (urlsplit(self.uri).password, *self.variables.values())):
            text = text.replace(secret, "***")
        line = next((line for line in text.splitlines() if line.strip()), text).strip(" .")
        if len(line) > _LONGEST:
            line = f"{line[:_LONGEST].rpartition(' ')[0] or line[:_LONGEST]} ..."
        return line.replace("[", "(").replace("]", ")")


def safe_uri(uri: str) -> str:
    """Return an address without user name, password, query and fragment."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return "an address that cannot be read"
    if parts.scheme and "://" in uri and not parts.netloc and not parts.scheme.startswith(("sqlite", "file")):
        return uri.partition("?")[0]  # a database on a socket, or with its host in the query
    if not parts.netloc:
        bare = _HOST_AND_PORT.fullmatch(uri)
        return bare[1] if bare else uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def page(pages: str, experiment_id: str, run_id: str = "") -> str:
    """Return the link to the charts of a run, or to the runs of an experiment.

    Args:
        pages: Where MLflow's pages are served.
        experiment_id: The experiment.
        run_id: The run.
    """
    runs = f"runs/{run_id}/model-metrics" if run_id else "runs"
    return f"{pages}/#/experiments/{experiment_id}/{runs}?workflowType=machine_learning"  # not for AI agents


def spelt_right(uri: str) -> str:
    """Return an address with the ``http://`` that it lacks, or has misspelt; empty if that is not what is wrong."""
    if _HOST_AND_PORT.fullmatch(uri):
        return f"http://{uri}"
    scheme, mark, rest = uri.partition(":")
    close = get_close_matches(scheme.lower(), ("http", "https"), 1)
    return f"{close[0]}://{rest.lstrip('/')}" if mark and close else ""


def absolute(uri: str, base: Path) -> str:
    """Take a relative SQLite or folder path from ``base``; leave any other address alone."""
    scheme, mark, rest = uri.partition(":///")
    if mark and scheme.partition("+")[0] == "sqlite":
        path, question, query = rest.partition("?")
        if path and path != ":memory:" and not Path(path).is_absolute() and not path.startswith("file:"):
            return f"{scheme}:///{_under(base, path).as_posix()}{question}{query}"
        return uri
    folder = _folder(uri)
    return uri if folder is None or uri.startswith("file:/") else _under(base, folder).as_uri()


def same_store(one: str, other: str) -> bool:
    """Tell whether two addresses lead to one place, whatever user they name and however a path is written."""
    places = {unquote(Server(absolute(uri, Path.cwd())).safe) for uri in (one, other)}
    return len(places) == 1


def _under(base: Path, path: str) -> Path:
    return Path(os.path.abspath(base / path))  # noqa: PTH100 - as MLflow does it, which follows no links


def _folder(uri: str) -> str | None:
    """Return the path of a folder store, None for any other address."""
    if uri.startswith("file:"):
        from urllib.request import url2pathname  # loads http and ssl

        return url2pathname(urlsplit(uri).path)
    return None if uri in ("databricks", "databricks-uc", "uc") or _SCHEME.match(uri) else uri


def default_uri(root: Path) -> str:
    """Return MLflow's own default address; in a folder that already holds experiments it is that, as in MLflow."""
    from mlflow.store import tracking

    if any(root.glob("mlruns/[0-9]*/meta.yaml")):
        return "mlruns"
    return str(getattr(tracking, "DEFAULT_TRACKING_URI", "mlruns"))
