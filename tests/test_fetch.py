"""Downloads that break in every usual way, against a server of our own. No network is needed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image

from minim2f.data import coco_mini as module
from minim2f.data.coco_mini import coco_mini_folder, fetch_coco_mini, find_coco_mini
from minim2f.data.coco_panoptic import id_to_rgb
from minim2f.data.open import open_coco
from minim2f.files import FetchError, download

BODY = np.random.default_rng(0).bytes(200_000)
MANIFEST = Path(__file__).resolve().parents[1] / "data" / "coco_mini.json"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Server:
    """Serves `files`, and misbehaves as told.

    Attributes:
        files: path -> content.
        asked: the path of every request so far.
        cuts: each request takes one number from here, and the connection closes after so many
            bytes of the answer.
        errors: each request takes one HTTP status from here, and gets that instead of the file.
        lengths: whether Content-Length is sent.
    """

    def __init__(self):
        self.files: dict[str, bytes] = {"/file.bin": BODY}
        self.asked: list[str] = []
        self.cuts: list[int] = []
        self.errors: list[int] = []
        self.lengths = True
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.answer(self)

            def log_message(self, *args):
                pass

        return Handler

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        body = self.files.get(request.path)
        if body is None or self.errors:
            request.send_error(self.errors.pop(0) if body is not None else 404)
            return
        request.send_response(200)
        if self.lengths:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: self.cuts.pop(0) if self.cuts else None])


@pytest.fixture
def server():
    server = Server()
    thread = Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)


def get(server: Server, target: Path, expected: str | None = sha256(BODY)) -> Path:
    return download([f"{server.url}/file.bin"], target, expected)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# one file


def test_a_file_arrives_whole_under_its_final_name(server, tmp_path):
    target = tmp_path / "new" / "file.bin"
    assert get(server, target) == target
    assert target.read_bytes() == BODY
    assert left_in(target.parent) == ["file.bin"]


def test_progress_is_shown_when_asked(server, tmp_path, capsys):
    download([f"{server.url}/file.bin"], tmp_path / "quiet.bin")
    assert capsys.readouterr().err == ""
    download([f"{server.url}/file.bin"], tmp_path / "loud.bin", progress=True)
    assert "100%" in capsys.readouterr().err


def test_what_is_there_and_right_is_not_fetched_again(server, tmp_path):
    get(server, tmp_path / "file.bin")
    get(server, tmp_path / "file.bin")
    assert len(server.asked) == 1


def test_what_is_there_and_wrong_is_replaced(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(b"something else")
    assert get(server, tmp_path / "file.bin").read_bytes() == BODY


def test_what_is_there_and_wrong_stays_if_nothing_better_comes(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(b"something else")
    server.errors = [404]
    with pytest.raises(FetchError, match="HTTP 404"):
        get(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == b"something else"


def test_after_a_dropped_connection_another_attempt_is_made(server, tmp_path):
    server.cuts = [1000, 5000]
    assert get(server, tmp_path / "file.bin").read_bytes() == BODY
    assert len(server.asked) == 3
    assert left_in(tmp_path) == ["file.bin"]


def test_a_connection_that_always_drops_leaves_nothing_behind(server, tmp_path):
    server.cuts = [150_000] * 3
    with pytest.raises(FetchError, match=r"(?s)it broke.*150000 bytes.*run this again") as error:
        get(server, tmp_path / "file.bin")
    assert f"{server.url}/file.bin" in str(error.value)
    assert len(server.asked) == 3 and left_in(tmp_path) == []
    assert get(server, tmp_path / "file.bin").read_bytes() == BODY


def test_a_short_answer_is_noticed_by_its_hash_alone(server, tmp_path):
    server.lengths, server.cuts = False, [1000]
    assert get(server, tmp_path / "file.bin").read_bytes() == BODY
    server.cuts = [1000] * 3
    with pytest.raises(FetchError, match="SHA256 .* does not match"):
        get(server, tmp_path / "short.bin")
    assert left_in(tmp_path) == ["file.bin"]


def test_a_wrong_file_is_refused_and_removed(server, tmp_path):
    with pytest.raises(FetchError, match=f"SHA256 .*{sha256(b'other')} but got {sha256(BODY)}"):
        get(server, tmp_path / "file.bin", sha256(b"other"))
    assert left_in(tmp_path) == []


def test_a_missing_file_is_named_and_asked_for_once(server, tmp_path):
    with pytest.raises(FetchError, match=r"gone\.bin.*\n.*gone\.bin: HTTP 404 Not Found"):
        download([f"{server.url}/gone.bin"], tmp_path / "gone.bin")
    assert len(server.asked) == 1 and left_in(tmp_path) == []


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.errors = [503, 429]
    assert get(server, tmp_path / "file.bin").read_bytes() == BODY
    assert len(server.asked) == 3


def test_the_next_source_is_tried(server, tmp_path):
    server.files |= {"/copy.bin": BODY, "/other.bin": b"other"}
    server.cuts = [1000, 0, 0]
    urls = [f"{server.url}/{name}.bin" for name in ("gone", "file", "other", "copy")]
    download(urls, tmp_path / "file.bin", sha256(BODY))
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert server.asked == [
        *["/gone.bin"],  # that will not change
        *["/file.bin"] * 3,  # dropped
        *["/other.bin"] * 3,  # the wrong content
        *["/copy.bin"],
    ]


def test_every_source_that_failed_is_named(server, tmp_path):
    urls = [f"{server.url}/a.bin", str(tmp_path / "b.bin")]
    with pytest.raises(FetchError, match=r"(?s)a\.bin: HTTP 404.*b\.bin: No such file"):
        download(urls, tmp_path / "c.bin")


def test_no_connection_is_said(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(FetchError, match=r"no connection.*\(\[Errno \d+\] [^<]*refused[^<]*\)"):
        download([f"http://127.0.0.1:{port}/x"], tmp_path / "x")


def test_a_local_path_is_a_source(tmp_path):
    (tmp_path / "here.bin").write_bytes(BODY)
    download([str(tmp_path / "here.bin")], tmp_path / "there.bin", sha256(BODY))
    assert (tmp_path / "there.bin").read_bytes() == BODY
    assert left_in(tmp_path) == ["here.bin", "there.bin"]


def test_a_folder_that_cannot_be_made_is_named(server, tmp_path):
    (tmp_path / "taken").write_text("a file where a folder is wanted")
    with pytest.raises(FetchError, match=r"cannot write .*taken.*choose a folder"):
        get(server, tmp_path / "taken" / "file.bin")


def test_a_disk_without_room_is_named(server, tmp_path):
    resource = pytest.importorskip("resource", reason="needs a limit on the size of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(BODY) // 2, before[1]))
    try:
        with pytest.raises(FetchError, match=r"cannot write .*too large.*free some space"):
            get(server, tmp_path / "file.bin")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert left_in(tmp_path) == []


# a data set of two pictures, described by a manifest as coco-mini is


def picture(folder: Path, name: str, pixels: np.ndarray) -> dict:
    """Writes a PNG; returns what a manifest says of it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    data = path.read_bytes()
    return {"file_name": name, "bytes": len(data), "sha256": sha256(data)}


