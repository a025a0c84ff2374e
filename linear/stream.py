"""The loop over lines: parse, score, learn, count what is malformed and go on."""
from linear.features import FeatureError
from linear.formats import FormatError, numbered_lines
from linear.progress import Totals


def run(model, stream, parse, file, *, learn=True, strict=False, totals=None, on_example=None, on_malformed=None):
    """Take every line of a binary stream through the model; returns the `Totals`, which include those passed in.

    A malformed line changes nothing: it is counted, given to `on_malformed(error)`, and, if strict, raised as
    FormatError with file, line and column. `on_example(example, margin, features, totals)` sees every other line;
    `features` is how many the example has. learn=False only predicts.
    """
    totals = Totals() if totals is None else totals
    for number, line in numbered_lines(stream):
        try:
            example = parse(line)
            if example is None:
                continue
            margin, features = model.take(example, learn)
        except (FormatError, FeatureError) as error:
            placed = (error if isinstance(error, FormatError) else FormatError(str(error))).at(file, number)
            if strict:
                raise placed from None
            totals.malformed += 1
            if on_malformed:
                on_malformed(placed)
            continue
        totals.add(example.label, margin, example.weight, features)
        if on_example:
            on_example(example, margin, features, totals)
    return totals


def opened(path):
    """A file of lines, opened for reading bytes; a name that ends in .gz is decompressed on the way."""
    if str(path).endswith(".gz"):
        import gzip
        return gzip.open(path, "rb")
    return open(path, "rb")
