"""The figures of Uhlich et al. (ICASSP 2017), to stand beside ours.

All are SDRs in dB, in the order of `TARGETS`.
"""

TARGETS = ("bass", "drums", "other", "vocals", "accompaniment")

TABLE_1 = {
    "BL": (0.72, 0.95, 1.43, 0.35, 6.82),
    "BU": (6.26, 7.96, 7.76, 10.16, 16.38),
    "FNN-1": (2.22, 3.08, 2.48, 3.63, 10.19),
    "FNN-2": (2.54, 3.75, 2.92, 4.47, 11.12),
    "BLSTM-1": (2.30, 3.71, 2.98, 3.69, 10.33),
    "BLSTM-2": (2.77, 3.78, 3.44, 4.91, 11.35),
    "BLSTM-3": (2.89, 4.00, 3.24, 4.86, 11.26),
}
"""Networks on the test part of DSD100, behind their filters; BL is a quarter of the mixture as
every source, BU the ideal ratio mask."""

TABLE_2 = {
    ("vocals", "BL"): (0.91, 0.35),
    ("vocals", "without augmentation"): (7.13, 3.37),
    ("vocals", "with augmentation"): (6.19, 3.59),
    ("accompaniment", "BL"): (6.57, 6.82),
    ("accompaniment", "without augmentation"): (13.33, 9.71),
    ("accompaniment", "with augmentation"): (12.23, 9.93),
}
"""Raw outputs of BLSTM-1 on the development and test parts of DSD100."""

TABLE_3 = {
    "BLEND (SWF)": (2.76, 3.93, 3.37, 5.13, 11.53),
    "sNMF": (-0.84, 1.12, 1.82, 2.17, 8.58),
    "dNMF": (0.91, 1.87, 2.43, 2.56, 8.88),
    "DeepNMF": (1.88, 2.11, 2.64, 2.75, 8.90),
    "BLEND (MWF)": (2.98, 4.13, 3.52, 5.23, 11.70),
    "NUG": (2.72, 3.89, 3.18, 4.55, 10.29),
}
"""The blend with either filter, and the systems of others, on the test part of DSD100."""

LAMBDA = 0.25
"""Weight of FNN-2 in the published blend with BLSTM-3 (section 4)."""
