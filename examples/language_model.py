"""A word-level language model: two LSTM layers guess the next word, with tied weights, SGD and gradients clipped at 0.25.

    python examples/language_model.py [--data FILE_OR_FOLDER] [--beside-torch] [--spelling] [--device cuda] [--picture FILE]
    python examples/language_model.py --awd --data WIKITEXT_2 --device cuda --epochs 20

Without --data it reads the manual that every Python installation carries (pydoc's topics, 120,000 words). With a folder
it reads train.txt and valid.txt in it, gzip or not, as wikitext-2 comes; with a file, its last tenth is kept for validation.

Three questions, one picture. Does 1cycle beat a constant rate? Both get the best of a few rates. What does clipping do?
At a rate that is too high, without it, the loss explodes; with it, the same rate trains. And with --beside-torch: is it
PyTorch's curve? Both train from the same weights on the same batches, at a calm rate and without dropout, whose masks they
draw differently; perplexities must agree within 1 %. With --spelling: words by their letters (CharCNN) instead of a table of
word vectors, in the same model otherwise: parameters, seconds, perplexity.

With --awd: 1cycle against a constant rate for the model of Merity, Keskar & Socher 2017 (AWD-LSTM): three layers, 400 -> 1150
-> 1150 -> 400, whose recurrent weights are dropped, masks that stay for a whole piece of text, and the tied table; 33 million
weights for wikitext-2's 33,278 words. It wants a GPU.
"""
import argparse
import gzip
import json
import math
import re
import sys
import time
from collections import Counter
from pathlib import Path

from common import BLUE, GREY, ORANGE, RED, add_device, canvas, label_line, save

import numpy as np

import tinygrad_lite as tg
from compare.libraries import Ours, PyTorch
from tinygrad_lite.progress import progress

BATCH, STEPS, CLIP = 20, 35, 0.25           # streams side by side, words a gradient reaches back, the largest norm
AWD = dict(words=33278, hidden=1150, layers=3, rate=10.0, batch=80, steps=70)      # other defaults with --awd
DROPPED = dict(input=0.65, between=0.2, output=0.4, weights=0.5)                    # shares of the AWD-LSTM
ASK = dict(cpu=1, cuda=20)                  # steps between looks at the loss, each of which makes a GPU wait
TOO_HIGH, CALM = 12.0, 0.2                  # times the rate; calm: roundings are not blown up to other curves


# ---------------------------------------------------------------- text

def manual():
    """The words of Python's own manual; a paragraph that stands there several times, once."""
    from pydoc_data.topics import topics
    paragraphs = dict.fromkeys(part for name in sorted(topics) for part in topics[name].split("\n\n"))
    return re.findall(r"\w+|[^\s\w]", " ".join(paragraphs).lower())


def words_of(path):
    data = path.read_bytes()
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    return data.decode("utf-8").replace("\n", " <eos> ").split()


def read(path):
    """(words to train on, words to validate on)."""
    if path is not None and path.is_dir():
        return [words_of(next(iter(sorted(path.glob(f"{part}.txt*"))), path / f"{part}.txt")) for part in ("train", "valid")]
    words = manual() if path is None else words_of(path)
    cut = len(words) * 9 // 10
    return words[:cut], words[cut:]


def as_ids(train, valid):
    """Both texts as integers, the commonest word of the training text 1, and the list of words, "" at 0."""
    ranked = [word for word, _ in Counter(train).most_common()]
    place = {word: i for i, word in enumerate(dict.fromkeys(["", *ranked, *valid]))}
    return [np.array([place[word] for word in words]) for words in (train, valid)], list(place)


def windows(ids, batch, steps=STEPS):
    """[(words, next words)], each (steps, batch): the text cut into `batch` streams that are read side by side."""
    length = (len(ids) - 1) // batch
    x, y = (ids[start:start + length * batch].reshape(batch, length).T for start in (0, 1))
    return [(x[i:i + steps], y[i:i + steps]) for i in range(0, length, steps)]


def frequent(ids, words):
    """0 for every word that is none of the commonest."""
    return np.where(ids < words, ids, 0)


# ---------------------------------------------------------------- the model, in words that tinygrad_lite and PyTorch share

