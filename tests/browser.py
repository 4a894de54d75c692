"""A page in headless Chromium, and what a script found in it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from bs4 import BeautifulSoup

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
HEADLESS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --virtual-time-budget=20000 "
    "--window-size=1280,720 --dump-dom"
).split()
REPORT = """<script>
function report(found) {
  document.body.innerHTML = "<pre id=report></pre>";
  document.getElementById("report").innerText = JSON.stringify(found);
}
</script>"""


def look(page: str, folder: Path) -> dict:
    """Opens a page and waits until one of its scripts calls `report({...})`.

    Args:
        page: HTML with a `<head>`.
        folder: an empty one, for the page and for what the browser remembers.
    """
    file = folder / "page.html"
    file.write_text(page.replace("<head>", f"<head>{REPORT}", 1), "utf-8")
    command = [CHROMIUM, *HEADLESS, f"--user-data-dir={folder / 'user'}", file.as_uri()]
    run = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=240)
    found = BeautifulSoup(run.stdout, "html.parser").find(id="report")
    assert found, run.stderr[-2000:]
    return json.loads(found.get_text())
