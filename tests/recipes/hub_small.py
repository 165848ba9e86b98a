"""A hub of one's own on 127.0.0.1: the few routes that fetching a model needs, over a folder of files."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from modeledge.model import Attention, FeedForward, LMHead, Norm, Rotary, Stack, Tokens, Transformer, TransformerConfig
from modeledge.recipes.asking.use import Model
from modeledge.seed import Noise
from modeledge.tokens import Tokenizer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def llama(tokenizer: Tokenizer, *, layers: int = 2) -> Model:
    """A tiny decoder that is a Llama, with this tokenizer."""
    stack = Stack(
        layers=layers,
        attention=Attention(heads=2, bias=False),
        feedforward=FeedForward(width=24, kind="swiglu", bias=False),
        norm=Norm(kind="rms"),
        position=Rotary(),
    )
    model = Transformer(TransformerConfig(width=16, embed=Tokens(vocab=tokenizer.vocab_size), decoder=stack), seed=3)
    model.add_heads({"lm": LMHead()}, Noise(0))
    return Model(model, tokenizer)


class Hub:
    """What the server gives out (`files` of one model, at one commit) and what it was asked for."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.asked: list[str] = []
        self.tokens: list[str | None] = []
        self.address = ""

    def listing(self) -> list[dict[str, object]]:
        return [
            {"type": "file", "path": p.name, "size": p.stat().st_size, "oid": hashlib.sha1(p.read_bytes()).hexdigest()}
            for p in sorted(self.folder.iterdir())
        ]


@contextmanager
def serving(name: str, folder: Path) -> Iterator[Hub]:
    """The hub while the block lasts."""
    hub = Hub(name, folder)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

        def answer(self, status: int, data: bytes, headers: dict[str, str], *, body: bool) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(data)

        def handle_any(self, *, body: bool) -> None:
            path = self.path.partition("?")[0]
            hub.asked.append(f"{self.command} {path}")
            hub.tokens.append(self.headers.get("Authorization"))
            api, files = f"/api/models/{hub.name}", f"/{hub.name}/resolve/"
            kind = {"Content-Type": "application/json"}
            known = [f"{api}/revision/{r}" for r in ("main", COMMIT)]
            if path in (api, *known):
                siblings = [{"rfilename": row["path"]} for row in hub.listing()]
                said = {"id": hub.name, "modelId": hub.name, "sha": COMMIT, "siblings": siblings, "private": False}
                self.answer(200, json.dumps(said).encode(), kind, body=body)
            elif path.startswith(f"{api}/tree/"):
                self.answer(200, json.dumps(hub.listing()).encode(), kind, body=body)
            elif path.startswith(f"{api}/revision/"):
                self.answer(404, b"{}", {**kind, "X-Error-Code": "RevisionNotFound"}, body=body)
            elif path.startswith(files) and (hub.folder / path.rpartition("/")[2]).is_file():
                data = (hub.folder / path.rpartition("/")[2]).read_bytes()
                tag = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT}
                self.answer(200, data, tag, body=body)
            else:
                self.answer(404, b"{}", {**kind, "X-Error-Code": "RepoNotFound"}, body=body)

        def do_GET(self) -> None:
            self.handle_any(body=True)

        def do_HEAD(self) -> None:
            self.handle_any(body=False)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