CATEGORIES = [{"id": 3, "name": "car", "isthing": 1}, {"id": 149, "name": "road", "isthing": 0}]
EXPECTED = {
    "annotations": [
        {
            "file_name": f"{id}.png",
            "image_id": id,
            "segments_info": [
                {"area": 2, "bbox": [0, 0, 2, 1], "category_id": 3, "id": 5, "iscrowd": 0},
                {"area": 4, "bbox": [0, 1, 2, 2], "category_id": 149, "id": 900, "iscrowd": 0},
            ],
        }
        for id in (1, 2)
    ],
    "categories": CATEGORIES,
    "images": [
        {"file_name": "1.png", "flickr_page": "f1", "height": 3, "id": 1, "license": 4,
         "split": "train", "width": 2},
        {"file_name": "2.png", "flickr_page": "f2", "height": 3, "id": 2, "license": 5,
         "split": "val", "width": 2},
    ],
}  # fmt: skip


def upstream(*ids: int) -> bytes:
    """An annotation file of the source: other order, other fields, and more images than ours."""
    images, annotations = [], []
    for id in ids:
        expected = EXPECTED["annotations"][id % 2 - 1]
        images += [{"id": id, "width": 2, "height": 3, "file_name": f"{id}.png", "date": "today"}]
        segments = [segment | {"note": "x"} for segment in reversed(expected["segments_info"])]
        annotation = {"image_id": id, "file_name": f"{id}.png", "segments_info": segments}
        annotations.append(annotation)
    document = {"images": images, "annotations": annotations, "categories": CATEGORIES[::-1]}
    return json.dumps(document | {"info": {"year": 2018}}, indent=2).encode()


INSTANCE = (
    '{"annotations":[{"area":0.5,"bbox":[0,0,1.25,2],"category_id":3,"id":77,"image_id":9,'
    '"iscrowd":0,"segmentation":[[0.1,0,1.25,0,1,2]]}],'
    '"categories":[{"id":3,"name":"car"}],'
    '"images":[{"file_name":"9.png","flickr_page":"f9","height":3,"id":9,"license":4,'
    '"split":"val","width":2}]}'
)


