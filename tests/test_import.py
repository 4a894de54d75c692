"""What `import minim2f` brings along: nothing that only drawing, measuring or fetching needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

LATE = {"matplotlib", "pycocotools", "scipy.optimize", "pooch", "huggingface_hub", "transformers"}


@pytest.mark.parametrize("module", ["minim2f", "minim2f.cli"])
def test_what_takes_its_time_is_imported_by_those_who_need_it(module):
    code = f"import {module}, sys; print(sorted({LATE} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
