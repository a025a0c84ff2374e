"""Convolution and normalisation: layers forward and backward, and a small image net's training step."""
from .table import randint, randn, row, scaled


def layer(L, net, *shape):
    """Forward and backward of one layer, its parameters' gradients included."""
    x, params = L.nn.Parameter(L.tensor(randn(*shape))), list(net.parameters())

    def step():
        net(x).sum().backward()
        for p in (x, *params):
            p.grad = None
    return step


@row(goal=2, against="PyTorch")
def layer_norm(L, size):
    return layer(L, L.nn.LayerNorm(256), scaled(64, size), 256)


@row(goal=1.5, against="PyTorch")
def batch_norm_images(L, size):
    return layer(L, L.nn.BatchNorm2d(32), scaled(16, size), 32, 14, 14)


@row(goal=1, against="PyTorch")
def conv2d_over_rows(L, size):
    """256 words of 16 characters of 15 numbers, as images; 64 filters of width 3."""
    return layer(L, L.nn.Conv2d(1, 64, (3, 15)), scaled(256, size), 1, 16, 15)


@row(goal=0.7, against="PyTorch")
def image_net(L, size):
    """A training step on 64 images of 28 x 28: two convolutions, pooling, a linear layer, cross-entropy, Adam."""
    nn = L.nn
    model = nn.Sequential(nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                          nn.Flatten(), nn.Linear(16 * 7 * 7, 10))
    batch = scaled(64, size)
    x, y = L.tensor(randn(batch, 1, 28, 28)), L.array(randint(10, batch))
    optimizer = L.optimizer("Adam", list(model.parameters()), lr=1e-3)

    def step():
        optimizer.zero_grad()
        L.cross_entropy(model(x), y).backward()
        optimizer.step()
    return step
