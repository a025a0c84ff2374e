"""What is said and shown of clusters: scores against scikit-learn's, exemplars, the two layouts, the picture, the page, the example."""
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, strategies as st
from matplotlib.image import imread
from sklearn import decomposition, metrics

from examples import clusters as example
from tinygrad_lite.vectors import cluster_names, clusters_page, exemplars, knn_graph, neighbour_layout, nmi, pca, plot_clusters, purity


# --- scores
@given(seed=st.integers(0, 10**6), n=st.integers(1, 60), k=st.integers(1, 6))
def test_scores_are_scikit_learns(seed, n, k):
    rng = np.random.default_rng(seed)
    labels, truth = rng.integers(-1, k, n), rng.choice(["a", "b", "c"], n)
    assert nmi(labels, truth) == pytest.approx(metrics.normalized_mutual_info_score(truth, labels), abs=1e-9)
    hits = sum(max(np.sum(truth[labels == c] == name) for name in "abc") for c in set(labels) - {-1})
    clustered = (labels != -1).sum()
    assert purity(labels, truth) == pytest.approx(hits / clustered) if clustered else np.isnan(purity(labels, truth))


def test_scores_of_nothing_and_of_unlike_sizes():
    assert np.isnan(purity([], [])) and nmi([], []) == 1
    for call in purity, nmi:
        with pytest.raises(ValueError, match=r"got labels of shape \(2,\) and classes of shape \(3,\)"):
            call([0, 1], [0, 1, 1])


def test_exemplars_are_the_members_nearest_to_the_mean():
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(60, 4)) + 3, rng.integers(-1, 3, 60)
    for metric in ("cosine", "euclidean"):
        found = exemplars(X, labels, 4, metric)
        assert len(found) == 3
        for c, rows in enumerate(found):
            members = np.flatnonzero(labels == c)
            Y = X / np.linalg.norm(X, axis=1, keepdims=True) if metric == "cosine" else X
            middle = Y[members].mean(axis=0)
            scores = Y[members] @ middle if metric == "cosine" else -((Y[members] - middle) ** 2).sum(axis=1)
            assert rows.tolist() == members[np.argsort(-scores)[:4]].tolist()
    assert cluster_names(list(range(60)), X, labels, 2)[1] == ", ".join(map(str, exemplars(X, labels, 2)[1]))
    assert exemplars(X, np.full(60, -1)) == []
    with pytest.raises(ValueError, match="got 60 rows and 3 labels"):
        exemplars(X, [0, 0, 0])


# --- layouts
def test_pca_is_scikit_learns_up_to_signs():
    X = np.random.default_rng(1).normal(size=(40, 6)) * [5, 1, 3, 1, 1, 2]
    ours, theirs = pca(X, 3), decomposition.PCA(3).fit_transform(X)
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-10)
    far = np.abs(ours).argmax(axis=0)
    assert (ours[far, range(3)] > 0).all()


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (2, 1), (5, 0)])
def test_pca_of_little(shape):
    points = pca(np.ones(shape))
    assert points.shape == (shape[0], 2) and (points == 0).all()


def test_a_layout_keeps_neighbours_together():
    rng = np.random.default_rng(2)
    names = rng.integers(0, 5, 200)
    X = rng.normal(size=(5, 20))[names] + 0.3 * rng.normal(size=(200, 20))
    points = neighbour_layout(knn_graph(X, 10, symmetric=True, threshold=0), rng.normal(size=(200, 2)))
    nearest = knn_graph(points, 5, "euclidean")
    assert np.mean(names[nearest.indices].reshape(200, 5) == names[:, None]) > 0.95
    again, other = [neighbour_layout(knn_graph(X, 10), np.zeros((200, 2)), seed=s) for s in (3, 4)]
    assert np.isfinite(again).all() and not (again == other).all()
    assert (again == neighbour_layout(knn_graph(X, 10), np.zeros((200, 2)), seed=3)).all()
    assert neighbour_layout(np.zeros((0, 0)), np.zeros((0, 2))).shape == (0, 2)


def test_a_picture_shows_every_point_and_name():
    labels = np.array([0, 0, 1, -1, 1])
    ax = plot_clusters(np.arange(10.0).reshape(5, 2), labels, ["tea", "rum"])
    assert sorted(len(c.get_offsets()) for c in ax.collections) == [1, 4] and [t.get_text() for t in ax.texts] == ["tea", "rum"]
    assert ax.get_title() == "5 points in 2 clusters, 1 noise"
    same = plt.figure().add_subplot()
    assert plot_clusters(np.zeros((0, 2)), np.zeros(0, int), ax=same) is same
    plt.close("all")
    with pytest.raises(ValueError, match=r"got points of shape \(3, 3\) and 3 labels"):
        plot_clusters(np.zeros((3, 3)), np.zeros(3, int))
    for graph, start in ((np.zeros((2, 3)), np.zeros((2, 2))), (np.zeros((2, 2)), np.zeros((3, 2)))):
        with pytest.raises(ValueError, match="expected \\(n, n\\) and \\(n, 2\\)"):
            neighbour_layout(graph, start)


