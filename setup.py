"""Metadata, dependencies, console scripts and the TensorBoard entry point of tbvis."""

from __future__ import annotations

import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).resolve().parent


def read_version() -> str:
  """Returns the version of tbvis/__init__.py without importing it, which a bare build environment could not."""
  source = (ROOT / "tbvis" / "__init__.py").read_text(encoding="utf-8")
  found = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
  if not found:
    raise RuntimeError('Expected a line __version__ = "..." in tbvis/__init__.py, found none.')
  return found.group(1)


REQUIREMENTS = [
  "absl-py>=2",  # Flags, flagfiles and start-up of every script.
  "h5py>=3.8",  # Keras' files of weights (tbvis-import); Keras itself needs it.
  "importlib_resources>=6",  # tensorflow-datasets 4.9.10 imports it when a data set is prepared, without asking for it.
  "keras>=3.5",  # The networks: Keras layers and keras.ops, on any Keras 3 backend.
  "numpy>=1.26",  # Arrays everywhere.
  # Decoding, scaling, DIS and TV-L1 flow, filming. "contrib" has TV-L1 (cv2.optflow), which opencv-python
  # lacks; "headless" needs no libGL, which a server or a container lacks. The module is the same cv2.
  "opencv-contrib-python-headless>=4.9",
  # PNG, GIF and WebP of stimuli: OpenCV writes no animated GIF with a palette of our choice. Its own font, for plots, came with 10.1.
  "pillow>=10.1",
  "protobuf>=4.22",  # Caffe's files: messages defined in Python, and their text form (tbvis-import). TensorFlow needs it too.
  "tensorboard>=2.21",  # The host of the plugin; older ones do not start beside a current setuptools (pkg_resources).
  "tensorflow>=2.17",  # Data pipelines, maximisation, summaries, and the default Keras backend; 2.17 is Keras 3 throughout.
  "tensorflow-datasets>=4.9.4",  # Prepared data sets on disk: versioned, checksummed, readable by others.
  "tqdm>=4.60",  # Progress bars with a rate and a remaining time.
]

EXTRAS = {
  "export": [
    # tbvis-maximize --export to MP4: its wheel brings an ffmpeg program with x264, which OpenCV's wheel lacks. An
    # extra, since that program is up to 70 MB to download, is under the GPL, and no other format needs it.
    "imageio-ffmpeg>=0.5",
  ],
  "beam": ["apache-beam>=2.60"],  # Sweeps and preparation on many processes or machines (--runner of tbvis-maximize and tbvis-prepare).
  # tbvis-import --format=pytorch: .pth needs both, .safetensors only the first. An extra, since PyTorch is gigabytes.
  "pytorch": ["safetensors>=0.4", "torch>=2.6"],
  # scripts/docs: web pages of the docstrings.
  "docs": ["pdoc>=14"],
  # The tests run what all extras but "docs" are for; PyTorch is installed by scripts/test where it may.
  "test": [
    "apache-beam>=2.60",
    "imageio-ffmpeg>=0.5",
    "mypy>=2.4",  # Types; settings are in pyproject.toml.
    "playwright>=1.40",  # Drives Debian's Chromium; its own browser download is not used.
    "pytest>=8",
    "pytest-xdist>=3.5",  # Two workers: much of the suite waits for processes to start and for browsers.
    "ruff>=0.6",  # Style.
    "safetensors>=0.4",
    "scipy>=1.10",  # Writes MATLAB's files and correlates, beside our own reader and convolutions.
    "websockets>=13",  # WebDriver BiDi: drives a real Firefox without a driver program.
    "setuptools>=68",  # Builds the wheel that the packaging tests install, without a network.
    "wheel",
  ],
}

SCRIPTS = ("prepare", "train", "evaluate", "maximize", "explain", "analyze", "figure", "demo", "doctor")

setup(
  name="tbvis",
  version=read_version(),
  description="See what a two-stream video network has learned: activation maximisation and confusions, in TensorBoard.",
  long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
  long_description_content_type="text/markdown",
  license="Apache-2.0",
  license_files=["LICENSE", "NOTICE"],
  author="The tbvis authors",
  keywords=["action recognition", "activation maximization", "interpretability", "optical flow", "TensorBoard", "two-stream networks"],
  python_requires=">=3.10",
  install_requires=REQUIREMENTS,
  extras_require=EXTRAS,
  # data/ and flags/ stand at the top of a checkout, where people look for them; a wheel carries them inside the
  # package, where nothing else can claim the names. tbvis/resources.py looks in both places.
  packages=[*find_packages(include=["tbvis", "tbvis.*", "tb_plugin", "tb_plugin.*"]), "tbvis.data", "tbvis.flags"],
  package_dir={"tbvis.data": "data", "tbvis.flags": "flags"},
  package_data={"tbvis.data": ["**/*"], "tbvis.flags": ["**/*"], "tb_plugin": ["static/**/*"]},
  include_package_data=False,
  zip_safe=False,
  entry_points={
    # A module cannot be called "import".
    "console_scripts": [
      *(f"tbvis-{verb} = tbvis.scripts.{verb}:entry" for verb in SCRIPTS),
      "tbvis-import = tbvis.scripts.import_weights:entry",
    ],
    "tensorboard_plugins": ["tbvis = tb_plugin.loader:Loader"],
  },
  classifiers=[
    "Development Status :: 5 - Production/Stable",
    "Environment :: Console",
    "Environment :: Web Environment",
    "Intended Audience :: Science/Research",
    "Operating System :: POSIX :: Linux",
    "Programming Language :: Python :: 3",
    *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
    "Topic :: Scientific/Engineering :: Artificial Intelligence",
    "Topic :: Scientific/Engineering :: Visualization",
  ],
)
