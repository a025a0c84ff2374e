"""Vectors for words that were never seen

Word vectors as in a .vec file say nothing of a word that is not in it. But its spelling does: "unbreakable" has the pieces of
"unthinkable" and of "breaking". Here vectors of n-grams are learned whose mean is the vector of each known word (Zhao, Mudgal
& Liang 2018); unknown words get the mean of theirs.

The words here are made of a prefix, a stem and a suffix, and so are their vectors, plus noise that nobody can guess. A tenth
is kept from the learner: how near does it come to their true vectors? And do misspelt words find their correct form? With
--vectors the same is asked of your own file; of a fastText model with n-grams the answer of its own n-grams stands beside.

    python examples/gallery/ngrams_for_unknown_words.py [--picture ngrams_for_unknown_words.png] [--seed 0] [--vectors FILE]
"""
import argparse
from pathlib import Path

import numpy as np

from tinygrad_lite.vectors import WordVectors, load, teach_ngrams

PREFIXES = ["", "", "", "un", "re", "over", "pre", "mis", "dis", "inter"]
SUFFIXES = ["", "", "s", "ed", "ing", "ness", "able", "ly", "ment", "er"]
STEMS, WORDS, DIM, NOISE = 120, 2000, 32, 0.25
MINN, MAXN, LONG, SHOWN = 3, 5, 6, 500              # n-grams; the least length of a word to misspell, and how many are
LOSSES = {"cosine": 5, "mse": 5}                    # and their epochs


def invented(rng):
    """WordVectors of made-up words: the sum of the vectors of their parts, and noise."""
    def letters(kinds):
        return "".join(str(rng.choice(list(kind))) for kind in kinds)
    stems = [letters(["bcdfgklmnprstvz", "aeiou"] * int(rng.integers(2, 4)) + ["ktlnrm"]) for _ in range(STEMS)]
    parts = [dict.fromkeys(part) for part in (PREFIXES, stems, SUFFIXES)]
    for vectors, size in zip(parts, (0.7, 1.0, 0.5)):
        vectors.update((part, size * rng.normal(size=DIM) * (part != "")) for part in vectors)
    words = {}
    while len(words) < WORDS:
        chosen = [str(rng.choice(part)) for part in (PREFIXES, stems, SUFFIXES)]
        words.setdefault("".join(chosen), sum(vectors[part] for vectors, part in zip(parts, chosen)) + NOISE * rng.normal(size=DIM))
    return WordVectors(list(words), np.array(list(words.values()), np.float32))


def misspelt(word, rng):
    """A letter lost, doubled, swapped with the next or replaced, inside the word."""
    i = int(rng.integers(1, len(word) - 2))
    return [word[:i] + word[i + 1:], word[:i] + word[i] + word[i:], word[:i] + word[i + 1] + word[i] + word[i + 2:],
            word[:i] + "aeiou"[rng.integers(5)] + word[i + 1:]][rng.integers(4)]


def cosines(a, b):
    return (a * b).sum(axis=1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)


