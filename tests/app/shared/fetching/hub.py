"""A stand-in for a hub and for Civitai, on loopback: their HTTP, as their documentation has it, and a CDN beside."""

import json
import re
from hashlib import sha256

from tests.app.shared.fetching.lying import Lying, answer

TOKEN = "hf_hunter2"
BODY = b"the bytes of an adapter" * 1000
SHA256 = sha256(BODY).hexdigest()
COMMIT = "c0ffee"
REPOSITORIES: dict[str, list[str]] = {
    "models/owner/one": ["README.md", "lora.safetensors"],
    "models/owner/none": ["README.md", "model.ckpt"],
    "models/owner/several": [f"step-{number}.safetensors" for number in range(30)],
    "models/owner/peft": ["README.md", "sub/adapter_config.json", "sub/adapter_model.safetensors"],
    "models/owner/gated": ["lora.safetensors"],
    "datasets/owner/pictures": ["README.md", "train.zip"],
}


class Hub:
    """What it answers; breaks: after how many bytes each next file breaks off."""

    def __init__(self) -> None:
        self.server = Lying(self.says)
        self.url = f"http://127.0.0.1:{self.server.port}"
        self.breaks: list[int] = []
        self.body, self.sha256 = BODY, SHA256
        self.sent = 0

    def says(self, head: bytes) -> list[bytes]:
        """Answer a request."""
        path = head.split(b" ")[1].decode()
        authorized = f"Authorization: Bearer {TOKEN}".encode() in head
        if match := re.fullmatch(r"/api/(\w+/[\w-]+/[\w-]+)/revision/(\S+)\?blobs=true", path):
            if match[1] not in REPOSITORIES or match[2] not in ("main", "v1", COMMIT):
                return [answer(status="401 Unauthorized", X_Error_Code="RepoNotFound")]
            lfs = {"sha256": self.sha256, "size": len(self.body)}
            files = [{"rfilename": one, "size": 1, **({} if "." not in one else {"lfs": lfs})} for one in _of(match[1])]
            return [answer(json.dumps({"sha": COMMIT, "siblings": files}).encode(), Content_Type="application/json")]
        if match := re.fullmatch(r"/api/v1/model-versions/(\d+)", path):
            return [self._version(int(match[1]))]
        if "/resolve/" in path or path.startswith("/api/download/"):
            if "gated" in path and not authorized:
                return [answer(status="401 Unauthorized", X_Error_Code="GatedRepo")]
            config = "config" if path.endswith(".json") else "file"
            return [
                answer(status="302 Found", Location=f"http://localhost:{self.server.port}/cdn/{config}?signature=s")
            ]
        if path == "/cdn/config?signature=s":
            return [answer(b'{"peft_type": "LORA"}')]
        if path == "/cdn/file?signature=s":
            return [self._file(head)]
        return [answer(status="404 Not Found")]

    def _version(self, number: int) -> bytes:
        if number == 404:
            return answer(status="404 Not Found")
        file = {"hashes": {"SHA256": self.sha256.upper()}, "downloadUrl": f"{self.url}/api/download/models/{number}"}
        names = {1: ["one.safetensors"], 2: ["a.safetensors", "b.safetensors"], 3: ["one.pt"]}[number]
        files = [{"name": name, "primary": number == 1, **file} for name in names]
        return answer(json.dumps({"id": number, "files": files}).encode())

    def _file(self, head: bytes) -> bytes:
        wanted = re.search(rb"Range: bytes=(\d+)-\r\n", head)
        start = int(wanted[1]) if wanted and b'If-Range: "t"' in head else 0
        body = self.body[start:]
        end = self.breaks.pop(0) if self.breaks else len(body)
        self.sent += len(body[:end])
        more = {"Content_Range": f"bytes {start}-{len(self.body) - 1}/{len(self.body)}"} if start else {}
        return answer(body[:end], f"{206 if start else 200} OK", len(body), ETag='"t"', **more)


def _of(repository: str) -> list[str]:
    return REPOSITORIES[repository]
