"""See what training does.

    gradient_flow.py    gradient_flow, plot_gradient_flow: the mean size of each layer's gradient
    flow_history.py     FlowHistory: the same over time, blocked layers; gradient_shares of a sum of losses
    anomaly.py          detect_anomaly: which op, line and module made the first NaN
    guards.py           check_inputs: which item of the data holds one; LossGuard: the loss grows and grows
    activations.py      activation_stats, debug_info, ActivationHistory
    event_files.py      EventFiles: all of it for TensorBoard
    landscape.py        loss_surface, loss_line: slices through the loss; the way a training took
    hessian.py          hessian_eigenvalues, critical_point: how the loss is curved
    per_sample.py       per_sample_gradients: every sample's own, and the noise scale
    owners.py           which sample each number of a pass belongs to; calls.py who is being called; trial.py leave no trace
"""
from ..nn.check_finite import NonFiniteError
from .activations import ActivationHistory, ActivationStats, activation_stats, debug_info
from .anomaly import detect_anomaly
from .event_files import EventFiles
from .flow_history import FlowHistory, gradient_shares
from .gradient_flow import gradient_flow, plot_gradient_flow
from .guards import LossGuard, check_inputs
from .hessian import Hessian, critical_point, hessian_eigenvalues
from .landscape import Surface, barrier, loss_line, loss_surface, losses_at, path_directions, random_direction, weights_of
from .per_sample import PerSampleGradients, per_sample_gradients