def measure(seed, path=None):
    rng = np.random.default_rng(seed)
    v = load(path) if path else invented(rng)
    words, vectors = np.array(v.words, object), np.asarray(v.vectors, np.float32)
    fit = np.array([len(word) >= LONG and word.isalpha() for word in words]) & vectors.any(axis=1)
    held = np.zeros(len(words), bool)
    held[rng.choice(np.flatnonzero(fit), max(1, fit.sum() // 10), replace=False)] = True
    known, true = WordVectors(words[~held].tolist(), vectors[~held]), vectors[held]
    right = rng.choice(words[fit & ~held], min(SHOWN, (fit & ~held).sum()), replace=False).tolist()
    pairs = {wrong: word for word in right if (wrong := misspelt(word, rng)) not in v}
    n = {"words": len(words), "dim": v.dim, "held_out": int(held.sum()), "misspelt": len(pairs), "found": {},
         "cosines": {"the mean word": cosines(np.tile(known.vectors.mean(axis=0), (len(true), 1)), true)}}
    for loss, epochs in LOSSES.items():
        taught = teach_ngrams(known, MINN, MAXN, loss, epochs=epochs, seed=seed, show=path is not None)
        n["cosines"][f"taught, {loss}"] = cosines(taught.batch(words[held]), true)
        n["found"][f"taught, {loss}"] = found(taught, pairs)
        n["kept"] = np.array_equal(taught.batch(known.words[:100]), known.batch(known.words[:100]))
        n["examples"] = [(wrong, taught.neighbours(wrong, 1)[0][0]) for wrong in list(pairs)[:6]]
    if hasattr(v, "subword") and v.subword.maxn:    # its own n-grams have seen the held-out words in training
        n["cosines"]["its own n-grams"] = cosines(v.subword.means(words[held].tolist(), v.first, v.matrix), true)
        n["found"]["its own n-grams"] = found(v, pairs)
    return n


def found(v, pairs):
    """Of the misspelt words the share that has the correct one among its 5 neighbours."""
    answers = v.neighbours(list(pairs), 5)
    return float(np.mean([word in [name for name, _ in answer] for word, answer in zip(pairs.values(), answers)]))


def check(n):
    mean = {name: values.mean() for name, values in n["cosines"].items()}
    for loss in LOSSES:
        near, found, nothing = mean[f"taught, {loss}"], n["found"][f"taught, {loss}"], mean["the mean word"]
        claim(near > 0.8 and near > nothing + 0.4,
              f"the spelling should tell an unknown word's vector: cosine {near:.2f}, of the mean word {nothing:.2f}")
        claim(found > 0.7, f"misspelt words should find their correct form among 5: {found:.0%} do")
    claim(n["kept"], "known words should keep their vectors")


def claim(holds, message):
    if not holds:
        raise AssertionError(message)


def draw(n, path):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 6.5), layout="constrained", width_ratios=[3, 2])
    colors = ["#999999", "#1f6fb4", "#e07b00", "#2a9d55"]
    for (name, values), color in zip(n["cosines"].items(), colors):
        left.hist(values, np.linspace(-1, 1, 81), color=color, alpha=0.6, label=f"{name}: mean {values.mean():.3f}")
    left.set(title=f"{n['held_out']} of {n['words']} words were kept from the learner",
             xlabel="cosine of the guess and the true vector", ylabel="words")
    left.legend(loc="upper left")
    left.grid(alpha=0.3)
    names, shares = ["words only", *n["found"]], [0.0, *n["found"].values()]
    right.barh(names, shares, color=colors[:len(names)])
    right.invert_yaxis()
    for i, share in enumerate(shares):
        right.text(share + 0.02, i, f"{share:.0%}", va="center")
    right.set(xlim=(0, 1.15), title=f"{n['misspelt']} misspelt words: the correct one among 5", xlabel="\n".join(
        f"{wrong} → {word}" for wrong, word in n["examples"]))
    right.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", default="ngrams_for_unknown_words.png", metavar="PATH",
                        help="default ngrams_for_unknown_words.png")
    parser.add_argument("--seed", type=int, default=0, help="of words, noise and what is kept from the learner (default 0)")
    parser.add_argument("--vectors", metavar="FILE", help=".vec text, word2vec binary, a bundle, or a fastText model")
    args = parser.parse_args(argv)
    n = measure(args.seed, args.vectors)
    print(f"{n['words']} words of {n['dim']} numbers, {n['held_out']} kept from the learner: "
          "cosine of the guess and the true vector")
    for name, values in n["cosines"].items():
        low, middle, high = np.percentile(values, [10, 50, 90])
        print(f"    {name:16s} mean {values.mean():6.3f}   10 % below {low:6.3f}, half {middle:6.3f}, 90 % {high:6.3f}")
    print(f"{n['misspelt']} misspelt words have the correct one among their 5 neighbours")
    for name, share in n["found"].items():
        print(f"    {name:16s} {share:6.1%}")
    if not args.vectors:
        check(n)
    draw(n, args.picture)
    print(f"picture  {Path(args.picture).resolve()}")
    return n


if __name__ == "__main__":
    main()
