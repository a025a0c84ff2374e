"""What the command line does with files of vectors: info, neighbours, ngrams, export."""
import json
import os
import sys

from .bundle import load, save_bundle
from .fasttext import FastText
from .quantised import QuantisedMatrix
from .text_formats import save_text, save_word2vec
from .words import decoded

LOSSES = {1: "hierarchical softmax", 2: "negative sampling", 3: "softmax", 4: "one against all"}
KINDS = {1: "cbow", 2: "skipgram", 3: "supervised"}
FORMATS = {"text": save_text, "word2vec": save_word2vec}


def add(verbs):
    """Add the verbs to an argparse subparsers object."""
    def verb(run, help, *arguments):
        parser = verbs.add_parser(run.__name__, help=help, description=run.__doc__)
        parser.add_argument("model", metavar="MODEL", help="fastText .bin or .ftz, a bundle, .vec text or word2vec binary")
        for names, options in arguments:
            parser.add_argument(*names, **options)
        parser.set_defaults(run=run)

    words = ("words",), dict(metavar="WORD", nargs="*", help="words to ask about")
    listed = ("--words",), dict(metavar="FILE", dest="file",
                                help="more words, from a file (- is standard input), between blanks or lines")
    as_json = ("--json",), dict(action="store_true", help="as JSON")
    verb(info, "what a file holds", as_json)
    verb(neighbours, "the words nearest to each word", words, listed, as_json,
         (("-k",), dict(type=int, default=10, help="how many (default 10)")))
    verb(ngrams, "the n-grams of words, with their vectors", words, listed,
         (("--rows",), dict(action="store_true", help="with the rows of the model instead of their vectors")),
         (("--edges",), dict(default=None, help="two characters around each word (default <>; %%%% is for older texts)")))
    verb(export, "write a model in another format", listed,
         (("--out",), dict(metavar="NAME", required=True, help="the file, or the first part of both names of a bundle")),
         (("--format",), dict(choices=["bundle", *FORMATS], default="bundle",
                              help="default bundle: NAME.words.safetensors and NAME.ngrams.safetensors")),
         (("--dtype",), dict(choices=["float32", "float16"], default="float32", help="of a bundle's numbers")))


def asked(args):
    """The words of the command, then those of --words; None if neither was given."""
    if args.file is None:
        return getattr(args, "words", None) or None
    if args.file == "-":
        text = sys.stdin.buffer.read()
    else:
        with open(args.file, "rb") as file:
            text = file.read()
    return [decoded(os.fsencode(word)) for word in getattr(args, "words", [])] + [decoded(word) for word in text.split()]


def info(args):
    """Say what a file of vectors holds; a model is read and checked to its end."""
    v = load(args.model)
    found = {"file": args.model, "kind": type(v).__name__, "words": len(v.words), "dim": v.dim, "first words": v.words[:10]}
    if isinstance(v, FastText):
        h = v.header
        found |= {"kind": f"fastText {KINDS[h.model]}", "version": h.version, "loss": LOSSES[h.loss], "labels": len(v.labels),
                  "first labels": v.labels[:10], "word n-grams": h.wordNgrams, "tokens seen": h.ntokens,
                  "quantised": isinstance(v.matrix, QuantisedMatrix)}
    if hasattr(v, "subword"):
        found |= {"minn": v.subword.minn, "maxn": v.subword.maxn, "bucket": v.subword.bucket,
                  "rows of n-grams": len(v.matrix) - v.first}
    if args.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:16s}{' '.join(value) if isinstance(value, list) else value}")


def neighbours(args):
    """Print the k words with the largest cosine to each word, and the cosine."""
    words = asked(args)
    if not words:
        raise ValueError("neighbours: no words: name some, or use --words FILE")
    answers = load(args.model).neighbours(words, args.k)
    if args.json:
        print(json.dumps(dict(zip(words, answers))))
        return
    for word, found in zip(words, answers):
        print(word)
        for name, cosine in found:
            print(f"    {cosine:8.5f}  {name}")


def ngrams(args):
    """Print every n-gram that the words have, once, and its vector. Without words: those of the model's whole vocabulary."""
    v = load(args.model)
    if not hasattr(v, "subword"):
        raise ValueError(f"{args.model} has no n-grams, only {len(v.words)} words")
    if args.edges:
        v.subword = v.subword.between(args.edges)
    words = asked(args)
    for piece, place in v.subword.used(v.words if words is None else words).items():
        row = v.first + place
        print(piece, row if args.rows else " ".join(f"{x:.9g}" for x in v.matrix[row].tolist()))


def export(args):
    """Write vectors as a bundle of two files that opens alone (float16 halves it), as .vec text or in word2vec's binary format.

    --words: only these words, known or not, and only the n-grams that they use.
    """
    v, words = load(args.model), asked(args)
    if args.format == "bundle":
        if not hasattr(v, "subword"):
            raise ValueError(f"{args.model} has no n-grams to put in a bundle: use --format text or word2vec")
        paths = save_bundle(v, args.out, args.dtype, words)
    else:
        if args.dtype != "float32":
            raise ValueError(f"--format {args.format} knows float32 only, got --dtype {args.dtype}")
        FORMATS[args.format](v if words is None else v.of(words), args.out)
        paths = [args.out]
    for path in paths:
        print(f"{os.path.getsize(path):12,d} bytes  {path}")
