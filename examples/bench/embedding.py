"""A table of which a batch uses a few rows: 128 bags of 25 ids, their sums, a linear layer. Other ids at every step."""
from itertools import cycle

from .table import randint, row, scaled

BAGS, IDS, DIM, BATCHES = 128, 25, 64, 40


def batches(L, rows):
    ids = randint(rows, BATCHES, BAGS, IDS)
    return cycle([L.array(part) for part in ids])


def training(L, rows):
    """SparseAdam for the table, Adam for the linear layer."""
    table, out = L.nn.Embedding(rows, DIM, sparse=True), L.nn.Linear(DIM, 2)
    optimizers = L.optim.SparseAdam(list(table.parameters()), lr=1e-3), L.optim.Adam(list(out.parameters()), lr=1e-3)
    ids, y = batches(L, rows), L.array(randint(2, BAGS))

    def step():
        for optimizer in optimizers:
            optimizer.zero_grad()
        L.cross_entropy(out(table(next(ids)).sum(1)), y).backward()
        for optimizer in optimizers:
            optimizer.step()
    return step


@row(goal=4)
def sparse_embedding(L, size):
    return training(L, scaled(1_000_000, size))


@row(goal=4)
def sparse_momentum(L, size):
    """SGD with momentum: PyTorch moves every row that was ever used, so that its steps get longer and longer (here 300 have been)."""
    rows = scaled(1_000_000, size)
    table = L.nn.Embedding(rows, DIM, sparse=True)
    optimizer, ids = L.optim.SGD(list(table.parameters()), lr=1e-3, momentum=0.9), batches(L, rows)

    def step():
        optimizer.zero_grad()
        table(next(ids)).sum().backward()
        optimizer.step()
    for _ in range(scaled(300, size)):
        step()
    return step


@row(goal=1)
def embedding_bag(L, size):
    """The sums of bags without their rows in between, and their row-sparse gradient."""
    rows = scaled(100_000, size)
    table, ids = L.nn.EmbeddingBag(rows, DIM, mode="sum", sparse=True), batches(L, rows)

    def step():
        table.weight.grad = None
        table(next(ids)).sum().backward()
    return step
