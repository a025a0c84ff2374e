"""Loss functions with the signatures of torch.nn.functional: x is what the model gave, y the target.

`reduction`: "mean" (default), "sum", or "none" for one loss per sample.
"""
from .classification import (binary_cross_entropy_with_logits, cross_entropy, hinge_loss, multiclass_hinge_loss, nll_loss,
                             squared_hinge_loss)
from .regression import l1_loss, mse_loss

# the table that tests walk
ALL = (cross_entropy, nll_loss, binary_cross_entropy_with_logits, hinge_loss, squared_hinge_loss, multiclass_hinge_loss, mse_loss,
       l1_loss)