# --- the page
class Reader(HTMLParser):
    """The text of each section, and what the page would fetch."""

    def __init__(self, text):
        super().__init__()
        self.open, self.sections, self.fetched = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.fetched += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "input"):
            self.open.append(tag)
        if tag == "section":
            self.sections.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "section" in self.open:
            self.sections[-1] += data


def test_a_page_holds_every_member_once_and_is_alone(tmp_path):
    rng = np.random.default_rng(3)
    X, labels = rng.normal(size=(50, 3)), rng.integers(-1, 4, 50)
    items = [f"item{i}" for i in range(48)] + ["</script><b>&", "a \udcff"]
    clusters_page(tmp_path / "page.html", items, X, labels, "Titles & <more>", points=pca(X))
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Reader(text)
    assert page.fetched == [] and "http" not in text and text.count("</script>") == 1 and "Titles &amp; &lt;more&gt;" in text
    assert len(page.sections) == 5
    for c, section in zip([0, 1, 2, 3, -1], page.sections):
        for i in np.flatnonzero(labels == c):
            assert items[i].encode("utf-8", "backslashreplace").decode() in section
    points, shown, names = [json.loads(re.search(rf"{name} = (.+?), (?:labels|names|colors) = ", text)[1]) for name in ("points", "labels", "names")]
    assert shown == labels.tolist() and names[48] == items[48] and np.ptp(points, axis=0) == pytest.approx([1, 1])
    assert "<canvas" in text


def test_a_page_without_points_or_members(tmp_path):
    clusters_page(tmp_path / "a.html", [], np.empty((0, 2)), np.empty(0, int))
    clusters_page(tmp_path / "b.html", range(400), np.ones((400, 2)), np.zeros(400, int), most=10)
    assert "0 of 0 in 0 clusters" in (tmp_path / "a.html").read_text() and "<canvas" not in (tmp_path / "a.html").read_text()
    assert "and 390 more" in (tmp_path / "b.html").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="got 2 items, 3 rows, 3 labels: expected as many of each"):
        clusters_page(tmp_path / "c.html", ["a", "b"], np.ones((3, 2)), np.zeros(3, int))
    assert not (tmp_path / "c.html").exists()


# --- the example
@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    out = tmp_path_factory.mktemp("digits")
    return out, example.main(["--out", str(out), "--json"])["methods"]


def test_ten_digits_appear_without_being_told(digits):
    chosen, means, *rest = digits[1]
    assert chosen["clusters"] == 10 and chosen["purity"] > 0.95 and chosen["nmi"] > means["nmi"] - 0.02 and means["noise"] == 0
    steady = [r for r in rest if "neighbours" in r["method"]][4:]
    assert len(steady) == 3 and all(abs(r["clusters"] - 10) <= 1 and r["nmi"] > 0.9 for r in steady)
    noise = [r["noise"] for r in rest if "DBSCAN" in r["method"]]
    assert noise[0] > 0.7 * 898 and noise[-1] == 0 and rest[-1]["clusters"] == 1       # almost all noise; one cluster


def test_the_example_draws_and_writes(digits):
    out, _ = digits
    assert sorted(path.name for path in out.iterdir()) == ["digits.html", "digits.png"]
    pixels = imread(out / "digits.png")
    assert min(pixels.shape[:2]) >= 600 and pixels[..., :3].std() > 0.05


def test_the_example_reads_a_text_and_tags(tmp_path, capsys):
    rng = np.random.default_rng(4)
    drinks, animals = "tea coffee juice cider water".split(), "horse donkey sheep goat zebra".split()
    (tmp_path / "text").write_text("".join(f"pour {rng.choice(drinks)} into cups\nfeed {rng.choice(animals)} with grass\n" for _ in range(600)))
    numbers = example.main(["--text", str(tmp_path / "text"), "--out", str(tmp_path / "out"), "--ask", "tea,nothing"])
    assert numbers["items"] == 16 and {"words.bin", "words.png", "words.html"} == {path.name for path in (tmp_path / "out").iterdir()}
    printed = capsys.readouterr().out
    assert "tea: cluster" in printed and "nothing: not among these" in printed
    rows = [f"1,{title},{tag},0" for title in range(30) for tag in rng.choice(drinks if title % 2 else animals, 3, replace=False)]
    (tmp_path / "tags.csv").write_text("\n".join(["userId,movieId,tag,timestamp", *rows]))
    assert example.main(["--tags", str(tmp_path / "tags.csv"), "--out", str(tmp_path / "out")])["clusters"] == 2
