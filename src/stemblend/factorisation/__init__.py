"""Non-negative factorisations: sparse NMF, discriminative NMF and DeepNMF."""

from stemblend.factorisation.bases import factorise, train_bases
from stemblend.factorisation.model import (
    Factorisation,
    NMFConfig,
    load_factorisation,
    save_factorisation,
)
from stemblend.factorisation.songs import Mixing
from stemblend.factorisation.training import train_deepnmf, train_dnmf, train_snmf
from stemblend.factorisation.updates import (
    beta_divergence,
    fit_activations,
    sparse_objective,
    update_activations,
    update_bases,
)

__all__ = [
    "Factorisation",
    "Mixing",
    "NMFConfig",
    "beta_divergence",
    "factorise",
    "fit_activations",
    "load_factorisation",
    "save_factorisation",
    "sparse_objective",
    "train_bases",
    "train_deepnmf",
    "train_dnmf",
    "train_snmf",
    "update_activations",
    "update_bases",
]