def one_instance(server: Server, picture: dict) -> dict:
    """The manifest's other set: one picture with one instance, among more in the source's file."""
    row = {"id": 9, "split": "val", "license": 4, "flickr_page": "f9", "urls": picture["urls"]}
    row |= {"bytes": picture["bytes"], "sha256": picture["sha256"]}
    row["file_name"] = "instance-only/images/9.png"
    document = json.loads(INSTANCE)
    document["annotations"].append(document["annotations"][0] | {"id": 78, "image_id": 10})
    document["images"].append(document["images"][0] | {"id": 10, "coco_url": "elsewhere"})
    server.files["/up/instances.json"] = json.dumps(document, indent=1).encode()
    facts = {"file_name": "instance-only/instances.json", "sha256": sha256(INSTANCE.encode())}
    source = {"images": [row], "annotations": [f"{server.url}/up/instances.json"]}
    return {"annotations": facts, "sources": [source]}


@pytest.fixture
def mirror(server, tmp_path, monkeypatch) -> Path:
    """A folder with a copy of the small data set, which the server and a manifest know as well."""
    mirror, data = tmp_path / "mirror", tmp_path / "checkout" / "data"
    ids = np.array([[5, 5], [900, 900], [900, 900]])
    rows = []
    for id, split, license in ((1, "train", 4), (2, "val", 5)):
        row = {"id": id, "split": split, "license": license, "flickr_page": f"f{id}"}
        row |= picture(mirror, f"images/{id}.png", np.full((3, 2, 3), 50 * id, np.uint8))
        row["panoptic"] = picture(mirror, f"panoptic/{id}.png", id_to_rgb(ids))
        for file in (row, row["panoptic"]):
            server.files[f"/up/{file['file_name']}"] = (mirror / file["file_name"]).read_bytes()
            file["urls"] = [f"{server.url}/up/{file['file_name']}"]
        rows.append(row)
    text = json.dumps(EXPECTED, sort_keys=True, separators=(",", ":"))
    (mirror / "panoptic.json").write_bytes(upstream(2, 1))
    server.files |= {"/up/train.json": upstream(7, 1), "/up/val.json": upstream(2, 4)}
    annotations = [f"{server.url}/up/train.json", f"{server.url}/up/val.json"]
    source = {"images": rows, "annotations": annotations}
    facts = {"file_name": "panoptic.json", "sha256": sha256(text.encode())}
    manifest = {
        "licenses": [{"id": 4, "name": "Attribution License"}],
        "panoptic": {"annotations": facts, "sources": [source]},
        "instances": one_instance(server, rows[0]),
    }
    data.mkdir(parents=True)
    (data / "coco_mini.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(module, "_CHECKOUT", data / "coco_mini.json")
    return mirror


def assert_complete(folder: Path) -> None:
    assert json.loads((folder / "panoptic.json").read_text()) == EXPECTED
    (train,), (val,) = open_coco(folder, "train"), open_coco(folder, "val")
    assert (train.image.unique().tolist(), val.image.unique().tolist()) == ([50], [100])
    assert val.labels.tolist() == [0, 1] and val.masks.sum(dim=(1, 2)).tolist() == [2, 4]
    assert not list(folder.rglob("*.part"))


def test_over_the_network_to_the_checkout(server, mirror, capsys):
    assert find_coco_mini() is None
    folder = fetch_coco_mini()
    assert folder == mirror.parent / "checkout" / "data" / "coco-mini"
    assert folder == coco_mini_folder() == find_coco_mini()
    assert_complete(folder)
    assert "Attribution License" in capsys.readouterr().out


def test_instances_only_when_asked_for(mirror, tmp_path):
    folder = fetch_coco_mini(tmp_path / "a", progress=False)
    assert not (folder / "instance-only").exists()
    fetch_coco_mini(folder, instances=True, progress=False)
    assert (folder / "instance-only" / "instances.json").read_text() == INSTANCE
    assert left_in(folder / "instance-only" / "images") == ["9.png"]


def test_from_a_folder_and_from_an_address(server, mirror, tmp_path):
    assert_complete(fetch_coco_mini(tmp_path / "a", mirror, progress=False))
    assert server.asked == []
    for file in mirror.rglob("*.*"):
        server.files[f"/copy/{file.relative_to(mirror).as_posix()}"] = file.read_bytes()
    assert_complete(fetch_coco_mini(tmp_path / "b", f"{server.url}/copy/", progress=False))
    assert {path.split("/")[1] for path in server.asked} == {"copy"}


def test_what_was_fetched_is_a_mirror_itself(mirror, tmp_path):
    fetch_coco_mini(tmp_path / "a", mirror, progress=False)
    assert_complete(fetch_coco_mini(tmp_path / "b", tmp_path / "a", progress=False))


def test_a_second_run_fetches_only_what_is_missing(server, mirror, tmp_path, capsys):
    folder = fetch_coco_mini(tmp_path / "a", progress=False)
    assert capsys.readouterr().out == ""
    server.asked.clear()
    fetch_coco_mini(folder, progress=False)
    assert server.asked == []
    (folder / "panoptic" / "2.png").write_bytes(b"damaged")
    fetch_coco_mini(folder, progress=False)
    assert server.asked == ["/up/panoptic/2.png"]
    assert_complete(folder)


def test_an_unfinished_fetch_is_not_found_and_goes_on(server, mirror):
    last = server.files.pop("/up/panoptic/2.png")
    with pytest.raises(FetchError, match=r"(?s)2\.png: HTTP 404.*data fetch --mirror DIR"):
        fetch_coco_mini(progress=False)
    assert find_coco_mini() is None
    server.files["/up/panoptic/2.png"] = last
    server.asked.clear()
    assert_complete(fetch_coco_mini(progress=False))
    assert [path.split("/")[-1] for path in server.asked] == ["2.png", "train.json", "val.json"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (upstream(1, 2).replace(b": 900", b": 901"), "not the annotations"),
        (upstream(1), "not the annotations"),
        (b"{ cut", "is not JSON"),
        (b"[]", "is not COCO JSON"),
        (b'{"images": []}', "is not COCO JSON"),
    ],
)
def test_other_annotations_are_refused(mirror, tmp_path, content, reason):
    (mirror / "panoptic.json").write_bytes(content)
    with pytest.raises(FetchError, match=rf"panoptic\.json.*{reason}"):
        fetch_coco_mini(tmp_path / "a", mirror, progress=False)
    assert not (tmp_path / "a" / "panoptic.json").exists()


