"""The loop over lines: parse, score, learn, count what is malformed and go on.

Lines of VW text and of svmlight for a compiled model go through its own loop, a quarter of a megabyte at a time; what that
loop leaves to Python, and every other format, goes line by line.
"""
from linear.features import FeatureError
from linear.formats import Example, FormatError, bare_line, numbered_lines
from linear.progress import Totals

CHUNK = 1 << 18
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def run(model, stream, parse, file, *, learn=True, strict=False, totals=None, progress=None, on_example=None,
        on_malformed=None):
    """Take every line of a binary stream through the model; returns the `Totals`, which include those passed in.

    A malformed line changes nothing: it is counted, given to `on_malformed(error)`, and, if strict, raised as
    FormatError with file, line and column. `on_example(example, margin, prediction, features)` sees every other line;
    `prediction` is the margin as the loss sees it, `features` how many the example has. `progress` is a
    `progress.Progress` to be shown. learn=False only predicts.
    """
    job = Job(model, parse, file, learn, strict, Totals() if totals is None else totals, progress, on_example, on_malformed)
    loops = getattr(model, "loops_read", lambda parse: None)(parse)
    if loops is not None and hasattr(stream, "read1"):
        _run_compiled(job, *loops, stream)
    else:
        for number, line in numbered_lines(stream):
            job.line(line, number)
    return job.totals


def opened(path):
    """A file of lines, opened for reading bytes; a name that ends in .gz is decompressed on the way."""
    if str(path).endswith(".gz"):
        import gzip
        return gzip.open(path, "rb")
    return open(path, "rb")


class Job:
    """One run: the model, what is wanted of every line, and the totals."""

    def __init__(self, model, parse, file, learn, strict, totals, progress, on_example, on_malformed):
        self.model, self.file, self.learn, self.strict, self.totals = model, file, learn, strict, totals
        self.parse = getattr(model, "parser_for", lambda parse: parse)(parse)
        self.clamped = getattr(model, "clamped", lambda margin: margin)
        self.progress, self.on_example, self.on_malformed = progress, on_example, on_malformed

    def line(self, line, number):
        """One line in Python."""
        try:
            example = self.parse(line)
            if example is None:
                return
            margin, features = self.model.take(example, self.learn)
        except (FormatError, FeatureError) as error:
            return self.refuse(error, number)
        prediction = self.clamped(margin)
        self.totals.add(example.label, prediction, example.weight, features)
        if self.progress:
            self.progress.show(self.totals, example.label, margin, features)
        if self.on_example:
            self.on_example(example, margin, prediction, features)

    def refuse(self, error, number):
        """Count a line that is none, or raise."""
        placed = (error if isinstance(error, FormatError) else FormatError(str(error))).at(self.file, number)
        if self.strict:
            raise placed from None
        self.totals.malformed += 1
        if self.on_malformed:
            self.on_malformed(placed)


def _run_compiled(job, learner, what, stream):
    """Read a stream in chunks that end with a line; the buffer keeps 8 bytes more than its text, which the loop may read."""
    buffer, held, first = bytearray(CHUNK + 16), 0, True
    learner.begin(results=bool(job.on_example))
    while True:
        text = stream.read1(len(buffer) - 16 - held)     # not readinto1, which waits for more where something was peeked at
        got = len(text)
        buffer[held:held + got] = text
        if not got and held:
            buffer[held:held + 1] = b"\n"                # the last line need not end with one
            held += 1
        end = buffer.rfind(b"\n", held - 1 if not got else held, held + got) + 1
        held += got
        if end:
            start = 3 if first and buffer.startswith(_BYTE_ORDER_MARK) else 0
            _run_lines(job, learner, what, buffer, start, end)
            buffer[:held - end] = buffer[end:held]
            held, first = held - end, False
        elif held >= len(buffer) - 16:
            buffer.extend(bytes(len(buffer)))            # one line, longer than the buffer
        if not got:
            return


def _run_lines(job, learner, what, buffer, start, end):
    def by_hand(start):
        newline = buffer.index(b"\n", start, end)
        job.line(bare_line(bytes(buffer[start:newline])), learner.next_line())
        return newline + 1

    run_examples(job, learner, what, buffer, start, end, by_hand)


def run_examples(job, learner, what, buffer, start, end, by_hand):
    """Take the examples of buffer[start:end] through a compiled learner, with what the job wants to see of them; where the loop
    stops before one, by_hand(its place) deals with it and returns the place of the next."""
    while start < end:
        start, stopped = learner.run(buffer, start, end, what, job.learn, job.progress.next if job.progress else -1, job.totals)
        if job.on_example:
            for label, weight, initial, tag, margin, prediction, features in learner.results_of(buffer):
                job.on_example(Example(label, weight, initial, tag, ()), margin, prediction, features)
        if job.progress and job.totals.examples >= job.progress.next:
            job.progress.show(job.totals, *learner.last())
        if stopped:
            start = by_hand(start)
