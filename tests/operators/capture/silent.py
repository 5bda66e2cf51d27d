"""Servers that take a connection and then fall silent at a chosen moment: no real camera can be told to."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from typing_extensions import override

SDP = (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
       b"a=control:track1\r\n")
OK = b"RTSP/1.0 200 OK\r\nCSeq: %d\r\nSession: 1\r\n"
ANSWERS = {
    b"OPTIONS": OK + b"Public: DESCRIBE, SETUP, PLAY\r\n\r\n",
    b"DESCRIBE": OK + b"Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s" % (len(SDP), SDP),
    b"SETUP": OK + b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n",
    b"PLAY": OK + b"\r\n",
    b"GET": b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n--frame\r\n",
}


class SilentServer(socketserver.ThreadingTCPServer):
    """Answers the given requests and no other; `waiting` says that it has fallen silent."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, answered: Sequence[bytes]) -> None:
        super().__init__(("127.0.0.1", 0), SilentHandler)
        self.answered = frozenset(answered)
        self.over = threading.Event()
        self.connections = 0

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])


class SilentHandler(socketserver.StreamRequestHandler):
    server: SilentServer

    @override
    def handle(self) -> None:
        self.server.connections += 1
        while (request := self._request()) in self.server.answered:
            self.wfile.write(ANSWERS[request] % self._number if b"%d" in ANSWERS[request] else ANSWERS[request])
        self.server.over.wait(60)

    def _request(self) -> bytes:
        """The method of the next request."""
        method = b""
        while line := self.rfile.readline().strip():
            method = method or line.split()[0]
            if line.lower().startswith(b"cseq:"):
                self._number = int(line.split()[1])
        return method


@contextmanager
def silent_server(*answered: bytes) -> Iterator[SilentServer]:
    """A running server, on 127.0.0.1 and a free port."""
    with SilentServer(answered) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()
