"""The band-split BLSTM, and the refinement of its masks from similar frames."""
