"""The built docs as a browser shows them."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="playwright is not installed here: make test-browser")

from support.browser import browser_page

SITE = Path(__file__).parents[2] / "site"
PHONE = 390  # pixels
pytestmark = pytest.mark.skipif(not SITE.exists(), reason="the docs are not built here: make test-browser")


@pytest.fixture
def address() -> Iterator[str]:
    """Where the built pages are served."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=SITE))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_the_docs(address):
    """No page is wider than a phone, no picture is missing, and nobody else's server is asked for anything."""
    pages = sorted(str(path.parent.relative_to(SITE)) for path in SITE.rglob("index.html"))
    assert len(pages) > 30
    wrong: list[object] = []
    with browser_page(PHONE, 844) as page:
        page.on("request", lambda asked: asked.url.startswith((address, "data:")) or wrong.append(asked.url))
        page.on("response", lambda answer: answer.ok or answer.status == 304 or wrong.append(answer.url))
        for path in pages:
            page.goto(f"{address}{path}/", wait_until="load")
            found = page.evaluate("document.documentElement.scrollWidth")
            broken = page.evaluate("[...document.images].filter(each => !each.naturalWidth).length")
            if (found, broken) != (PHONE, 0):
                wrong.append((path, found, broken))
    assert wrong == []