class LanguageModel:
    """Embedding -> dropout -> LSTM layers -> dropout -> scores by the embedding itself (Press & Wolf 2017) and a bias.

    With an `encoder`, a module of word ids, that one reads, and the embedding only scores.
    """

    def __init__(self, L, words, size, layers, dropout, encoder=None):
        self.L, self.words, self.size, self.encoder = L, words, size, encoder
        self.embedding, self.lstm = L.module("Embedding", words, size), L.module("LSTM", size, size, layers, dropout=dropout)
        self.recurrent = [self.lstm]
        self.bias, self.dropout = L.param(np.zeros(words)), L.module("Dropout", dropout)
        self.parameters = [self.embedding.weight, *self.lstm.parameters(), self.bias, *(encoder.parameters() if encoder else ())]

    def start(self, seed):
        """The same start for every library: embeddings from U(-0.1, 0.1), the LSTM's weights as PyTorch draws them."""
        rng = np.random.default_rng(seed)
        for module, width in (self.embedding, 0.1), *[(lstm, lstm.hidden_size ** -0.5) for lstm in self.recurrent]:
            self.L.load(module, {k: rng.uniform(-width, width, a.shape).astype("f") for k, a in self.L.state(module).items()})

    def __call__(self, ids, state=None):
        """(scores (T * B, words), state), and the state is cut off from what came before."""
        vectors = self.encoder(ids) if self.encoder else self.embedding(self.L.given(frequent(ids, self.words)))
        out, state = self.lstm(self.dropout(vectors), state)
        rows = self.dropout(out).reshape(-1, self.size)
        return rows @ self.embedding.weight.T + self.bias, tuple(s.detach() for s in state)

    def train(self, mode):
        self.lstm.train(mode), self.dropout.train(mode)


class DroppedLSTM(tg.nn.LSTM):
    """An LSTM layer whose recurrent weights are dropped, the same ones for a whole piece of text."""

    def forward(self, x, state):
        whole = self.weight_hh_l0
        self.weight_hh_l0 = tg.nn.functional.dropout(whole, DROPPED["weights"], self.training)
        try:
            return super().forward(x, state)
        finally:
            self.weight_hh_l0 = whole


class AWDLanguageModel(LanguageModel):
    """Embedding -> LSTM layers size -> hidden -> ... -> size -> scores by the embedding, with dropout on all that passes."""

    def __init__(self, L, words, size, hidden, layers):
        widths = [size, *[hidden] * (layers - 1), size]
        self.L, self.words, self.size, self.embedding = L, words, size, L.module("Embedding", words, size)
        self.recurrent = [DroppedLSTM(n, m).to(L.device) for n, m in zip(widths, widths[1:])]
        self.bias = L.param(np.zeros(words))
        self.parameters = [self.embedding.weight, *[p for lstm in self.recurrent for p in lstm.parameters()], self.bias]

    def __call__(self, ids, state=None):
        x, ends = self.dropped(self.embedding(self.L.given(frequent(ids, self.words))), "input"), []
        for lstm, s in zip(self.recurrent, state or [None] * len(self.recurrent)):
            x, s = lstm(x, s)
            x = self.dropped(x, "output" if lstm is self.recurrent[-1] else "between")
            ends.append(tuple(t.detach() for t in s))
        return x.reshape(-1, self.size) @ self.embedding.weight.T + self.bias, ends

    def dropped(self, x, place):
        """One mask for all steps of a piece (Gal & Ghahramani 2016)."""
        mask = tg.Tensor(np.ones_like(x.data, shape=(1, *x.shape[1:])))
        return x * tg.nn.functional.dropout(mask, DROPPED[place], self.recurrent[0].training)

    def train(self, mode):
        for lstm in self.recurrent:
            lstm.train(mode)


class Spelled(tg.nn.Module):
    """Word ids -> vectors from the words' letters."""

    def __init__(self, listed, size):
        alphabet = tg.nn.Alphabet(listed, most=100)
        self.spelling, self.letters = alphabet.encode(listed, longest=20), tg.nn.CharCNN(len(alphabet), filters=(20, 30, 40, 50))
        self.out = tg.nn.Linear(self.letters.out_features, size)

    def forward(self, ids):
        return self.out(self.letters(self.spelling[ids]))


class Table(tg.nn.Module):
    """Word ids -> vectors of their own; those of rare words share one."""

    def __init__(self, words, size):
        self.words, self.table = words, tg.nn.Embedding(words, size)

    def forward(self, ids):
        return self.table(frequent(ids, self.words)) * 0.1        # N(0, 1) is wide for what goes into an LSTM


def epoch(L, model, batches, optimizer=None, rates=None, clip=CLIP, title=""):
    """Perplexity of one pass over the batches, which trains if there is an optimizer."""
    total, count, state, losses = 0.0, 0, None, []
    model.train(optimizer is not None)
    note = lambda: f"perplexity {perplexity(total, count):.1f}"
    for x, y in progress(batches, title, note=note, lines=4, file=sys.stderr) if title else batches:
        if optimizer is None:
            with L.no_grad():
                scores, state = model(x, state)
                loss = L.losses.cross_entropy(scores, L.given(frequent(y.reshape(-1), model.words)))
        else:
            if rates is not None:
                optimizer.param_groups[0]["lr"] = next(rates)
            scores, state = model(x, state)
            loss = L.losses.cross_entropy(scores, L.given(frequent(y.reshape(-1), model.words)))
            optimizer.zero_grad()
            loss.backward()
            if clip:
                L.clip("clip_grad_norm_")(model.parameters, clip)
            optimizer.step()
        losses.append((loss.detach(), y.size))
        if len(losses) == ASK[L.device]:
            total, count, losses = total + sum(x.item() * n for x, n in losses), count + sum(n for _, n in losses), []
            if not math.isfinite(total):
                break
    total, count = total + sum(x.item() * n for x, n in losses), count + sum(n for _, n in losses)
    return perplexity(total, count)


