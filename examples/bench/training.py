"""The loop around the steps: what `fit` costs with its history, its checks and its gradient norms."""
import math

from .table import randint, randn, row, scaled


@row(goal=1.2)
def fit_epoch(L, size):
    """An epoch of 20 steps of an MLP 64-64-64-10, batch 32, clip, Adam: our fit, and the loop that one writes for PyTorch."""
    nn = L.nn
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    batches = [(L.tensor(randn(32, 64)), L.array(randint(10, 32))) for _ in range(scaled(20, size))]
    params = list(model.parameters())
    optimizer = L.optimizer("Adam", params, lr=1e-3)
    if L.name == "tinygrad_lite":
        from tinygrad_lite.training import fit
        return lambda: fit(model, L.cross_entropy, batches, optimizer, epochs=1, clip=1.0, show=False)

    def epoch():
        losses, norms = [], []
        for x, y in batches:
            optimizer.zero_grad()
            loss = L.cross_entropy(model(x), y)
            loss.backward()
            norms.append(float(L.clip_grad_norm_(params, 1.0)))
            if not math.isfinite(norms[-1]):
                raise FloatingPointError
            optimizer.step()
            losses.append(loss.item())
        return losses
    return epoch
