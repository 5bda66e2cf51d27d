"""An RTSP server of GStreamer's, for codecs that aio-rtsp-toolkit does not serve; run by a Python that has `gi`.

    python3 gstreamer_server.py PORT NAME=PIPELINE ...     prints "ready" when it listens
"""

from __future__ import annotations

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - versions are required first

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
for argument in sys.argv[2:]:
    name, _, pipeline = argument.partition("=")
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {pipeline} )")
    server.get_mount_points().add_factory(f"/{name}", factory)
server.attach(None)
print("ready", flush=True)
GLib.MainLoop().run()
