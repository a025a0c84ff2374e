"""Clusters without saying how many: Chinese Whispers and DBSCAN beside k-means, which must be told.

    python examples/clusters.py                                     learned features of handwritten digits
    python examples/clusters.py --text wiki.train.txt[.gz]          words of a text: months, seasons, directions
    python examples/clusters.py --tags tags.csv[.gz]                tags that people gave (MovieLens: userId,movieId,tag,timestamp)
    python examples/clusters.py --vectors words.bin                 words of a fastText model, or of .vec text
    [--neighbours 30] [--out clusters] [--seed 0] [--ask spring,June,north] [--most 3000] [--device cuda] [--json]

Each writes a picture (PNG) and a page to read (HTML). Digits have true classes, so there the methods are scored: purity, the
share that is of its cluster's commonest class, and normalised mutual information.
"""
import argparse
import csv
import gzip
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from common import add_device               # before NumPy: it asks for one thread

import numpy as np
from scipy.cluster.vq import kmeans2

import tinygrad_lite as tg
from tinygrad_lite.progress import progress
from tinygrad_lite.vectors import (chinese_whispers, cluster_names, clusters_page, dbscan, knn_graph, neighbour_layout, nmi, pca,
                                   plot_clusters, purity)

SIZES = (10, 15, 20, 25, 30, 35, 40)                # of neighbourhoods
RADII = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)     # DBSCAN's eps, a cosine distance
MODEL = dict(dim=64, epochs=10, maxn=0)             # whole words: n-grams would group them by their endings


def opened(path):
    return gzip.open(path, "rt", encoding="utf-8") if str(path).endswith(".gz") else open(path, encoding="utf-8")


# ---------------------------------------------------------------- digits: a network's features of images it has not seen

def digit_features(seed, device="cpu"):
    """(names, features (n, 64), digits): half of scikit-learn's 1797 images train a network, the other half is looked at.

    The soft nearest neighbour loss draws the features of a class together; cross-entropy alone would only part them.
    """
    from sklearn.datasets import load_digits
    x, y = load_digits(return_X_y=True)
    x = (x / 8 - 1).astype(np.float32)
    order = np.random.default_rng(seed).permutation(len(x))
    known, unseen = order[::2], order[1::2]
    tg.seed(seed)
    features = tg.nn.Sequential(tg.nn.Linear(64, 128), tg.nn.ReLU(), tg.nn.Linear(128, 64)).to(device)
    last = tg.nn.Linear(64, 10).to(device)
    optimizer = tg.optim.Adam([*features.parameters(), *last.parameters()], lr=2e-3)
    there = lambda array: tg.backend.to_device(array, device)
    batches = tg.data.DataLoader(there(x[known]), there(y[known]), batch_size=64, shuffle=True, seed=seed)
    for _ in progress(range(30), "learning digits", lines=3):
        for images, digits in batches:
            found = features(images)
            loss = tg.losses.cross_entropy(last(tg.relu(found)), digits)
            loss = loss + tg.losses.soft_nearest_neighbor_loss(found, digits, temperature=0.1, cos=True, skip_alone=True)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with tg.no_grad():
        found = features(tg.Tensor(there(x[unseen]))).numpy()
    return [f"{digit} #{i}" for digit, i in zip(y[unseen], unseen)], found, y[unseen]


def unit(X):
    """Rows of length 1, for k-means to see directions as the others do."""
    return X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-12)


def score(method, call, truth):
    started = time.perf_counter()
    labels = call()
    seconds = time.perf_counter() - started
    return {"method": method, "clusters": int(labels.max(initial=-1) + 1), "noise": int((labels == -1).sum()),
            "purity": purity(labels, truth), "nmi": nmi(labels, truth), "seconds": seconds}


def compare(X, truth, neighbours, seed):
    """Rows of a table: each method, k-means with the right k, sweeps over the size of neighbourhoods and over eps."""
    def whispers(k):
        return score(f"Chinese Whispers, {k} neighbours", lambda: chinese_whispers(knn_graph(X, k, threshold=0), seed), truth)

    def density(eps):
        return score(f"DBSCAN, eps {eps:g}", lambda: dbscan(X, eps, 5, "cosine"), truth)
    means = score("k-means, told k = 10", lambda: kmeans2(unit(X), 10, minit="++", rng=seed)[1].astype(np.int64), truth)
    return [whispers(neighbours), means], [whispers(k) for k in SIZES], [density(eps) for eps in RADII]


def show(rows, title):
    print(f"\n{title}\n{'':34s}{'clusters':>9s}{'noise':>7s}{'purity':>8s}{'NMI':>7s}{'seconds':>9s}")
    for r in rows:
        print(f"{r['method']:34s}{r['clusters']:9d}{r['noise']:7d}{r['purity']:8.3f}{r['nmi']:7.3f}{r['seconds']:9.3f}")


# ---------------------------------------------------------------- words and tags

def word_vectors(args):
    """(words, vectors): the most frequent words of letters, three or more, of a model or of a text that it is trained on first."""
    if args.vectors:
        model = tg.vectors.load(args.vectors)
    else:
        args.out.mkdir(parents=True, exist_ok=True)
        with opened(args.text) as lines:
            model = tg.vectors.train(lines, args.out / "words.bin", seed=args.seed, show=True, **MODEL)
    words = [word for word in model.words if word.isalpha() and len(word) > 2][:args.most]
    return words, model.batch(words)


