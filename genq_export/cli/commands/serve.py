"""`genq-export serve`"""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from genq_export.cli.console import say, show
from genq_export.cli.options import Folder, Quiet, Verbose
from genq_export.core.progress import Progress

Host = Annotated[
    str | None,
    typer.Option(
        help="Let others in: the address of this machine that they reach, or 0.0.0.0. [default: this machine]",
        show_default=False,
    ),
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")]
Tls = Annotated[bool, typer.Option("--tls", help="https with a certificate of its own; threads on other devices.")]
OrtWeb = Annotated[
    Path | None,
    typer.Option(
        "--ort-web",
        help="Folder of npm's onnxruntime-web. [default: its CDN's, checked by hash]",
        show_default=False,
    ),
]


def serve(
    folder: Folder,
    host: Host = None,
    port: Port = 8800,
    tls: Tls = False,
    ort_web: OrtWeb = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Serve a page that checks a build on the device that opens it, and take what it finds into the build."""
    from genq_export.serve.run import Offer, serve

    serve(folder, Offer(host, port, tls, ort_web), Progress(quiet, verbose), _show_link if host else say)


def _show_link(link: str) -> None:
    """The link, and on a terminal its QR code."""
    from genq_export.serve.qr_code import qr_text

    say(link)
    if not sys.stdout.isatty():
        return
    code = qr_text(link)
    show(Text(code, "black on white") if code else "(pip install segno, and a QR code stands here)")
