"""One script per idea: each draws one picture, prints its numbers, and fails if its claim does not hold.

    python examples/gallery/decay_forms.py --picture decay_forms.png        one of them
    python -m examples.gallery --out gallery                                all of them, and a page to look at

A script has a docstring (title, then text: the page shows both) and `main(argv=None)`, which takes `--picture PATH`.
A new file with these two joins the page by itself.
"""
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))      # for _shared.py, which a script run alone finds beside it
