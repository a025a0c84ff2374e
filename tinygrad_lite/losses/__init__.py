"""Loss functions with the signatures of torch.nn.functional: input is what the model gave, target what it should be.

`reduction`: "mean" (default), "sum", or "none" for one loss per sample.
"""
from .classification import (binary_cross_entropy, binary_cross_entropy_with_logits, cross_entropy, focal_loss, infogain_loss,
                             kl_div, multilabel_soft_margin_loss, nll_loss)
from .margins import (hinge_embedding_loss, hinge_loss, margin_ranking_loss, multi_margin_loss, multiclass_hinge_loss,
                      multilabel_margin_loss, soft_margin_loss, squared_hinge_loss)
from .metric import contrastive_loss, cosine_embedding_loss, info_nce_loss, nt_xent_loss, triplet_cosine_loss, triplet_margin_loss
from .neighbours import fitted_temperature, soft_nearest_neighbor_loss
from .regression import gaussian_nll_loss, huber_loss, l1_loss, mse_loss, poisson_nll_loss, smooth_l1_loss
from .sequence import ctc_loss

# the table that tests walk
ALL = (cross_entropy, nll_loss, binary_cross_entropy, binary_cross_entropy_with_logits, multilabel_soft_margin_loss, kl_div,
       focal_loss, infogain_loss,
       hinge_loss, squared_hinge_loss, soft_margin_loss, hinge_embedding_loss, margin_ranking_loss, multiclass_hinge_loss,
       multi_margin_loss, multilabel_margin_loss,
       mse_loss, l1_loss, smooth_l1_loss, huber_loss, poisson_nll_loss, gaussian_nll_loss,
       cosine_embedding_loss, triplet_margin_loss, triplet_cosine_loss, contrastive_loss, info_nce_loss, nt_xent_loss,
       soft_nearest_neighbor_loss, ctc_loss)
