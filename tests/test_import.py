"""What `import minim2f` brings along: nothing that only drawing or measuring needs."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["minim2f", "minim2f.cli"])
@pytest.mark.parametrize("late", ["matplotlib", "pycocotools"])
def test_drawing_and_measuring_are_imported_by_those_who_draw_and_measure(module, late):
    code = f"import {module}, sys; print({late!r} in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