def test_an_installed_package_uses_the_cache(mirror, tmp_path, monkeypatch):
    inside = tmp_path / "site-packages.json"
    module._CHECKOUT.rename(inside)  # as in a wheel: no checkout, a manifest inside the package
    monkeypatch.setattr(module, "_IN_WHEEL", inside)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert fetch_coco_mini(mirror=mirror, progress=False) == find_coco_mini()
    assert find_coco_mini() == tmp_path / "cache" / "minim2f" / "coco-mini"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert coco_mini_folder() == Path.home() / ".cache" / "minim2f" / "coco-mini"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert coco_mini_folder() == tmp_path / "local" / "minim2f" / "coco-mini"


# the manifest itself


def test_the_manifest_holds_facts_and_no_annotations():
    text = MANIFEST.read_text("utf-8")
    manifest = json.loads(text)
    assert len(text) < 200_000
    assert not re.search('segments_info|bbox|segmentation"|category', text)
    licences = {licence["id"] for licence in manifest["licenses"]}
    for part, count in (("panoptic", 53), ("instances", 123)):
        sources = manifest[part]["sources"]
        rows = [row for source in sources for row in source["images"]]
        assert len(rows) == len({row["id"] for row in rows}) == count
        assert {row["license"] for row in rows} <= licences == {4, 5, 7}
        files = rows + [row["panoptic"] for row in rows if part == "panoptic"]
        assert len({file["file_name"] for file in files}) == len(files)
        for file in [*files, manifest[part]["annotations"]]:
            assert re.fullmatch("[0-9a-f]{64}", file["sha256"]) and file["bytes"] > 0
        for source in sources:
            urls = [url for row in source["images"] for url in row["urls"]] + source["annotations"]
            for url in urls:
                assert url.startswith("http://images.cocodataset.org/") or source["commit"] in url


def test_instances_come_from_a_mirror_too(tmp_path):
    mirror = os.environ.get("MINIM2F_MIRROR")
    if not mirror:
        pytest.skip("needs a copy of coco-mini: let MINIM2F_MIRROR name one")
    folder = fetch_coco_mini(tmp_path, mirror, instances=True, progress=False)
    document = json.loads((folder / "instance-only" / "instances.json").read_text())
    assert (len(document["images"]), len(document["annotations"])) == (123, 1124)
    assert len(list((folder / "instance-only" / "images").iterdir())) == 123
