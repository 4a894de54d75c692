"""A page in a browser without a window, with a script in it that looks around and reports."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
HEADLESS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --window-size=1280,720 --dump-dom"
).split()

REPORT = """
function report(found) {
  document.body.innerHTML = "<pre id=probe></pre>";
  document.getElementById("probe").textContent = JSON.stringify(found);
}
"""

needs_browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium to open the page in")


def probed(page: Path, probe: str, folder: Path, *flags: str, seconds: int = 120) -> dict:
    """What a script says about a page.

    Args:
        page: an HTML file.
        probe: JavaScript that goes into the page's head; in the end it calls `report({...})`.
        folder: for the changed page and the browser's own files.
        flags: more options of the browser.
        seconds: how long it may take.
    """
    text = page.read_text("utf-8")
    changed = folder / "probed.html"
    script = f"<head><script>{REPORT}{probe}</script>"
    changed.write_text(text.replace("<head>", script, 1), "utf-8")
    user = f"--user-data-dir={folder / 'user'}"
    command = [CHROMIUM, *HEADLESS, user, *flags, changed.as_uri()]
    run = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=seconds)
    found = BeautifulSoup(run.stdout, "html.parser").find(id="probe")
    assert found, run.stderr[-2000:]
    return json.loads(found.get_text())