def perplexity(total, count):
    mean = total / max(count, 1)
    return math.exp(mean) if mean < 50 else math.inf


def train(L, options, train_windows, valid_windows, rates, clip=CLIP, epochs=None, dropout=None, encoder=None, name=""):
    """[perplexity on the validation text, epoch by epoch], seconds of training."""
    L.seed(options.seed)
    dropout = options.dropout if dropout is None else dropout
    model = (AWDLanguageModel(L, options.words, options.size, options.hidden, options.layers) if options.awd else
             LanguageModel(L, options.words, options.hidden, options.layers, dropout, encoder and encoder().to(L.device)))
    model.start(options.seed)
    optimizer, curve, seconds, rates = L.optimizer("SGD", model.parameters, 1.0)[0], [], 0.0, iter(rates)
    for i in range(epochs or options.epochs):
        started = time.perf_counter()
        try:
            last = epoch(L, model, train_windows, optimizer, rates, clip, f"{name}, epoch {i + 1}")
        except FloatingPointError as error:     # tinygrad_lite refuses to step with gradients that are not finite
            print(f"{name}: {error}", file=sys.stderr)
            last = math.inf
        seconds += time.perf_counter() - started
        curve.append(epoch(L, model, valid_windows) if math.isfinite(last) else math.inf)
        if options.awd:                         # it may take long: say how far it is
            print(f"{name}, epoch {i + 1}: validation perplexity {curve[-1]:.2f} after {seconds / 60:.1f} minutes", file=sys.stderr)
        if not math.isfinite(curve[-1]):
            break
    return curve, seconds


def float32(library):
    L = library()
    L.dtype = "float32"
    return L


def constant(rate):
    while True:
        yield rate


def one_cycle(rate, steps):
    schedule = tg.schedules.OneCycleLR(rate, total_steps=steps, pct_start=0.3, div_factor=10)
    return map(schedule, range(steps))


