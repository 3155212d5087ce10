"""Packages in Optimum and in transformers.js, beside `genq_export.load` of the builds they were made from.

    python -m venv optimum-env && optimum-env/bin/pip install 'optimum-onnx[onnxruntime]' 'transformers<4.58' pillow
    npm install @huggingface/transformers onnxruntime-node
    python -m benchmarks.hub_libraries.compare BUILD --optimum-python optimum-env/bin/python --node-modules node_modules

128 images: as tensors, whose answers must be equal bit for bit; and as pictures of another size, which each library
resizes by itself. The difference of what then reaches the network is given in dB below its power. Images are the
embedded test set's, enlarged to 100 x 100, or crops of photographs (`--photographs`: the folder where
`benchmarks.peer_photographs` puts them).
"""

import argparse
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from benchmarks.hub_libraries.libraries import Package, in_optimum, in_transformers_js
from benchmarks.hub_libraries.rows import Row, row_of
from genq_export import zoo

_SIDE = 100  # pixels of a picture of the embedded test set


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("builds", nargs="+", type=Path)
    parser.add_argument("--optimum-python", type=Path)
    parser.add_argument("--node-modules", type=Path)
    parser.add_argument("--model-type", help="of transformers, in the place of the package's own")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--photographs", type=Path, metavar="FOLDER", help="where they are, or are fetched to")
    options = parser.parse_args()
    print(Row.head())
    for build in options.builds:
        for row in rows(build, options):
            print(row.line(), flush=True)


def rows(build: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Of one build in every library that is given."""
    with TemporaryDirectory() as folder:
        package = Package.of(build, Path(folder), list(pictures(options)), options.model_type)
        if options.optimum_python:
            yield row_of(package, "Optimum", in_optimum(package, options.optimum_python))
        if options.node_modules:
            yield row_of(package, "transformers.js", in_transformers_js(package, options.node_modules))


def pictures(options: argparse.Namespace) -> Iterator[Image.Image]:
    """Those that are compared on."""
    if options.photographs:
        sys.path.append(str(Path(__file__).parents[1]))  # its modules find each other as scripts do
        from peer_photographs import collect, crops

        yield from islice(crops(collect(options.photographs), 5), options.images)
        return
    for pixels in zoo.test_set()[0][: options.images]:
        yield Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)


if __name__ == "__main__":
    main()
