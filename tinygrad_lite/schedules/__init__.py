"""Schedules: hyper-parameters as functions of the step, ``s(t) -> float`` for every t >= 0.

A schedule is a frozen dataclass: it prints, compares and pickles, and it holds no optimizer and no counter, so a resumed
run is right by construction. ``Adam(params, lr=OneCycleLR(...))`` is the native way, `LRScheduler` serves PyTorch's habit.
Finite schedules hold their last value; periodic ones go on. `SequentialLR` joins, `ChainedScheduler` multiplies, nested to
any depth. Names and numbers are PyTorch's (closed forms); t is what PyTorch calls the epoch: the calls of ``step()`` so far.

    decay.py      LambdaLR MultiplicativeLR StepLR MultiStepLR ConstantLR LinearLR ExponentialLR PolynomialLR SWALR
    waves.py      CosineAnnealingLR CosineAnnealingWarmRestarts SineRestarts Snapshot
    cycles.py     CyclicLR OneCycleLR OneCycleFastai, and the Momentum that goes with them
    warmup.py     Warmup Noam linear_scaling_rule
    caffe.py      Fixed Step Exp Inv MultiStep Poly Sigmoid
    combine.py    SequentialLR ChainedScheduler
    feedback.py   ReduceLROnPlateau LRScheduler: the two that are not pure
"""
from .base import Schedule
from .caffe import Exp, Fixed, Inv, MultiStep, Poly, Sigmoid, Step
from .combine import ChainedScheduler, SequentialLR
from .cycles import CyclicLR, Momentum, OneCycleFastai, OneCycleLR, one_cycle_fastai
from .decay import (SWALR, ConstantLR, ExponentialLR, LambdaLR, LinearLR, MultiplicativeLR, MultiStepLR, PolynomialLR,
                    StepLR)
from .feedback import LRScheduler, ReduceLROnPlateau
from .warmup import Noam, Warmup, linear_scaling_rule
from .waves import CosineAnnealingLR, CosineAnnealingWarmRestarts, SineRestarts, Snapshot

ALL = (LambdaLR, MultiplicativeLR, StepLR, MultiStepLR, ConstantLR, LinearLR, ExponentialLR, PolynomialLR, SWALR,
       CosineAnnealingLR, CosineAnnealingWarmRestarts, SineRestarts, Snapshot, CyclicLR, OneCycleLR, OneCycleFastai, Momentum,
       Warmup, Noam, Fixed, Step, Exp, Inv, MultiStep, Poly, Sigmoid, SequentialLR, ChainedScheduler, ReduceLROnPlateau)
