#!/bin/bash
# Makes target/examples-python, once: the Python environment in which the tests run examples/*.py.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=target/examples-python/bin/python3
[ -x "$python" ] || python3 -m venv target/examples-python
"$python" -c 'import cv2, pocketsphinx, websockets' 2>/dev/null ||
    "$python" -m pip install --quiet --disable-pip-version-check websockets opencv-python-headless pocketsphinx
