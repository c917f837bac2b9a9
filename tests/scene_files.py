"""Files that are hard to read: with damaged blocks, on a server, or of random bytes."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import rasterio

import synthetic

BLOCK = 64
"""Side of the blocks of `damaged`."""


def damaged(path: Path, blocks: Sequence[tuple[int, int]], size: int = 160) -> Path:
    """Write a GeoTIFF of 64-pixel blocks, some of which (row, column) cannot be decoded."""
    tiles = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "compress": "deflate", "interleave": "pixel"}
    synthetic.geotiff(path, synthetic.landscape(3, size), **tiles)
    content = bytearray(path.read_bytes())
    with rasterio.open(path) as file:
        for row, col in blocks:
            start, length = (
                int(file.get_tag_item(f"BLOCK_{w}_{col}_{row}", "TIFF", bidx=1)) for w in ("OFFSET", "SIZE")
            )
            content[start : start + length] = b"\xff" * length
    path.write_bytes(content)
    return path


class _Ranges(BaseHTTPRequestHandler):
    """Serve the files of `server.folder` by ranges, note what is asked for, and fail as often as `server.faults`."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._serve(body=False)

    def do_GET(self) -> None:
        self._serve(body=True)

    def _serve(self, *, body: bool) -> None:
        self.server.asked.append(self.path)
        if self.server.faults > 0:
            self.server.faults -= 1
            return self._reply(503)
        file = self.server.folder / self.path.partition("?")[0].lstrip("/")
        if not file.is_file():
            return self._reply(404)
        content = file.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            return self._reply(200, content, body)
        first, last = int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1)
        if first > last:
            return self._reply(416)
        return self._reply(206, content[first : last + 1], body, f"bytes {first}-{last}/{len(content)}")

    def _reply(self, status: int, content: bytes = b"", body: bool = True, part: str = "") -> None:
        self.send_response(status)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content)))
        if part:
            self.send_header("Content-Range", part)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *words: object) -> None:
        pass


class FileServer(ThreadingHTTPServer):
    """A server on this machine; `asked` lists the paths that were asked for."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Ranges)
        self.folder, self.asked, self.faults = folder, [], 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def served(folder: Path) -> Iterator[FileServer]:
    with FileServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
