from __future__ import annotations

import hashlib
import io
import json
import logging
import re
import resource
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sat2map import downloads
from sat2map.downloads import ARCHIVES, Archive, DownloadFailed, download
from sat2map.errors import OutputError, UnknownName

FILES = {"train/1.jpg": bytes(range(256)) * 500, "train/2.jpg": b"two" * 40_000, "val/1.jpg": b"three"}


def packed(files: dict[str, bytes], *members: tarfile.TarInfo, top: str = "maps/") -> bytes:
    """Return a tar archive of files, and of members without content; not compressed, so that it is large."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(top + name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for member in members:
            tar.addfile(member)
    return stream.getvalue()


@dataclass
class Shelf:
    """What the server has to give, how it behaves, and what it was asked for.

    Args:
        content: The file.
        ranges: Whether it gives parts of it.
        headers: What else it says, such as an ETag.
        cuts: After how many bytes it hangs up, for each request in turn.
        status: Answers it gives before any other.
        heeds: Whether it gives all of a file that has changed, as `If-Range` asks.
    """

    content: bytes
    ranges: bool = True
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"1"'})
    cuts: list[int] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    heeds: bool = True
    asked: list[str | None] = field(default_factory=list)
    served: int = 0

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append(handler.headers.get("Range"))
        if self.status:
            handler.send_error(self.status.pop(0))
            return
        start = self._start(handler)
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        handler.send_header("Content-Length", str(len(self.content) - start))
        for name, value in self.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        cut = self.cuts.pop(0) if self.cuts else len(self.content)
        body = self.content[start : start + cut]
        handler.wfile.write(body)
        self.served += len(body)

    def _start(self, handler: BaseHTTPRequestHandler) -> int:
        found = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        tags = [*self.headers.values(), None] if self.heeds else [handler.headers.get("If-Range")]
        return int(found[1]) if found and self.ranges and handler.headers.get("If-Range") in tags else 0


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Shelf]]:
    """Put an archive on a local server, and into the table as `tiny`."""
    shelf: Shelf

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shelf.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Say nothing of a client that hung up."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(downloads, "PAUSES", ())

    def put(content: bytes | None = None, **words: object) -> Shelf:
        nonlocal shelf
        shelf = Shelf(packed(FILES) if content is None else content, **words)  # type: ignore[arg-type]
        url = f"http://127.0.0.1:{server.server_port}/maps.tar"
        digest = hashlib.sha256(shelf.content).hexdigest()
        monkeypatch.setitem(ARCHIVES, "tiny", Archive(url, len(shelf.content), digest, "Three files.", "Free."))
        return shelf

    yield put
    server.shutdown()
    thread.join()
    server.server_close()


def held(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder without the note."""
    files = {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
    assert json.loads(files.pop("download.json"))["name"] == "tiny"
    return files


def room(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.download")


# --- fetching ---------------------------------------------------------------------------------------------------------


def test_an_archive_becomes_the_folder(serve, tmp_path, caplog):
    shelf = serve()
    with caplog.at_level(logging.INFO):
        made = download("tiny", tmp_path / "deep" / "maps")
    assert made == tmp_path / "deep" / "maps"
    assert held(made) == FILES
    assert list(made.parent.iterdir()) == [made], "nothing is left beside it"
    assert shelf.asked == [None]
    assert "Free." in caplog.text, "the terms of use are told"


@pytest.mark.parametrize("headers", [{"ETag": '"1"'}, {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, {}])
def test_the_same_call_goes_on_and_asks_for_the_rest_only(serve, tmp_path, headers):
    shelf = serve(cuts=[100_000], headers=headers)
    with pytest.raises(DownloadFailed, match=r"ended after 100,000 of .* the same command goes on"):
        download("tiny", tmp_path / "maps")
    assert not (tmp_path / "maps").exists()
    download("tiny", tmp_path / "maps")
    assert shelf.asked == [None, "bytes=100000-"]
    assert shelf.served == len(shelf.content), "no byte is served twice"
    assert held(tmp_path / "maps") == FILES


def test_it_is_tried_again_by_itself(serve, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(downloads, "PAUSES", (0.0, 0.0, 0.0))
    shelf = serve(cuts=[1000, 5], status=[503])
    download("tiny", tmp_path / "maps")
    assert shelf.asked == [None, None, "bytes=1000-", "bytes=1005-"]
    assert held(tmp_path / "maps") == FILES
    assert "503" in caplog.text


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 100_000), max_size=3))
def test_wherever_it_is_cut_the_bytes_are_served_once(serve, tmp_path_factory, monkeypatch, cuts):
    monkeypatch.setattr(downloads, "PAUSES", (0.0, 0.0, 0.0))
    shelf = serve(cuts=[*cuts])
    folder = tmp_path_factory.mktemp("cut") / "maps"
    download("tiny", folder)
    assert held(folder) == FILES
    assert shelf.served == len(shelf.content)


def test_a_server_without_ranges_serves_all_again(serve, tmp_path):
    shelf = serve(cuts=[100_000], ranges=False)
    with pytest.raises(DownloadFailed):
        download("tiny", tmp_path / "maps")
    download("tiny", tmp_path / "maps")
    assert shelf.served == 100_000 + len(shelf.content)
    assert held(tmp_path / "maps") == FILES


@pytest.mark.parametrize("heeds", [True, False], ids=["server heeds If-Range", "server does not"])
def test_a_file_that_changed_is_fetched_anew(serve, tmp_path, monkeypatch, heeds):
    monkeypatch.setattr(downloads, "PAUSES", (0.0,))
    other = packed({**FILES, "train/1.jpg": bytes(len(FILES["train/1.jpg"]))})
    shelf = serve(cuts=[100_000, 0], headers={"ETag": '"0"'})
    right, shelf.content = shelf.content, other
    with pytest.raises(DownloadFailed, match="ended after 100,000"):
        download("tiny", tmp_path / "maps")
    shelf.content, shelf.headers, shelf.heeds = right, {"ETag": '"1"'}, heeds
    download("tiny", tmp_path / "maps")
    assert len(shelf.asked) == (3 if heeds else 4), "a server that heeds it sends all at once"
    assert held(tmp_path / "maps") == FILES


def test_an_archive_of_another_row_is_not_gone_on_with(serve, tmp_path):
    serve(packed({"a": bytes(300_000)}), cuts=[100_000], headers={})
    with pytest.raises(DownloadFailed):
        download("tiny", tmp_path / "maps")
    shelf = serve(headers={})
    download("tiny", tmp_path / "maps")
    assert shelf.asked == [None]
    assert held(tmp_path / "maps") == FILES


def test_what_was_fetched_to_the_end_is_not_fetched_again(serve, tmp_path, monkeypatch):
    shelf = serve()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(downloads, "_unpack", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        download("tiny", tmp_path / "maps")
    assert not (tmp_path / "maps").exists()
    download("tiny", tmp_path / "maps")
    assert shelf.asked == [None]
    assert held(tmp_path / "maps") == FILES
    assert not room(tmp_path / "maps").exists()


# --- what is wrong is told, and does not stay -------------------------------------------------------------------------


def test_a_wrong_checksum_leaves_nothing_to_go_on_with(serve, tmp_path):
    shelf = serve()
    right, shelf.content = shelf.content, shelf.content[:-1] + b"x"
    with pytest.raises(DownloadFailed, match=r"has the SHA-256 [0-9a-f]{64}, not [0-9a-f]{64}; it was removed") as told:
        download("tiny", tmp_path / "maps")
    assert told.value.exit_code == 1
    assert not list(tmp_path.iterdir())
    shelf.content = right
    download("tiny", tmp_path / "maps")
    assert shelf.asked == [None, None]


@pytest.mark.parametrize("ranges", [False, True])
def test_another_size_is_refused_before_it_is_read(serve, tmp_path, ranges):
    shelf = serve(ranges=ranges, cuts=[100_000], headers={})
    if ranges:
        with pytest.raises(DownloadFailed):
            download("tiny", tmp_path / "maps")
    before, shelf.content = shelf.served, shelf.content + b"more"
    with pytest.raises(DownloadFailed, match=r"bytes, not .*: it is not the archive that is known"):
        download("tiny", tmp_path / "maps")
    assert shelf.asked[-1:] == (["bytes=100000-"] if ranges else [None])
    assert not (tmp_path / "maps").exists()
    assert before == (100_000 if ranges else 0)


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_is_not_tried_again(serve, tmp_path, monkeypatch, status):
    monkeypatch.setattr(downloads, "PAUSES", (0.0, 0.0))
    shelf = serve(status=[status] * 3)
    with pytest.raises(DownloadFailed, match=f"answers {status} .* has moved"):
        download("tiny", tmp_path / "maps")
    assert len(shelf.asked) == 1
    assert not list(tmp_path.iterdir())


def test_after_416_all_is_asked_for_again(serve, tmp_path, monkeypatch):
    shelf = serve(cuts=[1000])
    with pytest.raises(DownloadFailed):
        download("tiny", tmp_path / "maps")
    monkeypatch.setattr(downloads, "PAUSES", (0.0,))
    shelf.status.append(416)
    download("tiny", tmp_path / "maps")
    assert shelf.asked == [None, "bytes=1000-", None]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/maps.tar", "http://maps.invalid/maps.tar"])
def test_without_a_network_it_says_so(serve, tmp_path, monkeypatch, url):
    serve()
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setitem(ARCHIVES, "tiny", replace(ARCHIVES["tiny"], url=url))
    with pytest.raises(
        DownloadFailed, match=re.escape(url) + r" cannot be fetched: .+\. Look after the network"
    ) as told:
        download("tiny", tmp_path / "maps")
    assert told.value.exit_code == 1
    assert not list(tmp_path.iterdir())


def test_a_server_that_falls_silent_is_given_up(serve, tmp_path, monkeypatch):
    shelf, woken = serve(), threading.Event()
    answer = shelf.answer
    monkeypatch.setattr(downloads, "TIMEOUT", 0.05)
    shelf.answer = lambda handler: (woken.wait(20), answer(handler))
    with pytest.raises(DownloadFailed, match="timed out"):
        download("tiny", tmp_path / "maps")
    shelf.content = b""
    woken.set()


def test_a_full_disk_is_told_and_gone_on_from(serve, tmp_path):
    shelf = serve()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"cannot be written to .*: File too large\. Make room") as told:
            download("tiny", tmp_path / "maps")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert told.value.exit_code == 2
    download("tiny", tmp_path / "maps")
    assert shelf.asked == [None, "bytes=100000-"]
    assert held(tmp_path / "maps") == FILES


# --- the destination --------------------------------------------------------------------------------------------------


def test_an_unknown_archive_comes_with_those_there_are(tmp_path):
    with pytest.raises(UnknownName, match=r"no archive 'map'\. Did you mean 'maps'"):
        download("map", tmp_path / "maps")


def test_a_destination_that_is_a_file(serve, tmp_path):
    shelf = serve()
    (tmp_path / "file").write_text("mine")
    for dest in (tmp_path / "file", tmp_path / "file" / "maps"):
        with pytest.raises(OutputError, match="is a file"):
            download("tiny", dest)
    assert not shelf.asked


def test_files_of_others_are_never_overwritten(serve, tmp_path):
    shelf = serve()
    (tmp_path / "mine.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="holds other files"):
            download("tiny", tmp_path, overwrite=overwrite)
    assert [f.name for f in tmp_path.iterdir()] == ["mine.txt"]
    assert not shelf.asked


def test_an_archive_is_replaced_only_if_told(serve, tmp_path):
    serve(packed({"old": b"old"}))
    folder = download("tiny", tmp_path / "maps")
    serve()
    with pytest.raises(OutputError, match="--overwrite"):
        download("tiny", folder)
    assert held(folder) == {"old": b"old"}
    download("tiny", folder, overwrite=True)
    assert held(folder) == FILES
    assert list(tmp_path.iterdir()) == [folder]


def test_an_empty_folder_is_filled_unless_one_stands_in_it(serve, tmp_path, monkeypatch):
    serve()
    (tmp_path / "maps").mkdir()
    monkeypatch.chdir(tmp_path / "maps")
    with pytest.raises(OutputError, match="where you are"):
        download("tiny", ".")
    monkeypatch.chdir(tmp_path)
    assert held(download("tiny", "maps")) == FILES


def test_one_process_at_a_time(serve, tmp_path):
    shelf = serve()
    room(tmp_path / "maps").mkdir()
    with FileLock(room(tmp_path / "maps") / "lock"), pytest.raises(OutputError, match="by another process"):
        download("tiny", tmp_path / "maps")
    assert not shelf.asked
    assert held(download("tiny", tmp_path / "maps")) == FILES


# --- unpacking --------------------------------------------------------------------------------------------------------


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "evil",
    [
        member("../evil"),
        member("maps/../../evil"),
        member("maps/train/../evil"),
        member("/tmp/evil"),
        member("//evil"),
        member("maps/link", tarfile.SYMTYPE, "/etc"),
        member("maps/link", tarfile.SYMTYPE, "train"),
        member("maps/link", tarfile.LNKTYPE, "../../mine.txt"),
        member("maps/device", tarfile.CHRTYPE),
        member("maps/pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda m: f"{m.name} {m.linkname}",
)
def test_nothing_of_an_archive_that_reaches_outside_is_kept(serve, tmp_path, evil):
    serve(packed(FILES, evil))
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DownloadFailed, match=re.escape(evil.name)) as told:
        download("tiny", tmp_path / "in" / "maps")
    assert told.value.exit_code == 1
    assert sorted(f.name for f in tmp_path.rglob("*")) == ["in", "mine.txt"]
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("content", [b"<html>not here</html>", packed(FILES)[:50_000]])
def test_what_is_no_whole_tar_archive_is_not_kept(serve, tmp_path, content):
    serve(content)
    with pytest.raises(DownloadFailed, match="cannot be unpacked"):
        download("tiny", tmp_path / "maps")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("top", ["", "./", "./maps/"])
def test_a_single_folder_at_the_top_becomes_the_destination(serve, tmp_path, top):
    serve(packed(FILES, top=top))
    assert held(download("tiny", tmp_path / "maps")) == FILES


def test_what_an_interrupted_unpacking_left_does_not_come_along(serve, tmp_path):
    serve()
    (room(tmp_path / "maps") / "unpacked" / "new" / "maps").mkdir(parents=True)
    (room(tmp_path / "maps") / "unpacked" / "new" / "maps" / "half.jpg").write_bytes(b"half")
    assert held(download("tiny", tmp_path / "maps")) == FILES


def test_every_row_of_the_table_can_be_checked():
    for archive in ARCHIVES.values():
        assert re.fullmatch("[0-9a-f]{64}", archive.sha256) and archive.size > 0
        assert archive.about.endswith(".") and archive.licence.endswith(".")
