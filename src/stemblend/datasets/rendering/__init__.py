"""The musicians and the studio behind `stemblend.datasets.rendered`."""
