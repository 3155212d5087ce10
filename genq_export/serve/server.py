"""HTTP around a service: names, origins, sizes and headers are looked at here, nothing of the build is."""

import shutil
import socket
import socketserver
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from genq_export.serve.certificate import Encryption
from genq_export.serve.place import Place, in_link, refused
from genq_export.serve.service import Reply, Service, refusal

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",  # with the next: isolated, so that WebAssembly has threads
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' blob: 'wasm-unsafe-eval'; worker-src 'self' blob:; connect-src 'self';"
        " img-src 'self' blob: data:; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
_SECONDS = 120  # that a device may say nothing in the middle of something


class Server(ThreadingHTTPServer):
    """Listens from the moment it is made; `serve_forever` answers."""

    daemon_threads = True
    allow_reuse_port = False

    def __init__(self, place: Place, port: int, service: Service, encryption: Encryption | None = None) -> None:
        """Listen.

        Raises:
            UserError: where the system does not let us.
        """
        self.address_family = socket.AF_INET6 if ":" in place.address else socket.AF_INET
        self.place, self.service = place, service
        self.scheme = "https" if encryption else "http"
        try:
            super().__init__((place.address, port), _Handler)
        except (OSError, OverflowError) as error:
            raise refused(error if isinstance(error, OSError) else OSError(str(error)), place, port) from None
        if encryption is not None:  # hands are shaken in the thread of each connection
            self.socket = encryption.context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def server_bind(self) -> None:
        """Without asking a name server what we are called."""
        socketserver.TCPServer.server_bind(self)
        self.server_port = int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """A device that went away in the middle is nothing to tell."""

    def link(self, token: str) -> str:
        """For a person to open; what is behind `#` is not sent by browsers."""
        return f"{self.scheme}://{in_link(self.place.shown)}:{self.server_port}/#{token}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version, server_version, sys_version = "HTTP/1.1", "genq-export", ""
    timeout: ClassVar[float] = _SECONDS
    server: Server

    def do_GET(self) -> None:
        """Serve a file or JSON."""
        self._send(self._foreign() or self.server.service.get(self._path(), self._key()))

    def do_POST(self) -> None:
        """Take an answer."""
        no = self._foreign() or self._from_elsewhere() or self._of_wrong_size()
        if no is not None:
            self.close_connection = True  # the body was not read
            self._send(no)
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        device = self.headers.get("User-Agent", "unnamed")
        self._send(self.server.service.post(self._path(), self._key(), body, device))

    def _path(self) -> str:
        return self.path.split("?", 1)[0]

    def _key(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _foreign(self) -> Reply | None:
        host = self.headers.get("Host", "")
        return None if self.server.place.answers_to(host) else refusal(421, "this machine has another name")

    def _from_elsewhere(self) -> Reply | None:
        own = f"{self.server.scheme}://{self.headers.get('Host', '')}"
        return None if self.headers.get("Origin") == own else refusal(403, "only this page may send anything here")

    def _of_wrong_size(self) -> Reply | None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or "Transfer-Encoding" in self.headers:
            return refusal(411, "say how long it is")
        if len(length) > 12 or int(length) > self.server.service.most_bytes:
            return refusal(413, f"no answer is longer than {self.server.service.most_bytes} bytes")
        if int(length) and self.headers.get("Content-Type") != "application/json":
            return refusal(415, "only JSON is taken")
        return None

    def _send(self, reply: Reply) -> None:
        size = len(reply.content) if isinstance(reply.content, bytes) else reply.content.stat().st_size
        self.send_response(reply.status)
        for name, value in {**_HEADERS, "Content-Type": reply.kind, "Content-Length": str(size)}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if isinstance(reply.content, bytes):
            self.wfile.write(reply.content)
            return
        with reply.content.open("rb") as handle:
            shutil.copyfileobj(handle, self.wfile)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: what happens is told by the service."""