def tag_vectors(path, dims=50):
    """(tags, vectors): tags used on at least two titles, near each other where they were given to the same titles.

    The rows of the table tags x titles, each of length 1, in its `dims` strongest directions (latent semantic analysis,
    Deerwester et al. 1990).
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.linalg import svds
    with opened(path) as file:
        given = {(row["tag"].strip().lower(), row["movieId"]) for row in csv.DictReader(file)}
    tags, titles = sorted({tag for tag, _ in given}), sorted({title for _, title in given})
    tag_ids, title_ids = ({name: i for i, name in enumerate(names)} for names in (tags, titles))
    places = np.array([(tag_ids[tag], title_ids[title]) for tag, title in sorted(given)])
    table = csr_matrix((np.ones(len(places)), places.T), shape=(len(tags), len(titles)))
    often = np.flatnonzero(np.diff(table.indptr) >= 2)
    table = table[often]
    table = csr_matrix(table.multiply(1 / np.sqrt(np.diff(table.indptr))[:, None]))
    u, s, _ = svds(table, min(dims, min(table.shape) - 1), v0=np.ones(min(table.shape)))
    return [tags[i] for i in often], u * s


def around(names, X, labels, asked, most=12):
    """For each word that was asked for: its cluster's size and exemplars."""
    called = cluster_names(names, X, labels, most)
    for name in asked:
        if name not in names:
            print(f"{name:>12s}: not among these {len(names)}")
        else:
            c = labels[names.index(name)]
            print(f"{name:>12s}: " + ("noise" if c == -1 else f"cluster {c} of {(labels == c).sum()}: {called[c]}"))


# ---------------------------------------------------------------- pictures and pages

def draw(name, title, names, X, labels, neighbours, out):
    """The picture, in two forms, and the page."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    plane = pca(unit(X))
    points = neighbour_layout(knn_graph(X, min(neighbours, 15), symmetric=True, threshold=0), plane)
    figure, (left, right) = plt.subplots(1, 2, figsize=(18, 8.5), layout="constrained")
    called = cluster_names(names, X, labels, 1 if name == "digits" else 2)
    called = [text if len(text) < 26 else text[:25] + "\u2026" for text in called]
    plot_clusters(plane, labels, [""] * len(called), left)
    plot_clusters(points, labels, called, right)
    left.set_title("the two directions of most variance (PCA)")
    right.set_title(f"laid out by neighbours: {right.get_title()}")
    figure.suptitle(title)
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / f"{name}.png", dpi=100)
    plt.close(figure)
    clusters_page(out / f"{name}.html", names, X, labels, title, points)
    print(f"\npicture  {(out / f'{name}.png').resolve()}\npage     {(out / f'{name}.html').resolve()}")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--text", type=Path, metavar="FILE", help="train word vectors on this text first")
    which.add_argument("--vectors", type=Path, metavar="FILE", help="a fastText .bin, or .vec text")
    which.add_argument("--tags", type=Path, metavar="FILE", help="a CSV with columns tag and movieId")
    parser.add_argument("--neighbours", type=int, metavar="N",
                        help="of the graph (default 30; of words and tags 5: few mean nearly the same)")
    parser.add_argument("--ask", default="", metavar="WORD,..", help="print the clusters of these (words: spring,June,north,red)")
    parser.add_argument("--most", type=int, default=3000, help="words, the most frequent (default 3000)")
    parser.add_argument("--out", type=Path, default=Path("clusters"), metavar="DIR",
                        help="for the picture and the page (default clusters)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print the numbers as one last line")
    add_device(parser)
    args = parser.parse_args(argv)
    numbers = {}
    if args.text or args.vectors or args.tags:
        neighbours = args.neighbours or 5
        name, (names, X) = ("tags", tag_vectors(args.tags)) if args.tags else ("words", word_vectors(args))
        graph = knn_graph(X, neighbours, threshold=0)
        labels = chinese_whispers(graph, args.seed)
        title = f"{len(names):,} {name} in {labels.max(initial=-1) + 1} clusters"
        print(f"\n{title}, {(labels == -1).sum()} noise")
        asked = args.ask or ("" if args.tags else "spring,June,north,red")
        around(names, X, labels, [word for word in asked.split(",") if word])
        for c, called in enumerate(cluster_names(names, X, labels, 8)[:12]):
            print(f"{(labels == c).sum():6d}  {called}")
        numbers = {"clusters": int(labels.max(initial=-1) + 1), "noise": int((labels == -1).sum()), "items": len(names)}
    else:
        neighbours, name = args.neighbours or 30, "digits"
        names, X, truth = digit_features(args.seed, args.device)
        methods, sizes, densities = compare(X, truth, neighbours, args.seed)
        show(methods, "The clusters that appear, and k-means, which has no noise")
        show(sizes, "Chinese Whispers: more or fewer neighbours")
        show(densities, "DBSCAN: from almost all noise to one cluster")
        numbers = {"methods": methods + sizes + densities}
        labels = chinese_whispers(knn_graph(X, neighbours, threshold=0), args.seed)
        title = f"{len(X)} unseen digits in {labels.max() + 1} clusters"
    draw(name, title, names, X, labels, neighbours, args.out)
    if args.json:
        print(json.dumps(numbers))
    return numbers


if __name__ == "__main__":
    main()
