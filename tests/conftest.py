"""What all tests share: the same seeds, two threads, and the real pictures where there are any."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]

torch.set_num_threads(2)


@pytest.fixture(autouse=True)
def same_seeds() -> None:
    """No test depends on the tests that ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def coco_mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of coco-mini: as `make data` left it, or fetched from a mirror for the session."""
    fetched = ROOT / "data" / "coco-mini"
    if (fetched / "panoptic.json").is_file():  # it is fetched last
        return fetched
    mirror = os.environ.get("MINIM2F_MIRROR")
    if not mirror:
        pytest.skip("needs coco-mini: run `make data`, or let MINIM2F_MIRROR name a copy of it")
    from minim2f.data.coco_mini import fetch_coco_mini

    return fetch_coco_mini(tmp_path_factory.mktemp("coco-mini"), mirror, progress=False)
