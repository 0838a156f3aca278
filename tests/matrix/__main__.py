"""``python -m matrix`` plays the matrix."""

import sys

from matrix.playing import main

sys.exit(main())
