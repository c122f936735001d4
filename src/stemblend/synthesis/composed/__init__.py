"""Songs composed and synthesised in code.

Functions `render_...` draw an instrument from a generator and give its stem at `sample_rate` Hz,
float32 `(2, samples)`, without reverberation.
"""