# ---------------------------------------------------------------- the three questions

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="PATH", help="a text, or a folder with train.txt and valid.txt (.gz); "
                        "default: Python's manual")
    parser.add_argument("--words", type=int, default=5000, help="size of the vocabulary (default 5000)")
    parser.add_argument("--tokens", type=int, help="train on so many words only")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rate", type=float, default=5.0, help="of the constant run, and a third of 1cycle's peak (default 5)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--beside-torch", action="store_true", help="train PyTorch, too, from the same weights on the same batches")
    parser.add_argument("--spelling", action="store_true", help="also words by their letters against a table, as what reads")
    parser.add_argument("--schedule", choices=("both", "1cycle", "constant"), default="both", help="of the rate (default both)")
    parser.add_argument("--clip", type=float, default=CLIP, help=f"the largest norm of the gradients (default {CLIP})")
    parser.add_argument("--batch", type=int, default=BATCH, help=f"streams side by side (default {BATCH}, with --awd {AWD['batch']})")
    parser.add_argument("--steps", type=int, default=STEPS,
                        help=f"words that a gradient reaches back (default {STEPS}, with --awd {AWD['steps']})")
    parser.add_argument("--awd", action="store_true", help=f"the AWD-LSTM: defaults are then {AWD}; the runs are those of --schedule")
    parser.add_argument("--size", type=int, default=400, help="of the word vectors of --awd (default 400)")
    parser.add_argument("--picture", default="language_model.png", metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of a table")
    add_device(parser)
    if "--awd" in sys.argv:
        parser.set_defaults(**AWD)
    args = parser.parse_args()
    Ours.device = args.device
    if (args.awd or args.schedule != "both") and (args.beside_torch or args.spelling):
        parser.error("--beside-torch and --spelling are part of the usual runs: leave out --awd and --schedule")
    if args.data and not args.data.exists():
        parser.error(f"--data {args.data}: there is no such file or folder")
    texts, listed = as_ids(*read(args.data))
    args.words = min(args.words, len(listed))
    train_windows, valid_windows = windows(texts[0][:args.tokens], args.batch, args.steps), windows(texts[1], 10, args.steps)
    steps, ours = len(train_windows) * args.epochs, float32(Ours)
    print(f"{texts[0][:args.tokens].size:,} words to train on, {texts[1].size:,} to validate, {args.words:,} different ones; "
          f"{len(train_windows):,} steps an epoch", file=sys.stderr)

    runs, kinds = {}, {"constant rate": constant(args.rate), "1cycle": one_cycle(3 * args.rate, steps)}
    for name, rates in kinds.items():
        if args.schedule == "both" or name.startswith(args.schedule):
            runs[name] = train(ours, args, train_windows, valid_windows, rates, args.clip, name=name)
    if args.awd or args.schedule != "both":
        return report(args, runs)
    high, part = TOO_HIGH * args.rate, train_windows[:max(20, len(train_windows) // 4)]
    for name, clip in ("too high, clipped", args.clip), ("too high, unclipped", None):
        runs[name] = train(ours, args, part, valid_windows, constant(high), clip, epochs=1, name=name)
    if args.beside_torch:
        for L in ours, float32(PyTorch):
            calm = constant(CALM * args.rate)
            runs[f"{L.name}, calm"] = train(L, args, train_windows, valid_windows, calm, args.clip, dropout=0.0, name=L.name)
    encoders = {"table": lambda: Table(args.words, args.hidden), "letters": lambda: Spelled(listed, args.hidden)}
    for name, encoder in encoders.items() if args.spelling else ():
        rates, size = one_cycle(3 * args.rate, steps), sum(p.data.size for p in encoder().parameters())
        name = f"{name}, {size:,} numbers"
        runs[name] = train(ours, args, train_windows, valid_windows, rates, args.clip, encoder=encoder, name=name)
    report(args, runs)


def report(args, runs):
    if args.json:
        print(json.dumps({name: {"perplexity": [p if math.isfinite(p) else None for p in curve], "seconds": round(seconds, 2)}
                          for name, (curve, seconds) in runs.items()}))
    else:
        print(f"\n{'validation perplexity':28s}" + "".join(f"epoch {i + 1:2d}  " for i in range(args.epochs)) + " seconds")
        for name, (curve, seconds) in runs.items():
            print(f"{name:28s}" + "".join(f"{p:8.1f}  " for p in curve) + " " * 10 * (args.epochs - len(curve)) + f"{seconds:8.1f}")
    draw(args, runs)
    if args.beside_torch:
        (ours, our_seconds), (theirs, their_seconds) = [runs[f"{name}, calm"] for name in ("tinygrad_lite", "PyTorch")]
        apart = max(abs(a / b - 1) for a, b in zip(ours, theirs))
        print(f"largest difference to PyTorch {100 * apart:.3f} %, {their_seconds / our_seconds:.2f}x its speed",
              file=sys.stderr if args.json else sys.stdout)
        if not apart < 0.01:
            sys.exit("the curves differ by more than 1 %")


def draw(args, runs):
    four = len(runs) > 2
    figure, axes = canvas(args, 1, 1 + four, (7 + 4 * four, 4.6), squeeze=False, **{"width_ratios": [2, 1]} if four else {})
    if figure is None:
        return
    axes = axes[0]
    for (name, (curve, _)), color in zip(list(runs.items())[:2], (BLUE, ORANGE)):
        axes[0].plot(range(1, len(curve) + 1), curve, "o-", color=color)
        label_line(axes[0], len(curve), curve[-1], f"{name} {curve[-1]:.0f}", color)
    for (name, (curve, _)), style in zip(list(runs.items())[4:], ("o-", "x--", "s-", "d-")):
        axes[0].plot(range(1, len(curve) + 1), curve, style, color=GREY, label=name, alpha=0.8)
    if len(runs) > 4:
        axes[0].legend()
    axes[0].set(title="perplexity on text it has not seen", xlabel="epoch", yscale="log", xticks=range(1, args.epochs + 1))
    axes[0].margins(x=0.2)
    if four:
        draw_explosion(args, runs, axes[1])
    save(args, figure, "A language model")


def draw_explosion(args, runs, ax):
    bars = list(runs.items())[2:4]
    top = max(p for _, (curve, _) in bars for p in curve if math.isfinite(p))
    for i, ((name, (curve, _)), color) in enumerate(zip(bars, (BLUE, RED))):
        value = curve[-1] if math.isfinite(curve[-1]) else 3 * top
        ax.bar(i, value, color=color, width=0.6)
        said = f"{curve[-1]:,.0f}" if math.isfinite(curve[-1]) else "exploded"
        ax.text(i, value, said, ha="center", va="bottom", color=color)
    ax.set(title=f"at {TOO_HIGH:g} times the rate", xticks=[0, 1], xticklabels=[f"clipped at {args.clip:g}", "not clipped"],
           yscale="log", ylabel="perplexity after a quarter epoch")


if __name__ == "__main__":
    main()
