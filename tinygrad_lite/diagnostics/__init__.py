"""See what training does.

    gradient_flow.py    gradient_flow, plot_gradient_flow: the mean size of each layer's gradient
"""
from .gradient_flow import gradient_flow, plot_gradient_flow
